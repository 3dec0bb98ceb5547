"""Predictions: one value or error for each record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from flask import Blueprint, Request, Response
from flask.globals import request_ctx
from model_kit.errors import CannotExplainError, IntervalError
from model_kit.records.validation import WHOLE_ROW
from model_kit.scoring.predictor import Answer, DetailedAnswer, Predictor
from werkzeug.exceptions import BadRequest

from ml_api import access, connection
from ml_api.admission import ConcurrencyLimit, cost
from ml_api.controllers import lookup, recording
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import foreign, media_types, parameters, requests, responses
from ml_api.views.media_types import JSON
from ml_api.views.tables import answers
from ml_api.views.tables.reading import TableReader

if TYPE_CHECKING:
    from ml_api.candidates.connections import Candidates
    from ml_api.metrics.recorder import Recorder
    from ml_api.prediction_log.details import Served
    from ml_api.prediction_log.log import PredictionLog
    from ml_api.rate_limits.limiter import RateLimiter

#: Makes the response from an answer, and the version of the model that gave it.
Render: TypeAlias = Callable[[Answer, str], Response]


class Respond(Protocol):
    """Predicts the records of the current request, whatever protocol it has, with all that a prediction is subject to.

    These are the rate limit, the admission of long requests, the canary, metrics, log line and prediction log.
    """

    def __call__(
        self,
        name: str,
        predictor: Predictor,
        records: Sequence[object],
        render: Render = ...,
        *,
        options: parameters.DetailOptions | None = ...,
        id_field: str | None = ...,
        body: bytes | bytearray | None = ...,
        faults: Mapping[int, str] | None = ...,
        is_pinned: bool = ...,
    ) -> Response:
        """Return the response.

        Args:
            name: of the model.
            predictor: of the model.
            records: of the request.
            render: makes the response.
            options: the details that are asked for.
            id_field: the field with the caller's own id of each record.
            body: the records as the caller has sent them, in JSON; ``None``: in another form.
            faults: position of a row that is no record -> what is wrong with it.
            is_pinned: whether the installed version is asked for, so that no canary may answer.
        """


#: Adds the routes of another protocol.
AddRoutes: TypeAlias = Callable[[Blueprint, Registry, Settings, Respond], None]


def blueprint(
    registry: Registry,
    settings: Settings,
    metrics: Recorder | None = None,
    limiter: RateLimiter | None = None,
    prediction_log: PredictionLog | None = None,
    candidates: Candidates | None = None,
    protocols: Sequence[AddRoutes] = (),
) -> Blueprint:
    """Create ``/v1/predict/<name>``, and the routes of other protocols."""
    views = Blueprint("predict", __name__)
    # Long requests share one interpreter with the short ones.
    limit = ConcurrencyLimit(slots=1)
    known_types = media_types.of_predictions()
    tables = TableReader(settings)

    @views.post("/v1/predict/<name>")
    def predict(name: str) -> Response:
        request = request_ctx.request
        predictor = lookup.predictor(registry, name)
        # Most requests have no parameters, and skip parsing them.
        has_query = request.environ.get("QUERY_STRING")
        options, id_field = _options(predictor, request) if has_query else (None, None)
        sent, wanted = media_types.of_body(request, known_types), media_types.of_response(request, known_types)
        has_echo = has_query and parameters.echo(request.args) and wanted != JSON
        body = requests.read_body(request, settings.max_body_bytes)
        if sent == wanted == JSON:
            records = requests.records(body, max_rows=settings.max_rows)
            return respond(name, predictor, records, options=options, id_field=id_field, body=body)
        spec = predictor.model.spec
        table = None if sent == JSON else tables.read(name, spec, sent, body)
        echo = table if has_echo else None
        if echo is not None:
            answers.check_echo(echo, spec.target, options)

        def as_table(answer: Answer, version: str) -> Response:
            return answers.render(wanted, answer, version, spec.target, options, echo)

        return respond(
            name,
            predictor,
            requests.records(body, max_rows=settings.max_rows) if table is None else table.records,
            responses.prediction if wanted == JSON else as_table,
            options=options,
            id_field=id_field,
            body=body if table is None else None,
            faults=None if table is None else table.faults,
        )

    def respond(
        name: str,
        predictor: Predictor,
        records: Sequence[object],
        render: Render = responses.prediction,
        *,
        options: parameters.DetailOptions | None = None,
        id_field: str | None = None,
        body: bytes | bytearray | None = None,
        faults: Mapping[int, str] | None = None,
        is_pinned: bool = False,
    ) -> Response:
        request = request_ctx.request
        if limiter is not None:
            limiter.charge(len(records))
        ids = requests.inference_ids(request, records, id_field) if prediction_log is not None else None
        if options is not None:
            check_details(records, options)
        # Candidates take the records as JSON.
        text = requests.as_json(records) if body is None and candidates is not None and candidates.has(name) else body
        served = (
            None
            if candidates is None or text is None or is_pinned
            else ask_canary(name, predictor, text, options, request)
        )
        if served is not None:
            answer, model_version = served.answer, served.version
        else:
            answer = (
                compute(predictor, records, request)
                if options is None
                else compute_details(predictor, records, options, request)
            )
            model_version = predictor.model.version
        if body is not None and len(records) == 1 and (answer.errors or not predictor.model.spec.required):
            foreign.refuse(body, predictor.model.spec.names)
        if faults:
            answer.errors.update({row: {WHOLE_ROW: [fault]} for row, fault in faults.items()})
        if metrics is not None:
            metrics.answer(name, predictor.model, answer)
        access.add_log_fields(model=name, rows=len(answer.predictions), errors=len(answer.errors), fast=answer.n_fast)
        if settings.otlp_endpoint:
            access.add_log_fields(version=model_version)
        if answer.unusual:
            access.add_log_fields(unusual=answer.unusual)
        response = render(answer, model_version)
        if prediction_log is None:
            return response
        shadow = None if candidates is None else candidates.shadows.get(name)
        after = None if shadow is None or text is None else partial(shadow.send, body=text, records=records)
        return recording.record(prediction_log, name, records, answer, ids, response, served, after)

    def check_details(records: Sequence[object], options: parameters.DetailOptions) -> None:
        requests.check_details(records, options, max_explained=settings.max_explained, max_warned=settings.max_warned)

    def compute(predictor: Predictor, records: Sequence[object], request: Request) -> Answer:
        with limit.admit(len(records), request.environ):
            return predictor(records)

    def compute_details(
        predictor: Predictor, records: Sequence[object], options: parameters.DetailOptions, request: Request
    ) -> DetailedAnswer:
        price = cost(len(records), explain=options.explain is not None, warnings=options.warnings)
        try:
            with limit.admit(price, request.environ):
                return predictor.detailed(records, **asdict(options))
        except (CannotExplainError, IntervalError) as error:
            raise BadRequest(responses.capitalize(str(error))) from error

    def ask_canary(
        name: str,
        predictor: Predictor,
        body: bytes | bytearray,
        options: parameters.DetailOptions | None,
        request: Request,
    ) -> Served | None:
        """Return the answer of the canary; ``None`` if there is none, or it does not serve this caller."""
        canary = None if candidates is None else candidates.canaries.get(name)
        if candidates is None or canary is None or not canary.is_for(_caller(candidates, request)):
            return None
        served, result = canary.ask(
            body,
            None if options is None else asdict(options),
            is_logged=prediction_log is not None,
            wait=partial(connection.leave_loop, request.environ),
        )
        version = predictor.model.version if served is None else served.version
        access.add_log_fields(canary=result, version=version)
        if metrics is not None:
            metrics.canary(name, version, result)
        return served

    def _options(predictor: Predictor, request: Request) -> tuple[parameters.DetailOptions | None, str | None]:
        target = predictor.model.spec.target
        if prediction_log is None:
            return parameters.details(request.args, target), None
        return parameters.details(request.args, target, parameters.ID_FIELD), parameters.id_field(request.args)

    for alias, model in registry.aliases.items():
        views.add_url_rule(alias, f"predict at {alias.replace('.', ' ')}", partial(predict, model), methods=["POST"])
    for add_routes in protocols:
        add_routes(views, registry, settings, respond)
    return views


def _caller(candidates: Candidates, request: Request) -> str:
    """Return what tells the caller of the current request from others: its key, else its own id, else its address."""
    key, own = access.current_key(), request.environ.get("HTTP_INFERENCE_ID")
    if key is not None:
        return f"key {key}"
    return f"id {own}" if own else f"address {candidates.proxies.client(request.environ)}"
