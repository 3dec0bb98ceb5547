"""Which requests are repeated, when, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import uniform
from typing import Any, Final

import httpx
from tenacity import RetryCallState, retry_if_exception, wait_random_exponential

from ml_client.errors import DataError, MLClientError, NoResponseError, ResponseError, error_of

LOGGER: Final = logging.getLogger("ml_client")
#: Statuses that may be others the next time. A prediction may be repeated: it changes nothing.
TRANSIENT: Final = frozenset({408, 429, 502, 503, 504})
#: Attempts to reach a server that has not answered this client yet: its URL may be wrong.
FIRST_ATTEMPTS: Final = 3
#: Without the server's word, the longest random pause: doubled from the first, up to the last, in seconds.
_PAUSE: Final = wait_random_exponential(multiplier=0.25, max=8)
#: What is added to the server's word, as a share of it, so that clients do not return all at once.
_JITTER: Final = 0.1


def policy(retry_for: float, is_known: Callable[[], bool]) -> dict[str, Any]:
    """Return the arguments of tenacity's ``Retrying`` and ``AsyncRetrying``.

    Args:
        retry_for: seconds from the first attempt, after which none begins.
        is_known: whether the server has answered before.
    """

    def is_over(state: RetryCallState) -> bool:
        if not is_known() and state.attempt_number >= FIRST_ATTEMPTS:
            return True
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > retry_for

    return {
        "retry": retry_if_exception(is_transient),
        "wait": _pause,
        "stop": is_over,
        "before_sleep": _log,
        "reraise": True,
    }


def is_transient(error: BaseException) -> bool:
    """Return whether another attempt may succeed."""
    return isinstance(error, NoResponseError) or (isinstance(error, ResponseError) and error.status in TRANSIENT)


def check(response: httpx.Response) -> httpx.Response:
    """Return a response that is final.

    Raises:
        ResponseError: another attempt may succeed.
    """
    if response.status_code in TRANSIENT:
        raise error_of(response)
    return response


def no_response(request: httpx.Request, error: httpx.TransportError) -> MLClientError:
    """Return the exception for a request that httpx could not send, or got no response to."""
    if isinstance(error, httpx.LocalProtocolError):
        return DataError(f"the request cannot be sent: {error}")
    reason = "timed out" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
    return NoResponseError(str(request.url), reason, request.headers.get("X-Request-ID"))


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = getattr(error, "retry_after", None)
    return float(_PAUSE(state)) if told is None else told * (1 + uniform(0, _JITTER))  # noqa: S311 - no secret


def _log(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    LOGGER.info("attempt %d failed, the next in %.1f s: %s", state.attempt_number, state.upcoming_sleep, error)
