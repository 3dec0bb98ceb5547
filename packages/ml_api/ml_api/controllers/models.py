"""The installed models, their specs and cards, and sample records."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request
from model_kit.scoring.sampling import sample_records

from ml_api import access
from ml_api.controllers import lookup
from ml_api.models.registry import Registry
from ml_api.views import parameters, responses

if TYPE_CHECKING:
    from ml_api.candidates.connections import Candidates


def blueprint(registry: Registry, candidates: Candidates | None = None) -> Blueprint:
    """Create ``/v1/models``, ``/v1/models/<name>`` and ``/v1/models/<name>/sample``."""
    views = Blueprint("models", __name__)

    @views.get("/v1/models")
    def models() -> Response:
        described = {} if candidates is None else candidates.describe()
        return responses.json_response(responses.describe_models(registry.models(), registry.faults(), described))

    @views.get("/v1/models/<name>")
    def model(name: str) -> Response:
        access.add_log_fields(model=name)
        return responses.json_response(responses.describe_model(name, lookup.predictor(registry, name).model))

    @views.get("/v1/models/<name>/sample")
    def sample(name: str) -> Response:
        described = lookup.predictor(registry, name).model
        options = parameters.sample(request.args)
        seed = secrets.randbelow(parameters.MAX_SEED + 1) if options.seed is None else options.seed
        access.add_log_fields(model=name, rows=options.n)
        return responses.json_response(sample_records(described, options.n, seed=seed))

    return views
