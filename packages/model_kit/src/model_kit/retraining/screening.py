"""Judges outcomes by what the released model predicts: how far off each is, and whether they may be trained on.

How far off an outcome may be is learned from the hold-out, which is trusted: of a number from the released model's
residuals there, of a class from the probabilities that it gives to the true classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_kit.comparison.scorer import Scorer
from model_kit.scoring.model import CHUNK
from model_kit.spec import Row, Target

Numbers = NDArray[np.float64]

#: An outcome is no outlier within so many standard deviations of a number's residuals, or if its class has this
#: probability; nor within ``SLACK`` times what 99 % of the hold-out's rows are within.
SPREADS: Final = 6.0
PROBABILITY: Final = 0.02
SLACK: Final = 1.5
#: A residual's standard deviation is at least this share of that of the target, on the estimator's scale.
LEAST_SPREAD: Final = 0.01
#: Standard deviation of a normal distribution in terms of its median absolute deviation.
_MAD: Final = 1.4826
#: A class that the released model does not know, or thinks impossible.
_SMALLEST: Final = 1e-15
#: Fields tell records apart if so many rows of the data differ from each other.
_DISTINCT: Final = 0.9


def predict(scorer: Scorer, rows: Sequence[Row], target: Target) -> Numbers:
    """Return a model's predictions.

    Returns:
        Shape (n_rows,), in the target's unit; of classes their probabilities, shape (n_rows, n_classes). NaN for rows
        that the model refuses.
    """
    refused: float | dict[str, float] = dict.fromkeys(target.keys, np.nan) if target.is_class else np.nan
    found: list[float | list[float]] = []
    for start in range(0, len(rows), CHUNK):
        scorer.ask([dict(row) for row in rows[start : start + CHUNK]])
        for given in scorer.predictions():
            one = refused if given is None else given
            found.append([one.get(key, 0.0) for key in target.keys] if isinstance(one, dict) else one)
    return np.array(found, float).reshape(len(rows), *([len(target.keys)] if target.is_class else []))


@dataclass(frozen=True)
class Screen:
    """How far off outcomes are.

    Attributes:
        target: what is predicted.
        centre, spread: of the residuals on the hold-out, on the estimator's scale; of classes 0 and 1.
        limit: an outcome beyond this distance is an outlier.
    """

    target: Target
    centre: float
    spread: float
    limit: float

    @classmethod
    def learn(cls, target: Target, truth: NDArray[np.float64], predicted: Numbers) -> Screen:
        """Learn from a hold-out.

        Args:
            target: what is predicted.
            truth: shape (n_rows,), in the target's unit, or positions of classes.
            predicted: by the released model, as :func:`predict` returns it.
        """
        known = ~np.isnan(predicted.reshape(len(truth), -1)).any(axis=1)
        truth, predicted = truth[known], predicted[known]
        centre, spread, least = 0.0, 1.0, -float(np.log(PROBABILITY))
        if not target.is_class:
            residuals = _residuals(target, truth, predicted)
            centre, least = float(np.median(residuals)), SPREADS
            scale = float(np.std(_scaled(target, truth)))
            spread = max(_MAD * float(np.median(np.abs(residuals - centre))), LEAST_SPREAD * scale)
        plain = cls(target, centre, spread, least)
        usual = float(np.quantile(plain.distances(truth, predicted), 0.99))
        return cls(target, centre, spread, max(least, SLACK * usual))

    def distances(self, truth: NDArray[np.float64], predicted: Numbers) -> Numbers:
        """Return how far off outcomes are, in spreads; of classes the negative logarithm of their probability."""
        if self.target.is_class:
            chosen = predicted[np.arange(len(truth)), truth.astype(np.int64)]
            return np.asarray(-np.log(np.maximum(chosen, _SMALLEST)))
        return np.asarray(np.abs(_residuals(self.target, truth, predicted) - self.centre) / self.spread)

    def outliers(self, truth: NDArray[np.float64], predicted: Numbers) -> NDArray[np.bool_]:
        """Return which outcomes are beyond the limit, or of records that the released model refuses."""
        return ~(self.distances(truth, predicted) <= self.limit)

    @property
    def rule(self) -> str:
        """What makes an outlier, in words."""
        if self.target.is_class:
            return f"the released model gives the class a probability below {np.exp(-self.limit):.2g}"
        return f"more than {self.limit:.1f} times the spread of the hold-out's residuals from the released prediction"


def _residuals(target: Target, truth: Numbers, predicted: Numbers) -> Numbers:
    return _scaled(target, truth) - _scaled(target, predicted)


def _scaled(target: Target, values: Numbers) -> Numbers:
    """Values on the estimator's scale; the whole training would come with the function that does so there."""
    return np.log(values) if target.scale == "log" else values


class Contents:
    """How well the fields of rows tell them apart.

    Args:
        names: of the fields.
        rows: the training data.
    """

    def __init__(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        self._names = names
        counts = Counter(map(self.of, rows))
        #: Share of the rows that are the first with their values.
        self.distinct = len(counts) / len(rows)
        #: Share of the rows that have the most frequent values.
        self.largest = counts.most_common(1)[0][1] / len(rows)

    @property
    def identify(self) -> bool:
        """Whether rows with the same values are the same record."""
        return self.distinct > _DISTINCT

    def of(self, row: Row) -> tuple[object, ...]:
        """Return the values of a row, in the order of the fields."""
        return tuple(map(row.get, self._names))

    def counts(self, rows: Iterable[Row]) -> Counter[tuple[object, ...]]:
        """Return values -> rows that have them."""
        return Counter(map(self.of, rows))
