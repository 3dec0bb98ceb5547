"""One row of a file, whatever the format."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from model_kit.errors import DataError

#: Name of a column that is added to a table -> what it holds, in order.
Added: TypeAlias = "dict[str, Literal['number', 'text']]"


class InputRow(NamedTuple):
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


def refusing(entries: Iterator[InputRow], name: str, columns: Collection[str]) -> Iterator[InputRow]:
    """The same entries, none of which has a key that is going to be added.

    Raises:
        DataError: one has; the text names file, line and key.
    """
    for entry in entries:
        for column in columns:
            if column in entry.original:
                raise DataError(f"{name}, line {entry.number}: has a key {column} already")
        yield entry
