"""Tables in and out, whatever the format: CSV, JSON Lines, Parquet; files or the standard streams; any size.

Rows come in batches, in order, and memory does not grow with their number. CSV and Parquet need pyarrow, which is
imported when such a file is opened.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast, get_args

from model_kit.batch.json_lines import JsonLinesTable, JsonLinesWriter
from model_kit.batch.output import GZIP_SUFFIX, STANDARD, binary_output
from model_kit.batch.rows import Answers, Batch, Format, Table
from model_kit.errors import DataError, MissingLibraryError
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.scoring.table_columns import Added
from model_kit.spec import InputSpec

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
SUFFIXES: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
#: Suffixes of formats and compressions that are not written.
_FOREIGN: Final = re.compile(
    r"\.(json|xls[xmb]?|ods|arrow|feather|orc|avro|h5|hdf5|pkl|pickle|xml|html?|ya?ml|db|sqlite3?|sql|sas7bdat|sav|dta"
    r"|np[yz]|zip|bz2|xz|zstd?|lz4|7z|tar|tgz|br|snappy|z)"
)
_GZIP: Final = b"\x1f"


class Writer(Protocol):
    """What batches are written with."""

    def render(self, batch: Batch, answers: Answers) -> Any:
        """The rows as they are written; may be called by several threads at a time."""

    def write(self, rendered: Any) -> None:
        """Write what :meth:`render` made."""

    def close(self) -> None:
        """Write what is left."""


def name_of(path: str) -> str:
    """What a table is called in words."""
    return "standard input" if path == STANDARD else Path(path).name


def format_of(path: str, default: Format = "csv") -> Format:
    """The format that a file's name says, with or without .gz; ``default`` if it says none."""
    name = Path(path)
    return SUFFIXES.get((name.with_suffix("") if name.suffix.lower() == GZIP_SUFFIX else name).suffix.lower(), default)


def output_format(path: str, default: Format) -> Format:
    """As :func:`format_of`, of a file that is to be written.

    Raises:
        DataError: the name says a format or compression that is not written.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    gzipped = suffixes[-1:] == [GZIP_SUFFIX]
    foreign = next((suffix for suffix in suffixes[-1 - gzipped :] if _FOREIGN.fullmatch(suffix)), None)
    if path != STANDARD and (foreign or (gzipped and format_of(path, default) == "parquet")):
        known = " ".join(SUFFIXES)
        raise DataError(f"{path}: {foreign or GZIP_SUFFIX} is not written; known are {known}, text with .gz after it")
    return format_of(path, default)


@contextmanager
def reading(
    path: str, spec: InputSpec, as_format: Format | None = None, numbers: NumberFormat = PLAIN
) -> Generator[Table, None, None]:
    """Open a table; text that is compressed by gzip is unpacked.

    Args:
        path: a file, or ``STANDARD`` for standard input.
        spec: says how to read its fields.
        as_format: by default what the name says, CSV for standard input.
        numbers: how a CSV file writes numbers.

    Raises:
        DataError: it cannot be read, or is no such table.
        MissingLibraryError: its format needs a library that is not installed.
    """
    as_format = as_format or format_of(path)
    require_library(as_format)
    name = name_of(path)
    with _open(path) as file:
        if as_format == "parquet":
            from model_kit.batch.parquet import ParquetTable  # noqa: PLC0415 - an extra

            with _seekable(file) as whole:
                yield ParquetTable(whole, spec, name)
            return
        text = file
        # The first read of a pipe may be of one byte, and no text begins with this one.
        if file.peek(1)[:1] == _GZIP:
            text = io.BufferedReader(_Unpacked(file, name))
        table: Table
        if as_format == "jsonl":
            table = JsonLinesTable(text, spec, name)
        else:
            from model_kit.batch.csv_files import CsvTable  # noqa: PLC0415 - an extra

            table = CsvTable(text, spec, name, numbers)
        # A pipe has no size; neither does a device.
        if path != STANDARD and (size := os.fstat(file.fileno()).st_size):
            table.total, table.position = size, file.tell
        yield table


@contextmanager
def writing(path: str, table: Table, as_format: Format, added: Added) -> Generator[Writer, None, None]:
    """Open a file for the rows of ``table`` with some columns more; it is replaced only when it is complete.

    A CSV file made of one is written as that is: delimiter, line ends, byte-order mark, cells. In a Parquet file made
    of one the columns are those of the other, bit for bit; made of a CSV file, all its cells are text.

    Args:
        path: a file, or ``STANDARD`` for standard output.
        table: where the rows come from.
        as_format: what to write.
        added: columns that are added after those of the table.

    Raises:
        DataError: the format needs columns, and the rows of the table have their own keys; or there is no such folder.
        OSError: the file cannot be written.
    """
    if as_format != "jsonl" and table.format == "jsonl":
        raise DataError(f"{table.name}: JSON Lines can only become JSON Lines, as every line has its own keys")
    with binary_output(path) as file, ExitStack() as failing:
        writer: Writer
        if as_format == "jsonl":
            writer = JsonLinesWriter(file, table, added)
        elif as_format == "csv":
            from model_kit.batch.csv_files import CsvWriter  # noqa: PLC0415 - an extra

            writer = CsvWriter(file, table, added)
        else:
            from model_kit.batch.parquet import ParquetWriter  # noqa: PLC0415 - an extra

            writer = ParquetWriter(file, table, added)
            failing.callback(writer.abandon)
        yield writer
        writer.close()


def require_library(as_format: Format) -> None:
    """Make sure that the library is there which a format needs.

    Raises:
        MissingLibraryError: it is not.
    """
    if as_format == "jsonl":
        return
    try:
        import pyarrow  # noqa: F401, ICN001, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingLibraryError("CSV and Parquet files need pyarrow, which is not installed") from error


class _Unpacked(io.RawIOBase):
    """The content of a file that gzip has compressed."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._name = name

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack some bytes.

        Raises:
            DataError: the file is damaged, or ends too early.
        """
        try:
            content = self._file.read1(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{self._name}: compressed by gzip, and damaged or cut off: {error}") from error
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _open(path: str) -> Generator[io.BufferedReader, None, None]:
    if path == STANDARD:
        if sys.stdin is None:
            raise DataError("standard input is closed")
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
