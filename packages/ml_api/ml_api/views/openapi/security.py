"""Describes API keys and rate limits in the OpenAPI document: schemes, scopes, and what is refused."""

from __future__ import annotations

from typing import Any

from apispec import APISpec

from ml_api.views.openapi import examples
from ml_api.views.openapi.components import add_header, problem, response_ref

#: Name of the scheme -> Security Scheme Object.
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key as Authorization: Bearer KEY"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key as X-API-Key: KEY"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "For browsers: the API key as the password of any user",
    },
}
_OPEN = ("/health", "/health/ready", "/ping", "/v2/health/live", "/v2/health/ready")
_TOO_MANY = "The key house-app may send 600 records per minute; try again in 12 s."
_NO_KEY, _NO_SCOPE = "Send an API key as Authorization: Bearer KEY.", "The key house-app lacks the scope predict."


def add_schemes(document: APISpec) -> None:
    """Add the schemes, and the responses to requests without a key or without a scope."""
    for name, scheme in _SCHEMES.items():
        document.components.security_scheme(name, scheme)
    add_header(document, "WWW-Authenticate")
    for component, text, status, detail in (
        ("Unauthorized", "No valid API key was sent.", 401, _NO_KEY),
        ("Forbidden", "The API key lacks the scope that the operation needs.", 403, _NO_SCOPE),
    ):
        shown = {"refused": examples.example(text, examples.problem(status, detail))}
        document.components.response(component, problem(text, shown, "WWW-Authenticate"))


def add_rate_limit(document: APISpec) -> None:
    """Add the response to requests beyond the rate limit."""
    for name in ("RateLimit", "RateLimit-Policy"):
        add_header(document, name)
    shown = {"refused": examples.example("Too many records", examples.problem(429, _TOO_MANY))}
    refused = problem("The caller has sent too much.", shown, "Retry-After", "RateLimit", "RateLimit-Policy")
    document.components.response("TooManyRequests", refused)


def limit_rates(built: dict[str, Any]) -> None:
    """Have every operation of a document refuse what is too much, except those of operators."""
    for path, operations in built["paths"].items():
        if path not in (*_OPEN, "/metrics"):
            for operation in operations.values():
                operation["responses"]["429"] = response_ref("TooManyRequests")


def require_keys(built: dict[str, Any]) -> None:
    """Have every operation of a document need a key, except the health checks."""
    built["security"] = [{name: []} for name in _SCHEMES]
    for path, operations in built["paths"].items():
        for operation in operations.values():
            if path in _OPEN:
                operation["security"] = []
                continue
            scope = _scope(path, operations)
            operation["security"] = [{name: [scope]} for name in _SCHEMES]
            operation["responses"] |= {"401": response_ref("Unauthorized"), "403": response_ref("Forbidden")}


def _scope(path: str, operations: dict[str, Any]) -> str:
    if path in ("/metrics", "/v1/outcomes"):
        return path.rpartition("/")[2]
    if path == "/report":
        return "metrics"
    return "predict" if "post" in operations else "read"
