"""Calibration of probabilities: a monotone table of log-odds for each class, fitted on out-of-fold probabilities.

It is applied in float64 after the graph. Three candidates are compared by the log loss of rows that they were not
fitted on, and the simplest wins where there is no difference: none; a straight line (Platt 1999, "Probabilistic outputs
for support vector machines"); a monotone table (Zadrozny and Elkan 2002, "Transforming classifier scores into accurate
multiclass probability estimates"), with a point for each of up to 20 groups of rows and lines between. Needs numpy
only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.scoring.classes import MOST_LOG_ODDS, Probabilities, log_odds

Numbers: TypeAlias = NDArray[np.float64]
#: Pairs of log-odds before and after, both ascending: at least two, or none where nothing is corrected.
Points: TypeAlias = list[list[float]]

#: Groups of rows that a monotone table has a point for, at most, and rows for each of them.
MOST_POINTS: Final = 20
ROWS_PER_POINT: Final = 50
#: Fewer rows than this are not calibrated: two parameters would be fitted to chance.
MIN_ROWS: Final = 200
#: Improvement of the log loss, relative, from which on a more complex table is taken.
WORTH: Final = 0.002
#: Lowest slope of a table: no two different scores become one.
LOWEST_SLOPE: Final = 0.02
N_PARTS: Final = 5
SEED: Final = 20240
#: Bins of the reliability curve.
N_BINS: Final = 10


class Calibration:
    """Corrects probabilities; one without tables returns them as they are.

    Args:
        tables: the card's ``calibration``: for each class its points, for two classes those of the second only.
    """

    def __init__(self, tables: Sequence[Points] | None) -> None:
        self._tables = [np.array(points, np.float64) for points in tables or []]

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Calibration:
        """Create the calibration of a trained model from its card."""
        return cls((card.get("calibration") or {}).get("tables"))

    def __call__(self, probabilities: Probabilities) -> Probabilities:
        """Correct ``probabilities``, shape (n_rows, n_classes); rows sum to 1 again."""
        if not self._tables:
            return probabilities
        if len(self._tables) == 1:
            second = _sigmoid(_apply(self._tables[0], log_odds(probabilities[:, 1])))
            return np.column_stack([1 - second, second])
        each = [
            _sigmoid(_apply(table, log_odds(probabilities[:, position]))) for position, table in enumerate(self._tables)
        ]
        found = np.column_stack(each)
        return np.asarray(found / found.sum(axis=1, keepdims=True))


UNCALIBRATED: Final = Calibration(None)


def _apply(points: Numbers, scores: Numbers) -> Numbers:
    """Interpolate between points; beyond the ends with the slope of the outermost lines."""
    if not len(points):
        return scores
    x, y = points.T
    found: Numbers = np.interp(scores, x, y)
    for end, next_, beyond in ((0, 1, scores < x[0]), (-1, -2, scores > x[-1])):
        slope = (y[end] - y[next_]) / (x[end] - x[next_])
        found = np.where(beyond, y[end] + slope * (scores - x[end]), found)
    return found


def _sigmoid(scores: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-np.clip(scores, -MOST_LOG_ODDS, MOST_LOG_ODDS)))


def calibrate(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, Any] | None:
    """Fit the calibration; returns the JSON value of a card's ``calibration``, ``None`` for too few rows.

    Args:
        out_of_fold: shape (n_repeats, n_rows, n_classes): probabilities by models that were not trained on the row.
        truth: positions of the true classes, shape (n_rows,).

    Returns:
        ``kind``: ``"none"``, ``"line"`` or ``"table"``; ``tables``, see :class:`Calibration`.
    """
    if len(truth) < MIN_ROWS:
        return None
    best, kept, loss = "none", None, np.inf
    for kind, fit in FITS.items():
        found = _loss(cross_fitted(out_of_fold, truth, fit), np.tile(truth, len(out_of_fold)))
        if found < loss * (1 - WORTH):
            best, loss = kind, found
            kept = fit
    tables = kept and _tables(out_of_fold, truth, kept)
    return {"kind": best, "tables": tables if tables and any(tables) else None}


def cross_fitted(
    out_of_fold: NDArray[np.float64], truth: NDArray[np.int64], fit: Callable[[Numbers, NDArray[np.bool_]], Points]
) -> Probabilities:
    """Out-of-fold probabilities corrected by tables that were fitted on other rows.

    Returns:
        Shape (n_repeats * n_rows, n_classes), repeat by repeat.
    """
    part = np.random.default_rng(SEED).permutation(len(truth)) % N_PARTS
    found = np.empty_like(out_of_fold)
    for number in range(N_PARTS):
        own = part == number
        calibration = Calibration(_tables(out_of_fold[:, ~own], truth[~own], fit))
        for repeat, probabilities in enumerate(out_of_fold):
            found[repeat, own] = calibration(probabilities[own])
    return found.reshape(-1, out_of_fold.shape[2])


def _tables(
    out_of_fold: NDArray[np.float64], truth: NDArray[np.int64], fit: Callable[[Numbers, NDArray[np.bool_]], Points]
) -> list[Points]:
    n_repeats, _, n_classes = out_of_fold.shape
    return [
        fit(log_odds(out_of_fold[..., position].ravel()), np.tile(truth == position, n_repeats))
        for position in ([1] if n_classes == 2 else range(n_classes))
    ]


def _loss(probabilities: Probabilities, truth: NDArray[np.int64]) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-15)).mean())


def _no_points(scores: Numbers, is_class: NDArray[np.bool_]) -> Points:  # noqa: ARG001 - what a fit takes
    return []


def _line(scores: Numbers, is_class: NDArray[np.bool_]) -> Points:
    """Two points of the line that maximises the likelihood, by Newton's method."""
    # Platt's targets, so that separable classes have a finite line.
    n_in = int(is_class.sum())
    wanted = np.where(is_class, (n_in + 1) / (n_in + 2), 1 / (len(scores) - n_in + 2))
    slope, shift = 1.0, 0.0
    for _ in range(50):
        found = _sigmoid(slope * scores + shift)
        error, weight = found - wanted, np.maximum(found * (1 - found), 1e-12)
        gradient = np.array([error @ scores, error.sum()])
        cross = weight @ scores
        hessian = np.array([[weight @ scores**2, cross], [cross, weight.sum()]]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        slope, shift = slope - step[0], shift - step[1]
        if np.abs(step).max() < 1e-8:
            break
    slope = max(float(slope), LOWEST_SLOPE)
    if not np.isfinite([slope, shift]).all():
        return []
    return _rounded([-1.0, 1.0], [shift - slope, shift + slope])


def _table(scores: Numbers, is_class: NDArray[np.bool_]) -> Points:
    """A point for each group of rows of about equal size, by score; rates that fall are pooled."""
    n_groups = int(np.clip(len(scores) // ROWS_PER_POINT, 1, MOST_POINTS))
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, n_groups)
    groups = [[len(rows), float(is_class[rows].sum()), float(scores[rows].sum())] for rows in parts]
    pooled: list[list[float]] = []
    for group in groups:
        pooled.append(list(group))
        while len(pooled) > 1 and pooled[-2][1] / pooled[-2][0] >= pooled[-1][1] / pooled[-1][0]:
            last = pooled.pop()
            pooled[-1] = [one + other for one, other in zip(pooled[-1], last, strict=True)]
    x = np.array([total / n for n, _, total in pooled])
    rates = np.array([(n_in + 0.5) / (n + 1) for n, n_in, _ in pooled])
    y = np.log(rates / (1 - rates))
    if len(x) < 2 or (np.diff(x) <= 0).any():
        return []
    # Pooling with half a row added to both sides may leave a fall in the last digits.
    y = np.maximum.accumulate(y - LOWEST_SLOPE * x) + LOWEST_SLOPE * x
    return _rounded(x.tolist(), y.tolist())


def _rounded(x: Sequence[float], y: Sequence[float]) -> Points:
    """Points with four decimals, ascending in both."""
    points: Points = []
    for one, other in zip(x, y, strict=True):
        point = [round(float(one), 4), round(float(other), 4)]
        if not points or (point[0] > points[-1][0] and point[1] > points[-1][1]):
            points.append(point)
    return points if len(points) > 1 else []


#: How tables are made, the simplest first.
FITS: Final[Mapping[str, Callable[[Numbers, NDArray[np.bool_]], Points]]] = {
    "none": _no_points,
    "line": _line,
    "table": _table,
}


def reliability(probabilities: Numbers, happened: NDArray[np.bool_]) -> dict[str, Any]:
    """How often what was said to be probable happened.

    Args:
        probabilities: of one class, shape (n,).
        happened: whether the row has that class, shape (n,).

    Returns:
        ``bins``: for each tenth of probability that has rows ``n``, the mean ``predicted`` probability and the
        ``observed`` rate; ``error``: the expected calibration error, the mean difference of both over the rows.
    """
    bins = []
    error = 0.0
    place = np.minimum((probabilities * N_BINS).astype(np.int64), N_BINS - 1)
    for number in range(N_BINS):
        rows = place == number
        if rows.any():
            predicted, observed = float(probabilities[rows].mean()), float(happened[rows].mean())
            bins.append({"n": int(rows.sum()), "predicted": round(predicted, 4), "observed": round(observed, 4)})
            error += float(rows.mean()) * abs(predicted - observed)
    return {"bins": bins, "error": round(error, 4)}
