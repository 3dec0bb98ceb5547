"""Scripts and styles of the documentation pages: our own, and those of Swagger UI and ReDoc.

The latter come in the package offapi, which the lock pins with its hash; nothing comes from another host.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from ml_api.views.cached import Content

#: Distribution that carries Swagger UI 5 and ReDoc as they were released. It is never imported: that would read
#: 9 MB into memory.
PACKAGE = "offapi"

#: What is changed on the way: ReDoc shows its maker's logo from its maker's host, and nothing here comes from another
#: host. An image that is empty is not shown, so the name stands there instead.
REPLACED = {
    b"https://cdn.redoc.ly/redoc/": b"data:,",
    b"children:`API docs by`": b"children:`API docs by Redocly`",
}

_OWN = Path(__file__).with_name("static")
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"
#: Name in the URL -> file of ours, or of the package.
_FILES = {
    "docs.js": None,
    "docs.css": None,
    "redoc.js": None,
    "redoc.css": None,
    "swagger-ui.js": "swagger_bundle.js",
    "swagger-ui.css": "swagger_style.css",
    "redoc.standalone.js": "redoc.js",
}
#: What can be asked for; nothing else is read.
CONTENT_TYPES = {name: _SCRIPT if name.endswith(".js") else _STYLE for name in _FILES}


@cache
def asset(name: str) -> Content:
    """The asset ``name``, read once.

    Raises:
        KeyError: it is none.
    """
    file = _FILES[name]
    path = _OWN / name if file is None else Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/{file}")))
    body = path.read_bytes()
    for old, new in REPLACED.items():
        body = body.replace(old, new)
    return Content(body, CONTENT_TYPES[name])


def url(name: str) -> str:
    """Address of an asset, relative to the pages; it changes with the content."""
    return f"docs/assets/{name}?v={asset(name).digest}"
