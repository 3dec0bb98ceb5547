"""Refuses requests without a valid API key, or with one that is not for what they ask."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from flask import Request, g
from werkzeug.exceptions import Forbidden, Unauthorized

from ml_api.access import add_log_fields
from ml_api.keys import KeyRing

#: Blueprint -> the scope that its requests need; all others need ``READ``.
SCOPES = {"predict": "predict", "outcomes": "outcomes", "metrics": "metrics", "live errors": "metrics"}
READ = "read"
#: Blueprint whose requests need no key: platforms and load balancers ask them.
OPEN = "health"
#: Challenges of a response without a valid key, the second one for browsers, which ask for a password.
CHALLENGES = ('Bearer realm="ml_api"', 'Basic realm="ml_api", charset="UTF-8"')


class NoKeyError(Unauthorized):
    """No valid key was sent; ``refused`` is the reason in the log line and in the metrics."""

    refused = "no_key"

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Return the headers with the challenges."""
        return [*super().get_headers(*args, **kwargs), *(("WWW-Authenticate", text) for text in CHALLENGES)]


class ScopeError(Forbidden):
    """The key is valid, but not for this."""

    refused = "scope"

    def __init__(self, name: str, scope: str) -> None:
        super().__init__(f"The key {name} lacks the scope {scope}.")
        self._scope = scope

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Return the headers with the missing scope (RFC 6750)."""
        challenge = f'{CHALLENGES[0]}, error="insufficient_scope", scope="{self._scope}"'
        return [*super().get_headers(*args, **kwargs), ("WWW-Authenticate", challenge)]


class Guard:
    """Checks the keys of requests.

    Args:
        ring: the keys that are accepted.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def __call__(self, request: Request) -> None:
        """Check a request, and keep the name of its key in ``g.key_name`` and in the log line.

        Raises:
            NoKeyError: it has no valid key.
            ScopeError: its key lacks the scope.
        """
        blueprint = request.blueprint
        if blueprint == OPEN:
            return
        environ = request.environ
        secret = _secret(environ.get("HTTP_X_API_KEY"), environ.get("HTTP_AUTHORIZATION"))
        key = self._ring.find(secret) if secret else None
        if key is None:
            raise NoKeyError(
                "The key that was sent is not valid." if secret else "Send an API key as Authorization: Bearer KEY."
            )
        g.key_name = key.name
        add_log_fields(key=key.name)
        # A path that does not exist has no blueprint, and is not found with any key.
        if blueprint is not None and (scope := SCOPES.get(blueprint, READ)) not in key.scopes:
            raise ScopeError(key.name, scope)

    def accepts_body(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request has a valid key, before its body is received."""
        secret = _secret(headers.get("X-API-KEY"), headers.get("AUTHORIZATION"))
        return bool(secret) and self._ring.find(secret) is not None


def _secret(key: str | None, authorization: str | None) -> str:
    """Return the key that a request has; empty if it has none.

    A proxy may need ``Authorization`` for itself, so the other header is preferred.
    """
    if key:
        return key.strip()
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""
