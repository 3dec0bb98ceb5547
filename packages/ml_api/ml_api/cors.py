"""Cross-origin resource sharing: which pages of other hosts may read the responses."""

from __future__ import annotations

from flask import Request, abort, current_app

from ml_api.access import add_headers
from ml_api.request_id import HEADER
from ml_api.views.responses import WARNINGS

#: Headers that such a page may send and read, beyond those that it always may.
ALLOWED = "Authorization, Content-Type, X-API-Key, X-Request-ID"
EXPOSED = f"{HEADER}, {WARNINGS}, Retry-After, RateLimit, RateLimit-Policy"
#: Seconds for which a browser need not ask again.
MAX_AGE = 600


class CORS:
    """Tells browsers which origins may read a response; without it none may.

    Args:
        origins: such as ``https://app.example``; ``*``: any.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def __call__(self, request: Request) -> None:
        """Add the headers, and answer a browser that asks before it sends a request, for which it has no key."""
        origin = request.environ.get("HTTP_ORIGIN")
        headers = {"Vary": "Origin"}
        is_allowed = origin in self._origins or (origin is not None and "*" in self._origins)
        if is_allowed and origin is not None:
            headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
        add_headers(headers)
        is_question = request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ
        if is_allowed and is_question and request.url_rule is not None:
            answer = current_app.make_default_options_response()
            answer.headers["Access-Control-Allow-Methods"] = answer.headers["Allow"]
            answer.headers["Access-Control-Allow-Headers"] = ALLOWED
            answer.headers["Access-Control-Max-Age"] = str(MAX_AGE)
            abort(answer)
