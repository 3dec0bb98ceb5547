"""Replaces the workers of a running server by workers with what is installed now, after checking that, on SIGHUP.

gunicorn's own reload stops the workers before their successors have loaded anything, reads its configuration again,
which may end the server, and looks at no other signal while it waits.

- The master reads code and bundles once (:mod:`model_kit.scoring.installed`). It refuses what callers would have to
  change for, and has a process of its own load every model and score its golden row.
- The new workers, which are forked with the bytes that were checked, load their models beside the old ones. When all
  have, the old ones stop accepting connections and end after their last request.
- If anything fails, nothing changes, and the reason is logged and in the file of the process id.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gunicorn.errors import HaltServer  # type: ignore[import-untyped]
from model_kit.scoring.installed import InstalledModel, read_installed, replacement_faults, serve

from ml_api import logs
from ml_api.models.registry import Registry, installed_models
from ml_api.pid_file import PidFile
from ml_api.served import Served
from ml_api.worker_loads import READY, REPLACED, UNEXPECTED

#: Seconds between two looks at what the master waits for.
_INTERVAL = 0.05


class Refused(Exception):  # noqa: N818  it is an outcome
    """The reload changes nothing; ``reasons`` by the name of the model, or without one."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(reasons)
        self.reasons = dict(reasons)


class Reloader:
    """Handles SIGHUP in the master process.

    Args:
        server: gunicorn's arbiter.
        installed: what its workers serve.
        served: what they say that they serve.
        pid_file: where the outcome is written; ``None``: nowhere.
        count: called with ``ok`` or ``refused``.
    """

    def __init__(
        self,
        server: Any,
        installed: Mapping[str, InstalledModel],
        served: Served,
        pid_file: PidFile | None,
        count: Callable[[str], None],
    ) -> None:
        self._server, self._installed, self._served = server, installed, served
        self._pid_file, self._count = pid_file, count
        #: SIGHUPs that have come, and how many of them the last reload answers.
        self._asked = self._begun = 0
        self._is_stopping = False

    def install(self) -> None:
        """Take over SIGHUP, and see signals that end the server while a reload is under way."""
        server = self._server
        server.handle_hup = self.reload
        server.stop = self._stopping(server.stop)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._server.pid:
            # A child that has not set its own handlers yet; gunicorn would lose the signal.
            if number != signal.SIGHUP:
                os._exit(0)
        elif number == signal.SIGHUP:
            self._asked += 1
        else:
            self._is_stopping = True
        self._server.signal(number, frame)

    def _stopping(self, stop: Callable[..., None]) -> Callable[..., None]:
        def wrapped(graceful: bool = True) -> None:
            if self._pid_file is not None:
                self._pid_file.remove()
            stop(graceful)

        return wrapped

    def reload(self) -> None:
        """Replace the workers, or log why not."""
        if self._begun == self._asked:
            return  # by a reload that began after this signal
        self._begun, began = self._asked, time.monotonic()
        before, reasons = self._served.read(), {}
        try:
            self._replace()
        except Refused as error:
            reasons = error.reasons
        except Exception as error:
            self._server.log.exception("the reload failed")
            reasons = {"": f"{type(error).__name__}; the log has the details"}
        if reasons:
            self._served.publish(before)  # workers that were withdrawn may have written it
        after = self._served.read()
        for name, reason in reasons.items():
            text = ": ".join(filter(None, (name, reason)))
            self._server.log.error("Not reloaded, the workers keep their models: %s", text)
        if not reasons:
            self._server.log.info("Reloaded: %s", "; ".join(describe(before, after)))
        self._count("refused" if reasons else "ok")
        try:
            if self._pid_file is not None:
                self._pid_file.write({"began": began, "reasons": reasons, "lines": describe(before, after)})
        except OSError as error:
            self._server.log.warning("PID_FILE cannot be written, ml-api reload is not answered: %s", error.strerror)

    def _replace(self) -> None:
        installed, former = read_installed(), self._served.expected
        serve(installed)
        try:
            _refuse(replacement_faults(self._installed, installed))
            self._served.expected = self._check()
            self._switch()
        except Exception:
            serve(self._installed)
            self._served.expected = former
            raise
        self._installed = installed

    def _check(self) -> Any:
        """Load the models in a process of its own; returns their identities."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _check_in_child(writer)
        os.close(writer)
        content = b""
        try:
            give_up = time.monotonic() + self._server.timeout
            while True:
                if self._is_stopping:
                    raise Refused({"": "the server is stopping"})
                if time.monotonic() > give_up:
                    raise Refused({"": f"the models were not loaded within {self._server.timeout} s"})
                if select.select([reader], [], [], _INTERVAL)[0]:
                    piece = os.read(reader, 65536)
                    if not piece:
                        break
                    content += piece
        finally:
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        try:
            faults, identities = json.loads(content)
        except ValueError:
            raise Refused({"": "the process that checks the models has ended"}) from None
        # One that was broken before keeps nobody from the others.
        _refuse({name: fault for name, fault in faults.items() if "error" not in self._served.read().get(name, {})})
        return identities

    def _switch(self) -> None:
        """Start new workers, and stop the others when all of the new ones have loaded their models."""
        server = self._server
        others = dict(server.WORKERS)
        new: dict[int, Any] = {}
        try:
            for _ in range(server.num_workers):
                pid = server.spawn_worker()
                new[pid] = server.WORKERS[pid]
            self._await(new)
        except Exception:
            self._withdraw(new)
            raise
        for pid, worker in others.items():
            if pid in server.WORKERS:
                worker.load_slot.state = REPLACED
                server.kill_worker(pid, signal.SIGTERM)

    def _await(self, new: Mapping[int, Any]) -> None:
        server = self._server
        give_up = time.monotonic() + server.timeout
        while not all(worker.load_slot.state == READY for worker in new.values()):
            with suppress(HaltServer):  # a worker that cannot start would end the server
                server.reap_workers()
            if any(worker.load_slot.state == UNEXPECTED for worker in new.values()):
                raise Refused({"": "a new worker has loaded other models than were checked; the log has the details"})
            if any(pid not in server.WORKERS for pid in new):
                raise Refused({"": "a new worker has ended while it started; the log has the details"})
            if self._is_stopping:
                raise Refused({"": "the server is stopping"})
            if time.monotonic() > give_up:
                raise Refused({"": f"the new workers were not ready within {server.timeout} s"})
            time.sleep(_INTERVAL)

    def _withdraw(self, new: Mapping[int, Any]) -> None:
        server = self._server
        for pid, worker in new.items():
            if pid in server.WORKERS and worker.load_slot.state:
                # It may have requests. gunicorn ends the workers with the lowest age where there are too many.
                worker.age = -worker.age
                worker.load_slot.state = REPLACED
                server.kill_worker(pid, signal.SIGTERM)
                continue
            if server.WORKERS.pop(pid, None) is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            worker.tmp.close()
            worker.load_slot.release()


def describe(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each model: its version and artefact before and after."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = (_identity(models[name]) if name in models else None for models in (before, after))
        lines.append(f"{name} {new}, unchanged" if old == new else f"{name} {old or '(not served)'} -> {new}")
    return lines


def _identity(model: Mapping[str, str]) -> str:
    if "error" in model:
        return f"(broken: {model['error']})"
    artifact = model.get("artifact_sha256")
    return model["version"] + (f" (artefact {artifact[:12]})" if artifact else "")


def _refuse(reasons: Mapping[str, str]) -> None:
    if reasons:
        raise Refused(reasons)


def _check_in_child(writer: int) -> None:
    """Load every model, write faults and identities as JSON, and end."""
    try:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        logs.configure("error")
        registry = Registry(installed_models())
        faults = registry.faults() if registry.names else {"": "no model is installed"}
        content = json.dumps([faults, registry.identities()]).encode()
        while content:
            content = content[os.write(writer, content) :]
        logs.flush()
    except BaseException:  # noqa: BLE001  a forked process must not go on as the master
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)
