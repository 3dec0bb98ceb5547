"""One file over HTTP, whole or not at all: retried, resumed where the server can, bounded in time and size.

The standard library is enough: one request at a time, small files. What is fetched is held in memory, so that
nothing half-done is ever on disk.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from email.message import Message
from http.client import HTTPMessage
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from model_kit.errors import ModelKitError
from model_kit.progress import Progress

#: Bytes of the largest file that is fetched; the real one has half a million.
LARGEST: Final = 64 * 1024 * 1024
#: Seconds without a byte after which an attempt is given up.
TIMEOUT: Final = 30.0
#: Seconds to wait before the second, third, ... attempt.
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
#: A server that asks for a longer pause than this is not waited for.
LONGEST_PAUSE: Final = 60.0
#: Seconds after which a server that keeps sending a few bytes is given up.
LONGEST_TRANSFER: Final = 1800.0
PIECE: Final = 64 * 1024
AGENT: Final = "regression-model"
#: Answers that may be other ones a moment later.
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
SIGN_IN: Final = frozenset({401, 403, 407})


class DownloadError(ModelKitError):
    """A file cannot be fetched; the text names the address and what to do."""


class _PassingError(Exception):
    """An attempt failed in a way that the next one may not.

    Attributes:
        pause: seconds that the server asks to wait.
    """

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def shown(url: str) -> str:
    """A URL as messages may show it: without user, password, and what a query may carry of keys."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "..." if parts.query else "", ""))


class Transfer:
    """The fetching of one file.

    Args:
        url: http or https; a user and password in it are sent as basic authentication and never shown.
        timeout: seconds without a byte after which an attempt is given up.
        say: told about every attempt that failed.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT, say: Callable[[str], None] = lambda _: None) -> None:
        self._shown = shown(url)
        self._url, self._authorization = _without_user(url)
        self._timeout = timeout
        self._say = say
        self._deadline = time.monotonic() + LONGEST_TRANSFER
        self._content = bytearray()
        self._validator = ""
        self._total: int | None = None
        #: Whether the server said where the file ends; if not, a cut connection looks like the end.
        self.framed = True

    def fetch(self) -> bytes:
        """The file.

        Raises:
            DownloadError: it cannot be fetched; the text names the address and what to do.
        """
        for attempt, pause in enumerate((*PAUSES, None), 1):
            try:
                self._attempt()
                return bytes(self._content)
            except _PassingError as error:
                if pause is None or error.pause > LONGEST_PAUSE:
                    often = f" ({attempt} attempts)" if attempt > 1 else ""
                    raise DownloadError(f"{self._shown}: {error}{often}; try again later") from error
                wait = max(pause, error.pause)
                self._say(f"{self._shown}: {error}; trying again in {wait:.0f} s")
                time.sleep(wait)
        raise AssertionError  # the last attempt returns or raises

    def _attempt(self) -> None:
        try:
            with _opener().open(self._request(), timeout=self._timeout) as response:
                self._receive(response)
        except HTTPError as error:
            with error:
                self._refused(error)
        except (URLError, OSError, http.client.HTTPException, ValueError) as error:
            self._failed(error)

    def _request(self) -> Request:
        request = Request(self._url, headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})  # noqa: S310 - the opener knows http and https alone
        if self._authorization:
            # Not sent on to where a redirect leads.
            request.add_unredirected_header("Authorization", self._authorization)
        if self._content and self._validator:
            request.add_header("Range", f"bytes={len(self._content)}-")
            request.add_header("If-Range", self._validator)
        else:
            self._content.clear()
        return request

    def _receive(self, response: Any) -> None:
        self._begin(response)
        with Progress(f"Downloading {self._shown.rpartition('/')[2] or self._shown}", self._total) as progress:
            while piece := self._read(response):
                self._content += piece
                if len(self._content) > LARGEST:
                    raise DownloadError(self._too_large())
                if time.monotonic() > self._deadline:
                    raise DownloadError(f"{self._shown}: not done after {LONGEST_TRANSFER / 60:g} minutes; {_ELSE}")
                progress.show(len(self._content), f"{len(self._content) / 1000:,.0f} kB")
        if self._total is not None and len(self._content) != self._total:
            raise _PassingError(self._cut())

    def _read(self, response: Any) -> bytes:
        try:
            piece: bytes = response.read1(PIECE)
        except TimeoutError as error:
            raise _PassingError(
                f"nothing arrived for {self._timeout:g} s after {len(self._content):,} bytes"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(self._cut()) from error
        return piece

    def _begin(self, response: Any) -> None:
        """Decide from the headers whether what comes continues what is there, and how much it will be."""
        headers = response.headers
        start, total = 0, None
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            start, total = _content_range(headers.get("Content-Range", ""))
        if start != len(self._content) or (response.status == http.HTTPStatus.PARTIAL_CONTENT and total is None):
            # Another part than was asked for: from the beginning, the next time.
            self._content.clear()
            if start or response.status == http.HTTPStatus.PARTIAL_CONTENT:
                self._validator = ""
                raise _PassingError("the server answered with another part than was asked for")
        if total is None and headers.get("Content-Length", "").isdecimal():
            total = int(headers["Content-Length"])
        self._total = total
        self.framed = total is not None or headers.get("Transfer-Encoding", "").lower() == "chunked"
        if total is not None and total > LARGEST:
            raise DownloadError(self._too_large())
        etag = headers.get("ETag", "")
        # A weak validator does not promise the same bytes.
        self._validator = etag if etag.startswith('"') else "" if etag else headers.get("Last-Modified", "")
        encoding = headers.get("Content-Encoding", "identity").lower()
        if encoding not in {"identity", "gzip", "x-gzip"}:
            raise DownloadError(f"{self._shown}: sent in the encoding {encoding}, which was not asked for; {_ELSE}")

    def _refused(self, error: HTTPError) -> None:
        what = f"the server answered {error.code} {error.reason}".rstrip()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._content:
            self._content.clear()
            self._validator = ""
            raise _PassingError(what) from error
        if error.code in PASSING:
            raise _PassingError(what, _retry_after(error.headers)) from error
        if error.code in SIGN_IN:
            raise DownloadError(f"{self._shown}: {what}; it wants you to sign in: {_ELSE}") from error
        raise DownloadError(f"{self._shown}: {what}; check the address, or {_ELSE}") from error

    def _failed(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{self._shown}: its certificate cannot be verified ({reason.verify_message}); "
                f"check the address and this machine's clock, or {_ELSE}"
            ) from error
        if isinstance(reason, TimeoutError):
            raise _PassingError(f"nothing arrived for {self._timeout:g} s") from error
        if isinstance(reason, socket.gaierror):
            raise _PassingError(f"the host {urlsplit(self._url).hostname} is not known here") from error
        if isinstance(reason, http.client.RemoteDisconnected | ConnectionResetError):
            raise _PassingError("the server closed the connection without an answer") from error
        if isinstance(reason, OSError):
            raise _PassingError(f"cannot be reached: {reason.strerror or reason}") from error
        what = (
            "its answer is not HTTP"
            if isinstance(reason, http.client.BadStatusLine)
            else f"cannot be fetched: {reason}"
        )
        raise DownloadError(f"{self._shown}: {what}; check the address, or {_ELSE}") from error

    def _cut(self) -> str:
        whole = "" if self._total is None else f" of {self._total:,}"
        return f"the connection was cut after {len(self._content):,}{whole} bytes"

    def _too_large(self) -> str:
        return f"{self._shown}: larger than {LARGEST / 1e6:,.0f} MB; that is not the data: check the address"


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{shown(req.full_url)}: redirects to {shown(newurl)}, which is not encrypted; {_ELSE}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPDefaultErrorHandler,
        _Redirects,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_ELSE: Final = "download it with a browser and pass the file with --from"


def _without_user(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    user, found, host = parts.netloc.rpartition("@")
    plain = urlunsplit(parts._replace(netloc=host, fragment=""))
    if not found:
        return plain, ""
    return plain, "Basic " + base64.b64encode(unquote(user).encode()).decode()


def _content_range(text: str) -> tuple[int, int | None]:
    """Where a part begins and how long the whole is, of "bytes 100-999/1000"."""
    unit, _, rest = text.partition(" ")
    extent, _, total = rest.partition("/")
    start = extent.partition("-")[0]
    if unit != "bytes" or not start.isdecimal() or not total.isdecimal():
        return -1, None
    return int(start), int(total)


def _retry_after(headers: Message) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0
