"""Commits records in groups: whichever thread flushes writes all that has come since the last commit.

A record is a promise: :class:`Commit` is done when it is kept, and cancelled or failed when it is not.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ml_api.logs import LOGGER
from ml_api.prediction_log.database import Row, describe, is_about_rows

#: Seconds after a failure until the database is tried again.
RETRY_INTERVAL = 1
#: Seconds between two looks for commits that are overdue, and for those that nobody has flushed.
WATCH_INTERVAL = 0.1
#: Seconds between two runs of :meth:`Sink.maintain`, while it is done and while it has more to do.
MAINTENANCE_INTERVAL, CHUNK_INTERVAL = 3600.0, 0.05
#: Requests in a group from which on no more are waited for.
FULL_GROUP = 32


class LogUnavailableError(Exception):
    """A record cannot be taken now."""


class Sink(Protocol):
    """Where rows go."""

    def write(self, rows: Sequence[Row]) -> object:
        """Commit ``rows``, or raise an exception."""

    def interrupt(self) -> None:
        """Cut :meth:`write` off, from another thread, if that is possible."""


class Commit(Future[None]):
    """The commit of a request's rows.

    Attributes:
        prediction_id: of the request.
        request_id: of the request.
        flush: writes it, and all that came before.
        notify: called once for each group after the callbacks of all its commits; each wake-up of another thread would
            interrupt this one.
    """

    def __init__(
        self, prediction_id: str, request_id: str, rows: Sequence[Row], size: int, flush: Callable[[], None]
    ) -> None:
        super().__init__()
        self.prediction_id, self.request_id = prediction_id, request_id
        self.rows, self.size, self.flush = rows, size, flush
        self.deadline = 0.0
        self.notify: Callable[[], None] | None = None

    def is_kept(self) -> bool:
        """Whether the rows are committed; ``False`` also where that is not known."""
        return self.done() and not self.cancelled() and self.exception() is None


@dataclass
class Counts:
    """Rows of this process.

    Attributes:
        recorded: committed.
        failed: not committed in time, or not at all.
        refused: not taken, because the queue was full or the database down.
        queued: waiting for their commit.
    """

    recorded: int = 0
    failed: int = 0
    refused: int = 0
    queued: int = 0


class Writer:
    """Writes rows to a sink in groups.

    Args:
        sink: where they go.
        timeout: seconds after which a commit has failed.
        queue_bytes: size of what may wait; one request is taken in any case if none waits.
        maintain: deletes some of what is too old, and returns whether there is more.
        count: called with a name of ``Counts`` and the rows to add, for metrics.
        report_queue: called every ``WATCH_INTERVAL`` with the rows that wait, for metrics.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        timeout: float,
        queue_bytes: int,
        maintain: Callable[[], bool] = lambda: False,
        count: Callable[[str, int], None] | None = None,
        report_queue: Callable[[int], None] | None = None,
    ) -> None:
        self.counts = Counts()
        self._sink, self._timeout, self._limit, self._maintain = sink, timeout, queue_bytes, maintain
        self._count, self._report_queue = count, report_queue
        self._lock = threading.Lock()
        #: Held by the thread that writes.
        self._writing = threading.Lock()
        #: What :meth:`flush` writes.
        self._held: list[Commit] = []
        #: Everything that is not written yet, in order of arrival.
        self._pending: dict[Commit, None] = {}
        self._bytes = 0
        self._fault: str | None = None
        self._retry_at = 0.0
        self._closed = threading.Event()
        #: Set if what is held has to be written now.
        self._is_full = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name="prediction-log-watch", daemon=True).start()

    def submit(self, commit: Commit) -> None:
        """Take a commit, which is written at the next :meth:`flush`, or a moment later.

        Raises:
            LogUnavailableError: the queue is full, or the database failed a moment ago.
        """
        with self._lock:
            pending = bool(self._pending)
            has_no_room = pending and self._bytes + commit.size > self._limit
            # While the database fails, one request at a time tries it.
            is_down = self._fault is not None and (pending or time.monotonic() < self._retry_at)
            if has_no_room or is_down or self._closed.is_set():
                self._add("refused", len(commit.rows))
                raise LogUnavailableError
            commit.deadline = time.monotonic() + self._timeout
            self._pending[commit] = None
            self._held.append(commit)
            self._bytes += commit.size
            self.counts.queued += len(commit.rows)
            if len(self._held) >= FULL_GROUP:
                self._is_full.set()

    def flush(self) -> None:
        """Write all that was taken; if another thread writes, it writes that too, and this one does not wait.

        Called when nothing else is to be computed, so that a group is as large as it can be: a row costs 40 µs in a
        group of eight, and 100 µs alone.
        """
        # Whoever writes looks again after it has let the others write.
        while self._held and self._writing.acquire(blocking=False):
            try:
                with self._lock:
                    group, self._held = self._held, []
                self._write([commit for commit in group if not commit.cancelled()])
                with self._lock:
                    for commit in group:
                        self._pending.pop(commit, None)
                        self._bytes -= commit.size
                        self.counts.queued -= len(commit.rows)
            finally:
                self._writing.release()

    def close(self, timeout: float) -> None:
        """Write what is queued, and stop."""
        self._closed.set()
        self._is_full.set()
        self._thread.join(timeout)
        self._tell_queue()

    def _run(self) -> None:
        """Write what nobody has flushed, delete what is too old, and at the end wait for the thread that writes."""
        maintain_at = time.monotonic() + MAINTENANCE_INTERVAL / 60
        while not self._closed.is_set():
            is_full = self._is_full.wait(WATCH_INTERVAL)
            self._is_full.clear()
            if time.monotonic() >= maintain_at:
                with self._writing:
                    wait = CHUNK_INTERVAL if self._keep_up() else MAINTENANCE_INTERVAL
                maintain_at = time.monotonic() + wait
            # Whoever flushes next writes larger groups, as it does so when it has nothing else to do.
            if is_full or self._is_left_over():
                self.flush()
        self.flush()
        with self._writing:
            pass

    def _is_left_over(self) -> bool:
        """Whether what is held has been there for so long that nobody seems to flush it."""
        with self._lock:
            since = self._held[0].deadline - self._timeout if self._held else math.inf
        return time.monotonic() > since + WATCH_INTERVAL / 2

    def _write(self, group: Sequence[Commit]) -> None:
        if not group:
            return
        try:
            self._sink.write([row for commit in group for row in commit.rows])
        except Exception as raised:  # noqa: BLE001  whatever it is, who waits is told
            error = raised
            if not is_about_rows(error):
                self._set_fault(describe(error))
            elif len(group) > 1:
                for commit in group:
                    self._write([commit])
                return
            else:
                LOGGER.error("rows were not recorded", extra={"fields": {"reason": describe(error)}})
            self._end(group, lambda commit: commit.set_exception(error), "failed")
            return
        self._recover()
        self._end(group, lambda commit: commit.set_result(None), "recorded")

    def _end(self, group: Sequence[Commit], end: Callable[[Commit], Any], count: str) -> None:
        """Resolve commits that nobody has given up meanwhile."""
        n_rows = 0
        for commit in group:
            with suppress(InvalidStateError):
                if end(commit) is not False:
                    n_rows += len(commit.rows)
        with self._lock:
            self._add(count, n_rows)
        for notify in {commit.notify for commit in group}:
            if notify is not None:
                notify()

    def _add(self, count: str, n_rows: int) -> None:
        setattr(self.counts, count, getattr(self.counts, count) + n_rows)
        if self._count is not None:
            self._count(count, n_rows)

    def _set_fault(self, reason: str) -> None:
        with self._lock:
            is_new, self._fault = self._fault is None, reason
            self._retry_at = time.monotonic() + RETRY_INTERVAL
        if is_new:
            LOGGER.error("the prediction log fails", extra={"fields": {"reason": reason, **vars(self.counts)}})

    def _recover(self) -> None:
        if self._fault is not None:
            with self._lock:
                self._fault = None
            LOGGER.warning("the prediction log works again", extra={"fields": vars(self.counts)})

    def _tell_queue(self) -> None:
        if self._report_queue is not None:
            self._report_queue(self.counts.queued)

    def _keep_up(self) -> bool:
        try:
            return self._maintain()
        except Exception as error:  # noqa: BLE001  it is tried again later
            LOGGER.error("the prediction log was not purged", extra={"fields": {"reason": describe(error)}})
            return False

    def _watch(self) -> None:
        """Give up what waits for too long."""
        while not self._closed.wait(WATCH_INTERVAL):
            self._tell_queue()
            now = time.monotonic()
            with self._lock:
                overdue = [commit for commit in self._pending if now > commit.deadline]
            self._end(overdue, Commit.cancel, "failed")
            if overdue:
                self._set_fault(f"no commit within {self._timeout} s")
                self._sink.interrupt()
