"""Predictions: one value or error for each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request
from model_kit.errors import CannotExplainError, IntervalError
from model_kit.scoring.predictor import Answer, Predictor
from werkzeug.exceptions import BadRequest

from ml_api import access
from ml_api.admission import ConcurrencyLimit, cost
from ml_api.controllers import lookup
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import parameters, requests, responses

if TYPE_CHECKING:
    from ml_api.metrics.recorder import Recorder
    from ml_api.rate_limits.limiter import RateLimiter


def blueprint(
    registry: Registry, settings: Settings, metrics: Recorder | None = None, limiter: RateLimiter | None = None
) -> Blueprint:
    """Create ``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)
    # Long requests share one interpreter with the short ones.
    limit = ConcurrencyLimit(slots=1)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        predictor = lookup.predictor(registry, name)
        # Most requests have no parameters, and skip parsing them.
        options = _details(predictor) if request.environ.get("QUERY_STRING") else None
        body = requests.body(request, max_bytes=settings.max_body_bytes)
        records = requests.records(body, max_rows=settings.max_rows)
        if limiter is not None:
            limiter.charge(len(records))
        if options is not None:
            return respond_with_details(name, predictor, records, options)
        with limit.admit(len(records), request.environ):
            answer = predictor(records)
        log(name, predictor, answer)
        return responses.prediction(answer, predictor.model.version)

    def respond_with_details(
        name: str, predictor: Predictor, records: Sequence[object], options: parameters.DetailOptions
    ) -> Response:
        requests.check_details(records, options, max_explained=settings.max_explained, max_warned=settings.max_warned)
        price = cost(len(records), explain=options.explain is not None, warnings=options.warnings)
        try:
            with limit.admit(price, request.environ):
                answer = predictor.detailed(records, **asdict(options))
        except (CannotExplainError, IntervalError) as error:
            raise BadRequest(responses.capitalize(str(error))) from error
        log(name, predictor, answer)
        return responses.detailed_prediction(answer, predictor.model.version)

    def log(name: str, predictor: Predictor, answer: Answer) -> None:
        if metrics is not None:
            metrics.answer(name, predictor.model, answer)
        access.add_log_fields(model=name, rows=len(answer.predictions), errors=len(answer.errors), fast=answer.n_fast)
        if answer.unusual:
            access.add_log_fields(unusual=answer.unusual)

    for alias, model in registry.aliases.items():
        views.add_url_rule(alias, f"predict at {alias.replace('.', ' ')}", partial(predict, model), methods=["POST"])
    return views


def _details(predictor: Predictor) -> parameters.DetailOptions | None:
    return parameters.details(request.args, predictor.model.spec.target)
