"""One answer for each record sent, in order: the core that the API and the command line share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from model_kit import jsontext
from model_kit.encoding import Encoder
from model_kit.fastlane import FastLane
from model_kit.protocol import Model
from model_kit.validation import WHOLE_ROW, RowErrors, Validator

#: A score that is no number is this row's error; its neighbours keep their predictions.
NOT_FINITE = "The model gives no finite prediction for this row."
#: Records that are taken up together: what they need beside themselves is gone before the next are.
CHUNK = 1000


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
            records: any JSON values, or JSON texts as :func:`model_kit.jsontext.split` gives them.
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
    return jsontext.loads(bytes(record)) if isinstance(record, msgspec.Raw) else record
