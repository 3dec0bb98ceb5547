"""The errors of this package.

    MLClientError
        DataError                   the data cannot be sent
        NoResponseError             no connection, or no response in time
        InvalidResponseError        the response is not one of ml_api
        ResponseError               the server refuses: a problem document (RFC 9457)
            BadRequestError             400
            AuthenticationError         401
            PermissionDeniedError       403
            NotFoundError               404
            TooLargeError               413
            UnsupportedMediaTypeError   415
            RateLimitError              429
            ServerError                 500 and above
                UnavailableError            503

An error of one row is none of these: it is a value of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

#: Characters of a response that is no problem document that an error repeats.
_LONGEST_TEXT: Final = 200


class MLClientError(Exception):
    """Any error of this package."""


class DataError(MLClientError, ValueError):
    """The data cannot be sent; the message names the row or column."""


class NoResponseError(MLClientError):
    """There was no connection, or no response in time.

    Attributes:
        url: what was asked.
        request_id: the ``X-Request-ID`` of the request.
    """

    def __init__(self, url: str, reason: str, request_id: str | None) -> None:
        super().__init__(f"no response from {url}: {reason}")
        self.url, self.request_id = url, request_id


class InvalidResponseError(MLClientError):
    """The response is not one of ml_api: the URL may be that of another server."""


class ResponseError(MLClientError):
    """The server refuses the request.

    Attributes:
        status: HTTP status.
        title: its reason phrase.
        detail: the error in one sentence.
        request_id: also in the server's log.
        retry_after: seconds after which the server asks to try again; ``None`` if it does not.
        members: further members of the problem document.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        request_id: str | None = None,
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, title, detail, request_id, retry_after, members)
        self.status, self.title, self.detail, self.request_id = status, title, detail, request_id
        self.retry_after, self.members = retry_after, dict(members or {})

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail} (request {self.request_id})"


class BadRequestError(ResponseError):
    """400: a parameter or the body is not valid."""


class AuthenticationError(ResponseError):
    """401: there is no API key, or it is not valid."""


class PermissionDeniedError(ResponseError):
    """403: the API key has not the scope that is needed."""


class NotFoundError(ResponseError):
    """404: there is no such model, or no such URL."""


class TooLargeError(ResponseError):
    """413: even one row is too large, or more than the rate limit admits at a time."""


class UnsupportedMediaTypeError(ResponseError):
    """415: the server does not read this type."""


class RateLimitError(ResponseError):
    """429: the rate limit of the API key or address is used up."""


class ServerError(ResponseError):
    """500 and above: the server or a proxy failed."""


class UnavailableError(ServerError):
    """503: the server has no capacity now, or the model is not loaded."""


_CLASSES: Final[Mapping[int, type[ResponseError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: TooLargeError,
    415: UnsupportedMediaTypeError,
    429: RateLimitError,
    503: UnavailableError,
}


def error_of(response: httpx.Response) -> ResponseError:
    """Return the exception for a response that is an error; of a problem document with its members."""
    status = response.status_code
    members: dict[str, Any] = {}
    if media_type(response) == "application/problem+json":
        with suppress(msgspec.MsgspecError):
            members = msgspec.json.decode(response.content, type=dict[str, Any])
    title = members.pop("title", None) or response.reason_phrase or _phrase(status)
    detail = members.pop("detail", None) or _detail(response)
    request_id = members.pop("request_id", None) or response.headers.get("X-Request-ID")
    members.pop("status", None)
    found = _CLASSES.get(status, ServerError if status >= 500 else ResponseError)
    return found(status, title, detail, request_id, _retry_after(response), members)


def media_type(response: httpx.Response) -> str:
    """Return the type of a response without its parameters."""
    header: str = response.headers.get("Content-Type", "")
    return header.partition(";")[0].strip().lower()


def _detail(response: httpx.Response) -> str:
    if response.has_redirect_location:
        return f"the server redirects to {response.headers['Location']}; use that URL"
    text = " ".join(response.text.split())[:_LONGEST_TEXT]
    return f"{response.url} did not answer as ml_api does: {text or 'an empty body'}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the header ``Retry-After``, which may also be a date."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
