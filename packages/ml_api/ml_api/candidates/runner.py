"""Runs one candidate: takes what the workers send, has it scored, records or returns the answers.

The script of a process that gunicorn's master starts: ``python -m ml_api.candidates.runner KIND NUMBER FOLDER PARENT``,
where NUMBER is the index among the candidates of that kind and FOLDER the one that the server's processes share.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from model_kit.errors import SpecError
from model_kit.spec import InputSpec
from model_kit.spec.compatibility import declared_changes

from ml_api import logs
from ml_api.candidates.canary_queue import CanaryQueue
from ml_api.candidates.lifetime import end_with_parent
from ml_api.candidates.shadow_queue import ShadowQueue
from ml_api.candidates.status import path, write
from ml_api.candidates.supervision import Supervisor, installed_spec
from ml_api.settings import Settings


class _Stopped(BaseException):
    """SIGTERM has come."""


def main() -> None:
    """Run until SIGTERM, or until the server is gone."""
    kind, number, folder, parent = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    try:
        end_with_parent(parent, signal.SIGTERM)
        settings = Settings.from_environ(os.environ)
        logs.configure(settings.log_level)
        _run(settings, kind, number, folder)
    except _Stopped:
        # The server is being stopped, or restarts this process.
        pass


def _stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _run(settings: Settings, kind: str, number: int, folder: Path) -> None:
    candidate = (settings.shadow_models if kind == "shadow" else settings.canary_models)[number]
    count = _counter(settings, folder, kind, number, candidate.name)
    status = path(folder, candidate, number, "status")
    address = path(folder, candidate, number, "socket")
    supervisor = Supervisor(
        candidate,
        path(folder, candidate, number, "code"),
        settings.candidate_timeout,
        lambda found: write(status, found),
        lambda: count("restart", 1),
    )
    with suppress(FileNotFoundError):
        address.unlink()
    try:
        if kind == "canary":
            supervisor.judge = _judge(candidate.name)
        supervisor.start()
        if settings.prediction_log is not None and kind == "shadow":
            ShadowQueue(supervisor, address, settings.prediction_log, count).run()
        else:
            CanaryQueue(supervisor, address, settings.candidate_timeout).run()
    finally:
        supervisor.stop()


def _judge(name: str) -> Callable[[str], str | None]:
    """Return a function that compares the spec of a canary with that of the installed version."""
    try:
        installed = InputSpec.from_json(installed_spec(name))
    except (OSError, SpecError) as error:
        reason = f"the installed version, with which it is compared, cannot be loaded: {error}"
        return lambda _: reason
    return lambda spec: _fault(installed, InputSpec.from_json(spec))


def _fault(installed: InputSpec, candidate: InputSpec) -> str | None:
    """Say why callers of the installed version could not be served by a canary; ``None`` if they can."""
    return next((change.text for change in declared_changes(installed, candidate) if change.breaking), None)


def _counter(settings: Settings, folder: Path, kind: str, number: int, name: str) -> Callable[[str, int], None]:
    """Return a function that counts for the metrics, if they are on."""
    if not settings.metrics:
        return lambda *_: None
    from ml_api.metrics.candidates import CandidateCounter  # noqa: PLC0415  its library is imported only if needed

    return CandidateCounter(folder, kind, number, name)


if __name__ == "__main__":
    main()
