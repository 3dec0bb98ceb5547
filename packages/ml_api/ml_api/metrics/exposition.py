"""What ``/metrics`` returns: the sum over the files of all slots, and the models of this worker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from ml_api.candidates.status import READY, read_all
from ml_api.metrics.drift import DriftGauges
from ml_api.models.registry import Registry

__all__ = ["CONTENT_TYPE", "exposition"]


class _Candidates:
    """Whether the candidates answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Yield the metric, if there are candidates."""
        ready = GaugeMetricFamily(
            "ml_api_candidate_ready",
            "1 if the candidate answers, else 0",
            labels=["kind", "model", "version"],
        )
        for one in read_all(self._folder):
            ready.add_metric([one.kind, one.name, one.version or ""], one.state == READY)
        if ready.samples:
            yield ready


class _Models:
    """Versions and readiness of the models; all workers have the same."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        info = InfoMetricFamily("ml_api_model", "The models that are served", labels=["model"])
        for name, model in self._registry.models().items():
            artifact = model.lineage.get("artifact_sha256") or ""
            info.add_metric([name], {"version": model.version, "artifact_sha256": artifact})
        yield info
        ready = GaugeMetricFamily(
            "ml_api_model_ready", "1 if the model scores its golden row as recorded, else 0", labels=["model"]
        )
        faults = self._registry.faults()
        for name in self._registry.names:
            ready.add_metric([name], name not in faults)
        yield ready


def exposition(folder: Path, registry: Registry) -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    collected = CollectorRegistry()
    MultiProcessCollector(collected, path=str(folder))
    collected.register(_Models(registry))
    collected.register(DriftGauges(folder))
    collected.register(_Candidates(folder))
    return generate_latest(collected)
