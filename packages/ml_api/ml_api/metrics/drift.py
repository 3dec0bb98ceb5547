"""Drift on ``/metrics``: what one of the workers has computed and published, see :mod:`ml_api.drift.live`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

#: Name of the file in the folder that the workers share.
FILE: Final = "drift.json"
#: Seconds after which what was computed is no longer shown.
LATEST: Final = 900.0
#: Key of a field in the file -> name of the gauge, and its help.
GAUGES: Final = {
    "psi": ("ml_api_drift_psi", "Population stability index of the latest rows against training"),
    "threshold": ("ml_api_drift_threshold", "Index above which the distribution is called drifted"),
    "missing": ("ml_api_drift_missing_ratio", "Share of the latest rows without a value"),
    "unknown": ("ml_api_drift_unknown_ratio", "Share of the latest rows with a value that training never saw"),
    "drifted": ("ml_api_drift_drifted", "1 if the field has drifted, 0 if it is steady"),
}


class DriftGauges:
    """Shows the file of a folder, while there is one that is not too old."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        try:
            age = time.time() - self._path.stat().st_mtime
            models = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return
        if age > LATEST:
            return
        rows = GaugeMetricFamily("ml_api_drift_window_rows", "Rows that drift is computed of", labels=["model"])
        for model in models:
            rows.add_metric([model["model"]], model["rows"])
        yield rows
        for key, (name, text) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["model", "field"])
            for model in models:
                for field in model["fields"]:
                    if field[key] is not None:
                        label = field["field"].encode("utf-8", "backslashreplace").decode()
                        gauge.add_metric([model["model"], label], field[key])
            yield gauge
