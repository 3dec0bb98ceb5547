"""Predicts records, one result for each in order; shared by the API and the command line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from model_kit.records import json_text
from model_kit.records.column_summary import MIN_ROWS, ColumnLimits, ColumnSummary
from model_kit.records.encoded_records import EncodedRecords
from model_kit.records.encoding import Encoded, Encoder
from model_kit.records.fast_lane import MOST_LOOKED_AT, FastLane
from model_kit.records.field_names import MisspeltFields
from model_kit.records.row_warnings import RowWarning, RowWarnings
from model_kit.records.validation import WHOLE_ROW, RowErrors, Validator
from model_kit.scoring.classes import decide
from model_kit.scoring.explanation import Explainer, Explanation
from model_kit.scoring.intervals import Intervals
from model_kit.scoring.prediction_sets import PredictionSets
from model_kit.scoring.protocol import Model
from model_kit.spec import ClassValue

#: Error of a row whose score is not finite; other rows are not affected.
NOT_FINITE = "The model gives no finite prediction for this row."
#: Records processed at a time, which bounds the memory of intermediate results.
CHUNK = 1000

#: A number in the target's unit, or a class as the data spells it.
Prediction: TypeAlias = float | str | int | bool
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The result for some records.

    Attributes:
        predictions: one element for each record, in order: a number or a class; ``None`` exactly if ``errors`` has its
            index.
        errors: index of a record -> its errors.
        n_fast: number of records that the fast lane decoded.
        unusual: field -> number of records that are unusual in it, see :mod:`model_kit.records.column_summary`;
            missing values count from ``MIN_ROWS`` records on. A field that is misspelt counts in the first
            ``MOST_LOOKED_AT`` records of a thousand.
        scores: what the model gives for the records that have a prediction, in order: predictions, or probabilities of
            shape (n_scored, n_classes).
        only_known: every name in every record is a field's; ``False`` also where that is not known.
    """

    predictions: list[Prediction | None]
    errors: dict[int, RowErrors]
    n_fast: int
    unusual: dict[str, int] = field(default_factory=dict)
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False, repr=False)
    only_known: bool = field(default=False, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class DetailedAnswer(Answer):
    """An answer with details; each list has one element for each record, in order, or is ``None`` if not requested.

    Attributes:
        intervals: lower and upper bound, or the classes of a prediction set; ``None`` exactly if there is no
            prediction.
        probabilities: class, as text -> its probability; they sum to 1. ``None`` exactly if there is no prediction.
        explanations: ``None`` if there is no prediction, or its contributions are not finite.
        warnings: empty if the record has none; ``None`` exactly if there is no prediction.
    """

    intervals: list[tuple[float, float] | list[ClassValue] | None] | None = None
    explanations: list[Explanation | None] | None = None
    warnings: list[list[RowWarning] | None] | None = None
    probabilities: list[dict[str, float] | None] | None = None


class Predictor:
    """A model with the validators of its records; created once per model.

    Attributes:
        model: what scores.
        observe: called with the encoded rows that were scored and their scores, in no particular order; ``None``: no
            function is. It may be called in several threads.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.observe: Callable[[Encoded, NDArray[np.float64]], None] | None = None
        self._fast_lane = FastLane(model.spec)
        self._validate = Validator(model.spec)
        self._encode = Encoder(model.spec)
        self._limits = ColumnLimits(model.spec)
        self._misspelt = MisspeltFields(model.spec.names)
        self._names = frozenset(model.spec.names)
        self._explainers: dict[int, Explainer] = {}
        n_classes = len(model.spec.target.classes)
        self._no_scores = np.empty((0, n_classes) if n_classes else 0)

    def __call__(self, records: Sequence[object]) -> Answer:
        """Validate and score ``records``; none is dropped or changed.

        Args:
            records: any JSON values, JSON texts as :func:`model_kit.records.json_text.split` gives them, or those of a
                table.
        """
        if len(records) < MIN_ROWS:
            return self._answer(records)
        summary = ColumnSummary(self.model.spec, self._limits)
        predictions: list[Prediction | None] = []
        errors: dict[int, RowErrors] = {}
        scores = []
        n_fast, misspelt, only_known = 0, Counter[str](), True
        for start in range(0, len(records), CHUNK):
            answer = self._answer(records[start : start + CHUNK], summary)
            predictions += answer.predictions
            errors |= {start + position: messages for position, messages in answer.errors.items()}
            n_fast += answer.n_fast
            misspelt.update(answer.unusual)
            scores.append(answer.scores)
            only_known &= answer.only_known
        unusual = dict(misspelt) | summary.counts()
        return Answer(predictions, errors, n_fast, unusual, np.concatenate(scores), only_known)

    def detailed(
        self,
        records: Sequence[object],
        *,
        interval: float | None = None,
        explain: int | None = None,
        warnings: bool = False,
        probabilities: bool = False,
        of_class: str | None = None,
        against_first: bool = False,
    ) -> DetailedAnswer:
        """Return the predictions and errors of a call, with details for each prediction.

        Args:
            records: as for a call.
            interval: level of the intervals, as :class:`~model_kit.scoring.intervals.Intervals` takes it.
            explain: number of contributions in each explanation; an explanation takes as long as predictions of about
                400 rows.
            warnings: whether to add row warnings.
            probabilities: whether to add the probabilities of the classes.
            of_class: the class, as text, whose probability is explained; by default the one that is predicted.
            against_first: whether explanations compare with the first record instead of the typical one; there are
                none if that has no prediction.

        Raises:
            CannotExplainError: the model has no prediction of the typical record to compare with.
            IntervalError: the model has no calibrated intervals, or none of that level.
        """
        answer = self(records)
        target = self.model.spec.target
        scored = [position for position, value in enumerate(answer.predictions) if value is not None]
        explanations = row_warnings = None
        intervals = None if interval is None else self.intervals(answer, interval)
        of_classes = self.probabilities(answer) if probabilities and target.is_class else None
        if explain is not None:
            sent: list[Any] = [_value(records[position]) for position in scored]
            found = self._explanations(sent, answer.scores, explain, of_class, against_first=against_first)
            lacks_first = against_first and answer.predictions[:1] == [None]
            explanations = _aligned(answer, [None] * len(sent) if lacks_first else found)
        if warnings:
            # Decode one at a time: ten thousand records take a hundred megabytes as objects.
            values: Iterable[Any] = (_value(records[position]) for position in scored)
            row_warnings = _aligned(answer, map(self._warnings, values))
        details = (answer.scores, answer.only_known, intervals, explanations, row_warnings, of_classes)
        return DetailedAnswer(answer.predictions, answer.errors, answer.n_fast, answer.unusual, *details)

    def intervals(self, answer: Answer, level: float) -> list[Any]:
        """Return the interval, or the set of classes, of each prediction; ``None`` where there is no prediction.

        Raises:
            IntervalError: the model has no calibrated intervals, or none of that level.
        """
        if self.model.spec.target.is_class:
            return _aligned(answer, self._sets(answer.scores, level))
        ranges = self._intervals(answer.scores, level)
        return _aligned(answer, zip(*(ends.tolist() for ends in ranges), strict=True))

    def probabilities(self, answer: Answer) -> list[dict[str, float] | None]:
        """Return the probability of each class, as text, for each prediction; ``None`` where there is no prediction."""
        keys = self.model.spec.target.keys
        return _aligned(answer, (dict(zip(keys, row, strict=True)) for row in answer.scores.tolist()))

    def _explanations(
        self,
        sent: Sequence[Any],
        scores: NDArray[np.float64],
        n: int,
        of_class: str | None,
        *,
        against_first: bool = False,
    ) -> Iterator[Explanation | None]:
        target = self.model.spec.target
        encoded = self.encoded(sent)
        if not target.is_class:
            positions = [0] * len(sent)
            values: list[float] = scores.tolist()
        else:
            positions = decide(scores, target).tolist() if len(sent) else []
            if of_class is not None:
                positions = [target.keys.index(of_class)] * len(sent)
            values = [row[position] for row, position in zip(scores.tolist(), positions, strict=True)]
        for row, value, record, position in zip(encoded, values, sent, positions, strict=True):
            explainer = self._explainer(position)
            if against_first:
                start = float(scores[0, position] if target.is_class else scores[0])
                explainer = explainer.against(encoded[0], start, f"first {target.subject}")
            yield explainer.explain(row, value, record, n)

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
    def _sets(self) -> PredictionSets:
        return PredictionSets.from_card(self.model.card, self.model.spec.target)

    def _explainer(self, position: int) -> Explainer:
        """The explainer of a number, or of the class at a position; made once."""
        found = self._explainers.get(position)
        if found is None:
            found = self._explainers[position] = Explainer(self.model, position)
        return found

    @cached_property
    def _warnings(self) -> RowWarnings:
        # These are optional attributes of the protocol.
        imputes = getattr(self.model, "imputes", False)
        return RowWarnings(self.model.spec, getattr(self.model, "contradictions", ()), imputes=imputes)

    def _answer(self, records: Sequence[object], summary: ColumnSummary | None = None) -> Answer:
        table = records if isinstance(records, EncodedRecords) else None
        accepted = self._fast_lane(records) if table is None else table.accepted()
        encoded, positions = accepted.encoded, accepted.positions
        errors: dict[int, RowErrors] = {}
        if accepted.declined:
            # Only these, so that an invalid record does not slow down the others.
            validated = self._validate([_value(records[position]) for position in accepted.declined])
            errors = {accepted.declined[index]: messages for index, messages in validated.errors.items()}
            encoded = np.concatenate([encoded, self._encode(validated.rows)])
            positions = [*positions, *(accepted.declined[index] for index in validated.positions)]
        predictions: list[Prediction | None] = [None] * len(records)
        scores = self.model.score(encoded) if positions else self._no_scores
        if self.observe is not None and positions:
            self.observe(encoded, scores)
        finite = []
        for row, (position, prediction) in enumerate(zip(positions, self._predictions(scores), strict=True)):
            if prediction is None:
                errors[position] = {WHOLE_ROW: [NOT_FINITE]}
            else:
                predictions[position] = prediction
                finite.append(row)
        if accepted.declined:
            # Rows were scored in the order of the lanes; scores are in the order of the records.
            finite.sort(key=positions.__getitem__)
        if accepted.declined or len(finite) < len(positions):
            scores = scores[finite]
        unusual: dict[str, int] = {}
        if summary is None:
            unusual = self._limits.count_exceeded(encoded)
        else:
            summary.add(encoded)
        # All records of a table have the same names.
        misspelt = None if table is None else self._misspelt(dict.fromkeys(table.names))
        only_known = accepted.only_known if table is None else self._names.issuperset(table.names)
        for position in {*accepted.with_unknown, *accepted.declined[:MOST_LOOKED_AT]}:
            for name in self._misspelt(records[position]) if misspelt is None else misspelt:
                unusual[name] = unusual.get(name, 0) + 1
        return Answer(predictions, errors, len(accepted.positions), unusual, scores, only_known)

    def _predictions(self, scores: NDArray[np.float64]) -> Iterable[Prediction | None]:
        """A prediction for each row of scores; ``None`` where it is not finite."""
        target = self.model.spec.target
        if not target.is_class:
            return (value if math.isfinite(value) else None for value in scores.tolist())
        if not len(scores):
            return ()
        chosen = decide(scores, target).tolist()
        return (
            target.classes[position] if math.isfinite(value) else None
            for position, value in zip(chosen, scores[:, 0].tolist(), strict=True)
        )


def _aligned(answer: Answer, found: Iterable[T]) -> list[T | None]:
    """Align the details of the scored records with all records; ``None`` for the others."""
    scored = (position for position, value in enumerate(answer.predictions) if value is not None)
    details = dict(zip(scored, found, strict=True))
    return [details.get(position) for position in range(len(answer.predictions))]


def _value(record: object) -> object:
    return json_text.loads(bytes(record)) if isinstance(record, msgspec.Raw) else record
