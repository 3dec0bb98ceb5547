"""The id of a request, the same in its response and in its log line."""

from __future__ import annotations

import re
from random import getrandbits

HEADER = "X-Request-ID"

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(sent: str | None) -> str:
    """The client's id if it is 1 to 128 letters, digits and any of ``._-``, else a new one of 32 hex digits."""
    # Ids must be unique, not secret: the system's random numbers would cost a system call, and every process seeds its
    # own generator.
    return sent if sent is not None and _ACCEPTED.fullmatch(sent) else f"{getrandbits(128):032x}"
