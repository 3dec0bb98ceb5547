"""The paths that there are whatever is installed: the list of models, health, version, documentation, pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec

from ml_api.views import assets, schemas, site
from ml_api.views.openapi import examples
from ml_api.views.openapi.components import (
    HTML,
    JSON,
    PROBLEM,
    Answers,
    answer,
    headers,
    identifier,
    operation,
    response,
)
from ml_api.views.openapi.examples import Examples, example, request


def add_models(document: APISpec, models: Mapping[str, Any]) -> None:
    """``/v1/models``, which answers ``models``."""
    document.tag({"name": "Models", "description": "Which models are installed"})
    shown = {"models": example("What is installed here", models, request("GET", "/v1/models"))}
    _get(document, "Models", "/v1/models", "Every installed model", {"200": _json(schemas.ModelsSchema, shown)})


def add_service(document: APISpec, version: Mapping[str, Any]) -> None:
    """Health, and ``/version``, which answers ``version``."""
    tag = "Service"
    document.tag({"name": tag, "description": "Whether it lives, whether it can answer, what it is"})
    _get(document, tag, "/health", "Does the process live?", {"200": _status("ok", "/health")})
    reason = "model.onnx: sha256 is not that of the manifest"
    not_ready = examples.problem(503, f"model: {reason}", models={"model": reason})
    ready = {
        "200": _status("ready", "/health/ready"),
        "503": answer(
            "A model cannot be relied on, or none is installed.",
            PROBLEM,
            schemas.NotReadySchema,
            {"broken": example("A damaged model", not_ready)},
            "Retry-After",
        ),
    }
    _get(document, tag, "/health/ready", "Does every model score its golden row as recorded?", ready)
    shown = {"version": example("What runs here", version, request("GET", "/version"))}
    summary = "What is running, and what it was made from"
    _get(document, tag, "/version", summary, {"200": _json(schemas.VersionSchema, shown)})


def add_documentation(document: APISpec) -> None:
    """This document, the pages that show it, and what they are made of."""
    tag = "Documentation"
    document.tag({"name": tag, "description": "This document, and pages that show it"})
    cached = ("ETag", "Cache-Control")
    unchanged = {"304": response("NotModified")}
    schema = {"type": "object", "description": "An OpenAPI 3.1 document", "required": ["openapi", "info", "paths"]}
    own = {"200": answer("The document.", JSON, schema, {}, *cached)} | unchanged
    _get(document, tag, "/openapi.json", "This document", own)
    for path, tool in (("/docs", "Swagger UI"), ("/redoc", "ReDoc")):
        page = answer("A page.", HTML, {"type": "string"}, {}, "Cache-Control", "Content-Security-Policy")
        _get(document, tag, path, f"This document in {tool}", {"200": page})
    _files(document, tag, "/docs/assets/{file}", assets.CONTENT_TYPES)


def add_pages(document: APISpec, names: Sequence[str]) -> None:
    """The pages for people, and what they are made of, with the models ``names``."""
    tag = "Pages"
    document.tag({"name": tag, "description": "Forms and model cards, for people with a browser"})
    ready, broken = (
        answer(text, HTML, {"type": "string"}, {}, "ETag", "Cache-Control", "Content-Security-Policy")
        for text in ("A page.", "A page that says why the model cannot answer, or that none is installed.")
    )
    answers = {"200": ready, "503": broken, "304": response("NotModified")}
    _get(document, tag, "/", "The form of the default model", answers)
    answers["404"] = response("NotFound")
    known = {"enum": list(names)} if names else {}
    for path, summary in (("/try/{model}", "The form of a model"), ("/card/{model}", "What is known of a model")):
        _get(document, tag, path, summary, answers, parameters=[_parameter("model", **known)])
    digest = _parameter("digest", example="5f2c8b1e9d6a4f70")
    _files(document, tag, "/assets/{digest}/{file}", site.CONTENT_TYPES, digest)


def _files(document: APISpec, tag: str, path: str, types: Mapping[str, str], *parameters: dict[str, Any]) -> None:
    """Files that pages are made of: name -> type."""
    content = {content_type: {"schema": {"type": "string"}} for content_type in types.values()}
    file = {"description": "The file.", "headers": headers("ETag", "Cache-Control"), "content": content}
    answers = {"200": file, "404": response("NotFound"), "304": response("NotModified")}
    chosen = [*parameters, _parameter("file", enum=list(types))]
    _get(document, tag, path, "A script or style of the pages", answers, parameters=chosen)


def _parameter(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}


def _get(document: APISpec, tag: str, path: str, summary: str, answers: Answers, **more: Any) -> None:
    identity = identifier(path.split("{", 1)[0].strip("/")) or "home"
    document.path(path, operations={"get": operation(tag, identity, summary, answers, **more)})


def _json(schema: type[schemas.ClosedSchema], shown: Examples) -> dict[str, Any]:
    return answer(str(schema.__doc__).strip(), JSON, schema, shown)


def _status(word: str, path: str) -> dict[str, Any]:
    return answer("Yes.", JSON, schemas.StatusSchema, {word: example("Yes", {"status": word}, request("GET", path))})
