"""Counts what one worker scores, and adds it to the database every few seconds, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from model_kit.records.encoding import Encoded
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.reference import Reference, load_reference
from numpy.typing import NDArray

from ml_api.drift.store import FEWEST, Artifact, add, total
from ml_api.logs import LOGGER
from ml_api.prediction_log.database import Database, describe

#: Rows that are counted together: one alone takes five hundred times as long as one of them. 650 kB of 80 fields.
BLOCK: Final = 1024
#: Seconds between two writes at least and at most; and between them the share of the time that they may take, as a
#: write of SQLite keeps the log's out meanwhile.
WRITE_INTERVAL, LONGEST_INTERVAL = 2.0, 15.0
MOST_WRITING: Final = 0.01


class Tally:
    """Counts the rows of one model; :meth:`observe` may be called in any thread.

    Args:
        artifact: what scores.
        reference: its own.
    """

    def __init__(self, artifact: Artifact, reference: Reference) -> None:
        self.artifact = artifact
        self._reference = reference
        self._lock = threading.Lock()
        self._held: list[tuple[Encoded, NDArray[np.float64]]] = []
        self._n_held = 0
        self._rows = 0
        self._counts: dict[str, list[int]] = {}

    def observe(self, encoded: Encoded, scores: NDArray[np.float64]) -> None:
        """Take rows that were scored, see :attr:`model_kit.scoring.predictor.Predictor.observe`."""
        with self._lock:
            self._held.append((encoded, scores))
            self._n_held += len(encoded)
            is_full = self._n_held >= BLOCK
        if is_full:
            self._count()

    def _count(self) -> None:
        with self._lock:
            held, self._held, self._n_held = self._held, [], 0
        if not held:
            return
        encoded, scores = (np.concatenate(parts) for parts in zip(*held, strict=True))
        counts = {name: found.tolist() for name, found in self._reference.count(encoded, scores).items()}
        self._add(len(encoded), counts)

    def _add(self, rows: int, counts: Mapping[str, list[int]]) -> None:
        with self._lock:
            self._rows += rows
            self._counts = total([self._counts, counts])

    def write(self, database: Database) -> None:
        """Add what was counted to the database, if it is enough; what cannot be added is kept.

        Raises:
            SQLAlchemyError, SchemaError: see :func:`ml_api.drift.store.add`.
        """
        self._count()
        with self._lock:
            if self._rows < FEWEST:
                return
            rows, counts, self._rows, self._counts = self._rows, self._counts, 0, {}
        try:
            add(database, self.artifact, rows, counts)
        except Exception:
            self._add(rows, counts)
            raise


class DriftLog:
    """Counts what all models of a worker score.

    Args:
        database: of the log.
        predictors: name of a model -> its predictor.
        refresh: called after each write, to publish the drift of what all workers have written.
    """

    def __init__(
        self,
        database: Database,
        predictors: Mapping[str, Predictor],
        refresh: Callable[[Mapping[Artifact, Reference]], Any] | None = None,
    ) -> None:
        self._database, self._refresh = database, refresh
        self._references: dict[Artifact, Reference] = {}
        self._tallies = []
        for name, predictor in predictors.items():
            if (reference := _reference(name, predictor)) is not None:
                artifact = Artifact.of(name, predictor.model)
                tally = Tally(artifact, reference)
                predictor.observe = tally.observe
                self._references[artifact] = reference
                self._tallies.append(tally)
        self._fault: str | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        if self._tallies:
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Write what was counted, and stop."""
        self._closed.set()
        if self._tallies:
            self._thread.join(timeout)

    def _run(self) -> None:
        is_closed, wait = False, WRITE_INTERVAL
        while not is_closed:
            is_closed = self._closed.wait(wait)
            wait = WRITE_INTERVAL
            started = time.monotonic()
            try:
                for tally in self._tallies:
                    tally.write(self._database)
                if self._refresh is not None and not is_closed:
                    self._refresh(self._references)
            except Exception as error:  # noqa: BLE001  it is tried again
                reason = describe(error)
                if self._fault is None:
                    LOGGER.error("the counts for drift are not written", extra={"fields": {"reason": reason}})
                self._fault = reason
            else:
                if self._fault is not None:
                    LOGGER.warning("the counts for drift are written again")
                self._fault = None
                took = time.monotonic() - started
                wait = min(max(WRITE_INTERVAL, took / MOST_WRITING), LONGEST_INTERVAL)


def _reference(name: str, predictor: Predictor) -> Reference | None:
    try:
        return load_reference(predictor.model)
    except Exception as error:  # noqa: BLE001  predictions do not need it
        fields = {"model": name, "reason": f"{type(error).__name__}: {error}"}
        LOGGER.error("the model's reference cannot be read: its drift is not told", extra={"fields": fields})
        return None
