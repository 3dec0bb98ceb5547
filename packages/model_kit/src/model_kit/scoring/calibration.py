"""Calibration of probabilities: a monotone table of log-odds for each class, fitted on out-of-fold probabilities.

It is applied in float64 after the graph. Four candidates are compared by the log loss of rows that they were not fitted
on, and the simplest wins where there is no difference: none; one straight line for all classes, which leaves the order
of the classes, and so the most probable one, as it is; a line for each class (Platt 1999, "Probabilistic outputs for
support vector machines"); a monotone table for each (Zadrozny and Elkan 2002, "Transforming classifier scores into
accurate multiclass probability estimates"), with a point for each of up to 20 groups of rows and lines between. None is
taken that gets fewer of these rows right than the uncalibrated probabilities do, by more than chance and a
two-hundredth.

Log-odds before and after stay within what so many rows can show, log(2 n + 1), half a row in n: an estimator that says
0 or 1, a single tree for instance, gets the rate at which it is right. Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.scoring.class_assessment import SMALLEST
from model_kit.scoring.classes import MOST_LOG_ODDS, Probabilities, log_odds, sigmoid, two_classes

Numbers: TypeAlias = NDArray[np.float64]
#: Pairs of log-odds before and after, both ascending: at least two, or none where nothing is corrected.
Points: TypeAlias = list[list[float]]

#: (log-odds of each class, which class it is, most log-odds) -> a table for each class, for two of the second only.
#: The first two have the shape (n_rows, n_classes).
Fit: TypeAlias = Callable[[Numbers, NDArray[np.bool_], float], list[Points]]

#: Groups of rows that a monotone table has a point for, at most, and rows for each of them.
MOST_POINTS: Final = 20
ROWS_PER_POINT: Final = 50
#: With fewer rows than this no class has a line or table of its own: these would be fitted to chance.
MIN_ROWS: Final = 200
#: Improvement of the log loss, relative, from which on a more complex table is taken.
WORTH: Final = 0.002
#: Share of the rows by which fewer may be right, for probabilities that are better in the mean.
SPARE: Final = 0.005
#: Lowest slope of a table, and its rise beyond what the rows can show: no two different scores become one.
LOWEST_SLOPE: Final = 0.002
RISE_BEYOND: Final = 0.01
#: Log-odds of which the standard deviation is less are all the same.
LEAST_SPREAD: Final = 1e-4
N_PARTS: Final = 5
SEED: Final = 20240
#: Bins of the reliability curve.
N_BINS: Final = 10


class Calibration:
    """Corrects probabilities; one without tables returns them as they are.

    Args:
        tables: the card's ``calibration``: for each class its points, for two classes those of the second only.

    Attributes:
        tables: for each of these the log-odds before and after, up to the largest there are.
    """

    def __init__(self, tables: Sequence[Points] | None) -> None:
        self.tables = [_extended(points) for points in tables or []]

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Calibration:
        """Create the calibration of a trained model from its card."""
        return cls((card.get("calibration") or {}).get("tables"))

    def __call__(self, probabilities: Probabilities) -> Probabilities:
        """Correct ``probabilities``, shape (n_rows, n_classes); rows sum to 1 again."""
        if not self.tables:
            return probabilities
        if len(self.tables) == 1:
            return self.of_log_odds(log_odds(probabilities[:, 1]))
        odds = log_odds(probabilities)
        each = [sigmoid(np.interp(odds[:, position], *table)) for position, table in enumerate(self.tables)]
        found = np.column_stack(each)
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def of_log_odds(self, second: NDArray[np.float64]) -> Probabilities:
        """Corrected probabilities of two classes, from the log-odds of the second, shape (n_rows,)."""
        return two_classes(sigmoid(np.interp(second, *self.tables[0]) if self.tables else second))


UNCALIBRATED: Final = Calibration(None)


def _extended(points: Sequence[Sequence[float]]) -> tuple[Numbers, Numbers]:
    """Log-odds before and after, up to the largest there are: beyond the ends with the slope of the outermost lines."""
    if not len(points):
        points = [[-MOST_LOG_ODDS, -MOST_LOG_ODDS], [MOST_LOG_ODDS, MOST_LOG_ODDS]]
    x, y = np.array(points, np.float64).T
    low, high = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
    if x[0] > -MOST_LOG_ODDS:
        x, y = np.append(-MOST_LOG_ODDS, x), np.append(y[0] - low * (x[0] + MOST_LOG_ODDS), y)
    if x[-1] < MOST_LOG_ODDS:
        x, y = np.append(x, MOST_LOG_ODDS), np.append(y, y[-1] + high * (MOST_LOG_ODDS - x[-1]))
    return x, y


def calibrate(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, Any]:
    """Fit the calibration; returns the JSON value of a card's ``calibration``.

    Args:
        out_of_fold: shape (n_repeats, n_rows, n_classes): probabilities by models that were not trained on the row.
        truth: positions of the true classes, shape (n_rows,).

    Returns:
        ``kind``, one of :data:`FITS`; ``tables``, see :class:`Calibration`; ``log_loss`` of rows that the calibration
        was not fitted on, ``before`` and ``after`` it.
    """
    repeated = np.tile(truth, len(out_of_fold))
    losses: dict[str, float] = {}
    best, was_right = "none", np.zeros(len(repeated), np.bool_)
    for kind, fit in FITS.items():
        if len(truth) < MIN_ROWS and fit not in (_none, _common_line):
            continue
        found = cross_fitted(out_of_fold, truth, fit)
        losses[kind] = -float(np.log(np.maximum(found[np.arange(len(found)), repeated], SMALLEST)).mean())
        is_right = found.argmax(axis=1) == repeated
        if kind == "none":
            was_right = is_right
        # Of rows that change sides by chance, one side has up to a standard deviation more.
        n_lost, n_won = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
        spare = max((n_lost + n_won) ** 0.5, SPARE * len(repeated))
        if losses[kind] < losses[best] * (1 - WORTH) and n_lost - n_won <= spare:
            best = kind
    return {
        "kind": best,
        "tables": _tables(out_of_fold, truth, FITS[best]) or None,
        "log_loss": {"before": round(losses["none"], 4), "after": round(losses[best], 4)},
    }


def cross_fitted(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64], fit: Fit) -> Probabilities:
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


def _tables(out_of_fold: NDArray[np.float64], truth: NDArray[np.int64], fit: Fit) -> list[Points]:
    n_repeats, n_rows, n_classes = out_of_fold.shape
    most = float(np.log(2 * n_rows + 1))
    scores = np.clip(log_odds(out_of_fold.reshape(-1, n_classes)), -most, most)
    return fit(scores, np.tile(np.eye(n_classes, dtype=np.bool_)[truth], (n_repeats, 1)), most)


def _none(scores: Numbers, is_class: NDArray[np.bool_], most: float) -> list[Points]:  # noqa: ARG001 - see Fit
    return []


def _common_line(scores: Numbers, is_class: NDArray[np.bool_], most: float) -> list[Points]:
    """The same line for every class: an increasing function of all log-odds leaves their order as it is."""
    line = _line(scores.ravel(), is_class.ravel(), most)
    return [line] if scores.shape[1] == 2 else [line] * scores.shape[1]


def _of_each_class(fit: Callable[[Numbers, NDArray[np.bool_], float], Points]) -> Fit:
    def fit_each(scores: Numbers, is_class: NDArray[np.bool_], most: float) -> list[Points]:
        n_classes = scores.shape[1]
        positions = [1] if n_classes == 2 else range(n_classes)
        return [fit(scores[:, position], is_class[:, position], most) for position in positions]

    return fit_each


def _pooled(scores: Numbers, is_class: NDArray[np.bool_]) -> tuple[Numbers, Numbers, Numbers]:
    """The distinct scores, ascending; of each its number of rows, and of those that have the class."""
    values, place = np.unique(scores, return_inverse=True)
    n_rows, n_in = (np.asarray(np.bincount(place, one), np.float64) for one in (None, is_class))
    return values, n_rows, n_in


def _line(scores: Numbers, is_class: NDArray[np.bool_], most: float) -> Points:
    """The line that maximises the likelihood, where it is within ``most``."""
    values, n_rows, n_in = _pooled(scores, is_class)
    # Platt's targets, so that separable classes have a finite line.
    n_class, n_others = float(n_in.sum()), float(len(scores) - n_in.sum())
    wanted = (n_in * (n_class + 1) / (n_class + 2) + (n_rows - n_in) / (n_others + 2)) / n_rows
    ones = np.ones((len(values), 1))
    centre = float(np.average(values, weights=n_rows))
    spread = float(np.sqrt(np.average((values - centre) ** 2, weights=n_rows)))
    slope = 0.0
    if spread > LEAST_SPREAD:
        tilt, level = _logistic(np.column_stack([(values - centre) / spread, ones]), ones[:, 0] * 0, wanted, n_rows)
        slope, shift = tilt / spread, level - tilt * centre / spread
    if slope < LOWEST_SLOPE:
        slope = LOWEST_SLOPE
        (shift,) = _logistic(ones, slope * values, wanted, n_rows)
    x = np.clip([(-most - shift) / slope, (most - shift) / slope], -most, most)
    return _points(x, np.clip(slope * x + shift, -most, most))


def _logistic(features: Numbers, offset: Numbers, wanted: Numbers, n_rows: Numbers) -> list[float]:
    """Coefficients of a logistic regression, by Newton's method with steps that are halved until they help."""

    def loss(coefficients: Numbers) -> float:
        scores = offset + features @ coefficients
        return float(n_rows @ (np.logaddexp(0, scores) - wanted * scores))

    found = np.zeros(features.shape[1])
    lowest = loss(found)
    for _ in range(100):
        rates = sigmoid(offset + features @ found)
        weights = n_rows * np.maximum(rates * (1 - rates), 1e-9)
        step = np.linalg.solve((features.T * weights) @ features, features.T @ (n_rows * (rates - wanted)))
        size = 1.0
        while (next_ := loss(found - size * step)) > lowest and size > 1e-6:
            size /= 2
        if lowest - next_ < 1e-10 * n_rows.sum():
            break
        found, lowest = found - size * step, next_
    return [float(one) for one in found]


def _table(scores: Numbers, is_class: NDArray[np.bool_], most: float) -> Points:
    """A point for each group of rows of about equal size, by score; rates that fall are pooled.

    Rows of one score are in one group.
    """
    values, n_rows, n_in = _pooled(scores, is_class)
    n_groups = int(np.clip(len(scores) // ROWS_PER_POINT, 1, MOST_POINTS))
    place = ((np.cumsum(n_rows) - n_rows / 2) * n_groups / len(scores)).astype(np.int64)
    groups = zip(*(np.bincount(place, one) for one in (n_rows, n_in, n_rows * values)), strict=True)
    pooled: list[list[float]] = []
    for group in groups:
        if not group[0]:
            continue
        pooled.append(list(group))
        while len(pooled) > 1 and pooled[-2][1] / pooled[-2][0] >= pooled[-1][1] / pooled[-1][0]:
            last = pooled.pop()
            pooled[-1] = [one + other for one, other in zip(pooled[-1], last, strict=True)]
    x = np.array([total / n for n, _, total in pooled])
    rates = np.array([(found + 0.5) / (n + 1) for n, found, _ in pooled])
    y = np.log(rates / (1 - rates))
    # Pooling with half a row added to both sides may leave a fall in the last digits.
    y = np.clip(np.maximum.accumulate(y - LOWEST_SLOPE * x) + LOWEST_SLOPE * x, -most, most)
    if len(x) > 1:
        # The outermost lines go on to where either side is beyond what the rows can show.
        low, high = np.maximum(np.diff(y)[[0, -1]] / np.diff(x)[[0, -1]], LOWEST_SLOPE)
        first, last_ = max(-most, x[0] - (y[0] + most) / low), min(most, x[-1] + (most - y[-1]) / high)
        y = np.array([y[0] + low * (first - x[0]), *y, y[-1] + high * (last_ - x[-1])])
        x = np.array([first, *x, last_])
    return _points(x, y)


def _points(x: Numbers, y: Numbers) -> Points:
    """Points with six decimals, ascending in both, with an all but level line beyond either end."""
    points: Points = []
    for one, other in zip(
        [-MOST_LOG_ODDS, *x, MOST_LOG_ODDS], [y[0] - RISE_BEYOND, *y, y[-1] + RISE_BEYOND], strict=True
    ):
        point = [round(float(one), 6), round(float(other), 6)]
        if not points or (point[0] > points[-1][0] and point[1] > points[-1][1]):
            points.append(point)
    return points


#: How tables are made, the simplest first.
FITS: Final[Mapping[str, Fit]] = {
    "none": _none,
    "common": _common_line,
    "line": _of_each_class(_line),
    "table": _of_each_class(_table),
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
