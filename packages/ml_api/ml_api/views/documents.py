"""What requests of other protocols have in common: limits, rows from columns, and names in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge

from ml_api.views import requests

#: Characters of a name, and names, that a message repeats.
_LONGEST_NAME, _MOST_NAMES = 60, 10


def check_rows(n_rows: int, max_rows: int) -> None:
    """Check the number of rows.

    Raises:
        RequestEntityTooLarge: there are more than ``max_rows``.
    """
    if n_rows > max_rows:
        raise RequestEntityTooLarge(requests.TOO_MANY.format(n_rows, max_rows))


def check_values(n_values: int, max_rows: int) -> None:
    """Check the number of values.

    Raises:
        RequestEntityTooLarge: there are more than ``max_rows`` rows may have.
    """
    if n_values > requests.max_values(max_rows):
        raise RequestEntityTooLarge(f"The body has more than {requests.max_values(max_rows)} values.")


def to_records(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return one record for each row of columns of equal lengths."""
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def shown(name: str) -> str:
    """Return a name as messages have it: quoted, and not longer than a line."""
    text = repr(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def listed(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
