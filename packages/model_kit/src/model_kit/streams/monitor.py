"""What one can see of a running consumer: log lines, a line of progress on a terminal, metrics for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from model_kit.batch.progress import Progress
from model_kit.errors import DataError, ModelKitError
from model_kit.streams import log
from model_kit.streams.answers import Batch

#: Seconds between two log lines with counts.
LOG_INTERVAL: Final = 60.0
#: Bounds of the histogram, in seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class StreamMonitor:
    """The :class:`~model_kit.streams.consumer.Monitor` of a process.

    Args:
        progress: where counts are drawn.
        metrics: where they are counted too; ``None``: nowhere.
    """

    def __init__(self, progress: Progress, metrics: Metrics | None) -> None:
        self._progress, self._metrics = progress, metrics
        self._started = self._logged = time.monotonic()
        self._before = 0
        self._lag: int | None = None
        #: Messages and dead letters among them, rows and errors among them.
        self.messages = self.dead = self.rows = self.rejected = 0

    def received(self, n_in_flight: int) -> None:
        """So many messages are received and not acknowledged."""
        if self._metrics is not None:
            self._metrics.in_flight.set(n_in_flight)

    def settled(self, batch: Batch, seconds: float) -> None:
        """A batch is answered and acknowledged, so long after it was received."""
        self.messages += len(batch.messages)
        self.dead += batch.n_dead
        self.rows += batch.n_scored + batch.n_rejected
        self.rejected += batch.n_rejected
        if self._metrics is not None:
            self._metrics.count(batch, seconds)
        self._tell()

    def lag(self, messages: int | None) -> None:
        """So many messages wait; ``None``: it is not known."""
        self._lag = messages
        if self._metrics is not None:
            self._metrics.lag.set(float("nan") if messages is None else messages)
        self._tell()

    def counts(self) -> dict[str, Any]:
        """The counts, as fields of a log line."""
        counts = {
            "messages": self.messages,
            "dead_letters": self.dead,
            "rows": self.rows,
            "rows_rejected": self.rejected,
        }
        return counts | {"lag": self._lag}

    def _tell(self) -> None:
        now = time.monotonic()
        rate = self.rows / max(now - self._started, 1e-9)
        lag = "unknown" if self._lag is None else f"{self._lag:,}"
        self._progress.show(0, f"{self.messages:,} messages, {self.dead:,} dead letters, {rate:,.0f} rows/s, lag {lag}")
        if now - self._logged >= LOG_INTERVAL:
            rate = (self.rows - self._before) / (now - self._logged)
            self._logged, self._before = now, self.rows
            log.info("consuming", **self.counts(), rows_per_second=round(rate, 1))


class Metrics:
    """Counters and gauges that ``/metrics`` of a port of their own shows; prometheus_client is imported here only.

    Args:
        address: ``PORT`` on this machine alone, or ``HOST:PORT``.
        labels: of ``model_kit_stream_info``.

    Raises:
        DataError: the address is none.
        ModelKitError: prometheus_client is not installed, or the port is taken.
    """

    def __init__(self, address: str, **labels: str) -> None:
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or not 0 < int(port) < 65_536:
            raise DataError(f"--metrics-port {address}: write PORT or HOST:PORT")
        try:
            import prometheus_client as library  # noqa: PLC0415 - only where there are to be metrics
        except ModuleNotFoundError as error:
            raise ModelKitError(
                'metrics need prometheus_client, which is not installed: pip install "model-kit[streams]"'
            ) from error
        name = "model_kit_stream_"
        registry = library.CollectorRegistry()
        make: Callable[..., Any] = lambda kind, *given, **more: kind(*given, registry=registry, **more)  # noqa: E731
        self._messages = make(library.Counter, f"{name}messages", "Messages acknowledged", ["result"])
        self._rows = make(library.Counter, f"{name}rows", "Rows of acknowledged messages", ["result"])
        self._seconds = make(
            library.Histogram, f"{name}batch_seconds", "From delivery to acknowledgement", buckets=BUCKETS
        )
        self._last = make(library.Gauge, f"{name}last_acknowledged_timestamp_seconds", "When a batch was acknowledged")
        self.in_flight = make(library.Gauge, f"{name}in_flight_messages", "Messages received and not acknowledged")
        self.lag = make(library.Gauge, f"{name}lag_messages", "Messages that wait, those in flight included")
        make(library.Info, name.rstrip("_"), "What is consumed").info(labels)
        for result in ("answered", "dead_letter"):
            self._messages.labels(result)
        for result in ("scored", "rejected"):
            self._rows.labels(result)
        try:
            self._server, self._thread = library.start_http_server(int(port), host or "127.0.0.1", registry)
        except OSError as error:
            raise ModelKitError(f"--metrics-port {address}: {error.strerror}") from error

    def count(self, batch: Batch, seconds: float) -> None:
        """Count a batch."""
        self._messages.labels("dead_letter").inc(batch.n_dead)
        self._messages.labels("answered").inc(len(batch.messages) - batch.n_dead)
        self._rows.labels("scored").inc(batch.n_scored)
        self._rows.labels("rejected").inc(batch.n_rejected)
        self._seconds.observe(seconds)
        self._last.set_to_current_time()

    def close(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
