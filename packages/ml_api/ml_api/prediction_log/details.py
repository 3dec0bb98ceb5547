"""What is logged of a prediction beside its number: its range, its class, its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from model_kit.errors import IntervalError
from model_kit.scoring.predictor import Answer, Predictor

#: Level of the intervals and sets that are logged, whatever was asked for, so that their coverage can be compared.
LEVEL = 0.9


class RowDetails:
    """Makes the column ``detail`` of a model's rows.

    Args:
        predictor: of the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        #: Whether the model predicts a class.
        self.is_class = predictor.model.spec.target.is_class
        self._range_name = "set" if self.is_class else "interval"
        try:
            predictor.intervals(predictor([]), LEVEL)
            self._has_ranges = True
        except IntervalError:
            self._has_ranges = False

    def __call__(self, answer: Answer) -> list[str | None]:
        """Return the detail of each record as JSON; ``None`` where there is none."""
        n = len(answer.predictions)
        ranges: Sequence[Any] = self._predictor.intervals(answer, LEVEL) if self._has_ranges else [None] * n
        probabilities: Sequence[Any] = self._predictor.probabilities(answer) if self.is_class else [None] * n
        return list(map(self._detail, answer.predictions, ranges, probabilities))

    def _detail(self, prediction: Any, bounds: Any, probabilities: Any) -> str | None:
        if prediction is None:
            return None
        detail: dict[str, Any] = {"class": prediction, "probabilities": probabilities} if self.is_class else {}
        if bounds is not None:
            detail |= {self._range_name: bounds, "level": LEVEL}
        return as_text(detail) if detail else None


@dataclass(frozen=True, slots=True)
class Served:
    """An answer of another version than the installed one.

    Attributes:
        answer: the predictions.
        version: that made them.
        artifact_sha256: of that version's bundle, if it has one.
        details: of each record, as :class:`RowDetails` makes them.
    """

    answer: Answer
    version: str
    artifact_sha256: str | None
    details: Sequence[str | None]


def as_text(value: Any) -> str:
    """Return JSON as the log's columns have it."""
    return msgspec.json.encode(value).decode()
