"""Prediction sets of classes: the classes that are plausible, with a probability that is kept for each class.

Split-conformal and label-conditional (Vovk, Gammerman, Shafer, *Algorithmic Learning in a Random World*, 2005, section
4.5): a class is in the set if its probability is at least as high as for all but a few of the rows that have that
class. Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Context
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import IntervalError
from model_kit.scoring.classes import Probabilities
from model_kit.scoring.intervals import HIGHEST, LEVELS, LEVELS_REASON, LOWEST, REPORTED_LEVELS
from model_kit.spec import Target

#: Rows that a class must have to be calibrated.
MIN_ROWS: Final = 40
N_PARTS: Final = 10
SEED: Final = 20240
#: Rounds a limit down to so few digits that it does not reveal the probability of a training row.
_DOWN: Final = Context(prec=4, rounding=ROUND_FLOOR)


def calibrate(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, Any] | None:
    """Calibrate sets; returns the JSON value of a card's ``sets``, ``None`` where a class has too few rows.

    Args:
        probabilities: shape (n_repeats, n_rows, n_classes), out of fold and calibrated.
        truth: positions of the true classes, shape (n_rows,).

    Returns:
        ``rows``; ``levels``; ``limits``: for each class and level the lowest probability that is in the set.
    """
    n_classes = probabilities.shape[2]
    counts = np.bincount(truth, minlength=n_classes)
    if counts.min() < MIN_ROWS:
        return None
    limits = []
    for position in range(n_classes):
        own = probabilities[:, truth == position, position].ravel()
        # A new row is equally likely to have any of the n + 1 ranks; each row counts once.
        outside = np.maximum(0, 1 - np.array(LEVELS) * (counts[position] + 1) / counts[position])
        found = np.quantile(own, outside, method="lower")
        limits.append([float(_DOWN.create_decimal(limit)) for limit in found.tolist()])
    return {"rows": len(truth), "levels": list(LEVELS), "limits": limits}


class PredictionSets:
    """Prediction sets of a trained model.

    Raises:
        IntervalError: the card has none; the message says why.
    """

    def __init__(self, calibration: Mapping[str, Any], target: Target) -> None:
        self._levels = calibration["levels"]
        self._limits = np.array(calibration["limits"], np.float64)
        self._classes = target.classes

    @classmethod
    def from_card(cls, card: Mapping[str, Any], target: Target) -> PredictionSets:
        """Create the sets of a trained model from its card.

        Raises:
            IntervalError: it has none; the message says why.
        """
        if calibration := card.get("sets"):
            return cls(calibration, target)
        why = "it was trained without cross-validation"
        if card.get("evaluated"):
            why = f"one of its classes has fewer than {MIN_ROWS} rows"
        raise IntervalError(f"this model has no calibrated prediction sets: {why}")

    def members(self, probabilities: Probabilities, level: float) -> NDArray[np.bool_]:
        """Which classes are in the sets, shape (n_rows, n_classes); at least the most probable one.

        Raises:
            IntervalError: ``level`` is not from ``LOWEST`` to ``HIGHEST``.
        """
        if not LOWEST <= level <= HIGHEST:
            raise IntervalError(f"the level of a set is from {LOWEST} to {HIGHEST}, not {level}: {LEVELS_REASON}")
        limits = np.array([np.interp(level, self._levels, row) for row in self._limits])
        found = probabilities >= limits
        found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
        return found

    def __call__(self, probabilities: Probabilities, level: float) -> list[list[Any]]:
        """The classes in each row's set, in the order of the target's; see :meth:`members`."""
        return [
            [value for value, within in zip(self._classes, row, strict=True) if within]
            for row in self.members(probabilities, level).tolist()
        ]


def cross_fitted(probabilities: NDArray[np.float64], truth: NDArray[np.int64], target: Target) -> dict[str, Any] | None:
    """Coverage of sets that were calibrated on other rows: the JSON value of a card's ``coverage``.

    Returns:
        ``levels``: for each ``level`` the fraction ``overall`` of rows whose class is in their set, ``classes`` by true
        class, and ``size``, the mean number of classes in a set. ``None`` where there are no sets.
    """
    n_repeats, n_rows, n_classes = probabilities.shape
    part = np.random.default_rng(SEED).permutation(n_rows) % N_PARTS
    found = np.empty((len(REPORTED_LEVELS), n_repeats, n_rows, n_classes), np.bool_)
    for number in range(N_PARTS):
        own = part == number
        calibration = calibrate(probabilities[:, ~own], truth[~own])
        if calibration is None:
            return None
        sets = PredictionSets(calibration, target)
        for position, level in enumerate(REPORTED_LEVELS):
            for repeat in range(n_repeats):
                found[position, repeat, own] = sets.members(probabilities[repeat, own], level)
    levels = []
    for level, members in zip(REPORTED_LEVELS, found, strict=True):
        within = members[:, np.arange(n_rows), truth]
        levels.append(
            {
                "level": level,
                "overall": round(float(within.mean()), 4),
                "classes": [round(float(within[:, truth == one].mean()), 4) for one in range(n_classes)],
                "size": round(float(members.sum(axis=2).mean()), 4),
            }
        )
    return {"levels": levels}
