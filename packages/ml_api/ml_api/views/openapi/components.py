"""Shared headers and responses, and functions that create OpenAPI objects."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from apispec import APISpec

from ml_api.views import responses, schemas
from ml_api.views.openapi import examples
from ml_api.views.openapi.examples import Examples
from ml_api.views.problems import CONTENT_TYPE

PROBLEM = CONTENT_TYPE
JSON = "application/json"
HTML = "text/html; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"

#: Responses of one operation: status -> Response Object or a reference to one.
Responses: TypeAlias = dict[str, Any]

#: Name of the header -> name of its component, description, example.
_HEADERS = {
    "X-Request-ID": ("RequestID", "Id of the request, the same as in the log", examples.REQUEST_ID),
    responses.WARNINGS: (
        "PredictionWarnings",
        "Fields with a level or value never seen in training, or with unusually many missing values, percent-encoded",
        "Neighborhood, LotArea",
    ),
    responses.PREDICTION_ID: (
        "PredictionID",
        "Id of the answer in the prediction log; `/<row>` completes it for one record. Absent if it is not in the log",
        examples.PREDICTION_ID,
    ),
    responses.MODEL_VERSION: (
        "ModelVersion",
        "Version of the model, of a response that is a table; JSON has it in `version`",
        "1.2.3",
    ),
    "Allow": ("Allow", "The allowed methods", "GET, HEAD, OPTIONS"),
    "Retry-After": ("RetryAfter", "Seconds after which to retry", "30"),
    "ETag": ("ETag", "Changes with the content; send it as If-None-Match to revalidate a copy", '"5f2c8b1e9d6a4f70"'),
    "Content-Security-Policy": ("ContentSecurityPolicy", "The sources that the page may load", "default-src 'none'"),
    "WWW-Authenticate": ("WWWAuthenticate", "How to send a key, or the scope that it lacks", 'Bearer realm="ml_api"'),
    "RateLimit": ("RateLimit", "What remains of the rate limit, and seconds until it ends", '"records";r=588;t=12'),
    "RateLimit-Policy": ("RateLimitPolicy", "The rate limit and its seconds", '"records";q=600;w=60'),
    "Cache-Control": ("CacheControl", "How long a copy may be used without revalidation", "no-cache"),
}

#: Headers of services that need keys or limit rates, which are added with those.
_OPTIONAL = ("WWW-Authenticate", "RateLimit", "RateLimit-Policy", responses.PREDICTION_ID)

#: Errors that the server returns before routing.
_SERVER_ERRORS = (
    ("MalformedRequest", 400, "Bad Request", "The request is not valid HTTP/1.1."),
    ("RequestTimeout", 408, "Request Timeout", "The request did not arrive in time."),
    ("URITooLong", 414, "URI Too Long", "The request line is too long."),
    ("ExpectationFailed", 417, "Expectation Failed", "The only expectation that is met is 100-continue."),
    ("HeadersTooLarge", 431, "Request Header Fields Too Large", "The headers are too long or too many."),
)


def headers(*names: str) -> dict[str, Any]:
    """Create references to headers; every response has ``X-Request-ID`` in addition."""
    return {name: {"$ref": f"#/components/headers/{_HEADERS[name][0]}"} for name in ("X-Request-ID", *names)}


def response_ref(name: str) -> dict[str, Any]:
    """Create a reference to a response in the components."""
    return {"$ref": f"#/components/responses/{name}"}


def response(text: str, content_type: str, schema: Any, shown: Examples, *header_names: str) -> dict[str, Any]:
    """Create a Response Object."""
    content = {"schema": schema} | ({"examples": shown} if shown else {})
    return {"description": text, "headers": headers(*header_names), "content": {content_type: content}}


def problem(text: str, shown: Examples, *header_names: str) -> dict[str, Any]:
    """Create a Response Object with problem details."""
    return response(text, PROBLEM, schemas.ProblemSchema, shown, *header_names)


def operation(tag: str, identity: str, summary: str, responses: Responses, **more: Any) -> dict[str, Any]:
    """Create an Operation Object with ``responses`` and those that every operation may return."""
    always = {"405": response_ref("MethodNotAllowed"), "500": response_ref("InternalServerError")}
    if "parameters" in more:
        # A parameter may be longer than the server accepts.
        always["414"] = response_ref("URITooLong")
    return {
        "tags": [tag],
        "operationId": identity,
        "summary": summary,
        "responses": responses | always,
        **more,
    }


def identifier(text: str) -> str:
    """Replace the characters of ``text`` that an identifier cannot contain."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def add_header(document: APISpec, name: str) -> None:
    """Add a shared header."""
    component, text, shown = _HEADERS[name]
    required = name not in (responses.WARNINGS, responses.PREDICTION_ID, responses.MODEL_VERSION)
    document.components.header(
        component, {"description": text, "required": required, "schema": {"type": "string"}, "example": shown}
    )


def _not_found() -> dict[str, Any]:
    """Create the response to a path that does not exist: a problem, or a page where ``Accept`` prefers HTML."""
    found = problem("The path does not exist.", examples.not_found())
    found["content"] |= {HTML: {"schema": {"type": "string"}}}
    return found


def add_components(document: APISpec) -> None:
    """Add the shared headers and responses."""
    for name in _HEADERS:
        if name not in _OPTIONAL:
            add_header(document, name)
    for component, given in {
        "NotFound": _not_found(),
        "MethodNotAllowed": problem("The method is not allowed for this path.", examples.not_allowed(), "Allow"),
        "InternalServerError": problem("Unexpected error; the log has the details.", examples.internal_error()),
        "Options": {"description": "The response to OPTIONS, without a body.", "headers": headers("Allow")},
        **{
            name: problem(f"{title}: {detail}", examples.server_error(status, title, detail))
            for name, status, title, detail in _SERVER_ERRORS
        },
        "NotModified": {
            "description": "The copy that If-None-Match names is current.",
            "headers": headers("ETag", "Cache-Control"),
        },
    }.items():
        document.components.response(component, given)
