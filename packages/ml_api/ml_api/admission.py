"""Admission control: the time for which requests wait is bounded, and long ones compute a few at a time.

The cost of a long request is what it asks for, in predictions of one row, and not the size of its body.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Response
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from ml_api import connection

#: Cost up to which a request is short: 50 rows take 2 ms, and 15 ms where all of them are invalid.
SHORT = 50
#: Cost of one explanation, and of the warnings of one row.
EXPLANATION, WARNINGS = 400, 10
#: Long requests that wait, and seconds after which they are refused.
MAX_WAITING, MAX_WAIT = 32, 10.0
#: Requests for one model that wait for its canary; the installed version answers further ones.
CANARY_SLOTS = 4
#: Seconds after which a client may retry.
RETRY_AFTER = 5
#: Seconds after which a thread that computes lets another one continue: Python's, and while a long request computes.
SWITCH_INTERVAL, SHORT_SWITCH_INTERVAL = 0.005, 0.0005

#: An overload begins when those that wait need more than ``MAX_WORK`` seconds of processor time, or are as many as may
#: be, and the first of them has waited for ``STANDING`` seconds. It ends when none has been refused for ``CALM``
#: seconds; until then those that wait may need ``OVERLOADED_WORK``, a few requests, so that the worker is never idle.
MAX_WORK, STANDING, OVERLOADED_WORK, CALM = 0.1, 0.03, 0.005, 0.25
#: Weight of the latest request in the mean of their processor times, and how many times the mean it may count at most:
#: a machine that is shared counts some of the time that it gives to others.
LATEST, MAX_OUTLIER = 1 / 32, 4

#: Details of the errors: a long request waited in vain, and a large one found no memory.
BUSY = "The server is computing as many long requests as it can; try again soon, or send fewer records at a time."
NO_MEMORY = (
    "The server holds as many large requests as it has room for; try again soon, or send fewer records at a time."
)
#: The same after a prediction could not be recorded, and why.
RECORD_RETRY_AFTER = 1
NO_RECORD = "The prediction could not be recorded in the prediction log, and is not given without; try again soon."


class BusyError(ServiceUnavailable):
    """A long request was not computed; ``refused`` is the reason in its log line and in the metrics."""

    refused = "long_requests"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=RETRY_AFTER)


class ClientLeftError(HTTPException):
    """A long request was not computed, as its client has closed the connection; the log has status 499."""

    def __init__(self) -> None:
        super().__init__("The client has closed the connection.", Response(status=connection.CLIENT_LEFT))


def cost(rows: int, *, explain: bool = False, warnings: bool = False) -> int:
    """Return what a request costs, in predictions of one row."""
    return rows * (1 + EXPLANATION * explain + WARNINGS * warnings)


class WaitLimit:
    """Bounds the time for which requests wait: their number, times the mean processor time of one (Little's law).

    A long queue is no overload by itself: it may be a burst, or clients that send the next request after the response.
    A queue that stays long is one: it would stay full, and would add nothing but delay. So the bound falls as soon as
    one begins. This follows the controlled delay of https://queue.acm.org/detail.cfm?id=2839461 and CoDel (RFC 8289).
    Processor time, and not the time that passes, because a busy machine should not refuse more than an idle one.
    """

    def __init__(self) -> None:
        self._mean = self._overloaded_until = 0.0

    def observe(self, seconds: float) -> None:
        """Take the processor time of a request into the mean."""
        self._mean += (min(seconds, MAX_OUTLIER * self._mean or seconds) - self._mean) * LATEST

    def is_exceeded(self, waiting: int, since: float, *, full: bool = False) -> bool:
        """Return whether so many requests have too much work for another one to wait.

        Args:
            waiting: how many wait.
            since: when the first of them began to wait, as ``time.monotonic()`` has it.
            full: whether they are as many as may be.
        """
        work, now = waiting * self._mean, time.monotonic()
        begins = (full or work > MAX_WORK) and now - since > STANDING
        exceeded = work > OVERLOADED_WORK and (begins or now < self._overloaded_until)
        if exceeded:
            self._overloaded_until = now + CALM
        return exceeded


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
            BusyError: too many wait already, or the request has waited too long.
            ClientLeftError: its client has left.
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
                raise ClientLeftError
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
