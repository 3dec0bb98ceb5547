"""Counts what one worker answers, in files that all workers read.

The files are those of prometheus_client's multi-process mode, named after the slot of the worker instead of its process
id: a worker that replaces another one continues its counts, so that sums never fall and there are as many files as
slots. A slot belongs to one living process at a time; the master frees it when that process has been reaped.

A count is in the file, which is memory, before the response is sent: the death of a worker loses none.
"""

from __future__ import annotations

import math
import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from model_kit.scoring.predictor import Answer
from model_kit.scoring.protocol import Model
from model_kit.spec import ClassValue
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.utils import floatToGoString

from ml_api.access import NOT_RECORDED
from ml_api.connection import Connection

#: Upper bounds of the latency buckets in seconds: a prediction of one row takes less than a millisecond.
LATENCY = (0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Labels of requests without a route: paths that do not exist, and what the server answered before routing.
UNKNOWN_ROUTE, SERVER_ROUTE = "(unknown)", "(server)"
#: Label of errors that are not those of one field.
WHOLE_RECORD = "(record)"
#: Why requests are refused, in the order of the documentation.
REASONS = ("in_flight", "long_requests", "memory", "rate_limit", "no_key", "scope", "timeout", NOT_RECORDED)
#: Bytes of a new file: prometheus_client's own choice.
_SIZE = 1 << 16


class Family:
    """A metric: its name, its help, and the names of its labels. Its keys are those of prometheus_client's files."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self.text, self.labels = f"ml_api_{name}", text, labels

    def key(self, *values: str) -> str:
        """The key of a counter."""
        return self._key("total", self.labels, values)

    def gauge_key(self) -> str:
        """The key of a gauge."""
        return mmap_key(self.name, self.name, [], [], self.text)

    def sum_key(self, *values: str) -> str:
        """The key of the sum of a histogram."""
        return self._key("sum", self.labels, values)

    def bucket_keys(self, bounds: Sequence[float], *values: str) -> list[str]:
        """The keys of the buckets of a histogram."""
        labels = (*self.labels, "le")
        return [self._key("bucket", labels, (*values, floatToGoString(bound))) for bound in (*bounds, math.inf)]

    def _key(self, part: str, labels: Sequence[str], values: Sequence[str]) -> str:
        # A field may have a name that is no valid text.
        texts = [value.encode("utf-8", "backslashreplace").decode() for value in values]
        return mmap_key(self.name, f"{self.name}_{part}", list(labels), texts, self.text)


STARTS = Family("worker_starts", "Worker processes that were started")
REQUESTS = Family("requests", "Responses by route and status", "route", "status")
DURATION = Family(
    "request_duration_seconds", "Time from the arrival of a whole request to its response, by route", "route"
)
REFUSED = Family("requests_refused", "Requests that were refused, by reason", "reason")
LOGGED = Family("prediction_log_rows", "Rows for the prediction log: recorded, failed or refused", "result")
RELOADS = Family("reloads", "Reloads by what became of them: ok or refused", "result")
QUEUED = Family("prediction_log_queued_rows", "Rows that wait for their commit to the prediction log")
ROWS = Family("rows", "Records by what became of them: scored or rejected", "model", "result")
REJECTED = Family("rejected_fields", "Errors of records, by field; (record): not of one field", "model", "field")
PREDICTIONS = Family("prediction", "Predictions in the unit of the target", "model")
CANARY = Family(
    "canary_requests",
    "Requests of callers whom the canary serves, by who answered and why",
    "model",
    "version",
    "result",
)
CLASSES = Family("predicted_class", "Predictions by class", "model", "class")


class Totals:
    """Totals by key in a file. Not thread-safe.

    Attributes:
        values: the file as floats; a new key may replace it.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            # Under its name it is never empty, which a reader would take for a damaged file.
            temporary = path.with_suffix(".new")
            temporary.touch(0o600)
            os.truncate(temporary, _SIZE)
            temporary.rename(path)
        self._file = MmapedDict(str(path))
        self.values = memoryview(self._file._m).cast("d")  # noqa: SLF001

    def index(self, key: str) -> int:
        """Return the index of a total in ``values``; a new one begins at 0."""
        self._file.read_value(key)
        # Writing where the library says takes a tenth of the instructions of its own method.
        self.values = memoryview(self._file._m).cast("d")  # noqa: SLF001
        position: int = self._file._positions[key]  # noqa: SLF001
        return position // self.values.itemsize

    def close(self) -> None:
        """Close the file."""
        self.values.release()
        self._file.close()

    def indices(self, keys: Sequence[str]) -> list[int]:
        """Return the indices of several totals."""
        return [self.index(key) for key in keys]


class Recorder:
    """Counts what this worker answers; each method may be called in any thread.

    Args:
        folder: where the files are, the same for all workers.
        slot: the number of this worker, which no other living one has.
    """

    def __init__(self, folder: Path, slot: int = 0) -> None:
        self._lock = threading.Lock()
        self._folder, self._slot = folder, slot
        self._counters = Totals(folder / f"counter_{slot}.db")
        self._histograms = Totals(folder / f"histogram_{slot}.db")
        #: Route and status -> index of the counter; route -> indices of the sum and of the buckets; and so on.
        self._requests: dict[tuple[str, int], int] = {}
        self._durations: dict[str, tuple[int, list[int]]] = {}
        self._models: dict[str, _Model] = {}
        self._logged: dict[str, int] = {}
        #: Of what this worker has now, unlike counts; only with a prediction log.
        self._gauges: Totals | None = None
        self._canary: dict[tuple[str, str, str], int] = {}
        # Rates of what has not happened yet are 0 and not absent.
        self._refused = {reason: self._counters.index(REFUSED.key(reason)) for reason in REASONS}
        self._counters.values[self._counters.index(STARTS.key())] += 1

    def close(self) -> None:
        """Close the files; nothing can be counted afterwards."""
        self._counters.close()
        self._histograms.close()
        if self._gauges is not None:
            self._gauges.close()

    def request(self, route: str | None, status: int, environ: Mapping[str, Any], refused: str | None) -> None:
        """Count a response of the application.

        Args:
            route: the rule of its URL; ``None`` if there is none.
            status: its status.
            environ: the request's, with the server's connection.
            refused: one of ``REASONS``, if the request was refused.
        """
        connection = environ.get("gunicorn.socket")
        with self._lock:
            self._count(route or UNKNOWN_ROUTE, status, refused)
            if isinstance(connection, Connection):
                seconds = time.monotonic() - connection.since
                total, buckets = self._durations.get(route or UNKNOWN_ROUTE) or self._add_route(route or UNKNOWN_ROUTE)
                values = self._histograms.values
                values[total] += seconds
                values[buckets[bisect_left(LATENCY, seconds)]] += 1

    def refusal(self, status: int, reason: str | None) -> None:
        """Count a response that the server made without the application."""
        with self._lock:
            self._count(SERVER_ROUTE, status, reason)

    def logged(self, result: str, n_rows: int) -> None:
        """Count rows for the prediction log by what became of them."""
        with self._lock:
            index = self._logged.get(result)
            if index is None:
                index = self._logged[result] = self._counters.index(LOGGED.key(result))
            self._counters.values[index] += n_rows

    def queued(self, n_rows: int) -> None:
        """Set the rows of this worker that wait for their commit to the prediction log."""
        with self._lock:
            if self._gauges is None:
                # Of several workers the sum is told; that of a worker which was killed is set anew by the next one.
                self._gauges = Totals(self._folder / f"gauge_sum_{self._slot}.db")
            self._gauges.values[self._gauges.index(QUEUED.gauge_key())] = n_rows

    def canary(self, name: str, version: str, result: str) -> None:
        """Count a request of a caller whom the canary serves.

        Args:
            name: of the model.
            version: that answered.
            result: ``answered``, or why the installed version did.
        """
        with self._lock:
            index = self._canary.get((name, version, result))
            if index is None:
                index = self._canary[name, version, result] = self._counters.index(CANARY.key(name, version, result))
            self._counters.values[index] += 1

    def answer(self, name: str, model: Model, answer: Answer) -> None:
        """Count the records of a prediction."""
        with self._lock:
            found = self._models.get(name)
            if found is None:
                found = self._models[name] = _Model(name, model, self._counters, self._histograms)
            found.count(answer)

    def _count(self, route: str, status: int, refused: str | None) -> None:
        index = self._requests.get((route, status))
        if index is None:
            index = self._requests[route, status] = self._counters.index(REQUESTS.key(route, str(status)))
        self._counters.values[index] += 1
        if refused is not None:
            self._counters.values[self._refused[refused]] += 1

    def _add_route(self, route: str) -> tuple[int, list[int]]:
        total = self._histograms.index(DURATION.sum_key(route))
        found = self._durations[route] = (total, self._histograms.indices(DURATION.bucket_keys(LATENCY, route)))
        return found


class ReloadCounter:
    """Counts reloads, in a file of the master process.

    Args:
        folder: that of the workers' files.
    """

    def __init__(self, folder: Path) -> None:
        self._counters = Totals(folder / "counter_master.db")
        self._indices = {result: self._counters.index(RELOADS.key(result)) for result in ("ok", "refused")}

    def __call__(self, result: str) -> None:
        """Count a reload: ``ok`` or ``refused``."""
        self._counters.values[self._indices[result]] += 1


class _Model:
    """The totals of one model."""

    def __init__(self, name: str, model: Model, counters: Totals, histograms: Totals) -> None:
        self._name, self._fields = name, frozenset(model.spec.names)
        self._counters, self._histograms = counters, histograms
        self._scored, self._rejected = (counters.index(ROWS.key(name, result)) for result in ("scored", "rejected"))
        self._errors: dict[str, int] = {}
        target = model.spec.target
        self._classes = {
            value: counters.index(CLASSES.key(name, key))
            for value, key in zip(target.classes, target.keys, strict=True)
        }
        if not target.is_class:
            # Those of training; a model without them has the count and the sum.
            self._bounds = list((model.card.get("target_distribution") or {}).get("edges", ()))
            self._sum = histograms.index(PREDICTIONS.sum_key(name))
            self._buckets = histograms.indices(PREDICTIONS.bucket_keys(self._bounds, name))

    def count(self, answer: Answer) -> None:
        """Count the records of an answer."""
        counters = self._counters.values
        counters[self._scored] += len(answer.predictions) - len(answer.errors)
        if self._classes:
            for value in cast("list[ClassValue | None]", answer.predictions):
                if value is not None:
                    counters[self._classes[value]] += 1
        else:
            histograms, bounds, buckets = self._histograms.values, self._bounds, self._buckets
            for number in cast("list[float | None]", answer.predictions):
                if number is not None:
                    histograms[self._sum] += number
                    histograms[buckets[bisect_left(bounds, number)]] += 1
        if answer.errors:
            counters[self._rejected] += len(answer.errors)
            for field, rows in Counter(field for errors in answer.errors.values() for field in errors).items():
                label = field if field in self._fields else WHOLE_RECORD
                index = self._errors.get(label)
                if index is None:
                    index = self._errors[label] = self._counters.index(REJECTED.key(self._name, label))
                self._counters.values[index] += rows
