"""The documentation pages, which a browser lets nothing but this server's own scripts and styles into."""

from __future__ import annotations

import secrets

from flask import Response, render_template

from ml_api.views.assets import url

#: Nothing is allowed but what is named.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def _joined(policy: dict[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in policy.items())


#: What every page that keeps to the policy is sent with.
HEADERS = {
    "Content-Security-Policy": _joined(POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def docs() -> Response:
    """Swagger UI, which keeps to the policy as it is."""
    return _page("docs.html", POLICY, "no-cache")


def redoc() -> Response:
    """ReDoc, which makes its styles as it runs and has a font of symbols within them.

    They carry a nonce, another for each page, so that styles from elsewhere stay out.
    """
    nonce = secrets.token_urlsafe(16)
    policy = POLICY | {"style-src": f"'self' 'nonce-{nonce}'", "font-src": "'self' data:"}
    return _page("redoc.html", policy, "no-store", nonce=nonce)


def _page(template: str, policy: dict[str, str], cache_control: str, **values: str) -> Response:
    response = Response(render_template(template, url=url, **values), content_type="text/html; charset=utf-8")
    response.headers.update(HEADERS | {"Content-Security-Policy": _joined(policy), "Cache-Control": cache_control})
    return response
