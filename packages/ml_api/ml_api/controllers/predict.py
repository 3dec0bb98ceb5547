"""Predictions: one value or error for each record."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flask import Blueprint, Response, request
from model_kit.errors import CannotExplainError, IntervalError
from model_kit.scoring.predictor import Predictor
from werkzeug.exceptions import BadRequest

from ml_api import access, connection
from ml_api.controllers import lookup
from ml_api.memory_budget import MemoryBudget, Reservation
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import parameters, requests, responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)
    # Many requests may wait for their clients; those that compute share one interpreter and hold their rows in memory.
    concurrency_limit = threading.BoundedSemaphore(settings.threads)

    budget = MemoryBudget(settings.max_held_bytes, settings.request_timeout / 2)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        predictor = lookup.predictor(registry, name)
        # Most requests have no parameters, and skip parsing them.
        options = parameters.details(request.args) if request.environ.get("QUERY_STRING") else None
        reservation = Reservation(budget)
        try:
            response = respond(name, predictor, options, reservation)
            # The body has been freed by now.
            if not reservation.resize(responses.size(response)):
                raise requests.busy()
        except BaseException:
            reservation.release()
            raise
        if reservation.size:
            connection.set_reservation(request.environ, reservation)
            response.call_on_close(reservation.release)
        return response

    def respond(
        name: str, predictor: Predictor, options: parameters.DetailOptions | None, reservation: Reservation
    ) -> Response:
        # Warnings can be a hundred times as long as the records, so such a request reserves the whole budget.
        body = requests.body(
            request, max_bytes=settings.max_body_bytes, reservation=reservation, exclusive=options is not None
        )
        with concurrency_limit:
            records = requests.records(body, max_rows=settings.max_rows)
            if options is not None:
                return respond_with_details(name, predictor, records, options)
            answer = predictor(records)
            access.add_log_fields(model=name, rows=len(records), errors=len(answer.errors), fast=answer.n_fast)
            return responses.prediction(answer, predictor.model.version)

    def respond_with_details(
        name: str, predictor: Predictor, records: Sequence[object], options: parameters.DetailOptions
    ) -> Response:
        requests.check_details(records, options, max_explained=settings.max_explained, max_warned=settings.max_warned)
        try:
            answer = predictor.detailed(
                records, interval=options.interval, explain=options.explain, warnings=options.warnings
            )
        except (CannotExplainError, IntervalError) as error:
            raise BadRequest(responses.capitalize(str(error))) from error
        access.add_log_fields(model=name, rows=len(records), errors=len(answer.errors), fast=answer.n_fast)
        return responses.detailed_prediction(answer, predictor.model.version)

    return views
