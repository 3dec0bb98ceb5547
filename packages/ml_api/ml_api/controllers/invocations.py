"""``/invocations``, as SageMaker or MLflow asks it, for the default model; imported if it is switched on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Blueprint, Response
from flask.globals import request_ctx

from ml_api.controllers import lookup
from ml_api.controllers.predict import Render, Respond
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import documents, envelopes, media_types, requests, responses
from ml_api.views.media_types import CSV, JSON
from ml_api.views.tables.reading import TableReader

#: Types of requests; and of answers for SageMaker -> what renders them.
_TYPES = (JSON, CSV)
_ANSWERS: dict[str, Render] = {JSON: responses.prediction, CSV: envelopes.to_csv}


def add_invocations(views: Blueprint, registry: Registry, settings: Settings, respond: Respond) -> None:
    """Add ``/invocations``."""
    name = registry.default_name(settings.default_model)
    is_mlflow = settings.invocations == "mlflow"
    parse = envelopes.from_mlflow if is_mlflow else envelopes.from_sagemaker
    tables = TableReader(settings)

    @views.post("/invocations")
    def invocations() -> Response:
        request = request_ctx.request
        predictor = lookup.predictor(registry, name)
        sent = media_types.of_body(request, _TYPES)
        render = envelopes.predictions if is_mlflow else _ANSWERS[media_types.of_response(request, _TYPES)]
        body = requests.read_body(request, settings.max_body_bytes)
        spec = predictor.model.spec
        records: Sequence[object]
        faults: Mapping[int, str] | None = None
        if sent == CSV:
            table = tables.read(name, spec, CSV, envelopes.with_header(body, spec))
            records, faults = table.records, table.faults
        else:
            records = parse(requests.document(body, max_rows=settings.max_rows), spec)
            documents.check_rows(len(records), settings.max_rows)
        return respond(name, predictor, records, render, faults=faults)
