"""From what the models answer to responses. The shapes are in :mod:`ml_api.views.schemas`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response
from model_kit.prediction import Answer

#: Compact, and refusing NaN and infinity, which JSON does not have.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def json_response(document: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """``document`` as JSON.

    Raises:
        ValueError: it holds a NaN or an infinity.
    """
    return Response(_encode(document), status, content_type=content_type)


def status(word: str) -> Response:
    """``{"status": word}``."""
    return json_response({"status": word})


def version(model_version: str | None, api_version: str, models: Mapping[str, Mapping[str, Any]]) -> Response:
    """What is running, and where it comes from."""
    return json_response({"model_version": model_version, "api_version": api_version, "models": models})


def prediction(answer: Answer, model_version: str) -> Response:
    """One prediction or ``null`` for each record; 422 if records were sent and none was scored, else 200."""
    n_scored = len(answer.predictions) - len(answer.errors)
    return json_response(
        {"predictions": answer.predictions, "errors": answer.errors or None, "version": model_version},
        422 if answer.predictions and not n_scored else 200,
    )
