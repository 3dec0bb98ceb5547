"""A training file as columns of texts, before anything is known of its fields."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Final

from model_kit.batch.csv_files import DELIMITERS, csv_table
from model_kit.errors import DataError
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.records.text import is_null
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.spec.inference import Column

#: Columns that an error lists.
_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class RawTable:
    """What a file holds.

    Attributes:
        columns: in order, without the target.
        target: the column to predict.
        n_duplicates: rows that occur before.
    """

    columns: tuple[Column, ...]
    target: Column
    n_duplicates: int


def read_table(content: bytes, target: str, name: str, numbers: NumberFormat = PLAIN) -> RawTable:
    """Read a CSV file.

    Args:
        content: the file.
        target: name of the column to predict.
        name: what errors call the file.
        numbers: how its numbers are written.

    Raises:
        DataError: it is no such table, or has no such column; the text names the line.
    """
    # What is no CSV in UTF-8 is refused before a column is looked for.
    csv_table(content, InputSpec((), {}, Target(target)), name).text(content, 1)
    header = _header(content.decode(), target)
    if target not in header:
        listed = ", ".join(repr(column) for column in header[:_LISTED])
        close = [column for column in header if column.strip().lower() == target.strip().lower()]
        hint = f", but {close[0]!r}" if close else ""
        raise DataError(f"{name}: there is no column {target!r}{hint}. Its columns: {listed}")
    known = tuple(Field(column, "category", "") for column in dict.fromkeys(header) if column)
    spec = InputSpec(known, {field.name: Learned(0.0, None) for field in known}, Target(target))
    counts: list[dict[str, int]] = [{} for _ in header]
    previous: list[str | None] = [None] * len(header)
    consecutive = [True] * len(header)
    n_rows = n_duplicates = 0
    seen: set[int] = set()
    table = csv_table(content, spec, name)
    for entry in table.entries:
        if entry.fault:
            raise DataError(f"{name}, line {entry.number}: {entry.fault}")
        row = tuple(entry.original.values())
        for position, cell in enumerate(row):
            text = cell.strip()
            if not numbers.is_plain:
                text = numbers.read(text) or text
            if is_null(text):
                consecutive[position] = False
                continue
            counts[position][text] = counts[position].get(text, 0) + 1
            if consecutive[position]:
                before, previous[position] = previous[position], text
                consecutive[position] = text.isdecimal() and (before is None or int(text) == int(before) + 1)
        fingerprint = hash(row)
        n_duplicates += fingerprint in seen
        seen.add(fingerprint)
        n_rows += 1
    columns = [
        Column(column, found, n_rows, consecutive=steps and n_rows > 1)
        for column, found, steps in zip(table.columns, counts, consecutive, strict=True)
    ]
    return RawTable(
        tuple(column for column in columns if column.name != target),
        next(column for column in columns if column.name == target),
        n_duplicates,
    )


def _header(content: str, target: str) -> list[str]:
    """The header under the delimiter that gives the target and most columns."""

    def columns(delimiter: str) -> list[str]:
        lines = io.StringIO(content.removeprefix("\ufeff"), newline="")
        try:
            rows = csv.reader(lines, delimiter=delimiter)
            header = next((row for row in rows if row and not row[0].lower().startswith("sep=")), [])
        except csv.Error:
            return []
        return header

    return max(map(columns, DELIMITERS), key=lambda header: (target in header, len(header)))
