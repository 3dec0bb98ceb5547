"""Counts what becomes of a candidate's rows, in a file of its runner that all workers read."""

from __future__ import annotations

from pathlib import Path

from ml_api.metrics.recorder import Family, Totals

SHADOW_ROWS = Family("shadow_rows", "Rows for a shadow, by what became of them", "model", "result")
RESTARTS = Family("candidate_restarts", "Times that the process of a candidate was started again", "kind", "model")
#: What becomes of the rows of a shadow.
RESULTS = ("sent", "scored", "failed", "dropped", "recorded", "not_recorded")


class CandidateCounter:
    """Counts for one runner; the one that replaces it continues.

    Args:
        folder: where the files are.
        kind: of the candidate.
        number: of the candidate, among those of its kind.
        model: its name.
    """

    def __init__(self, folder: Path, kind: str, number: int, model: str) -> None:
        self._totals = Totals(folder / f"counter_{kind}-{number}.db")
        keys = {"restart": RESTARTS.key(kind, model)}
        if kind == "shadow":
            keys |= {result: SHADOW_ROWS.key(model, result) for result in RESULTS}
        self._indices = {name: self._totals.index(key) for name, key in keys.items()}

    def __call__(self, name: str, n: int) -> None:
        """Add to ``restart``, or to one of ``RESULTS``."""
        self._totals.values[self._indices[name]] += n
