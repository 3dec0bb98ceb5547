"""Tables in and out, whatever the format: CSV, JSON Lines, Parquet; files or the standard streams; any size.

Rows come one at a time, in order, and memory does not grow with their number.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, TextIO, TypeAlias, cast, get_args

from model_kit.batch.blocks import Block, Lines
from model_kit.batch.csv_files import CsvWriter, Dialect, Records, read_records, replacing, replacing_binary
from model_kit.batch.json_lines import JsonLinesWriter, read_lines
from model_kit.batch.parquet import ParquetRows, ParquetWriter
from model_kit.batch.rows import Added, InputRow, refusing
from model_kit.errors import DataError
from model_kit.spec import InputSpec

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
#: Stands for standard input or output.
STANDARD: Final = "-"
SUFFIXES: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass
class Table:
    """A table that is being read.

    Attributes:
        name: what errors call it.
        format: how it is written.
        entries: its rows, each once, in order.
        columns: its columns in order; ``None`` where each row has its own keys.
        total: how much there is to read, in the unit of ``position``; ``None`` if that is not known.
        position: how much has been read.
        blocks: instead of ``entries``: what comes after the header, cut into blocks; ``None`` of a Parquet file.
        csv: the rows of a CSV file, for what only those have.
        schema: the Arrow schema of a Parquet file.
    """

    name: str
    format: Format
    entries: Iterator[InputRow]
    columns: tuple[str, ...] | None
    total: int | None
    position: Callable[[], int]
    blocks: Iterator[Block] | None = None
    csv: Records | None = None
    schema: Any = None

    def row(self, entry: InputRow, as_format: Format) -> Mapping[str, Any]:
        """A row as it is written; fields of a CSV file get their types where the format has types for them."""
        if self.csv and as_format == "jsonl":
            return {**entry.original, **cast("dict[str, Any]", entry.record)}
        return entry.original

    def refuse(self, columns: Collection[str]) -> None:
        """Make sure that columns which are going to be added are not there already.

        Raises:
            DataError: one is; of a table whose rows have their own keys, when such a row is read.
        """
        if self.columns is None:
            self.entries = refusing(self.entries, self.name, columns)
            return
        clashes = [column for column in columns if column in self.columns]
        if clashes:
            raise DataError(f"{self.name}: has a column {' and '.join(clashes)} already")


class Writer(Protocol):
    """What rows are written with."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, with its values in the order of the columns."""


def name_of(path: str) -> str:
    """What a table is called in words."""
    return "standard input" if path == STANDARD else Path(path).name


def format_of(path: str, default: Format = "csv") -> Format:
    """The format that a file's name says; ``default`` if it says none."""
    return SUFFIXES.get(Path(path).suffix.lower(), default)


@contextmanager
def reading(path: str, spec: InputSpec, as_format: Format | None = None) -> Generator[Table, None, None]:
    """Open a table.

    Args:
        path: a file, or ``STANDARD`` for standard input.
        spec: says how to read its fields.
        as_format: by default what the name says, CSV for standard input.

    Raises:
        DataError: it cannot be read, or is no such table.
        MissingLibraryError: its format needs a library that is not installed.
    """
    as_format = as_format or format_of(path)
    with _open(path) as file:
        if as_format == "parquet":
            with _seekable(file) as whole:
                rows = ParquetRows(whole, spec, name_of(path))
                done = _Counter(rows)
                yield Table(rows.name, as_format, done, rows.columns, rows.total, done.count, schema=rows.schema)
            return
        # A pipe has no size; neither does a device.
        total = os.fstat(file.fileno()).st_size or None if path != STANDARD else None
        position = file.tell if total else _nothing
        lines = Lines(file, name_of(path))
        if as_format == "jsonl":
            entries, blocks = read_lines(file, name_of(path)), lines.line_blocks()
            yield Table(name_of(path), as_format, entries, None, total, position, blocks)
            return
        records = read_records(lines, spec, name_of(path))
        blocks = lines.csv_blocks(records.dialect.delimiter)
        yield Table(records.name, as_format, records.entries(), records.columns, total, position, blocks, csv=records)


@contextmanager
def writing(
    path: str,
    table: Table,
    as_format: Format,
    added: Added,
) -> Generator[Writer, None, None]:
    """Open a file for the rows of ``table`` with some columns more; it is replaced only when it is complete.

    A CSV file made of one is written as that is: delimiter, line ends, byte-order mark. In a Parquet file made of one
    the columns keep their types; made of a CSV file, all its cells are text.

    Args:
        path: a file, or ``STANDARD`` for standard output.
        table: where the rows come from.
        as_format: what to write.
        added: columns that are added after those of the table.

    Raises:
        DataError: the format needs columns, and the rows of the table have their own keys.
        OSError: the file cannot be written.
    """
    if as_format == "jsonl":
        with _text_output(path) as file:
            yield JsonLinesWriter(file)
        return
    if table.columns is None:
        raise DataError(f"{table.name}: JSON Lines can only become JSON Lines, as every line has its own keys")
    if as_format == "csv":
        dialect = table.csv.dialect if table.csv else Dialect()
        with _text_output(path) as file:
            yield CsvWriter(file, (*table.columns, *added), dialect)
        return
    with _binary_output(path) as binary:
        writer = ParquetWriter(binary, table.columns, table.schema, added)
        yield writer
        writer.close()


@contextmanager
def writing_parts(path: str, table: Table, added: Added) -> Generator[BinaryIO, None, None]:
    """As :func:`writing`, in the format of ``table``, for rows that are bytes already; a header has been written.

    Raises:
        OSError: the file cannot be written.
    """
    with _binary_output(path) as file:
        if table.csv:
            header = io.StringIO(newline="")
            CsvWriter(header, (*table.csv.columns, *added), table.csv.dialect)
            file.write(header.getvalue().encode())
        yield file


class _Counter(Iterator[InputRow]):
    """Rows, counted."""

    def __init__(self, rows: Iterator[InputRow]) -> None:
        self._rows = rows
        self._done = 0

    def __next__(self) -> InputRow:
        entry = next(self._rows)
        self._done += 1
        return entry

    def count(self) -> int:
        return self._done


def _nothing() -> int:
    return 0


@contextmanager
def _open(path: str) -> Generator[io.BufferedReader, None, None]:
    if path == STANDARD:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - what is read later is not to be called unreadable
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _seekable(file: BinaryIO) -> Generator[BinaryIO, None, None]:
    """The file itself; if it is a pipe a copy on disk, as a Parquet file's index stands at its end."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield cast("BinaryIO", copy)


@contextmanager
def _text_output(path: str) -> Generator[TextIO, None, None]:
    if path == STANDARD:
        # UTF-8 whatever the locale, line ends left alone.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(Path(path)) as file:
        yield file


@contextmanager
def _binary_output(path: str) -> Generator[BinaryIO, None, None]:
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing_binary(Path(path)) as file:
        yield file
