"""Runs before and after every request: its id and its log line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Response, g, request

from ml_api.logs import log_request
from ml_api.request_id import HEADER, request_id

if TYPE_CHECKING:
    from ml_api.metrics.recorder import Recorder

#: Methods that are logged; any other is arbitrary text from the client.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


@dataclass(slots=True)
class _RequestContext:
    """The current request: start time (s, monotonic), id, further fields of its log line, headers of its response."""

    started: float
    request_id: str
    log_fields: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] | None = None


def current_id() -> str:
    """Return the id of the current request."""
    context: _RequestContext = g.access
    return context.request_id


def add_log_fields(**fields: Any) -> None:
    """Add shapes and names, never values, to the log line of the current request."""
    g.access.log_fields |= fields


def add_headers(headers: dict[str, str]) -> None:
    """Add headers to the response to the current request, whatever it will be."""
    g.access.headers = (g.access.headers or {}) | headers


def begin() -> None:
    """Assign an id to the current request."""
    g.access = _RequestContext(time.perf_counter(), request_id(request.environ.get("HTTP_X_REQUEST_ID")))


def end(response: Response, metrics: Recorder | None = None) -> Response:
    """Add the request id to ``response``, write the request's log line, and count it."""
    # Each use of g and request looks up the current context; once is enough.
    context: _RequestContext = g.access
    environ, rule = request.environ, request.url_rule
    response.headers[HEADER] = context.request_id
    # A browser must not take an answer for HTML because of a value that was sent and is repeated in it.
    response.headers["X-Content-Type-Options"] = "nosniff"
    if metrics is not None:
        metrics.request(rule.rule if rule else None, response.status_code, environ, context.log_fields.get("refused"))
    if context.headers is not None:
        for name, value in context.headers.items():
            response.headers.add(name, value)
    method, length = environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH")
    log_request(
        request_id=context.request_id,
        method=method if method in METHODS else None,
        route=rule.rule if rule else None,
        status=response.status_code,
        duration_ms=round((time.perf_counter() - context.started) * 1000, 3),
        request_bytes=int(length) if length and length.isdecimal() else None,
        response_bytes=response.content_length,
        **context.log_fields,
    )
    return response
