"""One row of a file, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A row as a file has it, and what the model is asked about it.

    Attributes:
        original: all that the file says about the row, by column or key, in its order.
        number: line on which it begins, or its place among the rows of a file without lines, from 1.
        record: what a validator judges.
        fault: why the row could not even be read; empty if it could.
    """

    original: Mapping[str, Any]
    number: int
    record: object
    fault: str = ""
