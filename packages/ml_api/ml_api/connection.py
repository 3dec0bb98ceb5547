"""Closes or drains the connection when the request body was not read.

The rest of a body would be parsed as the next request. So the server reads it after the response if it is short;
otherwise the connection closes and the response says so. WSGI leaves the ``Connection`` header to the server, so the
server passes in a function that closes the connection: see ``pre_request`` in ``gunicorn.conf.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

#: Bytes of an unread body that the server discards; a client that sends before it reads gets its response up to here.
MAX_DISCARDED = 1024 * 1024
#: Key of the WSGI environ: the body was read to its end.
BODY_CONSUMED = "ml_api.body_consumed"


def _do_nothing() -> None:
    """Used under a server that manages its connections itself."""


class _Current(threading.local):
    """The connection of the request that this thread handles."""

    close: Callable[[], None] = staticmethod(_do_nothing)


_current = _Current()


def set_close(close: Callable[[], None]) -> None:
    """Set the function that closes this thread's connection after the response."""
    _current.close = close


def close() -> None:
    """Close this thread's connection after the response, which gets the header ``Connection: close``."""
    _current.close()


class _Reservation(Protocol):
    @property
    def contended(self) -> bool: ...


def release_compute_lock(environ: Mapping[str, Any]) -> None:
    """Let other requests compute while this one waits for something else than its client."""
    if release := getattr(environ.get("gunicorn.socket"), "release_compute_lock", None):
        release()


def set_reservation(environ: Mapping[str, Any], reservation: _Reservation) -> None:
    """Give the client a new deadline, and a shorter one while ``reservation`` is contended."""
    if set_reservation := getattr(environ.get("gunicorn.socket"), "set_reservation", None):
        set_reservation(reservation)


def close_if_unread(environ: Mapping[str, Any]) -> None:
    """Close after the response if the unread part of the body may be longer than the server discards."""
    if environ.get(BODY_CONSUMED):
        return
    length = environ.get("CONTENT_LENGTH") or "0"
    if "HTTP_TRANSFER_ENCODING" in environ or not length.isdecimal() or int(length) > MAX_DISCARDED:
        close()
