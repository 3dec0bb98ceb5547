"""The documentation pages, with a content security policy that allows this server's scripts and styles only."""

from __future__ import annotations

import secrets

from flask import Response, render_template

from ml_api.views.assets import url

#: Directive -> allowed sources; everything else is forbidden.
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


def joined(policy: dict[str, str]) -> str:
    """Write a policy as the value of its header."""
    return "; ".join(f"{name} {value}" for name, value in policy.items())


#: The policy of a page with nothing but its own styles.
STYLE_ONLY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Security headers of every page.
HEADERS = {
    "Content-Security-Policy": joined(POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
}


def docs() -> Response:
    """Render Swagger UI, which complies with the policy unchanged."""
    return _page("docs.html", POLICY, "no-cache")


def redoc() -> Response:
    """Render ReDoc, which creates styles at run time, with an embedded font of symbols.

    They have a nonce, a new one for each response, so that other inline styles stay forbidden.
    """
    nonce = secrets.token_urlsafe(16)
    policy = POLICY | {"style-src": f"'self' 'nonce-{nonce}'", "font-src": "'self' data:"}
    return _page("redoc.html", policy, "no-store", nonce=nonce)


def _page(template: str, policy: dict[str, str], cache_control: str, **values: str) -> Response:
    response = Response(render_template(template, url=url, **values), content_type="text/html; charset=utf-8")
    response.headers.update(HEADERS | {"Content-Security-Policy": joined(policy), "Cache-Control": cache_control})
    return response
