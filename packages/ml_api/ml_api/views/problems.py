"""Renders every HTTP error as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from ml_api.access import add_log_fields, current_id
from ml_api.views.responses import json_response

CONTENT_TYPE = "application/problem+json"

#: Headers of an HTTPException that a problem replaces.
_REPLACED_HEADERS = ("content-type",)


def init_app(app: Flask) -> None:
    """Render every HTTP error of ``app`` as a problem; Flask converts an unhandled exception to error 500."""
    app.register_error_handler(HTTPException, _handle)


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


def _handle(error: HTTPException) -> Response:
    if isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    # Why it was refused, where that is not about its content.
    if (refused := getattr(error, "refused", None)) is not None:
        add_log_fields(refused=refused)
    headers = [(name, value) for name, value in error.get_headers() if name.lower() not in _REPLACED_HEADERS]
    return problem(status, error.description or HTTP_STATUS_CODES[status], headers)
