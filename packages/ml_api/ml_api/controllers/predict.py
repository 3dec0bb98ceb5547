"""Records in, one prediction or error for each out."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound, ServiceUnavailable

from ml_api import access
from ml_api.models.registry import RETRY_AFTER, BrokenModelError, Registry, UnknownModelError
from ml_api.settings import Settings
from ml_api.views import requests, responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        try:
            predictor = registry.predictor(name)
        except UnknownModelError as error:
            raise NotFound(str(error)) from error
        except BrokenModelError as error:
            raise ServiceUnavailable(str(error), retry_after=RETRY_AFTER) from error
        records = requests.records(request, max_rows=settings.max_rows, max_bytes=settings.max_body_bytes)
        answer = predictor(records)
        access.note(model=name, rows=len(records), errors=len(answer.errors))
        return responses.prediction(answer, predictor.model.version)

    return views
