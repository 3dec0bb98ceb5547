"""Scripts and styles of the documentation pages: our own, and those of Swagger UI and ReDoc.

The latter come from the package offapi, which the lock pins with its hash; no page loads anything from another host.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from ml_api.views.cached import Content

#: Distribution that contains the released files of Swagger UI 5 and ReDoc. It is never imported, because that would
#: read 9 MB into memory.
PACKAGE = "offapi"

#: Replacements in ReDoc, which would load its vendor's logo from the vendor's host. An empty image is not displayed, so
#: the vendor's name is added to the text.
REPLACEMENTS = {
    b"https://cdn.redoc.ly/redoc/": b"data:,",
    b"children:`API docs by`": b"children:`API docs by Redocly`",
}

_OWN = Path(__file__).with_name("static")
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"
#: Name in the URL -> file of the package, or ``None`` for a file of our own.
_FILES = {
    "docs.js": None,
    "docs.css": None,
    "redoc.js": None,
    "redoc.css": None,
    "ways.css": None,
    "swagger-ui.js": "swagger_bundle.js",
    "swagger-ui.css": "swagger_style.css",
    "redoc.standalone.js": "redoc.js",
}
#: Name -> content type of every asset; no other file is read.
CONTENT_TYPES = {name: _SCRIPT if name.endswith(".js") else _STYLE for name in _FILES}


@cache
def asset(name: str) -> Content:
    """Return the asset ``name``, which is read once.

    Raises:
        KeyError: there is no such asset.
    """
    file = _FILES[name]
    path = _OWN / name if file is None else Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/{file}")))
    body = path.read_bytes()
    for old, new in REPLACEMENTS.items():
        body = body.replace(old, new)
    return Content(body, CONTENT_TYPES[name])


def url(name: str) -> str:
    """Return the URL of an asset, relative to the pages; it changes with the content."""
    return f"docs/assets/{name}?v={asset(name).digest}"
