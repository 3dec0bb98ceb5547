"""The page of live errors, for operators."""

from __future__ import annotations

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import ServiceUnavailable

from ml_api.admission import RECORD_RETRY_AFTER, SHORT, ConcurrencyLimit
from ml_api.prediction_log.database import Database, SchemaError
from ml_api.prediction_log.report import as_html, report
from ml_api.views import pages, parameters


def blueprint(database: Database) -> Blueprint:
    """Create ``/report``."""
    views = Blueprint("live errors", __name__)
    limit = ConcurrencyLimit(slots=1)

    @views.get("/report")
    def live_errors() -> Response:
        options = parameters.report(request.args)
        # Always long: it reads all predictions of the window.
        with limit.admit(SHORT + 1, request.environ):
            try:
                document = report(database, options.since, options.model, options.by)
            except (SQLAlchemyError, SchemaError) as error:
                raise ServiceUnavailable(
                    "The prediction log does not answer; try again soon.", retry_after=RECORD_RETRY_AFTER
                ) from error
        response = Response(as_html(document), content_type="text/html; charset=utf-8")
        response.headers.update(
            pages.HEADERS | {"Content-Security-Policy": pages.STYLE_ONLY, "Cache-Control": "no-store"}
        )
        return response

    return views
