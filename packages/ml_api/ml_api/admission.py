"""Admission control: long requests compute a few at a time, so that short ones do not wait for them.

The cost of a request is what it asks for, in predictions of one row, and not the size of its body.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from werkzeug.exceptions import ServiceUnavailable

from ml_api import connection

#: Cost up to which a request is short: 50 rows take 2 ms, and 15 ms where all of them are invalid.
SHORT = 50
#: Cost of one explanation, and of the warnings of one row.
EXPLANATION, WARNINGS = 400, 10
#: Long requests that wait, and seconds after which they are refused.
MAX_WAITING, MAX_WAIT = 32, 10.0
#: Seconds after which a client may retry.
RETRY_AFTER = 5
#: Seconds after which a thread that computes lets another one continue: Python's, and while a long request computes.
SWITCH_INTERVAL, SHORT_SWITCH_INTERVAL = 0.005, 0.0005

#: Details of the errors: a long request waited in vain, and a large one found no memory.
BUSY = "The server is computing as many long requests as it can; try again soon, or send fewer records at a time."
NO_MEMORY = (
    "The server holds as many large requests as it has room for; try again soon, or send fewer records at a time."
)


class BusyError(ServiceUnavailable):
    """A long request was not computed; ``refused`` is the reason in its log line and in the metrics."""

    refused = "long_requests"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=RETRY_AFTER)


def cost(rows: int, *, explain: bool = False, warnings: bool = False) -> int:
    """Return what a request costs, in predictions of one row."""
    return rows * (1 + EXPLANATION * explain + WARNINGS * warnings)


class ConcurrencyLimit:
    """Limits the long requests that compute at a time.

    Args:
        slots: how many; the others wait.
    """

    def __init__(self, slots: int) -> None:
        self._slots = threading.Semaphore(slots)
        self._lock = threading.Lock()
        self._waiting = self._computing = 0

    @contextmanager
    def admit(self, cost: int, environ: Mapping[str, Any]) -> Generator[None]:
        """Compute in the block: at once if the request is short, otherwise in its turn.

        Raises:
            BusyError: too many wait already, the request has waited too long, or its client has left.
        """
        if cost <= SHORT:
            yield
            return
        connection.leave_loop(environ)
        with self._lock:
            refused = self._waiting >= MAX_WAITING
            self._waiting += not refused
        if refused:
            raise BusyError(BUSY)
        acquired = self._slots.acquire(timeout=MAX_WAIT)
        with self._lock:
            self._waiting -= 1
        if not acquired:
            raise BusyError(BUSY)
        try:
            if connection.has_left(environ):
                raise BusyError("The client has closed the connection.")
            self._set_switch_interval(1)
            try:
                yield
            finally:
                self._set_switch_interval(-1)
        finally:
            self._slots.release()

    def _set_switch_interval(self, more: int) -> None:
        with self._lock:
            self._computing += more
            sys.setswitchinterval(SHORT_SWITCH_INTERVAL if self._computing else SWITCH_INTERVAL)
