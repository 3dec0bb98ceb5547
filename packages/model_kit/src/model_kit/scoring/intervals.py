"""Ranges around predictions, calibrated on how far the truth lay from out-of-fold predictions.

Split-conformal, Mondrian by the predicted value (Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*,
2005, section 4.5): the rows are cut into bins by what is predicted for them, and each bin has the quantiles of its own
absolute errors on the estimator's scale. One width for all would be too narrow for the cheap and too wide for the rest.
numpy alone, as it runs where a model is served.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import IntervalError
from model_kit.spec import Target

Numbers: TypeAlias = NDArray[np.float64]
#: Lowest and highest at the levels of the coverage table, shape (2, n_levels, n_rows).
Ranges: TypeAlias = NDArray[np.float64]

#: Levels that are calibrated; between them widths are interpolated, which makes them a trifle wider.
LEVELS: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: Beyond these a bin holds too few errors: 5 in a hundred are left out at the highest.
LOWEST, HIGHEST = LEVELS[0], LEVELS[-1]
#: The largest finite number.
LARGEST: Final = float(np.finfo(np.float64).max)
#: Levels of the coverage table.
TOLD: Final = (0.5, 0.8, 0.9, 0.95)
MOST_BINS: Final = 5
#: Rows that a bin takes. Measured on parts of the house prices, 90 % intervals of the thirds by prediction: 200 rows in
#: one bin .87, .94, .91, in three .90, .91, .91, which vary no more from one part to another (by .02).
ROWS_PER_BIN: Final = 60
#: Rows below which there are no intervals: the 95 % quantile would be about the largest error or two.
FEWEST: Final = 40
#: Why there are none for higher levels.
BEYOND: Final = "beyond, too few errors are left to calibrate on"
#: Digits of the bins' edges, counted from that of the predictions' spread.
EDGE_DIGITS: Final = 3
#: Rounds a width up to digits enough: no row's error can be told from it.
_UP: Final = Context(prec=4, rounding=ROUND_CEILING)
#: Parts of the rows for :func:`cross_fitted`, and what shuffles them.
N_PARTS: Final = 10
SEED: Final = 20240


def calibrate(out_of_fold: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    """What :class:`Intervals` needs, as JSON for a card's ``intervals``.

    A row's errors in several repeats are much the same. They are pooled, as one of them alone would be a matter of
    chance, but in the finite-sample correction a row counts once.

    Args:
        out_of_fold: shape (n_repeats, n_rows), in the target's unit: each by a model that never saw the row.
        truth: shape (n_rows,), in the target's unit.
        target: says on which scale the estimator works.

    Returns:
        ``rows``; ``levels``; ``edges`` of the bins in the target's unit, a prediction on one being in the bin above;
        ``widths``: for each bin and level how far an interval reaches to both sides on the estimator's scale.
    """
    n_repeats, n_rows = out_of_fold.shape
    predictions = out_of_fold.ravel()
    errors = _errors(out_of_fold, truth, target).ravel()
    edges = _edges(predictions, int(np.clip(n_rows // ROWS_PER_BIN, 1, MOST_BINS)), n_repeats)
    part = np.searchsorted(edges, predictions, side="right")
    widths = [_quantiles(errors[part == number], n_repeats) for number in range(len(edges) + 1)]
    return {"rows": n_rows, "levels": list(LEVELS), "edges": edges, "widths": widths}


def _errors(predictions: Numbers, truth: Numbers, target: Target) -> Numbers:
    """Absolute errors on the estimator's scale."""
    errors: Numbers = np.abs(np.log(predictions / truth) if target.scale == "log" else predictions - truth)
    return errors


def _edges(predictions: Numbers, n_bins: int, n_repeats: int) -> list[float]:
    """Edges between bins of about as many predictions; fewer where values repeat, so that no bin is short of rows."""
    fewest = FEWEST * n_repeats
    edges: list[float] = []
    n_before = 0
    for edge in _parted(predictions, n_bins):
        n_below = int((predictions < edge).sum())
        if n_below - n_before >= fewest and len(predictions) - n_below >= fewest:
            edges.append(edge)
            n_before = n_below
    return edges


def _parted(predictions: Numbers, n_parts: int) -> list[float]:
    """Edges between parts of about the same size; round numbers, none of which is some row's prediction."""
    spread = float(np.ptp(predictions))
    digits = EDGE_DIGITS - math.floor(math.log10(spread)) if spread else 0
    quantiles = np.quantile(predictions, np.arange(1, n_parts) / n_parts).tolist()
    return [round(quantile, digits) for quantile in quantiles]


def _quantiles(errors: Numbers, n_repeats: int) -> list[float]:
    """Quantiles of a bin's errors at ``LEVELS``, rounded up."""
    n_rows = len(errors) / n_repeats
    # With the truth of a new row there are n + 1 errors, of which any may be the largest.
    corrected = np.minimum(1, np.array(LEVELS) * (n_rows + 1) / n_rows)
    return [float(_UP.create_decimal(width)) for width in np.quantile(errors, corrected).tolist()]


class Intervals:
    """Ranges around predictions.

    Attributes:
        edges: see :func:`calibrate`.
        widths: likewise, shape (n_bins, n_levels).
    """

    def __init__(self, calibration: Mapping[str, Any], target: Target) -> None:
        self.edges = np.array(calibration["edges"], np.float64)
        self.widths = np.array(calibration["widths"], np.float64)
        self._levels = calibration["levels"]
        self._is_log = target.scale == "log"

    @classmethod
    def from_card(cls, card: Mapping[str, Any], target: Target) -> Intervals:
        """The intervals of a trained model.

        Raises:
            IntervalError: it has none.
        """
        calibration = card.get("intervals")
        if calibration:
            return cls(calibration, target)
        why = "it was trained before there were any: train it again"
        if not card.get("evaluated"):
            why = "it was trained without cross-validation"
        elif "intervals" in card:
            why = f"it was evaluated on {card['data']['rows']} rows, and they take {FEWEST}"
        raise IntervalError(f"this model has no calibrated intervals: {why}")

    def __call__(self, predictions: Numbers, level: float) -> tuple[Numbers, Numbers]:
        """Where the truth lies in ``level`` of the cases: lowest and highest, with the prediction between them.

        A higher level is never narrower.

        Args:
            predictions: shape (n_rows,), in the target's unit, finite.
            level: from ``LOWEST`` to ``HIGHEST``.

        Raises:
            IntervalError: ``level`` is not in this range.
        """
        if not LOWEST <= level <= HIGHEST:
            raise IntervalError(f"the level of an interval is from {LOWEST} to {HIGHEST}, not {level}: {BEYOND}")
        at_level = np.array([np.interp(level, self._levels, widths) for widths in self.widths])
        width = at_level[np.searchsorted(self.edges, predictions, side="right")]
        with np.errstate(over="ignore"):
            low = predictions * np.exp(-width) if self._is_log else predictions - width
            high = predictions * np.exp(width) if self._is_log else predictions + width
        # Of a prediction near the last float an end may be none.
        return np.maximum(low, -LARGEST), np.minimum(high, LARGEST)

    def told(self, predictions: Numbers) -> Ranges:
        """The same at all levels of the coverage table."""
        return np.array([self(predictions, level) for level in TOLD]).swapaxes(0, 1)


def coverage(truth: Numbers, predictions: Numbers, ranges: Ranges) -> dict[str, Any]:
    """How often the truth lies within the intervals, overall and in thirds by prediction.

    Args:
        truth: shape (n_rows,), in the target's unit; at least one row.
        predictions: the same shape and unit.
        ranges: the intervals around them.

    Returns:
        ``edges``: between the thirds, in the target's unit; ``levels``: for each level told ``level``, ``overall`` and
        ``thirds``, the shares of rows within (``None`` of no rows), and ``relative_width``: the mean of
        (highest - lowest) / prediction, or ``None`` if a prediction is not positive.
    """
    edges = _parted(predictions, 3)
    third = np.searchsorted(edges, predictions)
    levels = []
    for level, low, high in zip(TOLD, *ranges, strict=True):
        within = (low <= truth) & (truth <= high)
        thirds = [_mean(within[third == number]) for number in range(3)]
        width = _mean((high - low) / predictions) if (predictions > 0).all() else None
        levels.append({"level": level, "overall": _mean(within), "thirds": thirds, "relative_width": width})
    return {"edges": edges, "levels": levels}


def _mean(values: NDArray[Any]) -> float | None:
    """To four decimals; ``None`` of no values."""
    return round(float(values.mean()), 4) if len(values) else None


def cross_fitted(out_of_fold: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    """:func:`coverage` of out-of-fold predictions by intervals that other rows calibrated.

    That takes no further training, and finds what :func:`model_kit.training.evaluation.nested_coverage` does, at a
    tenth of the cost.

    Args:
        out_of_fold: as for :func:`calibrate`; so for the others.
        truth: shape (n_rows,).
        target: says on which scale the estimator works.
    """
    n_repeats, n_rows = out_of_fold.shape
    part = np.random.default_rng(SEED).permutation(n_rows) % N_PARTS
    ranges = np.empty((2, len(TOLD), n_repeats, n_rows))
    for number in range(N_PARTS):
        own = part == number
        intervals = Intervals(calibrate(out_of_fold[:, ~own], truth[~own], target), target)
        found = intervals.told(out_of_fold[:, own].ravel())
        ranges[..., own] = found.reshape(2, len(TOLD), n_repeats, -1)
    return coverage(np.tile(truth, n_repeats), out_of_fold.ravel(), ranges.reshape(2, len(TOLD), -1))
