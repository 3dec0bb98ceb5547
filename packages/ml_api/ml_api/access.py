"""Runs before and after every request: its id and its log line."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Request, Response, current_app, g
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import Rule

from ml_api.logs import log_request
from ml_api.request_id import HEADER, request_id
from ml_api.views.compression import MIN_SIZE, compress

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from ml_api.metrics.recorder import Recorder
    from ml_api.tracing import Tracer

#: Methods that are logged; any other is arbitrary text from the client.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
#: Reason of a refusal, in the log line and in the metrics: the prediction log did not take the record.
NOT_RECORDED = "prediction_log"


@dataclass(slots=True)
class _RequestContext:
    """The current request: start time (s, monotonic), id, further fields of its log line, headers of its response.

    ``pending`` is what the response waits for after the application has made it; 503 replaces it where that fails.
    """

    started: float
    request_id: str
    pending: Future[Any] | None = None
    log_fields: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] | None = None
    span: Span | None = None


def current_id() -> str:
    """Return the id of the current request."""
    context: _RequestContext = g.access
    return context.request_id


def current_key() -> str | None:
    """Return the name of the key that the current request was sent with."""
    name: str | None = g.get("key_name")
    return name


def set_pending(pending: Future[Any]) -> None:
    """Have the log line of the current request wait for ``pending``, which decides on its status."""
    g.access.pending = pending


def add_log_fields(**fields: Any) -> None:
    """Add shapes and names, never values, to the log line of the current request."""
    g.access.log_fields |= fields


def add_headers(headers: dict[str, str]) -> None:
    """Add headers to the response to the current request, whatever it will be."""
    g.access.headers = (g.access.headers or {}) | headers


def begin(request: Request, tracer: Tracer | None = None) -> None:
    """Assign an id to the current request, and start its span."""
    environ = request.environ
    g.access = context = _RequestContext(time.perf_counter(), request_id(environ.get("HTTP_X_REQUEST_ID")))
    if tracer is not None:
        method = environ["REQUEST_METHOD"]
        context.span = tracer.start(environ, method if method in METHODS else None)
        context.log_fields["traceparent"] = tracer.traceparent(context.span)


def _rule_of_other_method(request: Request) -> Rule | None:
    """Return the rule of the request's path if it exists for other methods only."""
    error = request.routing_exception
    if not isinstance(error, MethodNotAllowed) or not error.valid_methods:
        return None
    adapter = current_app.create_url_adapter(request)
    return adapter.match(method=min(error.valid_methods), return_rule=True)[0] if adapter else None


def end(
    request: Request, response: Response, metrics: Recorder | None = None, tracer: Tracer | None = None
) -> Response:
    """Add the id of the current request to its response, write its log line, count it, and end its span."""
    # Each use of g looks up the current context; once is enough.
    context: _RequestContext = g.access
    environ, rule = request.environ, request.url_rule or _rule_of_other_method(request)
    response.headers[HEADER] = context.request_id
    # A browser must not take an answer for HTML because of a value that was sent and is repeated in it.
    response.headers["X-Content-Type-Options"] = "nosniff"
    if context.headers is not None:
        for name, value in context.headers.items():
            response.headers.add(name, value)
    method, sent = environ["REQUEST_METHOD"], environ.get("CONTENT_LENGTH")
    route = rule.rule if rule else None
    fields = {
        "request_id": context.request_id,
        "method": method if method in METHODS else None,
        "route": route,
        "request_bytes": int(sent) if sent and sent.isdecimal() else None,
        **context.log_fields,
    }
    status, length = response.status_code, response.content_length
    if length is not None and length >= MIN_SIZE:
        compress(request, response)
        length = response.content_length

    def ended(pending: Future[Any] | None = None) -> None:
        """Write the line and count the response, whose status is certain now."""
        has_failed = pending is not None and (pending.cancelled() or pending.exception() is not None)
        if has_failed:
            fields["refused"] = NOT_RECORDED
        own = 503 if has_failed else status
        if metrics is not None:
            metrics.request(route, own, environ, fields.get("refused"))
        duration = round((time.perf_counter() - context.started) * 1000, 3)
        log_request(status=own, duration_ms=duration, response_bytes=None if has_failed else length, **fields)
        if tracer is not None and context.span is not None:
            tracer.end(context.span, own, fields)

    if context.pending is None:
        ended()
    else:
        context.pending.add_done_callback(ended)
    return response
