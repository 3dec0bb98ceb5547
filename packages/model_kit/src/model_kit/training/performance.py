"""How far out-of-fold predictions are from the truth, beside a naive guess: aggregates for the card, never a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.scoring.classes import decide
from model_kit.spec import Target
from model_kit.training.evaluation import calibrated
from model_kit.training.reference import FEWEST, merged_bins, round_ends

Numbers = NDArray[np.float64]

#: Relative errors below which the share of predictions is told.
WITHIN: Final = (0.05, 0.1, 0.2)
#: Rows for each column, and each cell of it, of a two-dimensional histogram, and how many there are at most.
ROWS_PER_COLUMN: Final = 60
MOST_COLUMNS: Final = 18
MOST_CELLS: Final = 36
#: Share of the errors beyond either end of their axis.
BEYOND: Final = 0.01
#: Digits of a number that is told.
DIGITS: Final = 4


def performance(
    rows: NDArray[np.int64], out_of_fold: Numbers, truth: NDArray[Any], target: Target
) -> dict[str, Any] | None:
    """Compare out-of-fold predictions with the truth and with a guess that is the same for every row.

    Args:
        rows: positions of the rows that were predicted.
        out_of_fold: shape (n_repeats, n_predicted), in the target's unit; of classes probabilities, before calibration,
            shape (n_repeats, n_predicted, n_classes).
        truth: of all rows, shape (n_rows,).
        target: what is predicted.

    Returns:
        ``guess``: the median, or the most frequent class; ``overall`` and ``thirds`` by prediction (of classes by the
        probability of the predicted one), each with ``rows``, the model's errors and the guess's; ``edges`` between
        the thirds. Of a number ``mae`` and ``relative`` (the median; ``None`` where a true value is not positive),
        ``within`` (shares of the predictions with a smaller relative error), and two histograms over predictions:
        ``true``, of true values, and ``error``, of relative errors on the log scale, else of errors. Of classes
        ``accuracy`` and ``probability``, the mean one of the predicted class. ``None`` for fewer than 10 rows.
    """
    if len(rows) < FEWEST:
        return None
    if target.is_class:
        return _of_classes(calibrated(out_of_fold, truth[rows]), truth[rows], target)
    return _of_numbers(out_of_fold, truth[rows], target)


def _of_numbers(out_of_fold: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    n_repeats = len(out_of_fold)
    guess = _rounded(float(np.median(truth)))
    predicted, actual = out_of_fold.ravel(), np.tile(truth, n_repeats)
    off, naive = np.abs(predicted - actual), np.abs(guess - actual)
    is_relative = bool((truth > 0).all())

    def errors(chosen: NDArray[Any] | slice) -> dict[str, Any]:
        found: dict[str, Any] = {"rows": round(len(off[chosen]) / n_repeats)}
        for name, values in (("", off), ("guess_", naive)):
            found[f"{name}mae"] = float(values[chosen].mean())
            found[f"{name}relative"] = float(np.median(values[chosen] / actual[chosen])) if is_relative else None
        return found

    edges, thirds = _thirds(predicted, n_repeats)
    log = target.scale == "log"
    shown = predicted / actual - 1 if log else predicted - actual
    limit = _rounded(float(np.quantile(np.abs(shown), 1 - BEYOND)), 2)
    low, high = round_ends(truth)
    return {
        "guess": guess,
        "overall": errors(slice(None)),
        "edges": edges,
        "thirds": [errors(third) for third in thirds],
        "within": [{"relative": limit, "share": float((off / actual < limit).mean())} for limit in WITHIN]
        if is_relative
        else None,
        "true": _histogram(predicted, actual, (low, high), (low, high), n_repeats, log=(log, log)),
        "error": _histogram(predicted, shown, (low, high), (-limit, limit), n_repeats, log=(log, False)),
    }


def _of_classes(found: Numbers, truth: NDArray[np.int64], target: Target) -> dict[str, Any]:
    n_repeats = len(found)
    pooled, actual = found.reshape(-1, found.shape[2]), np.tile(truth, n_repeats)
    chosen = decide(pooled, target)
    sure = pooled[np.arange(len(pooled)), chosen]
    guess = int(np.bincount(truth).argmax())
    right, naive = np.equal(chosen, actual), np.equal(guess, actual)

    def shares(rows: NDArray[Any] | slice) -> dict[str, Any]:
        return {
            "rows": round(len(right[rows]) / n_repeats),
            "accuracy": float(right[rows].mean()),
            "probability": float(sure[rows].mean()),
            "guess_accuracy": float(naive[rows].mean()),
        }

    edges, thirds = _thirds(sure, n_repeats)
    return {
        "guess": target.classes[guess],
        "overall": shares(slice(None)),
        "edges": edges,
        "thirds": [shares(third) for third in thirds],
    }


def _thirds(values: Numbers, n_repeats: int) -> tuple[list[float], list[NDArray[np.int64]]]:
    """Edges between the thirds of ``values``, and the positions of each; none where a third has too few rows."""
    if len(values) < 3 * FEWEST * n_repeats:
        return [], []
    thirds = np.array_split(np.argsort(values, kind="stable"), 3)
    edges = [_rounded(float(values[third[0]])) for third in thirds[1:]]
    return edges, list(thirds)


def _histogram(
    predicted: Numbers,
    values: Numbers,
    predicted_ends: tuple[float, float],
    ends: tuple[float, float],
    n_repeats: int,
    *,
    log: tuple[bool, bool],
) -> dict[str, Any] | None:
    """Count rows by prediction, in columns, and by another value, in the cells of a column.

    What is beyond the ends counts in the outer cells. Neighbouring cells of fewer than 10 rows are merged, and empty
    ones at either end of a column left out.

    Returns:
        ``edges`` of the columns, and for each of ``columns`` its own ``edges`` and ``counts``, means over the repeats.
        ``None`` where there is nothing to draw.
    """
    n_rows = len(values) // n_repeats
    n_columns = int(np.clip(n_rows // ROWS_PER_COLUMN, 1, MOST_COLUMNS))
    if predicted_ends[0] >= predicted_ends[1] or ends[0] >= ends[1] or n_rows < 3 * FEWEST:
        return None
    across = _edges(predicted_ends, n_columns, log=log[0])
    up = _edges(ends, min(2 * n_columns, MOST_CELLS), log=log[1])
    place = np.searchsorted(across[1:-1], predicted, side="right")
    merged = merged_bins(np.bincount(place, minlength=n_columns).tolist(), across[1:-1].tolist(), n_repeats)
    across = np.array([across[0], *merged["edges"], across[-1]])
    place = np.searchsorted(across[1:-1], predicted, side="right")
    columns = []
    for column in range(len(across) - 1):
        cell = np.searchsorted(up[1:-1], values[place == column], side="right")
        columns.append(_cells(np.bincount(cell, minlength=len(up) - 1), up, n_repeats))
    return {"edges": [_rounded(edge) for edge in across.tolist()], "columns": columns}


def _cells(counts: NDArray[np.int64], edges: Numbers, n_repeats: int) -> Mapping[str, Sequence[float]]:
    filled = np.flatnonzero(counts)
    if not len(filled):
        return {"edges": [], "counts": []}
    low, high = int(filled[0]), int(filled[-1]) + 1
    merged = merged_bins(counts[low:high].tolist(), edges[low + 1 : high].tolist(), n_repeats)
    return {
        "edges": [_rounded(edge) for edge in (float(edges[low]), *merged["edges"], float(edges[high]))],
        "counts": merged["counts"],
    }


def _edges(ends: tuple[float, float], n_cells: int, *, log: bool) -> Numbers:
    return np.geomspace(*ends, n_cells + 1) if log else np.linspace(*ends, n_cells + 1)


def _rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")
