"""Records in, one prediction or error for each out."""

from __future__ import annotations

import threading

from flask import Blueprint, Response, request

from ml_api import access
from ml_api.controllers import lookup
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import requests, responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)
    # Many may wait for their clients; those that compute share one interpreter, and each holds its rows in memory.
    turns = threading.BoundedSemaphore(settings.threads)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        predictor = lookup.predictor(registry, name)
        body = requests.body(request, max_bytes=settings.max_body_bytes)
        with turns:
            records = requests.records(body, max_rows=settings.max_rows)
            answer = predictor(records)
            access.note(model=name, rows=len(records), errors=len(answer.errors), fast=answer.n_fast)
            return responses.prediction(answer, predictor.model.version)

    return views
