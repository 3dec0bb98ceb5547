"""Refuses requests beyond the rate that a caller has, counted in records.

The headers are those of draft-ietf-httpapi-ratelimit-headers-09: ``RateLimit-Policy`` tells the limit and its window,
``RateLimit`` what remains of it and the seconds until the window ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil, floor
from typing import Any, NamedTuple, TypeAlias, cast

from flask import Request, g, request
from limits import parse
from limits.storage import SlidingWindowCounterSupport, storage_from_string
from werkzeug.exceptions import RequestEntityTooLarge, TooManyRequests

from ml_api.access import add_headers
from ml_api.client_address import TrustedProxies
from ml_api.logs import LOGGER
from ml_api.rate_limits.storage import SharedStorage
from ml_api.views.requests import estimate_records, read_body

#: Where the counts of sliding windows are.
Counter: TypeAlias = SharedStorage | SlidingWindowCounterSupport

#: Blueprints that operators ask, and whose requests cost nothing.
FREE = ("health", "metrics")
#: Name of the policy in the headers.
POLICY = "records"
#: Seconds that Redis may take, and for which it is not asked after it has failed.
REDIS_TIMEOUT, REDIS_PAUSE = 0.25, 5.0


class RateLimitError(TooManyRequests):
    """A caller has sent too much; ``refused`` is the reason in the log line and in the metrics."""

    refused = "rate_limit"


class _Counts(NamedTuple):
    """What a caller has sent in the window before and in this one.

    ``previous_left``: seconds for which the former still counts; ``left``: seconds until the window ends.
    """

    previous: int
    previous_left: float
    current: int
    left: float


class RateLimiter:
    """Counts what callers send, by the name of their key, or by their address if they have none.

    Args:
        limit: such as ``600/minute``.
        storage: the counts of this machine.
        redis: URL of the counts of several machines; while it fails, those of this machine hold.
        proxies: whose ``X-Forwarded-For`` is believed.
        max_body_bytes: maximum size of a request body.
    """

    def __init__(
        self, limit: str, storage: SharedStorage, redis: str | None, proxies: TrustedProxies, max_body_bytes: int
    ) -> None:
        self._item = parse(limit)
        self._window = self._item.get_expiry()
        self._text = f"{self._item.amount} records per {limit.partition('/')[2]}"
        self._policy = f'"{POLICY}";q={self._item.amount};w={self._window}'
        self._proxies = proxies
        self._max_body_bytes = max_body_bytes
        self._local = storage
        self._remote = self._connect(redis) if redis else None
        self._pause_until = 0.0

    @staticmethod
    def _connect(url: str) -> SlidingWindowCounterSupport:
        from redis.backoff import NoBackoff  # noqa: PLC0415  most servers need no Redis
        from redis.retry import Retry  # noqa: PLC0415

        options: dict[str, Any] = {
            "socket_timeout": REDIS_TIMEOUT,
            "socket_connect_timeout": REDIS_TIMEOUT,
            # By default it would be asked again for seconds, in which the request waits.
            "retry": Retry(NoBackoff(), 0),
        }
        return cast("SlidingWindowCounterSupport", storage_from_string(url, **options))

    def __call__(self, request: Request) -> None:
        """Count one record for a request, whatever it asks.

        Raises:
            RateLimitError: its caller has sent too much.
        """
        if request.blueprint not in FREE:
            self._take(1, lambda: self._estimate(request))

    def charge(self, records: int) -> None:
        """Count the records of the current request; one is counted already.

        Raises:
            RequestEntityTooLarge: they are more than ever fit into the limit.
            RateLimitError: its caller has sent too much.
        """
        if records > self._item.amount:
            raise RequestEntityTooLarge(f"The request has {records} records; the rate limit is {self._text}.")
        if records > 1:
            # The one that is counted already is counted again when the request is repeated.
            self._take(records - 1, lambda: records)

    def _estimate(self, request: Request) -> int:
        """Return at least the number of valid records in a request, whose body is not parsed."""
        if request.blueprint != "predict" or request.method != "POST":
            return 1
        found = estimate_records(request.mimetype, read_body(request, self._max_body_bytes))
        return min(max(found, 1), self._item.amount)

    def _take(self, cost: int, total: Callable[[], int]) -> None:
        """Count ``cost``.

        Raises:
            RateLimitError: it does not fit; the error tells when the ``total`` cost of the request will.
        """
        name = g.get("key_name")
        caller = f"key/{name}" if name else f"address/{self._proxies.client(request.environ)}"
        accepted, counts = self._ask(caller, cost)
        weighted = int(counts.previous * counts.previous_left / self._window) + counts.current
        remaining = max(self._item.amount - weighted, 0)
        add_headers({"RateLimit-Policy": self._policy, "RateLimit": f'"{POLICY}";r={remaining};t={ceil(counts.left)}'})
        if not accepted:
            wait = self._wait(self._item.amount - total(), counts)
            who = f"The key {name}" if name else "This address"
            raise RateLimitError(f"{who} may send {self._text}; try again in {wait} s.", retry_after=wait)

    def _ask(self, caller: str, cost: int) -> tuple[bool, _Counts]:
        if self._remote is not None and time.monotonic() >= self._pause_until:
            try:
                return self._ask_one(self._remote, caller, cost)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it, the limit of this machine holds
                self._pause_until = time.monotonic() + REDIS_PAUSE
                fields = {"reason": type(error).__name__}
                LOGGER.error("Redis failed; this machine counts for itself", extra={"fields": fields})
        return self._ask_one(self._local, caller, cost)

    def _ask_one(self, counter: Counter, caller: str, cost: int) -> tuple[bool, _Counts]:
        """Return whether it was accepted, and the counts afterwards."""
        key = self._item.key_for(caller)
        accepted = counter.acquire_sliding_window_entry(key, self._item.amount, self._window, cost)
        previous, previous_left, current, current_left = counter.get_sliding_window(key, self._window)
        # The current window counts until the one after it has ended.
        left = current_left - self._window if current else previous_left
        return accepted, _Counts(previous, previous_left, current, left)

    def _wait(self, room: int, counts: _Counts) -> int:
        """Return the fewest whole seconds after which the counts are at most ``room``.

        The count of the window before, weighted with what is left of it, is rounded down.
        """
        previous, previous_left, current, left = counts
        if current <= room:
            return floor(previous_left - (room - current + 1) * self._window / previous) + 1
        # It is the count of this window that is the one before then.
        return floor(left + self._window * (1 - (room + 1) / current)) + 1
