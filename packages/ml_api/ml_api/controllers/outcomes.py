"""Outcomes: what came true for predictions that are in the log."""

from __future__ import annotations

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import ServiceUnavailable

from ml_api import access
from ml_api.admission import RECORD_RETRY_AFTER, SHORT, ConcurrencyLimit
from ml_api.logs import LOGGER
from ml_api.prediction_log.database import SchemaError, describe
from ml_api.prediction_log.log import PredictionLog
from ml_api.prediction_log.outcomes import Outcome, Result, record
from ml_api.settings import Settings
from ml_api.views import outcomes, parameters, requests


def blueprint(log: PredictionLog, settings: Settings) -> Blueprint:
    """Create ``/v1/outcomes``."""
    views = Blueprint("outcomes", __name__)
    # Each has one of the database's connections; the writer has the third.
    limit = ConcurrencyLimit(slots=2)

    @views.post("/v1/outcomes")
    def record_outcomes() -> Response:
        replace = parameters.replace(request.args)
        body = requests.body(request, max_bytes=settings.max_body_bytes)
        items = [outcomes.parse(item) for item in requests.items(body, max_rows=settings.max_rows)]
        given = [item for item in items if isinstance(item, Outcome)]
        # Always long: it waits for the database.
        with limit.admit(SHORT + 1, request.environ):
            try:
                recorded = iter(record(log.database, given, key=access.current_key(), replace=replace))
            except (SQLAlchemyError, SchemaError) as error:
                LOGGER.error("outcomes were not recorded", extra={"fields": {"reason": describe(error)}})
                raise ServiceUnavailable(
                    "The outcomes could not be recorded; try again soon.", retry_after=RECORD_RETRY_AFTER
                ) from error
        access.add_log_fields(rows=len(items))
        return outcomes.results([item if isinstance(item, Result) else next(recorded) for item in items])

    return views
