"""The paths of other protocols: the Open Inference Protocol V2, and ``/invocations`` of SageMaker and MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from apispec import APISpec
from model_kit.scoring.protocol import Model
from model_kit.spec.fields import class_key

from ml_api.settings import Settings
from ml_api.views import responses, schemas, v2
from ml_api.views.media_types import CSV, TENSORS
from ml_api.views.openapi.components import JSON, Responses, operation, problem, response
from ml_api.views.openapi.examples import Examples, example, request
from ml_api.views.tables.answers import CSV_TYPE

#: Components of errors that every operation may have, and which those of V2 have in its form too.
_SHARED = ("InternalServerError", "Unauthorized", "Forbidden", "TooManyRequests")
_INFER = """\
Takes one tensor for each field, of the shape [n] or [n, 1]; a field that has none is missing in all rows, and null is \
a missing value. Returns the tensors `prediction`, of classes also `probabilities`, and `errors` if a row has one, or \
if it is asked for; a row with an error has null for a prediction. The status is 422 if no row was scored.

With the header `Inference-Header-Content-Length` tensors are behind the document, as Triton has them.
"""
_REFUSALS = {
    "400": "The request is malformed, or a datatype is not its field's; the error names the tensor.",
    "404": "There is no such model, or it has another version.",
    "408": "The body did not arrive in time.",
    "413": "Too many rows, values or bytes.",
    "415": "The headers declare another type, or an encoding.",
    "503": "The model could not be loaded, or the server is busy.",
}
_MLFLOW = """\
Takes one of MLflow's envelopes for the default model: `dataframe_split`, `dataframe_records`, `instances`, `inputs`; \
or CSV. A row of values without names has those of the model's fields, in their order.
"""
_SAGEMAKER = """\
Takes records of the default model, or rows of the values of its fields in their order: an array of them, alone or as \
the member `instances`; one record; or CSV, with or without a header. The answer is JSON or CSV, as `Accept` asks.
"""


def add_v2(document: APISpec, models: Mapping[str, Model], names: Sequence[str], version: str) -> None:
    """Add ``/v2``; the first of ``models`` is in the examples."""
    tag = "Open Inference Protocol"
    document.tag({"name": tag, "description": "The protocol V2 of Triton, KServe and MLServer"})
    live = _json("The process runs.", schemas.V2LiveSchema)
    ready = {
        "200": _json("Every model is ready.", schemas.V2ReadySchema),
        "503": _json("One is not, or the server is stopping.", schemas.V2ReadySchema, {}, "Retry-After"),
    }
    shown = {"server": example("This server", v2.describe_server(version), request("GET", "/v2"))}
    server = {"200": _json("The server.", schemas.V2ServerSchema, shown)}
    for path, identity, summary, answers in (
        ("/v2/health/live", "v2_live", "Liveness", {"200": live}),
        ("/v2/health/ready", "v2_ready", "Readiness", ready),
        ("/v2", "v2_server", "The server and the protocol's extensions", server),
    ):
        document.path(path, operations={"get": operation(tag, identity, summary, answers)})
    known = [{"enum": list(names)} if names else {}, {}]
    for number, path in enumerate(("/v2/models/{name}", "/v2/models/{name}/versions/{version}")):
        parameters = [
            {"name": one, "in": "path", "required": True, "schema": {"type": "string"} | more}
            for one, more in zip(("name", "version")[: number + 1], known, strict=False)
        ]
        suffix = "_of_version" if number else ""
        first = next(iter(models.items()), None) if not number else None
        infer = {"requestBody": _body(first), "description": _INFER}
        for end, method, identity, summary, answers, more in (
            ("", "get", "v2_model", "Tensors of a model", _model(first), {}),
            ("/ready", "get", "v2_model_ready", "Readiness of a model", _model_ready(), {}),
            ("/infer", "post", "v2_infer", "Predict", _infer(first), infer),
        ):
            documented = operation(tag, identity + suffix, summary, answers, parameters=parameters, **more)
            document.path(path + end, operations={method: documented})


def add_v2_errors(built: dict[str, Any]) -> None:
    """Have the errors that all operations share in the form of V2 too."""
    components = built["components"]["responses"]
    for name in _SHARED:
        if name in components:
            components[name]["content"][JSON] = {"schema": {"$ref": "#/components/schemas/V2Error"}}


def _json(text: str, schema: Any, shown: Examples | None = None, *names: str) -> dict[str, Any]:
    return response(text, JSON, schema, shown or {}, *names)


def _refusals(*statuses: str) -> Responses:
    after = {"503": ("Retry-After",)}
    # The server itself answers before it is known whose request it is.
    return {
        status: problem(_REFUSALS[status], {})
        if status == "408"
        else _json(_REFUSALS[status], schemas.V2ErrorSchema, {}, *after.get(status, ()))
        for status in statuses
    }


def _model(first: tuple[str, Model] | None) -> Responses:
    shown: Examples = {}
    if first is not None:
        shown["model"] = example("A model", v2.describe_model(*first), request("GET", _path(first[0])))
    return {"200": _json("The tensors.", schemas.V2ModelSchema, shown)} | _refusals("404", "503")


def _model_ready() -> Responses:
    return {"200": _json("The model is ready.", schemas.V2ModelReadySchema)} | _refusals("404", "503")


def _infer(first: tuple[str, Model] | None) -> Responses:
    shown: Examples = {}
    if first is not None:
        name, model = first
        target, prediction = model.spec.target, model.golden["prediction"]
        data = [class_key(prediction) if target.is_class else prediction]
        document = {
            "model_name": name,
            "model_version": model.version,
            "id": "42",
            "outputs": [
                {"name": v2.PREDICTION, "datatype": v2.datatype_of_prediction(target), "shape": [1], "data": data}
            ],
        }
        asked = request("POST", f"{_path(name)}/infer", json=_golden(model))
        shown["row"] = example("One row, and the output that is asked for", document, asked)
    answers = {
        status: _json(text, schemas.V2InferSchema, shown if status == "200" else {}, responses.WARNINGS)
        for status, text in (("200", "At least one row was scored, or there is none."), ("422", "No row was scored."))
    }
    for found in answers.values():
        found["content"][TENSORS] = {"schema": {"type": "string", "format": "binary"}}
    return answers | _refusals("400", "404", "408", "413", "415", "503")


def _body(first: tuple[str, Model] | None) -> dict[str, Any]:
    shown = {} if first is None else {"examples": {"row": example("One row", _golden(first[1]))}}
    content = {
        JSON: {"schema": schemas.V2RequestSchema, **shown},
        TENSORS: {"schema": {"type": "string", "format": "binary"}},
    }
    return {"required": True, "content": content}


def _golden(model: Model) -> dict[str, Any]:
    """Return the request of a model's golden row, for its prediction."""
    row = model.golden["row"]
    inputs = [
        {"name": field.name, "shape": [1], "datatype": v2.datatype_of(field), "data": [row[field.name]]}
        for field in model.spec.fields
        if row.get(field.name) is not None
    ]
    return {"id": "42", "inputs": inputs, "outputs": [{"name": v2.PREDICTION}]}


def _path(name: str) -> str:
    return f"/v2/models/{quote(name, safe='')}"


def add_invocations(document: APISpec, model: Model | None, settings: Settings) -> None:
    """Add ``/invocations`` and ``/ping``; ``model`` is the default one, ``None`` if it is not loaded."""
    is_mlflow = settings.invocations == "mlflow"
    tag = "MLflow" if is_mlflow else "SageMaker"
    document.tag({"name": tag, "description": f"What {tag} asks of a model that it serves"})
    ready = {
        "200": _json("Every model is ready.", schemas.StatusSchema),
        "503": problem("One is not, or the server is stopping.", {}, "Retry-After"),
    }
    document.path("/ping", operations={"get": operation(tag, "ping", "Readiness", ready)})
    target = None if model is None else model.spec.target
    schema: Any = schemas.PredictionSchema
    if is_mlflow:
        schema = schemas.InvocationsSchema
    elif target is not None and target.is_class:
        schema = schemas.class_prediction("invocations", target.classes)
    answers: Responses = {
        status: _json(text, schema, {}, responses.WARNINGS)
        for status, text in (("200", "At least one row was scored, or there is none."), ("422", "No row was scored."))
    }
    refused = dict(_REFUSALS) | {"400": "The body is malformed; the detail says what is wrong."}
    if not is_mlflow:
        for found in answers.values():
            found["content"][CSV_TYPE] = {"schema": {"type": "string"}}
        refused["406"] = "Answers of that type are not made."
    for status, text in refused.items():
        after = ("Retry-After",) if int(status) == HTTPStatus.SERVICE_UNAVAILABLE else ()
        answers[status] = problem(text, {}, *after)
    body = {"required": True, "content": {JSON: {"schema": {}}, CSV: {"schema": {"type": "string"}}}}
    description = _MLFLOW if is_mlflow else _SAGEMAKER
    documented = operation(tag, "invoke", "Predict", answers, description=description, requestBody=body)
    document.path("/invocations", operations={"post": documented})
