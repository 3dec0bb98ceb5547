"""The name of a request: in every response, in its log line, and the same in both."""

from __future__ import annotations

import re
from random import getrandbits

HEADER = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(sent: str | None) -> str:
    """The caller's id if it is 1 to 128 letters, digits and any of ``._-``, else a new one of 32 hex digits."""
    # Names must differ, not be secret; the system's random numbers would cost a call of the system, and every process
    # seeds its own.
    return sent if sent is not None and _SANE.fullmatch(sent) else f"{getrandbits(128):032x}"
