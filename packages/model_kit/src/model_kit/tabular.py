"""CSV files in and out without pandas: rows of cells <-> records that a validator can judge."""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TextIO, TypeAlias

from model_kit.errors import DataError
from model_kit.spec import Field, InputSpec, Value

#: What files write for a missing value. "None" and "nan" are not among them: they can be levels.
NULLS: Final = frozenset({"", "NA"})

#: Original cells by column name, all columns, as the file has them.
Cells: TypeAlias = dict[str, str]
#: What the model is asked about: field name -> value, for the fields that the file has.
Record: TypeAlias = dict[str, Value]

# No more digits than a 64-bit integer holds; longer ones are read as floats.
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def is_null(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.strip() in NULLS


def parse_number(text: str) -> int | float | str:
    """A cell as a number: ``int`` if it is spelled like one, else a finite ``float``, else the text itself.

    The text is kept so that whoever validates it can say that it is no number; so are "nan", "inf" and "1e999".
    """
    stripped = text.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    if _NUMBER.fullmatch(stripped) and math.isfinite(number := float(stripped)):
        return number
    return text


def parse_cell(field: Field, text: str) -> Value:
    """A cell as the value of a field; what does not fit the field's kind is left for the validator to refuse.

    Args:
        field: says what to expect; a category of numeric codes takes "20" and "20.0" for 20.
        text: the cell; "" and "NA" are null, whatever the kind.
    """
    if is_null(text):
        return None
    if field.kind != "category":
        return parse_number(text)
    if field.numeric_codes:
        number = parse_number(text)
        return text if isinstance(number, str) or number != math.floor(number) else int(number)
    return text


class Records(Iterator[tuple[Cells, Record]]):
    """The rows of a CSV file, one at a time; :func:`read_records` makes it.

    Attributes:
        name: what errors call the file.
        columns: the header, in order.
        line: number of the line on which the last row began, from 1.
    """

    def __init__(self, file: Iterable[str], spec: InputSpec, name: str) -> None:
        self.name = name
        self.line = 0
        self._reader = csv.reader(_without_bom(file), strict=True)
        self.columns = tuple(self._header())
        self._refuse_columns(spec.required)
        position = {column: index for index, column in enumerate(self.columns)}
        self._parsers = [
            (field.name, position[field.name], partial(parse_cell, field))
            for field in spec.fields
            if field.name in position
        ]

    def __next__(self) -> tuple[Cells, Record]:
        """The next row.

        Raises:
            DataError: the line has too many or too few cells, or is no CSV; the text names it.
        """
        cells = self._read()
        if cells is None:
            raise StopIteration
        if len(cells) != len(self.columns):
            self._refuse_row(len(cells))
        record = {name: parse(cells[index]) for name, index, parse in self._parsers}
        return dict(zip(self.columns, cells, strict=True)), record

    def _header(self) -> list[str]:
        header = self._read()
        if header is None:
            raise DataError(f"{self.name}: the file is empty")
        first = header[0].lstrip()
        if "\0" in first:
            raise DataError(f"{self.name}: a binary file, not CSV text")
        if first.startswith("<"):
            raise DataError(f"{self.name}: an HTML or XML page, not CSV; was it downloaded without signing in?")
        return header

    def _refuse_columns(self, required: Iterable[str]) -> None:
        twice = [column for column, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise DataError(f"{self.name}: the header has a column more than once: {', '.join(twice)}")
        missing = [column for column in required if column not in self.columns]
        if missing:
            hint = "; cells must be separated by commas" if any(mark in self.columns[0] for mark in ";\t|") else ""
            raise DataError(f"{self.name}: the header lacks the required columns {', '.join(missing)}{hint}")

    def _read(self) -> list[str] | None:
        """Cells of the next line that is not blank, ``None`` at the end; ``line`` is where it begins."""
        try:
            while True:
                self.line = self._reader.line_num + 1
                cells = next(self._reader, None)
                if cells is None or cells:
                    return cells
        except csv.Error as error:
            raise DataError(f"{self.name}, line {self.line}: not CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: not UTF-8 text") from error

    def _refuse_row(self, n_cells: int) -> NoReturn:
        line, width = self.line, len(self.columns)
        text = f"{self.name}, line {line}: {n_cells} {'cell' if n_cells == 1 else 'cells'} where the header has {width}"
        if n_cells < width and self._read() is None:
            text += "; it is the last line: the file is cut off"
        raise DataError(text)


def read_records(file: Iterable[str], spec: InputSpec, name: str = "input") -> Records:
    """Read CSV text: header first, comma-separated, a byte-order mark and blank lines are passed over.

    Args:
        file: lines of text, as a file opened with ``newline=""`` gives them.
        spec: says how to read the cells of its fields. Other columns are kept in the cells only.
        name: what errors call the file.

    Returns:
        An iterator over the original cells and the record made of them, with the header as ``columns``.

    Raises:
        DataError: no header, a required column missing, a column twice, or not CSV.
    """
    return Records(file, spec, name)


@contextmanager
def replacing(path: Path) -> Generator[TextIO, None, None]:
    """Open ``path`` for writing UTF-8 text; a regular file is replaced only when the block ends without an error.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    if path.exists() and not path.is_file():
        # A device or a pipe cannot be replaced.
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _without_bom(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")
