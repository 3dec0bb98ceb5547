"""gunicorn's request and response, without work that plain requests do not need.

A request whose head is plain is parsed by a regular expression; any other head, and every error, is gunicorn's
parser's. What this module accepts, gunicorn accepts with the same values (a property test holds that).
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any

from gunicorn.http import message, wsgi  # type: ignore[import-untyped]
from gunicorn.util import http_date  # type: ignore[import-untyped]

#: A request line of HTTP/1.1 with a path, and headers of printable ASCII whose names map to one WSGI variable each.
_PLAIN = re.compile(
    rb"(GET|POST) ((/(?!/)[\w.~/-]*+)(?:\?([\w.~/=&,%+:?-]*+))?) HTTP/1\.1\r\n((?:[A-Za-z0-9-]++:[ -~]*+\r\n)*+)\r\n",
    re.ASCII,
)
#: Bytes up to which a head is plain; gunicorn's limits are at least that much, unless they are set.
_MAX_PLAIN = 4094


class CachedConfig:
    """gunicorn's configuration; each value is looked up once, which takes it two calls."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        """Return the value of a setting that has not been looked up."""
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class Request(message.Request):  # type: ignore[misc]
    """A request, whose head is parsed quickly if it is plain."""

    def parse(self, unreader: Any) -> Any:
        """Parse the head; returns what was read beyond it."""
        head = unreader.read()
        if self._parse_plain(head):
            return b""
        unreader.unread(head)
        return super().parse(unreader)

    def _parse_plain(self, head: bytes) -> bool:
        cfg = self.cfg
        limits = self.limit_request_line, self.limit_request_field_size, _MAX_PLAIN
        if cfg.proxy_protocol != "off" or len(head) > min(filter(None, limits)):
            return False
        plain = _PLAIN.fullmatch(head)
        if plain is None:
            return False
        method, uri, path, query, lines = (part.decode("ascii") for part in plain.groups(b""))
        headers: dict[str, str] = {}
        count = 0
        for line in lines.split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            headers[name.upper()] = value.strip(" ")
            count += 1
        if len(headers) < count or count > self.limit_request_fields or "EXPECT" in headers:
            return False
        forwarded = headers.keys() & cfg.secure_scheme_headers.keys()
        if forwarded and self._peer_is_trusted_proxy():
            schemes = {headers[name] == cfg.secure_scheme_headers[name] for name in forwarded}
            if len(schemes) > 1:
                return False
            self.scheme = "https" if schemes.pop() else "http"
        self.method, self.uri, self.path, self.query, self.fragment = method, uri, path, query, ""
        self.version = 1, 1
        self.headers = list(headers.items())
        return True


class Response(wsgi.Response):  # type: ignore[misc]
    """A response, whose date is formatted once a second."""

    def default_headers(self) -> list[str]:
        """Return the status line and the headers that are the server's."""
        major, minor = self.req.version
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date(int(time.time()))}\r\n",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    date: str = http_date(second)
    return date
