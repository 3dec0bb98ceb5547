"""What happens around every request: its id, its one log line, the end of its body."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from flask import Response, g, request

from ml_api import connection
from ml_api.logs import log_request
from ml_api.request_id import HEADER, request_id

#: Methods that are logged by name; any other is a word of the caller's own.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


@dataclass(slots=True)
class _Access:
    """What is known of the current request: when it began (s), its id, what its view noted."""

    started: float
    request_id: str
    facts: dict[str, Any] = field(default_factory=dict)


def current_id() -> str:
    """Id of the current request."""
    access: _Access = g.access
    return access.request_id


def note(**facts: Any) -> None:
    """Add shapes and names, never values, to the log line of the current request."""
    g.access.facts |= facts


def begin() -> None:
    """Give the current request its id."""
    g.access = _Access(time.perf_counter(), request_id(request.environ.get("HTTP_X_REQUEST_ID")))


def end(response: Response) -> Response:
    """Give ``response`` the id of the current request, and write its one log line."""
    # Each use of g and request looks the current one up anew; here once is enough.
    access: _Access = g.access
    environ, rule = request.environ, request.url_rule
    response.headers[HEADER] = access.request_id
    method, length = environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH")
    log_request(
        request_id=access.request_id,
        method=method if method in METHODS else None,
        route=rule.rule if rule else None,
        status=response.status_code,
        duration_ms=round((time.perf_counter() - access.started) * 1000, 3),
        request_bytes=int(length) if length and length.isdecimal() else None,
        response_bytes=response.content_length,
        **access.facts,
    )
    connection.finish(environ)
    return response
