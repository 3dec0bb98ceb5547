"""What the operations have in common: headers, answers that any of them may give, and how to write one down."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from apispec import APISpec

from ml_api.views import schemas
from ml_api.views.openapi import examples
from ml_api.views.openapi.examples import Examples
from ml_api.views.problems import CONTENT_TYPE

PROBLEM = CONTENT_TYPE
JSON = "application/json"
HTML = "text/html; charset=utf-8"

#: One operation's answers: status -> Response Object or a reference to one.
Answers: TypeAlias = dict[str, Any]

#: Name of the header -> name of its component, what it says, an example.
_HEADERS = {
    "X-Request-ID": ("RequestID", "Id of the request, the same as in the log", examples.REQUEST_ID),
    "Allow": ("Allow", "The methods there are", "GET, HEAD, OPTIONS"),
    "Retry-After": ("RetryAfter", "Seconds after which it is worth asking again", "30"),
    "ETag": ("ETag", "Changes with the content; send it as If-None-Match", '"5f2c8b1e9d6a4f70"'),
    "Content-Security-Policy": ("ContentSecurityPolicy", "What a browser lets into the page", "default-src 'none'"),
    "Cache-Control": ("CacheControl", "How long a copy may be used", "no-cache"),
}

#: What never reaches a route: the server answers it.
_REFUSED = (
    ("MalformedRequest", 400, "Bad Request", "The request is not valid HTTP/1.1."),
    ("RequestTimeout", 408, "Request Timeout", "The request did not arrive in time."),
    ("URITooLong", 414, "URI Too Long", "The request line is too long."),
    ("ExpectationFailed", 417, "Expectation Failed", "The only expectation that is met is 100-continue."),
    ("HeadersTooLarge", 431, "Request Header Fields Too Large", "The headers are too long or too many."),
)


def headers(*names: str) -> dict[str, Any]:
    """References to the headers that a response has besides ``X-Request-ID``, which every one has."""
    return {name: {"$ref": f"#/components/headers/{_HEADERS[name][0]}"} for name in ("X-Request-ID", *names)}


def response(name: str) -> dict[str, Any]:
    """A reference to one of the responses among the components."""
    return {"$ref": f"#/components/responses/{name}"}


def answer(text: str, content_type: str, schema: Any, shown: Examples, *header_names: str) -> dict[str, Any]:
    """A Response Object."""
    content = {"schema": schema} | ({"examples": shown} if shown else {})
    return {"description": text, "headers": headers(*header_names), "content": {content_type: content}}


def problem(text: str, shown: Examples, *header_names: str) -> dict[str, Any]:
    """A Response Object of problem details."""
    return answer(text, PROBLEM, schemas.ProblemSchema, shown, *header_names)


def operation(tag: str, identity: str, summary: str, answers: Answers, **more: Any) -> dict[str, Any]:
    """An Operation Object: ``answers``, and those that any operation may give."""
    always = {"405": response("MethodNotAllowed"), "500": response("InternalServerError")}
    if "parameters" in more:
        # What a client puts into one may be longer than the server takes.
        always["414"] = response("URITooLong")
    return {
        "tags": [tag],
        "operationId": identity,
        "summary": summary,
        "responses": answers | always,
        **more,
    }


def identifier(text: str) -> str:
    """``text`` with what no identifier has replaced."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def add_components(document: APISpec) -> None:
    """The headers, and the responses that several operations or none in particular give."""
    for component, text, shown in _HEADERS.values():
        document.components.header(
            component, {"description": text, "required": True, "schema": {"type": "string"}, "example": shown}
        )
    for component, given in {
        "NotFound": problem("Nothing answers at this path.", examples.not_found()),
        "MethodNotAllowed": problem("Any other method.", examples.not_allowed(), "Allow"),
        "InternalServerError": problem("Nobody foresaw this; the log has it.", examples.internal_error()),
        "Options": {"description": "The answer to OPTIONS, which has no body.", "headers": headers("Allow")},
        **{
            name: problem(f"{title}: {detail}", examples.refused(status, title, detail))
            for name, status, title, detail in _REFUSED
        },
        "NotModified": {
            "description": "The copy that If-None-Match names is still right.",
            "headers": headers("ETag", "Cache-Control"),
        },
    }.items():
        document.components.response(component, given)
