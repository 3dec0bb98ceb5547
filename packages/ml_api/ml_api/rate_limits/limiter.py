"""Refuses requests beyond the rate that a caller has, counted in records.

The headers are those of draft-ietf-httpapi-ratelimit-headers-09: ``RateLimit-Policy`` tells the limit and its window,
``RateLimit`` what remains of it and the seconds until the window ends.
"""

from __future__ import annotations

import time
from math import ceil, floor
from typing import Any, cast

from flask import Request, g, request
from limits import parse
from limits.storage import SlidingWindowCounterSupport, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.exceptions import RequestEntityTooLarge, TooManyRequests

from ml_api.access import add_headers
from ml_api.client_address import TrustedProxies
from ml_api.logs import LOGGER
from ml_api.rate_limits.storage import SharedStorage

#: Blueprints that operators ask, and whose requests cost nothing.
FREE = ("health", "metrics")
#: Name of the policy in the headers.
POLICY = "records"
#: Seconds that Redis may take, and for which it is not asked after it has failed.
REDIS_TIMEOUT, REDIS_PAUSE = 0.25, 5.0


class RateLimitError(TooManyRequests):
    """A caller has sent too much; ``refused`` is the reason in the log line and in the metrics."""

    refused = "rate_limit"


class RateLimiter:
    """Counts what callers send, by the name of their key, or by their address if they have none.

    Args:
        limit: such as ``600/minute``.
        storage: the counts of this machine.
        redis: URL of the counts of several machines; while it fails, those of this machine hold.
        proxies: whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, limit: str, storage: SharedStorage, redis: str | None, proxies: TrustedProxies) -> None:
        self._item = parse(limit)
        self._window = self._item.get_expiry()
        self._text = f"{self._item.amount} records per {limit.partition('/')[2]}"
        self._policy = f'"{POLICY}";q={self._item.amount};w={self._window}'
        self._proxies = proxies
        self._local = SlidingWindowCounterRateLimiter(storage)
        self._remote = self._connect(redis) if redis else None
        self._pause_until = 0.0

    @staticmethod
    def _connect(url: str) -> SlidingWindowCounterRateLimiter:
        from redis.backoff import NoBackoff  # noqa: PLC0415  most servers need no Redis
        from redis.retry import Retry  # noqa: PLC0415

        options: dict[str, Any] = {
            "socket_timeout": REDIS_TIMEOUT,
            "socket_connect_timeout": REDIS_TIMEOUT,
            # By default it would be asked again for seconds, in which the request waits.
            "retry": Retry(NoBackoff(), 0),
        }
        return SlidingWindowCounterRateLimiter(storage_from_string(url, **options))

    def __call__(self, request: Request) -> None:
        """Count one record for a request, whatever it asks.

        Raises:
            RateLimitError: its caller has sent too much.
        """
        if request.blueprint not in FREE:
            self._take(1)

    def charge(self, records: int) -> None:
        """Count the records of the current request; one is counted already.

        Raises:
            RequestEntityTooLarge: they are more than ever fit into the limit.
            RateLimitError: its caller has sent too much.
        """
        if records > self._item.amount:
            raise RequestEntityTooLarge(f"The request has {records} records; the rate limit is {self._text}.")
        if records > 1:
            self._take(records - 1)

    def _take(self, cost: int) -> None:
        name = g.get("key_name")
        caller = f"key/{name}" if name else f"address/{self._proxies.client(request.environ)}"
        accepted, wait, remaining, left = self._ask(caller, cost)
        add_headers({"RateLimit-Policy": self._policy, "RateLimit": f'"{POLICY}";r={remaining};t={ceil(left)}'})
        if not accepted:
            who = f"The key {name}" if name else "This address"
            raise RateLimitError(f"{who} may send {self._text}; try again in {wait} s.", retry_after=wait)

    def _ask(self, caller: str, cost: int) -> tuple[bool, int, int, float]:
        if self._remote is not None and time.monotonic() >= self._pause_until:
            try:
                return self._ask_one(self._remote, caller, cost)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it, the limit of this machine holds
                self._pause_until = time.monotonic() + REDIS_PAUSE
                fields = {"reason": type(error).__name__}
                LOGGER.error("Redis failed; this machine counts for itself", extra={"fields": fields})
        return self._ask_one(self._local, caller, cost)

    def _ask_one(self, counts: SlidingWindowCounterRateLimiter, caller: str, cost: int) -> tuple[bool, int, int, float]:
        """Return whether it was accepted, seconds to wait if not, what remains, and seconds until the window ends."""
        accepted = counts.hit(self._item, caller, cost=cost)
        storage = cast("SlidingWindowCounterSupport", counts.storage)
        previous, previous_left, current, current_left = storage.get_sliding_window(
            self._item.key_for(caller), self._window
        )
        # The current window counts until the one after it has ended.
        left = current_left - self._window if current else previous_left
        remaining = self._item.amount - int(previous * previous_left / self._window) - current
        wait = 0 if accepted else self._wait(self._item.amount - cost, previous, previous_left, current, left)
        return accepted, wait, max(remaining, 0), left

    def _wait(self, room: int, previous: int, previous_left: float, current: int, left: float) -> int:
        """Return the fewest whole seconds after which the counts are at most ``room``.

        The count of the window before, weighted with what is left of it, is rounded down.
        """
        if current <= room:
            return floor(previous_left - (room - current + 1) * self._window / previous) + 1
        # It is the count of this window that is the one before then.
        return floor(left + self._window * (1 - (room + 1) / current)) + 1
