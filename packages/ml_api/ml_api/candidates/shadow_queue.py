"""The queue of a shadow: bounded, scored in groups, and recorded in the prediction log's database."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from ml_api.candidates.packets import MAX_PACKET, Packet
from ml_api.candidates.status import CUT_OFF, REFUSED
from ml_api.candidates.supervision import Supervisor
from ml_api.logs import LOGGER
from ml_api.prediction_log.database import Database, SchemaError, SqlSink, describe
from ml_api.settings import LogSettings

#: Bytes of bodies that wait; what comes beyond is dropped.
MAX_QUEUED = 32 * 1024 * 1024
#: Rows and bytes that are scored at a time: they fit into the buffer of a socket, so that sending them does not wait.
GROUP_ROWS, GROUP_BYTES = 64, 2 * MAX_PACKET
#: Rows of one transaction, which keeps the workers' writers waiting for less than a millisecond; rows that wait for
#: it, from which on no more are scored; and seconds until fewer are written.
WRITE_ROWS, MAX_UNWRITTEN, WRITE_INTERVAL = 50, 1000, 0.5
#: Seconds between two looks at the sockets: being woken for each packet would interrupt the workers.
INTERVAL, IDLE_INTERVAL = 0.01, 0.25
#: Seconds between two lines of the log about rows that were lost.
REPORT_INTERVAL = 60.0


class ShadowQueue:
    """Takes packets of all workers.

    Args:
        supervisor: of the candidate.
        address: where the workers connect.
        settings: of the prediction log.
        count: called with what became of rows, for metrics.
    """

    def __init__(
        self, supervisor: Supervisor, address: Path, settings: LogSettings, count: Callable[[str, int], None]
    ) -> None:
        self._supervisor, self._count = supervisor, count
        database = Database(settings)
        self._sink = SqlSink(database, database.insert_shadow)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(address))
        self._listener.listen(256)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._queue: deque[Packet] = deque()
        self._queued = 0
        #: What is being scored, and what is to be written since when.
        self._group: list[Packet] = []
        self._rows: list[dict[str, Any]] = []
        self._scored_at = 0.0
        self._fault: str | None = None
        self.counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._report_at = 0.0

    def run(self) -> None:
        """Run until the process is told to stop; what waits then is given up."""
        try:
            while True:
                is_active = bool(self._queue or self._group or self._rows)
                if self._selector.select(0 if is_active else IDLE_INTERVAL):
                    self._receive()
                self._step()
                time.sleep(INTERVAL)
        finally:
            LOGGER.info("shadow stopped", extra={"fields": self._fields(self.counts)})

    def _step(self) -> None:
        frame = self._supervisor.check()
        if frame is not None:
            self._take(*frame)
        if self._group and not self._supervisor.is_busy:
            # The process that was to score them is gone.
            self._lose(self._group, "failed")
            self._group = []
        if self._supervisor.status.state in (CUT_OFF, REFUSED):
            self._lose(self._queue, "dropped")
            self._queue.clear()
            self._queued = 0
        if self._supervisor.is_ready and self._queue and len(self._rows) < MAX_UNWRITTEN:
            self._send()
        now = time.monotonic()
        if len(self._rows) >= WRITE_ROWS or (self._rows and now > self._scored_at + WRITE_INTERVAL):
            self._write()
        if now > self._report_at:
            self._report(now)

    def _receive(self) -> None:
        """Take all packets that are there."""
        for key, _ in self._selector.select(0):
            if key.fileobj is self._listener:
                with suppress(BlockingIOError):
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_READ)
            else:
                self._receive_from(key.fileobj)

    def _receive_from(self, connection: Any) -> None:
        with suppress(BlockingIOError):
            while self._queued <= MAX_QUEUED:
                try:
                    data = connection.recv(MAX_PACKET)
                except ConnectionError:
                    data = b""
                if not data:
                    self._selector.unregister(connection)
                    connection.close()
                    return
                packet = Packet.decode(data)
                self._add("sent", packet.n_rows + packet.dropped)
                self._add("dropped", packet.dropped)
                if packet.n_rows:
                    self._queue.append(packet)
                    self._queued += len(packet.body)

    def _send(self) -> None:
        """Send the next group to the candidate."""
        n_rows = n_bytes = 0
        while self._queue and n_rows < GROUP_ROWS and n_bytes + len(self._queue[0].body) <= GROUP_BYTES:
            packet = self._queue.popleft()
            self._queued -= len(packet.body)
            self._group.append(packet)
            n_rows += packet.n_rows
            n_bytes += len(packet.body)
        header = {"requests": [(packet.prediction_id, packet.first, len(packet.body)) for packet in self._group]}
        self._supervisor.send(header, b"".join(packet.body for packet in self._group))

    def _take(self, header: dict[str, int], payload: bytes) -> None:
        """Take the answer to a group."""
        self._add("scored", header["scored"])
        self._add("failed", header["failed"])
        if not self._rows:
            self._scored_at = time.monotonic()
        self._rows += msgspec.json.decode(payload)
        self._group = []

    def _write(self) -> None:
        rows, self._rows = self._rows[:WRITE_ROWS], self._rows[WRITE_ROWS:]
        try:
            n_recorded = self._sink.write(rows)
        except (SQLAlchemyError, SchemaError) as error:
            self._add("not_recorded", len(rows))
            if self._fault is None:
                self._fault = describe(error)
                LOGGER.error("shadow rows are not recorded", extra={"fields": self._fields({"reason": self._fault})})
        else:
            # The others' predictions are not in the log, or were deleted meanwhile.
            self._add("recorded", n_recorded)
            self._add("not_recorded", len(rows) - n_recorded)
            if self._fault is not None:
                self._fault = None
                LOGGER.warning("shadow rows are recorded again", extra={"fields": self._fields(self.counts)})

    def _lose(self, packets: Any, result: str) -> None:
        self._add(result, sum(packet.n_rows for packet in packets))

    def _add(self, result: str, n_rows: int) -> None:
        if n_rows:
            self.counts[result] += n_rows
            self._count(result, n_rows)

    def _report(self, now: float) -> None:
        lost = ("dropped", "failed", "not_recorded")
        if any(self.counts[name] > self._reported[name] for name in lost):
            LOGGER.warning("shadow rows were lost", extra={"fields": self._fields(self.counts)})
            self._reported = self.counts.copy()
            self._report_at = now + REPORT_INTERVAL

    def _fields(self, more: dict[str, Any]) -> dict[str, Any]:
        return {"model": self._supervisor.status.name, **more}
