"""The pages for people: rendered once, then sent as bytes; and the scripts and styles that they are made of."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from flask import Request, Response, render_template

from ml_api.views import cached, formatting, pages

_FOLDER = Path(__file__).with_name("static") / "site"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: What can be asked for -> its type; nothing else is read.
CONTENT_TYPES = {path.name: _TYPES[path.suffix] for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}


@cache
def asset(name: str) -> cached.Content:
    """The asset ``name``, read once.

    Raises:
        KeyError: it is none.
    """
    return cached.Content((_FOLDER / name).read_bytes(), CONTENT_TYPES[name])


@cache
def digest() -> str:
    """Changes with any of the assets: it stands in their addresses, so that modules find each other beside them."""
    return hashlib.sha256("".join(asset(name).digest for name in CONTENT_TYPES).encode()).hexdigest()[:16]


def render(template: str, root: str, **values: Any) -> cached.Content:
    """A page.

    Args:
        template: its file.
        root: where the server's ``/`` is, seen from the page.
        values: what the template needs.
    """
    text = render_template(template, root=root, assets=f"{root}assets/{digest()}/", formatting=formatting, **values)
    return cached.Content(text.encode(), "text/html; charset=utf-8")


def page(content: cached.Content, request: Request, status: int = 200) -> Response:
    """``content`` as a page that a browser lets nothing but this server's own scripts and styles into."""
    response = content.response(request)
    if response.status_code != 304:
        response.status_code = status
    response.headers.update(pages.HEADERS)
    return response
