"""The reference of a bundle: how training's rows were spread over cells, and the same count of rows that are scored.

Training and serving count the encoded matrix with the same functions, so that a value falls into the same cell in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded
from model_kit.records.row_warnings import number
from model_kit.scoring.classes import decide
from model_kit.spec import RARE, Field, InputSpec, Learned, Target
from model_kit.spec.dates import days_to_iso

#: Names of the distributions that are not of fields.
PREDICTION: Final = "(prediction)"
PROBABILITY: Final = "(probability)"
#: Counts before those of the cells: rows without a value, and with one that training never saw.
N_OTHERS: Final = 2
OTHER: Final = "(other)"


def bins_of(values: NDArray[Any], edges: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each value, shape (n,); an edge is the upper end of its bin, inclusive.

    They are compared in float32: a client that keeps numbers so sends another value than training saw.
    """
    return np.searchsorted(np.asarray(edges, np.float32), values.astype(np.float32))


def shown_probability(probabilities: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """The probability whose distribution the reference has: of two classes that of the positive one, else the largest.

    Args:
        probabilities: shape (n, n_classes).
        target: of the model.
    """
    if len(target.classes) == 2:
        return probabilities[:, target.positive_position]
    found: NDArray[np.float64] = probabilities.max(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the reference says of a field, or of the predictions.

    Attributes:
        name: of the field, ``PREDICTION`` or ``PROBABILITY``.
        labels: of the cells.
        counts: training's rows in each cell.
        missing: share of training's rows without a value; ``None`` of predictions, which have one.
        unknown: share of rows with a value that training never saw (another level, outside its range) up to which it
            is no drift; ``None``: there is no such value, or the reference does not say.
        has_levels: the cells are levels, the last one all others; else bins in their order.
        has_trend: a date or datetime: new rows are always later than training's.
        edges: inner edges of the bins.
        low, high: range of a number in training.
        cells: code of a level, or position of a class -> cell.
    """

    name: str
    labels: tuple[str, ...]
    counts: tuple[float, ...]
    missing: float | None = None
    unknown: float | None = None
    has_levels: bool = False
    has_trend: bool = False
    edges: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    cells: Mapping[int, int] = field(default_factory=dict)

    def count(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Count encoded values, shape (n,): rows without a value, with an unknown one, and in each cell."""
        if self.has_levels:
            lowest = min(self.cells, default=0)
            table = np.full(max(self.cells, default=0) - lowest + 3, 1)
            for code, cell in self.cells.items():
                table[code - lowest + 1] = N_OTHERS + cell
            # Codes that training did not see are below or above the others.
            places = np.nan_to_num(values, nan=lowest - 1).clip(lowest - 1, lowest + len(table) - 2) - lowest + 1
            found = table[places.astype(np.int64)]
        else:
            found = bins_of(values, self.edges) + N_OTHERS
            narrow = values.astype(np.float32)
            found[(narrow < np.float32(self.low)) | (narrow > np.float32(self.high))] = 1
        found[np.isnan(values)] = 0
        return np.bincount(found, minlength=N_OTHERS + len(self.labels))


class Reference:
    """All distributions of a model's reference; built once per model.

    Args:
        document: the content of ``reference.json``.
        spec: the fitted spec.

    Attributes:
        rows: training's.
        distributions: of the fields that the reference has, and of predictions.
    """

    def __init__(self, document: Mapping[str, Any], spec: InputSpec) -> None:
        self.rows: int = document["rows"]
        self._target = spec.target
        found = {}
        for column, one in enumerate(spec.fields):
            if (entry := document["fields"].get(one.name)) is not None:
                found[column] = _of_field(one, spec.learned[one.name], entry, self.rows)
        self._columns = found
        self._of_scores = [
            _of_predictions(name, document[key], spec.target)
            for name, key in ((PREDICTION, "prediction"), (PROBABILITY, "probability"))
            if document.get(key) is not None
        ]
        self.distributions: tuple[Distribution, ...] = (*found.values(), *self._of_scores)

    def count(self, encoded: Encoded, scores: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        """Name of a distribution -> counts of the rows, as :meth:`Distribution.count` has them.

        Args:
            encoded: shape (n, n_columns).
            scores: what the model gives for these rows: predictions, or probabilities of shape (n, n_classes).
        """
        columns = np.ascontiguousarray(encoded.T)
        counts = {one.name: one.count(columns[column]) for column, one in self._columns.items()}
        # A prediction that is not finite is an error of its row.
        scores = scores[np.isfinite(scores).all(axis=1) if scores.ndim == 2 else np.isfinite(scores)]
        for one in self._of_scores:
            if one.name == PROBABILITY:
                values = shown_probability(scores, self._target)
            elif self._target.is_class:
                values = decide(scores, self._target).astype(np.float64)
            else:
                values = scores
            counts[one.name] = one.count(values)
        return counts


def load_reference(model: Any) -> Reference | None:
    """The reference of a :class:`~model_kit.scoring.protocol.Model`; ``None`` if it has none."""
    document = getattr(model, "reference", None)
    if not document or not document.get("fields"):
        return None
    return Reference(document, model.spec)


def _of_field(one: Field, learned: Learned, entry: Mapping[str, Any], rows: int) -> Distribution:
    if "levels" in entry:
        # As often as a new level is expected that training did not see: no oftener than those that it saw rarely.
        codes = learned.codes or {}
        unknown = min(1.0, (1 + len(codes.keys() - entry["levels"].keys())) / rows)
        levels = {level: count for level, count in entry["levels"].items() if _own_code(one, codes.get(level))}
        labels, counts = (*levels, OTHER), [*levels.values(), entry["other"]]
        counts[-1] += sum(count for level, count in entry["levels"].items() if level not in levels)
        places = {level: cell for cell, level in enumerate(levels)}
        cells = {code: places.get(level, len(levels)) for level, code in codes.items()}
        return Distribution(one.name, labels, tuple(counts), learned.missing, unknown, has_levels=True, cells=cells)
    unknown_share = None
    if one.kind != "text":
        # Of two more values than training had, one is below its lowest and one above its highest.
        unknown_share = 2 / rows
    elif "unknown" in entry:
        unknown_share = (entry["unknown"] + 2) / rows
    edges = tuple(entry["edges"])
    texts = [days_to_iso(one, edge) if one.is_temporal else number(edge) for edge in edges]
    return Distribution(
        one.name,
        _bin_labels(texts),
        tuple(entry["counts"]),
        learned.missing,
        unknown_share,
        has_trend=one.is_temporal,
        edges=edges,
        # A text without a known word has the number 0.
        low=1 if one.kind == "text" else -np.inf if learned.low is None else learned.low,
        high=np.inf if learned.high is None else learned.high,
    )


def _own_code(one: Field, code: int | None) -> bool:
    """Whether encoding tells a level from all others."""
    return code is not None and (code != RARE or one.kind == "boolean")


def _of_predictions(name: str, entry: Mapping[str, Any], target: Target) -> Distribution:
    if "levels" in entry:
        labels, counts = (*entry["levels"], OTHER), (*entry["levels"].values(), entry["other"])
        places = {level: cell for cell, level in enumerate(entry["levels"])}
        cells = {position: places.get(key, len(places)) for position, key in enumerate(target.keys)}
        return Distribution(name, labels, counts, has_levels=True, cells=cells)
    edges = tuple(entry["edges"])
    return Distribution(name, _bin_labels([number(edge) for edge in edges]), tuple(entry["counts"]), edges=edges)


def _bin_labels(edges: Sequence[str]) -> tuple[str, ...]:
    if not edges:
        return ("all",)
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return (f"up to {edges[0]}", *between, f"above {edges[-1]}")
