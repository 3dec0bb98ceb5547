"""What becomes of a connection whose request's body nobody wanted.

A body left on the connection would be taken for the next request. So it is read to its end, or the connection closes
and the response says so. An application cannot ask for that by a header (WSGI leaves ``Connection`` to the server),
so the server hands over the means before each request: see ``pre_request`` in ``gunicorn.conf.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

#: Bytes of an unwanted body that are read; a client that sends before it reads gets its answer up to here.
MAX_DISCARDED = 1024 * 1024
_PIECE = 64 * 1024


def _nothing() -> None:
    """A server that never handed over the means looks after its connections itself."""


class _Current(threading.local):
    """The connection that this thread is answering."""

    close: Callable[[], None] = staticmethod(_nothing)


_current = _Current()


def serving(close: Callable[[], None]) -> None:
    """Tell how to close, after the response, the connection whose request this thread is about to answer."""
    _current.close = close


def close() -> None:
    """Close, after the response, the connection whose request this thread is answering; the response says so."""
    _current.close()


def finish(environ: Mapping[str, Any]) -> None:
    """Read what is left of the request's body, at most ``MAX_DISCARDED`` bytes; close if more is left."""
    if not environ.get("wsgi.input_terminated"):
        return  # reading on might wait for ever, and such a server closes by itself
    if environ.get("CONTENT_LENGTH", "0") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return
    left = MAX_DISCARDED
    try:
        while left > 0 and (piece := environ["wsgi.input"].read(min(left, _PIECE))):
            left -= len(piece)
    except Exception:  # noqa: BLE001  servers raise what they like for a broken body, and it has no end to look for
        left = 0
    if left <= 0:
        close()
