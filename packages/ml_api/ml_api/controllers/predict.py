"""Records in, one prediction or error for each out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flask import Blueprint, Response, request
from model_kit.errors import CannotExplainError, IntervalError
from model_kit.scoring.predictor import Predictor
from werkzeug.exceptions import BadRequest

from ml_api import access, connection
from ml_api.controllers import lookup
from ml_api.memory_budget import Place, Room
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import parameters, requests, responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """``/v1/predict/<name>``."""
    views = Blueprint("predict", __name__)
    # Many may wait for their clients; those that compute share one interpreter, and each holds its rows in memory.
    turns = threading.BoundedSemaphore(settings.threads)

    room = Room(settings.max_held_bytes, settings.request_timeout / 2)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        predictor = lookup.predictor(registry, name)
        # Most ask for nothing more, and pay for this look alone.
        asked = parameters.details(request.args) if request.environ.get("QUERY_STRING") else None
        place = Place(room)
        try:
            response = answered(name, predictor, asked, place)
            # Nobody holds the body any more.
            if not place.keep(responses.size(response)):
                raise requests.busy()
        except BaseException:
            place.leave()
            raise
        if place.taken:
            connection.hold(request.environ, place)
            response.call_on_close(place.leave)
        return response

    def answered(name: str, predictor: Predictor, asked: parameters.Details | None, place: Place) -> Response:
        # Warnings can be a hundred times as long as what they are about.
        body = requests.body(request, max_bytes=settings.max_body_bytes, place=place, alone=asked is not None)
        with turns:
            records = requests.records(body, max_rows=settings.max_rows)
            if asked is not None:
                return detailed(name, predictor, records, asked)
            answer = predictor(records)
            access.note(model=name, rows=len(records), errors=len(answer.errors), fast=answer.n_fast)
            return responses.prediction(answer, predictor.model.version)

    def detailed(name: str, predictor: Predictor, records: Sequence[object], asked: parameters.Details) -> Response:
        if asked.explain is not None:
            requests.check_explained(records, max_rows=settings.max_explained)
        try:
            answer = predictor.detailed(
                records, interval=asked.interval, explain=asked.explain, warnings=asked.warnings
            )
        except (CannotExplainError, IntervalError) as error:
            raise BadRequest(responses.sentence(str(error))) from error
        access.note(model=name, rows=len(records), errors=len(answer.errors), fast=answer.n_fast)
        return responses.detailed_prediction(answer, predictor.model.version)

    return views
