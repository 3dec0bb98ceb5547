"""The HTML pages, rendered once and then sent as bytes, and their scripts and styles."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from flask import Request, Response, render_template

from ml_api.views import cached, formatting, pages

#: URL of the server's ``/``, relative to itself.
HOME = "./"
#: Template of an error, which is at the address that was asked for.
ERROR = "error.html"
_FOLDER = Path(__file__).with_name("static") / "site"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Name -> content type of every asset; no other file is read.
CONTENT_TYPES = {path.name: _TYPES[path.suffix] for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}


#: What assets are sent without, a seventh of their compressed bytes: comments on lines of their own, and indentation.
_LEFT_OUT = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/|//[^\n]*)\n|^[ \t]+", re.DOTALL | re.MULTILINE)


@cache
def asset(name: str) -> cached.Content:
    """Return the asset ``name``, which is read once.

    Raises:
        KeyError: there is no such asset.
    """
    content_type = CONTENT_TYPES[name]
    return cached.Content(_LEFT_OUT.sub("", (_FOLDER / name).read_text("utf-8")).encode(), content_type)


@cache
def digest() -> str:
    """Return a digest of all assets, which is part of their URLs; scripts import each other by relative URL."""
    return hashlib.sha256("".join(asset(name).digest for name in CONTENT_TYPES).encode()).hexdigest()[:16]


#: Adds the slash to the URL of the home page, which a proxy may serve as ``/prefix``: relative URLs need it, and this
#: server sees the same request with and without it.
ADD_SLASH = 'if (!location.pathname.endsWith("/")) location.pathname += "/"'
_HASH = base64.b64encode(hashlib.sha256(ADD_SLASH.encode()).digest()).decode()
#: The form is sent to this server, by browsers without JavaScript.
_POLICY = pages.POLICY | {"form-action": "'self'"}
_HOME_POLICY = _POLICY | {"script-src": f"'self' 'sha256-{_HASH}'"}


def render(template: str, root: str, **values: Any) -> cached.Content:
    """Render a page.

    Args:
        template: name of its file.
        root: URL of the server's ``/``, relative to the page.
        values: variables of the template.
    """
    assets = f"{root}assets/{digest()}/"
    script = ADD_SLASH if root == HOME and template != ERROR else ""
    text = render_template(template, root=root, assets=assets, script=script, formatting=formatting, **values)
    return cached.Content(text.encode(), "text/html; charset=utf-8")


def page(content: cached.Content, root: str, request: Request, status: int = 200) -> Response:
    """Return ``content`` as a page with security headers."""
    response = content.response(request)
    if response.status_code != 304:
        response.status_code = status
    response.headers.update(pages.HEADERS)
    response.headers["Content-Security-Policy"] = pages.joined(_HOME_POLICY if root == HOME else _POLICY)
    return response


def page_once(content: cached.Content, status: int) -> Response:
    """Return ``content`` as a page that was made for one request, and is not kept."""
    response = Response(content.body, status, content_type=content.content_type)
    response.headers.update(pages.HEADERS)
    response.headers["Content-Security-Policy"] = pages.joined(_POLICY)
    response.headers["Cache-Control"] = "no-store"
    return response
