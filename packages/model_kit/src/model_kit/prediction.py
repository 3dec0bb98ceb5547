"""One answer for each record sent, in order: the core that the API and the command line share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_kit.encoding import Encoder
from model_kit.protocol import Model
from model_kit.validation import WHOLE_ROW, RowErrors, Validator

#: A score that is no number is this row's error; its neighbours keep their predictions.
NOT_FINITE = "The model gives no finite prediction for this row."


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the records.

    Attributes:
        predictions: one element for each record, in order; ``None`` exactly where ``errors`` has its index.
        errors: index of a record -> what is wrong with it; empty if nothing is.
    """

    predictions: list[float | None]
    errors: dict[int, RowErrors]


class Predictor:
    """A model with the validator of its records; built once per model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._validate = Validator(model.spec)
        self._encode = Encoder(model.spec)

    def __call__(self, records: Sequence[object]) -> Answer:
        """Validate and score ``records`` (any JSON values); none is dropped, none is changed."""
        validated = self._validate(records)
        predictions: list[float | None] = [None] * len(records)
        if validated.rows:
            scored = self.model.score(self._encode(validated.rows)).tolist()
            for position, prediction in zip(validated.positions, scored, strict=True):
                if math.isfinite(prediction):
                    predictions[position] = prediction
                else:
                    validated.errors[position] = {WHOLE_ROW: [NOT_FINITE]}
        return Answer(predictions, validated.errors)
