"""One answer for each record sent, in order: the core that the API and the command line share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np

from model_kit.records import json_text
from model_kit.records.encoding import Encoded, Encoder
from model_kit.records.fast_lane import FastLane
from model_kit.records.row_warnings import RowWarning, RowWarnings
from model_kit.records.validation import WHOLE_ROW, RowErrors, Validator
from model_kit.scoring.explanation import Explainer, Explanation
from model_kit.scoring.intervals import Intervals
from model_kit.scoring.protocol import Model

#: A score that is no number is this row's error; its neighbours keep their predictions.
NOT_FINITE = "The model gives no finite prediction for this row."
#: Records that are taken up together: what they need beside themselves is gone before the next are.
CHUNK = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the records.

    Attributes:
        predictions: one element for each record, in order; ``None`` exactly where ``errors`` has its index.
        errors: index of a record -> what is wrong with it; empty if nothing is.
        n_fast: how many of the records took the fast lane.
    """

    predictions: list[float | None]
    errors: dict[int, RowErrors]
    n_fast: int


@dataclass(frozen=True, slots=True)
class DetailedAnswer(Answer):
    """An answer with what else was asked for; each list has one element for each record, in order, or is ``None``.

    Attributes:
        intervals: lowest and highest; ``None`` exactly where there is no prediction.
        explanations: ``None`` where there is no prediction, or none that can be told in finite numbers.
        warnings: empty where there is nothing to say, ``None`` exactly where there is no prediction.
    """

    intervals: list[tuple[float, float] | None] | None = None
    explanations: list[Explanation | None] | None = None
    warnings: list[list[RowWarning] | None] | None = None


class Predictor:
    """A model with the judges of its records; built once per model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._fast_lane = FastLane(model.spec)
        self._validate = Validator(model.spec)
        self._encode = Encoder(model.spec)

    def __call__(self, records: Sequence[object]) -> Answer:
        """Validate and score ``records``; none is dropped, none is changed.

        Args:
            records: any JSON values, or JSON texts as :func:`model_kit.records.json_text.split` gives them.
        """
        if len(records) <= CHUNK:
            return self._answer(records)
        predictions: list[float | None] = []
        errors: dict[int, RowErrors] = {}
        n_fast = 0
        for start in range(0, len(records), CHUNK):
            answer = self._answer(records[start : start + CHUNK])
            predictions += answer.predictions
            errors |= {start + position: messages for position, messages in answer.errors.items()}
            n_fast += answer.n_fast
        return Answer(predictions, errors, n_fast)

    def detailed(
        self,
        records: Sequence[object],
        *,
        interval: float | None = None,
        explain: int | None = None,
        warnings: bool = False,
    ) -> DetailedAnswer:
        """The same predictions and errors as without details, and for each prediction what is asked for.

        Args:
            records: as for a call.
            interval: level of the intervals, as :class:`~model_kit.scoring.intervals.Intervals` takes it.
            explain: how many contributions each explanation shows; a row takes as long as predictions of
                some 400 rows.
            warnings: whether to look for what deserves a word.

        Raises:
            CannotExplainError: the model has no typical prediction to compare with.
            IntervalError: it has no calibrated intervals, or none of that level.
        """
        answer = self(records)
        scored = {position: value for position, value in enumerate(answer.predictions) if value is not None}

        def aligned(found: Iterable[T]) -> list[T | None]:
            """``found`` for the records that were scored, ``None`` for the others."""
            of = dict(zip(scored, found, strict=True))
            return [of.get(position) for position in range(len(records))]

        intervals = explanations = remarks = None
        if interval is not None:
            ranges = self._intervals(np.array(list(scored.values()), np.float64), interval)
            intervals = aligned(zip(*(ends.tolist() for ends in ranges), strict=True))
        if explain is not None:
            explainer = self._explainer
            sent: list[Any] = [_value(records[position]) for position in scored]
            each = zip(self._encoded(sent), scored.values(), sent, strict=True)
            explanations = aligned(explainer.explain(row, value, record, explain) for row, value, record in each)
        if warnings:
            # One at a time: as objects, ten thousand records take a hundred megabytes.
            values: Iterable[Any] = (_value(records[position]) for position in scored)
            remarks = aligned(map(self._warnings, values))
        return DetailedAnswer(answer.predictions, answer.errors, answer.n_fast, intervals, explanations, remarks)

    def _encoded(self, records: Sequence[object]) -> Encoded:
        """Records that are valid, in order."""
        accepted = self._fast_lane(records)
        encoded = np.empty((len(records), accepted.encoded.shape[1]))
        encoded[accepted.positions] = accepted.encoded
        encoded[accepted.declined] = self._encode(self._validate([records[one] for one in accepted.declined]).rows)
        return encoded

    @cached_property
    def _intervals(self) -> Intervals:
        return Intervals.from_card(self.model.card, self.model.spec.target)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.model)

    @cached_property
    def _warnings(self) -> RowWarnings:
        # A model from elsewhere need not declare contradictions.
        return RowWarnings(self.model.spec, getattr(self.model, "contradictions", ()))

    def _answer(self, records: Sequence[object]) -> Answer:
        accepted = self._fast_lane(records)
        encoded, positions = accepted.encoded, accepted.positions
        errors: dict[int, RowErrors] = {}
        if accepted.declined:
            # One by one, so that the neighbours of a bad record stay in their lane.
            validated = self._validate([_value(records[position]) for position in accepted.declined])
            errors = {accepted.declined[index]: messages for index, messages in validated.errors.items()}
            encoded = np.concatenate([encoded, self._encode(validated.rows)])
            positions = [*positions, *(accepted.declined[index] for index in validated.positions)]
        predictions: list[float | None] = [None] * len(records)
        if positions:
            for position, prediction in zip(positions, self.model.score(encoded).tolist(), strict=True):
                if math.isfinite(prediction):
                    predictions[position] = prediction
                else:
                    errors[position] = {WHOLE_ROW: [NOT_FINITE]}
        return Answer(predictions, errors, len(accepted.positions))


def _value(record: object) -> object:
    return json_text.loads(bytes(record)) if isinstance(record, msgspec.Raw) else record
