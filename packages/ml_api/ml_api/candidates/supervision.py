"""Starts the process that scores with a candidate, and replaces it when it dies or hangs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ml_api.candidates import frames
from ml_api.candidates.scorer import Job
from ml_api.candidates.status import CUT_OFF, READY, REFUSED, RESTARTING, STARTING, Status
from ml_api.logs import LOGGER
from ml_api.settings import Candidate

#: Failures in a row after which a candidate is given up, and seconds after which the next one is the first again.
MAX_FAILURES, HEALTHY = 4, 60.0
#: Seconds until the process is started again, doubled with each failure.
BACKOFF = 0.5
#: Seconds for loading a candidate.
START_TIMEOUT = 60.0


class Process:
    """A process that scores.

    Args:
        job: what it loads.
    """

    def __init__(self, job: Job) -> None:
        self.sock, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "ml_api.candidates.scorer", msgspec.json.encode(job).decode()],
                stdin=theirs.fileno(),
            )
        self._receiver = frames.Receiver(self.sock)
        self._since, self._waited = time.monotonic(), 0.0

    def send(self, header: Any, payload: bytes | bytearray, timeout: float) -> None:
        """Send a frame.

        Raises:
            OSError: the process is gone, or does not receive in time.
        """
        self._since, self._waited = time.monotonic(), self._waiting()
        self.sock.settimeout(timeout)
        frames.send(self.sock, header, payload)

    def receive(self) -> tuple[Any, bytes] | None:
        """Return its next frame, if it is there.

        Raises:
            OSError: the process is gone.
        """
        self.sock.setblocking(False)
        return self._receiver.receive()

    def first_frame(self, timeout: float) -> dict[str, Any]:
        """Wait for the header of the first frame, for so many seconds.

        Raises:
            OSError: the process is gone, or sends nothing in time.
        """
        self.sock.settimeout(timeout)
        frame = self._receiver.receive()
        assert frame is not None  # noqa: S101  it blocks
        header: dict[str, Any] = frame[0]
        return header

    def is_overdue(self, timeout: float) -> bool:
        """Return whether it has had so many seconds since the last frame, without those that it waited for a core."""
        elapsed = time.monotonic() - self._since
        return elapsed > timeout and elapsed - (self._waiting() - self._waited) > timeout

    def _waiting(self) -> float:
        """Return the seconds for which its main thread has been ready to run and another process ran."""
        try:
            return int(Path(f"/proc/{self._popen.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def end(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()
        self.sock.close()


def installed_spec(name: str) -> str:
    """Return the ``spec.json`` of the installed version of a model, which another process loads.

    Raises:
        OSError: it cannot be loaded; the server itself says why.
    """
    process = Process(Job("installed", name, "", os.getpid()))
    try:
        hello = process.first_frame(START_TIMEOUT)
        if "error" in hello:
            raise OSError(hello["error"])
        spec: str = hello["spec"]
        return spec
    finally:
        process.end()


class Supervisor:
    """Keeps a candidate's process running.

    Args:
        candidate: what it scores with.
        folder: where a wheel is unpacked; what is there is deleted.
        timeout: seconds for one answer.
        publish: called with each new status.
        count_restart: called at each start after the first.
    """

    def __init__(
        self,
        candidate: Candidate,
        folder: Path,
        timeout: float,
        publish: Callable[[Status], None],
        count_restart: Callable[[], None],
    ) -> None:
        self._candidate, self._folder, self._timeout = candidate, folder, timeout
        self._publish, self._count_restart = publish, count_restart
        self.status = Status(candidate.kind, candidate.name)
        self.process: Process | None = None
        #: Whether a frame was sent and not answered.
        self.is_busy = False
        self._failures, self._starts, self._ready_since, self._start_at = 0, 0, 0.0, 0.0
        #: Says why a candidate of this spec cannot be used, if it cannot.
        self.judge: Callable[[str], str | None] = lambda _: None

    @property
    def is_ready(self) -> bool:
        """Whether a frame can be sent."""
        return self.status.state == READY and not self.is_busy

    def send(self, header: Any, payload: bytes | bytearray) -> bool:
        """Send a frame to the candidate, which must be ready; returns whether that is possible."""
        assert self.process is not None  # noqa: S101
        try:
            self.process.send(header, payload, self._timeout)
        except OSError as error:
            self._fail(f"it takes no requests: {error}")
            return False
        self.is_busy = True
        return True

    def check(self) -> tuple[Any, bytes] | None:
        """Start, replace or give up the process as it must be; returns its answer to the last frame, if it is there."""
        if self.status.state == RESTARTING and time.monotonic() >= self._start_at:
            self.start()
        if self.process is None:
            return None
        try:
            frame = self.process.receive()
        except OSError:
            self._fail("its process has died")
            return None
        if self.status.state == STARTING:
            if frame is not None:
                self._started(frame[0])
            elif self.process.is_overdue(START_TIMEOUT):
                self._fail(f"it was not loaded within {START_TIMEOUT:.0f} s")
            return None
        if frame is None:
            if self.is_busy and self.process.is_overdue(self._timeout):
                self._fail(f"it has not answered within {self._timeout:.0f} s (CANDIDATE_TIMEOUT)")
            return None
        self.is_busy = False
        return frame

    def start(self) -> None:
        """Start the process."""
        self._starts += 1
        if self._starts > 1:
            self._count_restart()
        try:
            place = self._place()
        except (OSError, zipfile.BadZipFile) as error:
            self._set(REFUSED, f"{self._candidate.path} cannot be read: {error}")
            return
        self.process = Process(Job(self._candidate.kind, self._candidate.name, place, os.getpid()))
        self._set(STARTING)

    def stop(self) -> None:
        """End the process, and delete what was unpacked."""
        if self.process is not None:
            self.process.end()
            self.process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self) -> str:
        """Return the folder of the bundle, or that of the wheel, unpacked at the first start."""
        path = Path(self._candidate.path)
        if path.is_dir():
            return str(path)
        if self._starts == 1:
            # A runner that was killed has left it.
            shutil.rmtree(self._folder, ignore_errors=True)
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(self._folder)
        return str(self._folder)

    def _started(self, hello: dict[str, Any]) -> None:
        if fault := hello.get("error") or self.judge(hello["spec"]):
            self._refuse(fault)
            return
        self._ready_since = time.monotonic()
        self._set(READY, version=hello["version"], artifact_sha256=hello["artifact_sha256"])

    def _refuse(self, reason: str) -> None:
        assert self.process is not None  # noqa: S101
        self.process.end()
        self.process = None
        self._set(REFUSED, reason)

    def _fail(self, reason: str) -> None:
        assert self.process is not None  # noqa: S101
        with suppress(OSError):
            self.process.end()
        self.process, self.is_busy = None, False
        if self.status.state == READY and time.monotonic() > self._ready_since + HEALTHY:
            self._failures = 0
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._set(CUT_OFF, f"it failed {self._failures} times in a row; the last time: {reason}")
            return
        self._start_at = time.monotonic() + BACKOFF * 2 ** (self._failures - 1)
        self._set(RESTARTING, reason)

    def _set(
        self, state: str, reason: str | None = None, *, version: str | None = None, artifact_sha256: str | None = None
    ) -> None:
        old = self.status
        known = version or old.version, artifact_sha256 or old.artifact_sha256
        self.status = Status(old.kind, old.name, state, *known, reason)
        fields = {name: value for name, value in msgspec.to_builtins(self.status).items() if value is not None}
        level = {READY: LOGGER.info, STARTING: LOGGER.info, RESTARTING: LOGGER.warning}.get(state, LOGGER.error)
        level(f"candidate {state}", extra={"fields": fields})
        self._publish(self.status)
