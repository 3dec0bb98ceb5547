"""Traces requests with OpenTelemetry: one server span each, sent to a collector (OTLP over HTTP) in batches.

Imported only if traces are on. The libraries read their own variables: endpoint, headers, service name, sampler.
A worker sends from a thread of its own; a collector that is down or hangs delays no request, and spans that do not fit
into the queue are dropped.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, format_span_id, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ml_api import __version__
from ml_api.connection import Connection
from ml_api.logs import LOGGER

#: Seconds for sending what is left when the process ends.
FLUSH_TIMEOUT = 3
#: Fields of the log line that are attributes of the span, after ``ml_api.``.
FIELDS = ("request_id", "model", "version", "rows", "errors", "key", "prediction_id", "refused")
#: Header -> key of the WSGI environ.
_HEADERS = {"traceparent": "HTTP_TRACEPARENT", "tracestate": "HTTP_TRACESTATE"}
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracer:
    """Makes the spans of requests; each method may be called in any thread. It has threads: create it after a fork."""

    def __init__(self) -> None:
        _log_as_json()
        own = Resource.create({"service.name": "ml_api", "service.version": __version__})
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("ml_api", __version__)
        self._closing, self._closed = threading.Event(), threading.Event()
        # Sending may take as long as the collector hangs; and Python starts no thread while it ends.
        threading.Thread(target=self._shut_down, name="tracing-end", daemon=True).start()
        atexit.register(self.close)

    def start(self, environ: Mapping[str, Any], method: str | None) -> Span:
        """Start the span of a request, at the arrival of the whole request.

        Args:
            environ: the request's; ``traceparent`` is the parent.
            method: ``None``: an unknown one.
        """
        sent = {name: environ[key] for name, key in _HEADERS.items() if key in environ}
        connection = environ.get("gunicorn.socket")
        waited = time.monotonic() - connection.since if isinstance(connection, Connection) else 0.0
        return self._tracer.start_span(
            method or "HTTP",
            context=_PROPAGATOR.extract(sent, Context()),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method or "_OTHER",
                "url.path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
                "url.scheme": environ["wsgi.url_scheme"],
            },
            start_time=time.time_ns() - int(waited * 1e9),
        )

    @staticmethod
    def traceparent(span: Span) -> str:
        """Return the position of a span in its trace as the header of W3C Trace Context has it."""
        context = span.get_span_context()
        return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"

    @staticmethod
    def end(span: Span, status: int, fields: Mapping[str, Any]) -> None:
        """End the span of a request.

        Args:
            span: from :meth:`start`.
            status: of the response.
            fields: of the log line.
        """
        if not span.is_recording():
            return
        attributes = {f"ml_api.{name}": fields[name] for name in FIELDS if fields.get(name) is not None}
        attributes["http.response.status_code"] = status
        if (route := fields["route"]) is not None:
            span.update_name(f"{fields['method'] or 'HTTP'} {route}")
            attributes["http.route"] = route
        if status >= 500:
            attributes["error.type"] = str(status)
            span.set_status(StatusCode.ERROR)
        span.set_attributes(attributes)
        span.end()

    def close(self) -> None:
        """Send what is left, for ``FLUSH_TIMEOUT`` at most."""
        self._closing.set()
        self._closed.wait(FLUSH_TIMEOUT)

    def _shut_down(self) -> None:
        self._closing.wait()
        self._provider.shutdown()
        self._closed.set()


def _log_as_json() -> None:
    """Write what the libraries log in the application's format."""
    libraries = logging.getLogger("opentelemetry")
    if not libraries.handlers:
        libraries.handlers, libraries.propagate = list(LOGGER.handlers), False
