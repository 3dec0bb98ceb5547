"""The queue of a canary: each request of a worker is passed to the candidate, and its answer returned."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_api.candidates import frames
from ml_api.candidates.status import NOT_READY, READY
from ml_api.candidates.supervision import Supervisor

#: Seconds between two looks at the candidate.
INTERVAL = 0.25


class CanaryQueue:
    """Passes requests on, one at a time.

    Args:
        supervisor: of the candidate.
        address: where the workers connect.
        timeout: seconds after which a worker no longer waits for an answer.
    """

    def __init__(self, supervisor: Supervisor, address: Path, timeout: float) -> None:
        self._supervisor, self._timeout = supervisor, timeout
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(address))
        self._listener.listen(256)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        #: Requests that wait, with their worker's connection and when they came.
        self._queue: deque[tuple[socket.socket, Any, bytes, float]] = deque()
        self._asker: socket.socket | None = None
        self._watched: socket.socket | None = None

    def run(self) -> None:
        """Run until the process is told to stop."""
        while True:
            self._watch()
            for key, _ in self._selector.select(INTERVAL):
                if key.fileobj is self._listener:
                    with suppress(BlockingIOError):
                        connection, _ = self._listener.accept()
                        connection.setblocking(False)
                        self._selector.register(connection, selectors.EVENT_READ, frames.Receiver(connection))
                elif key.data is not None:
                    self._receive(key.fileobj, key.data)
            self._step()

    def _watch(self) -> None:
        """Watch the socket of the candidate's present process."""
        process = self._supervisor.process
        wanted = None if process is None else process.sock
        if wanted is not self._watched:
            if self._watched is not None:
                with suppress(KeyError, ValueError):  # it is closed
                    self._selector.unregister(self._watched)
            if wanted is not None:
                self._selector.register(wanted, selectors.EVENT_READ)
            self._watched = wanted

    def _receive(self, connection: Any, receiver: frames.Receiver) -> None:
        try:
            frame = receiver.receive()
        except OSError:
            # The worker does not wait any longer.
            self._selector.unregister(connection)
            connection.close()
            return
        if frame is not None:
            self._queue.append((connection, *frame, time.monotonic()))

    def _step(self) -> None:
        frame = self._supervisor.check()
        if frame is not None and self._asker is not None:
            self._answer(self._asker, *frame)
            self._asker = None
        if self._asker is not None and not self._supervisor.is_busy:
            self._answer(self._asker, {"fault": NOT_READY})
            self._asker = None
        while self._queue and not self._supervisor.is_busy:
            connection, header, payload, since = self._queue.popleft()
            if connection.fileno() < 0 or time.monotonic() > since + self._timeout:
                continue
            if self._supervisor.status.state == READY and self._supervisor.send(header, payload):
                self._asker = connection
            else:
                self._answer(connection, {"fault": NOT_READY})

    def _answer(self, connection: socket.socket, header: dict[str, Any], payload: bytes = b"") -> None:
        if connection.fileno() < 0:
            return
        try:
            connection.settimeout(self._timeout)
            frames.send(connection, {**header, **self._version}, payload)
            connection.setblocking(False)
        except OSError:
            with suppress(KeyError):
                self._selector.unregister(connection)
            connection.close()

    @property
    def _version(self) -> dict[str, Any]:
        status = self._supervisor.status
        return {"version": status.version, "artifact_sha256": status.artifact_sha256}
