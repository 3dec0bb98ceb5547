"""Prediction intervals, calibrated on the errors of out-of-fold predictions.

Split-conformal, Mondrian by the predicted value (Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*,
2005, section 4.5): the rows are divided into bins by their predictions, and each bin has the quantiles of its own
absolute errors on the estimator's scale, because errors depend on the predicted value. Needs numpy only, because it
runs where a model is served.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import IntervalError
from model_kit.spec import Target

Numbers: TypeAlias = NDArray[np.float64]
#: Lower and upper bounds at the levels of the coverage table, shape (2, n_levels, n_rows).
Ranges: TypeAlias = NDArray[np.float64]

#: Calibrated levels; between them widths are interpolated, which makes intervals slightly wider.
LEVELS: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: Range of levels. Above it a bin has too few errors: at the highest level 5 % of them are outside.
LOWEST, HIGHEST = LEVELS[0], LEVELS[-1]
#: The largest finite number.
LARGEST: Final = float(np.finfo(np.float64).max)
#: Levels in the coverage table.
REPORTED_LEVELS: Final = (0.5, 0.8, 0.9, 0.95)
MOST_BINS: Final = 5
#: Rows per bin. Measured on parts of the Ames data, coverage of 90 % intervals by third of the prediction: 200 rows in
#: one bin .87, .94, .91, in three bins .90, .91, .91, with the same variation between parts (.02).
ROWS_PER_BIN: Final = 60
#: Minimum number of rows: with fewer, the 95 % quantile would be one of the two largest errors.
MIN_RESIDUALS: Final = 40
#: Reason why there are no higher levels, for error messages.
LEVELS_REASON: Final = "beyond, too few errors are left to calibrate on"
#: Significant digits of the bins' edges, relative to the spread of the predictions.
EDGE_DIGITS: Final = 3
#: Share of the predictions at either end that the spread leaves out.
TAIL: Final = 0.01
#: Rounds a width up to so few digits that it does not reveal the error of a training row.
_UP: Final = Context(prec=4, rounding=ROUND_CEILING)
#: Number of parts for :func:`cross_fitted`, and the seed of their permutation.
N_PARTS: Final = 10
SEED: Final = 20240


def calibrate(out_of_fold: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    """Calibrate intervals; returns the JSON value of a card's ``intervals``.

    The errors of all repeats are pooled, which reduces variance. They are strongly correlated, so the finite-sample
    correction counts each row once.

    Args:
        out_of_fold: shape (n_repeats, n_rows), in the target's unit: predictions by models that were not trained on the
            row.
        truth: shape (n_rows,), in the target's unit.
        target: has the estimator's scale.

    Returns:
        ``rows``; ``levels``; ``edges`` of the bins in the target's unit, each belonging to the bin above; ``widths``:
        for each bin and level the half-width of an interval on the estimator's scale.
    """
    n_repeats, n_rows = out_of_fold.shape
    predictions = out_of_fold.ravel()
    errors = _errors(out_of_fold, truth, target).ravel()
    edges = _edges(predictions, int(np.clip(n_rows // ROWS_PER_BIN, 1, MOST_BINS)), n_repeats)
    part = np.searchsorted(edges, predictions, side="right")
    widths = [_quantiles(errors[part == number], n_repeats) for number in range(len(edges) + 1)]
    return {"rows": n_rows, "levels": list(LEVELS), "edges": edges, "widths": widths}


def _errors(predictions: Numbers, truth: Numbers, target: Target) -> Numbers:
    """Compute absolute errors on the estimator's scale."""
    errors: Numbers = np.abs(np.log(predictions / truth) if target.scale == "log" else predictions - truth)
    return errors


def _edges(predictions: Numbers, n_bins: int, n_repeats: int) -> list[float]:
    """Compute edges of bins of about equal size; fewer if values repeat, so that every bin has enough rows."""
    fewest = MIN_RESIDUALS * n_repeats
    edges: list[float] = []
    n_before = 0
    for edge in _parted(predictions, n_bins):
        n_below = int((predictions < edge).sum())
        if n_below - n_before >= fewest and len(predictions) - n_below >= fewest:
            edges.append(edge)
            n_before = n_below
    return edges


def _parted(predictions: Numbers, n_parts: int) -> list[float]:
    """Compute edges of parts of about equal size, rounded so that none reveals the prediction of a row."""
    quantiles = np.quantile(predictions, np.arange(1, n_parts) / n_parts).tolist()
    # Of most predictions: the spread of all may be that of an outlier, beside which the quantiles would be one number.
    spread = float(np.subtract(*np.quantile(predictions, [1 - TAIL, TAIL]))) or float(np.ptp(predictions))
    digits = EDGE_DIGITS - math.floor(math.log10(spread)) if spread else 0
    return sorted({round(quantile, digits) for quantile in quantiles})


def _quantiles(errors: Numbers, n_repeats: int) -> list[float]:
    """Compute the quantiles of a bin's errors at ``LEVELS``, rounded up."""
    n_rows = len(errors) / n_repeats
    # A new row adds an error to the n of calibration, and each of the n + 1 is equally likely to be the largest.
    corrected = np.minimum(1, np.array(LEVELS) * (n_rows + 1) / n_rows)
    return [float(_UP.create_decimal(width)) for width in np.quantile(errors, corrected).tolist()]


class Intervals:
    """Prediction intervals.

    Attributes:
        edges: see :func:`calibrate`.
        widths: see :func:`calibrate`; shape (n_bins, n_levels).
    """

    def __init__(self, calibration: Mapping[str, Any], target: Target) -> None:
        self.edges = np.array(calibration["edges"], np.float64)
        self.widths = np.array(calibration["widths"], np.float64)
        self._levels = calibration["levels"]
        self._is_log = target.scale == "log"
        # Half of the time of a row.
        self._at_level = lru_cache(maxsize=16)(self._interpolate)

    @classmethod
    def from_card(cls, card: Mapping[str, Any], target: Target) -> Intervals:
        """Create the intervals of a trained model from its card.

        Raises:
            IntervalError: the model has none; the message says why.
        """
        calibration = card.get("intervals")
        if calibration:
            return cls(calibration, target)
        why = "it was trained before there were any: train it again"
        if not card.get("evaluated"):
            why = "it was trained without cross-validation"
        elif "intervals" in card:
            why = f"it was evaluated on {card['data']['rows']} rows, and they take {MIN_RESIDUALS}"
        raise IntervalError(f"this model has no calibrated intervals: {why}")

    def __call__(self, predictions: Numbers, level: float) -> tuple[Numbers, Numbers]:
        """Compute intervals that contain the true value with probability ``level``: lower and upper bounds.

        The prediction is within its interval, and a higher level never gives a narrower interval.

        Args:
            predictions: shape (n_rows,), in the target's unit, finite.
            level: from ``LOWEST`` to ``HIGHEST``.

        Raises:
            IntervalError: ``level`` is outside of this range.
        """
        if not LOWEST <= level <= HIGHEST:
            raise IntervalError(f"the level of an interval is from {LOWEST} to {HIGHEST}, not {level}: {LEVELS_REASON}")
        below, above = self._at_level(level)
        bins = np.searchsorted(self.edges, predictions, side="right")
        move = np.multiply if self._is_log else np.add
        with np.errstate(over="ignore"):
            low, high = move(predictions, below[bins]), move(predictions, above[bins])
        # A bound may overflow near the largest float.
        return np.maximum(low, -LARGEST), np.minimum(high, LARGEST)

    def _interpolate(self, level: float) -> tuple[Numbers, Numbers]:
        """What takes a prediction of each bin to its bounds: factors on the log scale, else summands."""
        widths = np.array([np.interp(level, self._levels, widths) for widths in self.widths])
        if not self._is_log:
            return -widths, widths
        with np.errstate(over="ignore"):
            return np.exp(-widths), np.exp(widths)

    def at_reported_levels(self, predictions: Numbers) -> Ranges:
        """Compute intervals at all levels of the coverage table."""
        return np.array([self(predictions, level) for level in REPORTED_LEVELS]).swapaxes(0, 1)


def coverage(truth: Numbers, predictions: Numbers, ranges: Ranges) -> dict[str, Any]:
    """Compute the coverage of intervals, overall and by third of the prediction.

    Args:
        truth: shape (n_rows,), in the target's unit; at least one row.
        predictions: the same shape and unit.
        ranges: the intervals of the predictions.

    Returns:
        ``edges``: between the thirds, in the target's unit; one if they are equal. ``levels``: for each level
        ``level``, ``overall`` and ``thirds``, the fractions of rows within their intervals (``None`` for a third
        without rows, of fewer than 3), and ``relative_width``: the mean of (upper - lower) / prediction, or ``None``
        if a prediction is not positive.
    """
    edges = _parted(predictions, 3)
    # By rank, so that each third has rows where values repeat.
    third = np.empty(len(predictions), np.int64)
    third[np.argsort(predictions, kind="stable")] = np.arange(len(predictions)) * 3 // len(predictions)
    levels = []
    for level, low, high in zip(REPORTED_LEVELS, *ranges, strict=True):
        within = (low <= truth) & (truth <= high)
        thirds = [_mean(within[third == number]) for number in range(3)]
        width = _mean((high - low) / predictions) if (predictions > 0).all() else None
        levels.append({"level": level, "overall": _mean(within), "thirds": thirds, "relative_width": width})
    return {"edges": edges, "levels": levels}


def _mean(values: NDArray[Any]) -> float | None:
    """Compute the mean to four decimals; ``None`` without values."""
    return round(float(values.mean()), 4) if len(values) else None


def cross_fitted(out_of_fold: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    """Compute the :func:`coverage` of out-of-fold predictions by intervals that were calibrated on other rows.

    This needs no additional training, and agrees with :func:`model_kit.training.evaluation.nested_coverage` at a tenth
    of the cost.

    Args:
        out_of_fold: as for :func:`calibrate`.
        truth: as for :func:`calibrate`.
        target: has the estimator's scale.
    """
    n_repeats, n_rows = out_of_fold.shape
    part = np.random.default_rng(SEED).permutation(n_rows) % N_PARTS
    ranges = np.empty((2, len(REPORTED_LEVELS), n_repeats, n_rows))
    for number in range(N_PARTS):
        own = part == number
        intervals = Intervals(calibrate(out_of_fold[:, ~own], truth[~own], target), target)
        found = intervals.at_reported_levels(out_of_fold[:, own].ravel())
        ranges[..., own] = found.reshape(2, len(REPORTED_LEVELS), n_repeats, -1)
    return coverage(np.tile(truth, n_repeats), out_of_fold.ravel(), ranges.reshape(2, len(REPORTED_LEVELS), -1))
