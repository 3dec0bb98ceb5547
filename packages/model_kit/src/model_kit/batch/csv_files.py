"""CSV files in and out without pandas: rows of cells <-> records that a validator can judge.

Files as spreadsheets write them are read as they are: a byte-order mark, CRLF, semicolons or tabs between the cells,
a line "sep=;" before the header, quotes around numbers. What cannot be read safely is refused in a sentence.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import StringIO, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, TextIO, TypeAlias

from model_kit.batch.rows import InputRow
from model_kit.errors import DataError
from model_kit.records.text import parse_cell
from model_kit.spec import InputSpec, Value

#: Original cells by column name, all columns, as the file has them.
Cells: TypeAlias = dict[str, str]
#: What the model is asked about: field name -> value, for the fields that the file has.
Record: TypeAlias = dict[str, Value]

#: What may stand between cells; of several that give equally many known columns, the first.
DELIMITERS: Final = ",;\t"
#: Characters of the longest line that is read; a longer one is no row of a table, and would fill the memory.
LONGEST_LINE: Final = 4_000_000

_DECIMAL_COMMA: Final = re.compile(r"\s*[+-]?\d[\d.]*,\d+\s*", re.ASCII)
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)
#: What makes a writer look closer, besides the delimiter.
_QUOTED: Final = re.compile(r'["\r\n]')
#: First bytes of files that are no text -> what they are.
_MAGIC: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "a workbook (.xlsx) or zip archive, not CSV text; export the sheet as CSV UTF-8",
    b"\x1f\x8b": "compressed by gzip, not CSV text; unpack it first",
    b"PAR1": "a Parquet file, not CSV text",
    b"\xd0\xcf\x11\xe0": "a workbook (.xls), not CSV text; export the sheet as CSV UTF-8",
    b"\xff\xfe": "UTF-16, not UTF-8 text; export it as CSV UTF-8",
    b"\xfe\xff": "UTF-16, not UTF-8 text; export it as CSV UTF-8",
}


class Dialect(NamedTuple):
    """How a CSV file is written, so that what comes of it can be written the same way.

    Attributes:
        delimiter: what stands between cells.
        bom: whether a byte-order mark comes first.
        line_end: what ends a line.
    """

    delimiter: str = ","
    bom: bool = False
    line_end: str = "\n"


def binary_kind(content: bytes) -> str | None:
    """What a file that is no text is, and what to do about it, by its first bytes; ``None`` if they say nothing."""
    return next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)


class RecordMaker:
    """Cells -> records.

    Args:
        spec: says how to read its fields.
        columns: names of the cells, in order.

    Attributes:
        decimal_commas: numbers so far that will be refused because they are written like 12,5.
    """

    def __init__(self, spec: InputSpec, columns: Sequence[str]) -> None:
        self.decimal_commas = 0
        position = {column: index for index, column in enumerate(columns)}
        self._parsers = [
            (field.name, position[field.name], partial(parse_cell, field), field.is_number)
            for field in spec.fields
            if field.name in position
        ]

    def __call__(self, cells: Sequence[str]) -> Record:
        """What the model is asked about a row with as many cells as there are columns."""
        record = {}
        for name, index, parse, numeric in self._parsers:
            value = record[name] = parse(cells[index])
            if numeric and isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
                self.decimal_commas += 1
        return record


def fitted(cells: Sequence[str], width: int, dialect: Dialect) -> tuple[list[str], str]:
    """As many cells as the header has of a row that has more or fewer, and what is wrong with it.

    Cells that are missing are empty; what there is beyond the header is repeated in the fault, so that nothing is lost.
    """
    fault = _wrong_width(len(cells), width)
    if any(cells[width:]):
        fault += f"; beyond them: {csv_text(cells[width:], dialect)}"
    return [*cells[:width], *[""] * (width - len(cells))], fault


def cut_off(name: str, line: int, n_cells: int, width: int) -> DataError:
    """What to raise where a file ends within a row."""
    return DataError(f"{name}, line {line}: {_wrong_width(n_cells, width)}; it is the last line: the file is cut off")


def not_csv(name: str, line: int, error: csv.Error) -> DataError:
    """What to raise where a file is no CSV."""
    return DataError(f"{name}, line {line}: not CSV: {error}")


def not_utf8(name: str) -> DataError:
    """What to raise where a file is no UTF-8 text."""
    return DataError(f"{name}: not UTF-8 text; export it as CSV UTF-8")


def _wrong_width(n_cells: int, width: int) -> str:
    return f"{n_cells} {'cell' if n_cells == 1 else 'cells'} where the header has {width}"


class Records(Iterator[tuple[Cells, Record]]):
    """The rows of a CSV file, one at a time; :func:`read_records` makes it.

    Attributes:
        name: what errors call the file.
        columns: the header, in order.
        dialect: how the file is written.
        line: number of the line on which the last row began, from 1.
        record: makes the records.
    """

    def __init__(self, file: Iterable[str], spec: InputSpec, name: str) -> None:
        self.name = name
        self.line = 1
        self.dialect, lines = self._look_at(iter(file), spec)
        self._last_line = ""
        self._reader = csv.reader(self._remembered(lines), delimiter=self.dialect.delimiter, strict=True)
        self.columns = tuple(self._header())
        self._refuse_columns(spec.required)
        self.record = RecordMaker(spec, self.columns)

    @property
    def decimal_commas(self) -> int:
        """Numbers so far that will be refused because they are written like 12,5."""
        return self.record.decimal_commas

    def entries(self) -> Iterator[InputRow]:
        """The rows; one with a cell too many or too few is a row at fault, see :func:`fitted`.

        Raises:
            DataError: a line is no CSV, or the file ends within one; the text names it.
        """
        width = len(self.columns)
        while (cells := self._read()) is not None:
            if len(cells) == width:
                yield InputRow(dict(zip(self.columns, cells, strict=True)), self.line, self.record(cells))
                continue
            if len(cells) < width and not self._last_line.endswith(("\n", "\r")):
                raise cut_off(self.name, self.line, len(cells), width)
            kept, fault = fitted(cells, width, self.dialect)
            yield InputRow(dict(zip(self.columns, kept, strict=True)), self.line, {}, fault)

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
        return dict(zip(self.columns, cells, strict=True)), self.record(cells)

    def _remembered(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            self._last_line = line
            yield line

    def _look_at(self, lines: Iterator[str], spec: InputSpec) -> tuple[Dialect, Iterator[str]]:
        """How the file is written, found in its first line that is not blank; and all its lines, without a mark."""
        seen: list[str] = []
        bom = False
        delimiter = None
        try:
            for line in lines:
                text = line
                if not seen and text.startswith("\ufeff"):
                    bom, text = True, text.removeprefix("\ufeff")
                declared = None if delimiter else _SEPARATOR_LINE.fullmatch(text)
                if declared:
                    delimiter, text = declared[1], "\n"
                seen.append(text)
                # A name within quotes may go on in the next line.
                if text.strip() and "".join(seen).count('"') % 2 == 0:
                    break
        except UnicodeDecodeError as error:
            self._refuse_encoding(error)
        header = "".join(seen).lstrip("\r\n")
        dialect = Dialect(delimiter or _delimiter(header, spec), bom, "\r\n" if header.endswith("\r\n") else "\n")
        return dialect, chain(seen, lines)

    def _header(self) -> list[str]:
        header = self._read()
        if header is None:
            raise DataError(f"{self.name}: the file is empty")
        first = header[0].lstrip()
        if kind := binary_kind(first.encode()):
            raise DataError(f"{self.name}: {kind}")
        if "\0" in first:
            raise DataError(f"{self.name}: a binary file, not CSV text")
        if first.startswith("{"):
            raise DataError(f"{self.name}: JSON, not CSV")
        if first.startswith("<"):
            raise DataError(f"{self.name}: an HTML or XML page, not CSV; was it downloaded without signing in?")
        return header

    def _refuse_columns(self, required: Iterable[str]) -> None:
        twice = [column for column, count in Counter(self.columns).items() if count > 1]
        if twice == [""]:
            raise DataError(f"{self.name}: the header has {self.columns.count('')} columns without a name")
        if twice:
            raise DataError(f"{self.name}: the header has a column more than once: {', '.join(twice)}")
        missing = [column for column in required if column not in self.columns]
        if missing:
            apart = len(self.columns) > 1 or not any(mark in self.columns[0] for mark in "|:")
            hint = "" if apart else "; cells must be separated by commas, semicolons or tabs"
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
            raise not_csv(self.name, self.line, error) from error
        except UnicodeDecodeError as error:
            self._refuse_encoding(error)

    def _refuse_encoding(self, error: UnicodeDecodeError) -> NoReturn:
        kind = binary_kind(error.object) if self.line == 1 else None
        raise (DataError(f"{self.name}: {kind}") if kind else not_utf8(self.name)) from error

    def _refuse_row(self, n_cells: int) -> NoReturn:
        line, width = self.line, len(self.columns)
        if n_cells < width and self._read() is None:
            raise cut_off(self.name, line, n_cells, width)
        raise DataError(f"{self.name}, line {line}: {_wrong_width(n_cells, width)}")


def read_records(file: Iterable[str], spec: InputSpec, name: str = "input") -> Records:
    """Read CSV text: header first; a byte-order mark and blank lines are passed over.

    Cells are separated by that one of ``DELIMITERS`` which gives most of the spec's required columns, then fields.

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


def csv_text(cells: Sequence[str], dialect: Dialect) -> str:
    """Some cells of a row as :class:`CsvWriter` writes them."""
    text = dialect.delimiter.join(cells)
    if text.count(dialect.delimiter) == len(cells) - 1 and not _QUOTED.search(text):
        return text
    file = StringIO(newline="")
    # One cell more, as a row that is nothing but an empty cell is written in another way.
    csv.writer(file, delimiter=dialect.delimiter, lineterminator=dialect.line_end).writerow([*cells, ""])
    return file.getvalue().removesuffix(dialect.delimiter + dialect.line_end)


class CsvWriter:
    """Writes rows as a file of the same kind as the one that they come from.

    Args:
        file: text file, opened with ``newline=""``.
        columns: the header.
        dialect: how to write.
    """

    def __init__(self, file: TextIO, columns: Iterable[str], dialect: Dialect = Dialect()) -> None:  # noqa: B008 - immutable
        if dialect.bom:
            file.write("\ufeff")
        self._writer = csv.writer(file, delimiter=dialect.delimiter, lineterminator=dialect.line_end)
        self._writer.writerow(columns)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, whose values stand in the order of the columns; ``None`` and NaN become empty cells."""
        # NaN is the only value unlike itself.
        self._writer.writerow([value if value == value else None for value in row.values()])  # noqa: PLR0124


@contextmanager
def replacing_binary(path: Path) -> Generator[BinaryIO, None, None]:
    """Open ``path`` for writing bytes; a regular file is replaced only when the block ends without an error.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    if path.exists() and not path.is_file():
        # A device or a pipe cannot be replaced.
        with path.open("wb") as file:
            yield file
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Generator[TextIO, None, None]:
    """As :func:`replacing_binary`, for UTF-8 text.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    with replacing_binary(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()


def _delimiter(header: str, spec: InputSpec) -> str:
    required, names = set(spec.required), set(spec.names)

    def known(delimiter: str) -> tuple[int, int]:
        try:
            columns = set(next(csv.reader([header], delimiter=delimiter), []))
        except csv.Error:
            return 0, 0
        return len(required & columns), len(names & columns)

    return max(DELIMITERS, key=known)
