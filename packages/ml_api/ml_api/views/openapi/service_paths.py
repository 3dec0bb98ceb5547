"""The paths that do not depend on the models: list of models, health, version, this document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec

from ml_api.views import parameters, responses, schemas
from ml_api.views.openapi import examples
from ml_api.views.openapi.components import (
    HTML,
    JSON,
    METRICS,
    PROBLEM,
    Responses,
    add_header,
    identifier,
    operation,
    problem,
    response,
    response_ref,
)
from ml_api.views.openapi.examples import Examples, example, request

_OUTCOMES = """\
Takes what came true for predictions that are in the log: one outcome, or an array of them, each by id and row of the \
prediction or by your own id (`inference_id`, which wins; the latest prediction with it is meant). Each has a result: \
`recorded`; `unchanged`, if this value is recorded already; `conflict`, if another one is; `unknown`, if there is no \
such prediction; `invalid`, if the value cannot be compared with the prediction.
"""


def add_models(document: APISpec, models: Mapping[str, Any]) -> None:
    """Add ``/v1/models``, with ``models`` as the example of its body."""
    document.tag({"name": "Models", "description": "The installed models"})
    shown = {"models": example("The models installed here", models, request("GET", "/v1/models"))}
    _get(
        document,
        "Models",
        "/v1/models",
        "List the installed models",
        {"200": _json("The installed models.", schemas.ModelsSchema, shown)},
    )


def add_outcomes(document: APISpec, max_rows: int, names: Sequence[str]) -> None:
    """Add ``/v1/outcomes``, which takes at most ``max_rows``, and ``/report``."""
    tag = "Outcomes"
    add_header(document, responses.PREDICTION_ID)
    document.tag({"name": tag, "description": "What came true"})
    document.components.schema("Outcome", schema=schemas.OutcomeSchema)
    item = {"$ref": "#/components/schemas/Outcome"}
    array = {"title": "Array of outcomes", "type": "array", "items": item, "maxItems": max_rows}
    sent = {
        "by prediction": example("By prediction id", [{"id": f"{examples.PREDICTION_ID}/0", "value": 169000}]),
        "by own id": example("By your own id", [{"inference_id": "7", "model": next(iter(names), ""), "value": 1}]),
    }
    found = {
        "results": [{"status": "recorded", "detail": None}],
        "counts": {"recorded": 1, "unchanged": 0, "conflict": 0, "unknown": 0, "invalid": 0},
    }
    answers = {
        "200": _json("What became of each.", schemas.OutcomeResultsSchema, {"one": example("Recorded", found)}),
        "400": problem("The body is not JSON, or neither an array nor an object; or a query parameter is invalid.", {}),
        "408": problem("The body did not arrive in time.", {}),
        "413": problem(f"More than {max_rows} outcomes (setting `MAX_ROWS`), or too many bytes or values.", {}),
        "415": problem("The headers do not declare the body as plain JSON in UTF-8.", {}),
        "503": problem("The outcomes could not be recorded; none is.", {}, "Retry-After"),
    }
    replace = {
        "name": parameters.REPLACE,
        "in": "query",
        "description": "Whether a value replaces another one that is recorded, which is kept as history",
        "schema": {"type": "boolean", "default": False},
    }
    body = {"required": True, "content": {JSON: {"schema": {"anyOf": [item, array]}, "examples": sent}}}
    more = {"description": _OUTCOMES, "parameters": [replace], "requestBody": body}
    documented = operation(tag, "record_outcomes", "Record what came true", answers, **more)
    document.path("/v1/outcomes", operations={"post": documented})
    page = response("A page.", HTML, {"type": "string"}, {}, "Cache-Control", "Content-Security-Policy")
    failures = {
        "400": problem("A query parameter is invalid; the detail names it.", {}),
        "503": problem("The prediction log does not answer, or other reports are computed.", {}, "Retry-After"),
    }
    given = {
        "since": f"Start of the window: 7d, 12h, 30m, or a date; default: {parameters.DEFAULT_WINDOW}",
        "model": "The model; default: all",
        "by": "Field whose groups are told apart",
    }
    chosen = [
        {"name": n, "in": "query", "description": text, "schema": {"type": "string"}} for n, text in given.items()
    ]
    summary = "Live errors by version and group, and the coverage of ranges, as an HTML page"
    _get(document, tag, "/report", summary, {"200": page} | failures, parameters=chosen)


def add_service(document: APISpec, version: Mapping[str, Any]) -> None:
    """Add the health checks, and ``/version`` with ``version`` as the example of its body."""
    tag = "Service"
    document.tag({"name": tag, "description": "Health checks and versions"})
    _get(document, tag, "/health", "Liveness: is the process running?", {"200": _status("ok", "/health")})
    reason = "model.onnx: sha256 is not that of the manifest"
    not_ready = examples.problem(503, f"model: {reason}", models={"model": reason})
    ready = {
        "200": _status("ready", "/health/ready"),
        "503": response(
            "A model is unavailable, none is installed, or the server is stopping.",
            PROBLEM,
            schemas.NotReadySchema,
            {"broken": example("A damaged model", not_ready)},
            "Retry-After",
        ),
    }
    _get(document, tag, "/health/ready", "Readiness: does every model score its golden row as recorded?", ready)
    shown = {"version": example("The versions running here", version, request("GET", "/version"))}
    summary = "Versions of the API and its models, and their lineage"
    _get(document, tag, "/version", summary, {"200": _json("The versions.", schemas.VersionSchema, shown)})


def add_metrics(document: APISpec) -> None:
    """Add ``/metrics``."""
    metrics = response("The metrics.", METRICS, {"type": "string"}, {})
    _get(document, "Service", "/metrics", "Metrics of all workers, in Prometheus' text format", {"200": metrics})


def add_document(document: APISpec) -> None:
    """Add ``/openapi.json``."""
    schema = {"type": "object", "description": "An OpenAPI 3.1 document", "required": ["openapi", "info", "paths"]}
    found = response("The document.", JSON, schema, {}, "ETag", "Cache-Control")
    _get(document, "Service", "/openapi.json", "This document", {"200": found, "304": response_ref("NotModified")})


def _get(document: APISpec, tag: str, path: str, summary: str, responses: Responses, **more: Any) -> None:
    identity = identifier(path.strip("/"))
    document.path(path, operations={"get": operation(tag, identity, summary, responses, **more)})


def _json(text: str, schema: type[schemas.ClosedSchema], shown: Examples) -> dict[str, Any]:
    return response(text, JSON, schema, shown)


def _status(word: str, path: str) -> dict[str, Any]:
    return response(
        "Success.", JSON, schemas.StatusSchema, {word: example("Success", {"status": word}, request("GET", path))}
    )
