"""Parses outcomes and renders what became of each; their schemas document both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flask import Response
from marshmallow import ValidationError

from ml_api.prediction_log.outcomes import INVALID, STATUSES, Outcome, Result
from ml_api.views import responses
from ml_api.views.schemas import OutcomeSchema

_schema = OutcomeSchema()


def parse(item: Any) -> Outcome | Result:
    """Return an outcome; of an item that is none, the result that says why."""
    try:
        found = _schema.load(item)
    except ValidationError as error:
        messages = error.messages_dict if isinstance(error.messages, dict) else {"_schema": error.messages}
        texts = [f"{name}: {' '.join(map(str, texts))}" for name, texts in messages.items()]
        return Result(INVALID, "; ".join(text.removeprefix("_schema: ") for text in texts))
    prediction_id, _, row = found.get("id", "").partition("/")
    if "inference_id" not in found:
        return Outcome(found["value"], prediction_id, int(row))
    return Outcome(found["value"], model=found["model"], inference_id=found["inference_id"])


def results(found: Sequence[Result]) -> Response:
    """Create the response: one result for each item, in order, and how many there are of each."""
    counts = Counter(result.status for result in found)
    document = {
        "results": [asdict(result) for result in found],
        "counts": {status: counts[status] for status in STATUSES},
    }
    return responses.json_response(document)
