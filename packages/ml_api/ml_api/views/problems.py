"""Renders every HTTP error as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from ml_api.access import add_log_fields, current_id
from ml_api.views.responses import json_response

CONTENT_TYPE = "application/problem+json"

#: Renders an error of another protocol, from its detail and its status.
Renderer: TypeAlias = Callable[[str, int], Response]

#: Headers of an HTTPException that a problem replaces.
_REPLACED_HEADERS = ("content-type",)


def init_app(app: Flask, others: Mapping[str, Renderer] = MappingProxyType({})) -> None:
    """Render every HTTP error of ``app`` as a problem; Flask converts an unhandled exception to error 500.

    Args:
        app: the application.
        others: beginning of routes -> what renders their errors instead.
    """
    app.register_error_handler(HTTPException, partial(_handle, others))


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


def _handle(others: Mapping[str, Renderer], error: HTTPException) -> Response:
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
    return problem(status, detail, headers)
