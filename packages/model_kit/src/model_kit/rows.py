"""One row of a file, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model_kit.errors import DataError


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


def refusing(entries: Iterator[Entry], name: str, columns: Sequence[str]) -> Iterator[Entry]:
    """The same entries, none of which has a key that is going to be added.

    Raises:
        DataError: one has; the text names file, line and key.
    """
    for entry in entries:
        for column in columns:
            if column in entry.original:
                raise DataError(f"{name}, line {entry.number}: has a key {column} already")
        yield entry
