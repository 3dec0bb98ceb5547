"""Predicts records, one result for each in order; shared by the API and the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np

from model_kit.records import json_text
from model_kit.records.column_summary import MIN_ROWS, ColumnLimits, ColumnSummary
from model_kit.records.encoding import Encoded, Encoder
from model_kit.records.fast_lane import FastLane
from model_kit.records.row_warnings import RowWarning, RowWarnings
from model_kit.records.validation import WHOLE_ROW, RowErrors, Validator
from model_kit.scoring.explanation import Explainer, Explanation
from model_kit.scoring.intervals import Intervals
from model_kit.scoring.protocol import Model

#: Error of a row whose score is not finite; other rows are not affected.
NOT_FINITE = "The model gives no finite prediction for this row."
#: Records processed at a time, which bounds the memory of intermediate results.
CHUNK = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for some records.

    Attributes:
        predictions: one element for each record, in order; ``None`` exactly if ``errors`` has its index.
        errors: index of a record -> its errors.
        n_fast: number of records that the fast lane decoded.
        unusual: field -> number of records that are unusual in it, see :mod:`model_kit.records.column_summary`;
            missing values count from ``MIN_ROWS`` records on.
    """

    predictions: list[float | None]
    errors: dict[int, RowErrors]
    n_fast: int
    unusual: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DetailedAnswer(Answer):
    """An answer with details; each list has one element for each record, in order, or is ``None`` if not requested.

    Attributes:
        intervals: lower and upper bound; ``None`` exactly if there is no prediction.
        explanations: ``None`` if there is no prediction, or its contributions are not finite.
        warnings: empty if the record has none; ``None`` exactly if there is no prediction.
    """

    intervals: list[tuple[float, float] | None] | None = None
    explanations: list[Explanation | None] | None = None
    warnings: list[list[RowWarning] | None] | None = None


class Predictor:
    """A model with the validators of its records; created once per model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._fast_lane = FastLane(model.spec)
        self._validate = Validator(model.spec)
        self._encode = Encoder(model.spec)
        self._limits = ColumnLimits(model.spec)

    def __call__(self, records: Sequence[object]) -> Answer:
        """Validate and score ``records``; none is dropped or changed.

        Args:
            records: any JSON values, or JSON texts as :func:`model_kit.records.json_text.split` gives them.
        """
        if len(records) < MIN_ROWS:
            return self._answer(records)
        summary = ColumnSummary(self.model.spec, self._limits)
        predictions: list[float | None] = []
        errors: dict[int, RowErrors] = {}
        n_fast = 0
        for start in range(0, len(records), CHUNK):
            answer = self._answer(records[start : start + CHUNK], summary)
            predictions += answer.predictions
            errors |= {start + position: messages for position, messages in answer.errors.items()}
            n_fast += answer.n_fast
        return Answer(predictions, errors, n_fast, summary.counts())

    def detailed(
        self,
        records: Sequence[object],
        *,
        interval: float | None = None,
        explain: int | None = None,
        warnings: bool = False,
    ) -> DetailedAnswer:
        """Return the predictions and errors of a call, with details for each prediction.

        Args:
            records: as for a call.
            interval: level of the intervals, as :class:`~model_kit.scoring.intervals.Intervals` takes it.
            explain: number of contributions in each explanation; an explanation takes as long as predictions of about
                400 rows.
            warnings: whether to add row warnings.

        Raises:
            CannotExplainError: the model has no prediction of the typical record to compare with.
            IntervalError: the model has no calibrated intervals, or none of that level.
        """
        answer = self(records)
        scored = {position: value for position, value in enumerate(answer.predictions) if value is not None}

        def aligned(found: Iterable[T]) -> list[T | None]:
            """Align the details of the scored records with all records; ``None`` for the others."""
            details = dict(zip(scored, found, strict=True))
            return [details.get(position) for position in range(len(records))]

        intervals = explanations = row_warnings = None
        if interval is not None:
            ranges = self._intervals(np.array(list(scored.values()), np.float64), interval)
            intervals = aligned(zip(*(ends.tolist() for ends in ranges), strict=True))
        if explain is not None:
            explainer = self._explainer
            sent: list[Any] = [_value(records[position]) for position in scored]
            each = zip(self.encoded(sent), scored.values(), sent, strict=True)
            explanations = aligned(explainer.explain(row, value, record, explain) for row, value, record in each)
        if warnings:
            # Decode one at a time: ten thousand records take a hundred megabytes as objects.
            values: Iterable[Any] = (_value(records[position]) for position in scored)
            row_warnings = aligned(map(self._warnings, values))
        details = (intervals, explanations, row_warnings)
        return DetailedAnswer(answer.predictions, answer.errors, answer.n_fast, answer.unusual, *details)

    def encoded(self, records: Sequence[object]) -> Encoded:
        """Encode valid records, in order."""
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
        # These are optional attributes of the protocol.
        imputes = getattr(self.model, "imputes", False)
        return RowWarnings(self.model.spec, getattr(self.model, "contradictions", ()), imputes=imputes)

    def _answer(self, records: Sequence[object], summary: ColumnSummary | None = None) -> Answer:
        accepted = self._fast_lane(records)
        encoded, positions = accepted.encoded, accepted.positions
        errors: dict[int, RowErrors] = {}
        if accepted.declined:
            # Only these, so that an invalid record does not slow down the others.
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
        if summary is None:
            return Answer(predictions, errors, len(accepted.positions), self._limits.count_exceeded(encoded))
        summary.add(encoded)
        return Answer(predictions, errors, len(accepted.positions))


def _value(record: object) -> object:
    return json_text.loads(bytes(record)) if isinstance(record, msgspec.Raw) else record
