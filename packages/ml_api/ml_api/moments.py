"""Points in time, as commands and query parameters have them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """Parse a point in time: ``7d``, ``12h`` or ``30m`` ago, or a date or time in ISO 8601 (UTC without an offset).

    Raises:
        ValueError: it is none.
    """
    ago = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
