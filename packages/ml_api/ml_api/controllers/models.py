"""Which models are installed, what they take, and records to try them with."""

from __future__ import annotations

import secrets

from flask import Blueprint, Response, request
from model_kit.records.generation import generate_rows

from ml_api import access
from ml_api.controllers import lookup
from ml_api.models.registry import Registry
from ml_api.views import parameters, responses


def blueprint(registry: Registry) -> Blueprint:
    """``/v1/models``, ``/v1/models/<name>`` and ``/v1/models/<name>/sample``."""
    views = Blueprint("models", __name__)

    @views.get("/v1/models")
    def models() -> Response:
        return responses.json_response(responses.describe_models(registry.models(), registry.faults()))

    @views.get("/v1/models/<name>")
    def model(name: str) -> Response:
        access.note(model=name)
        return responses.json_response(responses.describe_model(name, lookup.predictor(registry, name).model))

    @views.get("/v1/models/<name>/sample")
    def sample(name: str) -> Response:
        spec = lookup.predictor(registry, name).model.spec
        asked = parameters.sample(request.args)
        seed = secrets.randbelow(parameters.MAX_SEED + 1) if asked.seed is None else asked.seed
        access.note(model=name, rows=asked.n)
        return responses.json_response(generate_rows(spec, asked.n, seed=seed))

    return views
