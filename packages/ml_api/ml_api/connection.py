"""What becomes of a connection whose request's body nobody wanted.

A body left on the connection would be taken for the next request. So the server reads it once the answer is sent, if it
is short; else the connection closes and the response says so. An application cannot ask for that by a header (WSGI
leaves ``Connection`` to the server), so the server hands over the means before each request: see ``pre_request`` in
``gunicorn.conf.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

#: Bytes of an unwanted body that are read; a client that sends before it reads gets its answer up to here.
MAX_DISCARDED = 1024 * 1024
#: Key of the environ that says that the body was read to its end.
ENDED = "ml_api.body_ended"


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


class _Held(Protocol):
    @property
    def crowded(self) -> bool: ...


def pause(environ: Mapping[str, Any]) -> None:
    """Let others work while this request waits for something else than its client."""
    if end_turn := getattr(environ.get("gunicorn.socket"), "end_turn", None):
        end_turn()


def hold(environ: Mapping[str, Any], held: _Held) -> None:
    """Have the client, who may begin only now, give way once ``held`` is crowded and it is slow."""
    if hold := getattr(environ.get("gunicorn.socket"), "hold", None):
        hold(held)


def finish(environ: Mapping[str, Any]) -> None:
    """Close after the response if more of the request's body may be left than the server will read."""
    if environ.get(ENDED):
        return
    length = environ.get("CONTENT_LENGTH") or "0"
    if "HTTP_TRANSFER_ENCODING" in environ or not length.isdecimal() or int(length) > MAX_DISCARDED:
        close()
