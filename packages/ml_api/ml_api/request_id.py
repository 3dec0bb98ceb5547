"""The name of a request: in every response, in its log line, and the same in both."""

from __future__ import annotations

import re
from secrets import token_hex

HEADER = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(sent: str | None) -> str:
    """The caller's id if it is 1 to 128 letters, digits and any of ``._-``, else a new one of 32 hex digits."""
    return sent if sent is not None and _SANE.fullmatch(sent) else token_hex(16)
