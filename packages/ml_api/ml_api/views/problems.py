"""Renders every HTTP error as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from ml_api.access import add_log_fields, current_id
from ml_api.views.responses import json_response

CONTENT_TYPE = "application/problem+json"

#: Renders an error of another protocol, from its detail and its status.
Renderer: TypeAlias = Callable[[str, int], Response]
#: Renders an error as a page, from the request, its status, its detail and its id.
PageRenderer: TypeAlias = Callable[[Request, int, str, str], Response]

#: Blueprints of pages, the other route that is one, and the path of theirs that is none.
_PAGES, _FORM, _DOCUMENT = ("pages", "docs"), "/try/<model>", "/openapi.json"
#: Beginnings of paths whose errors are problems, whoever asks.
_API = ("/v1", "/v2", "/health", "/metrics", "/version", "/invocations", "/ping", "/openapi")

#: Headers of an HTTPException that a problem replaces.
_REPLACED_HEADERS = ("content-type",)


def init_app(app: Flask, page: PageRenderer, others: Mapping[str, Renderer] = MappingProxyType({})) -> None:
    """Render every HTTP error of ``app`` as a problem; Flask converts an unhandled exception to error 500.

    Args:
        app: the application.
        page: renders the errors of pages, and of paths that do not exist, where ``Accept`` prefers HTML.
        others: beginning of routes -> what renders their errors instead.
    """
    app.register_error_handler(HTTPException, partial(_handle, page, others))


def problem(status: int, detail: str, headers: Iterable[tuple[str, str]] = (), **members: Any) -> Response:
    """Create a problem of type ``about:blank`` with the request id.

    Args:
        status: HTTP status; its phrase is the title.
        detail: the error in one sentence.
        headers: additional headers (``Allow``, ``Retry-After``).
        members: additional members of the document.
    """
    document = {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES[status],
        "status": status,
        "detail": detail,
        "request_id": current_id(),
    }
    response = json_response(document | members, status, CONTENT_TYPE)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _is_page(request: Request) -> bool:
    rule = request.url_rule
    if rule is None:
        return not request.path.startswith(_API)
    return rule.rule == _FORM or (request.blueprint in _PAGES and rule.rule != _DOCUMENT)


def _handle(page: PageRenderer, others: Mapping[str, Renderer], error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    # Why it was refused, where that is not about its content.
    if (refused := getattr(error, "refused", None)) is not None:
        add_log_fields(refused=refused)
    headers = [(name, value) for name, value in error.get_headers() if name.lower() not in _REPLACED_HEADERS]
    detail = error.description or HTTP_STATUS_CODES[status]
    rule = request.url_rule
    for beginning, render in others.items():
        if rule is not None and rule.rule.startswith(beginning):
            response = render(detail, status)
            response.headers.extend(headers)
            return response
    if not _is_page(request):
        return problem(status, detail, headers)
    # Browsers ask for HTML by name; what takes anything takes a problem.
    accepted = request.accept_mimetypes
    if accepted["text/html"] > accepted[CONTENT_TYPE]:
        response = page(request, status, detail, current_id())
        response.headers.extend(headers)
    else:
        response = problem(status, detail, headers)
    response.vary.add("Accept")
    return response
