"""Predictions: one value or error for each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, Request, Response
from flask.globals import request_ctx
from model_kit.errors import CannotExplainError, IntervalError
from model_kit.scoring.predictor import Answer, DetailedAnswer, Predictor
from werkzeug.exceptions import BadRequest

from ml_api import access
from ml_api.admission import ConcurrencyLimit, cost
from ml_api.controllers import lookup, recording
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import parameters, requests, responses

if TYPE_CHECKING:
    from ml_api.metrics.recorder import Recorder
    from ml_api.prediction_log.log import PredictionLog
    from ml_api.rate_limits.limiter import RateLimiter


def blueprint(
    registry: Registry,
    settings: Settings,
    metrics: Recorder | None = None,
    limiter: RateLimiter | None = None,
    prediction_log: PredictionLog | None = None,
) -> Blueprint:
    """Create ``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)
    # Long requests share one interpreter with the short ones.
    limit = ConcurrencyLimit(slots=1)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        request = request_ctx.request
        predictor = lookup.predictor(registry, name)
        # Most requests have no parameters, and skip parsing them.
        options, id_field = _options(predictor, request) if request.environ.get("QUERY_STRING") else (None, None)
        body = requests.body(request, max_bytes=settings.max_body_bytes)
        records = requests.records(body, max_rows=settings.max_rows)
        if limiter is not None:
            limiter.charge(len(records))
        ids = requests.inference_ids(request, records, id_field) if prediction_log is not None else None
        answer = (
            compute(predictor, records, request)
            if options is None
            else compute_details(predictor, records, options, request)
        )
        if metrics is not None:
            metrics.answer(name, predictor.model, answer)
        access.add_log_fields(model=name, rows=len(answer.predictions), errors=len(answer.errors), fast=answer.n_fast)
        if settings.otlp_endpoint:
            access.add_log_fields(version=predictor.model.version)
        if answer.unusual:
            access.add_log_fields(unusual=answer.unusual)
        response = responses.prediction(answer, predictor.model.version)
        if prediction_log is None:
            return response
        return recording.record(prediction_log, name, records, answer, ids, response)

    def compute(predictor: Predictor, records: Sequence[object], request: Request) -> Answer:
        with limit.admit(len(records), request.environ):
            return predictor(records)

    def compute_details(
        predictor: Predictor, records: Sequence[object], options: parameters.DetailOptions, request: Request
    ) -> DetailedAnswer:
        requests.check_details(records, options, max_explained=settings.max_explained, max_warned=settings.max_warned)
        price = cost(len(records), explain=options.explain is not None, warnings=options.warnings)
        try:
            with limit.admit(price, request.environ):
                return predictor.detailed(records, **asdict(options))
        except (CannotExplainError, IntervalError) as error:
            raise BadRequest(responses.capitalize(str(error))) from error

    def _options(predictor: Predictor, request: Request) -> tuple[parameters.DetailOptions | None, str | None]:
        target = predictor.model.spec.target
        if prediction_log is None:
            return parameters.details(request.args, target), None
        return parameters.details(request.args, target, parameters.ID_FIELD), parameters.id_field(request.args)

    for alias, model in registry.aliases.items():
        views.add_url_rule(alias, f"predict at {alias.replace('.', ' ')}", partial(predict, model), methods=["POST"])
    return views
