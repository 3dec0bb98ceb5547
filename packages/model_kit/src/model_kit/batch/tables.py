"""Tables in and out, whatever the format: CSV, JSON Lines, Parquet; files, many as one, standard streams; any size.

Rows come in batches, in order, and memory does not grow with their number. CSV and Parquet need pyarrow, which is
imported when such a file is opened.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, BinaryIO, Final, Protocol, cast, get_args

from model_kit.batch.compression import COMPRESSIONS, compression_of, unpacked, without_compression
from model_kit.batch.file_systems import STANDARD
from model_kit.batch.json_lines import JsonLinesTable, JsonLinesWriter
from model_kit.batch.output import binary_output
from model_kit.batch.rows import Answers, Batch, Format, Table
from model_kit.batch.sources import Source, find_sources
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
    r"|np[yz]|zip|zstd|7z|tar|tgz|br|snappy|z)"
)


class Writer(Protocol):
    """What batches are written with."""

    def render(self, batch: Batch, answers: Answers) -> Any:
        """The rows as they are written; may be called by several threads at a time."""

    def write(self, rendered: Any) -> None:
        """Write what :meth:`render` made."""

    def close(self) -> None:
        """Write what is left."""


def known_format(path: str) -> Format | None:
    """The format that a file's name says, compressed or not; ``None`` if it says none."""
    return SUFFIXES.get(without_compression(path).suffix.lower())


def format_of(path: str, default: Format = "csv") -> Format:
    """As :func:`known_format`, with a default."""
    return known_format(path) or default


def output_format(path: str, default: Format) -> Format:
    """As :func:`format_of`, of a file that is to be written.

    Raises:
        DataError: the name says a format or compression that is not written.
    """
    as_format, name = format_of(path, default), without_compression(path)
    compressed = compression_of(path) is not None
    foreign = next((suffix for suffix in name.suffixes[-2:] if _FOREIGN.fullmatch(suffix.lower())), None)
    if path != STANDARD and (foreign or (compressed and as_format == "parquet")):
        formats, compressions = " ".join(SUFFIXES), " ".join(COMPRESSIONS)
        what = foreign or "compressed Parquet"
        raise DataError(f"{path}: {what} is not written; known are {formats}, text with {compressions} after it")
    return as_format


class JoinedTable(Table):
    """Several tables of the same columns, one after the other.

    Args:
        name: what errors call them together.
        first: the first, opened.
        others: each opens one of the others.
    """

    def __init__(self, name: str, first: Table, others: Sequence[Callable[[], AbstractContextManager[Table]]]) -> None:
        super().__init__(name, first.format, first.spec)
        self.first, self.columns = first.first, first.columns
        self._others = others
        self._added: Collection[str] = ()
        self._n_read = 0
        self.total, self.position = 1 + len(others), lambda: self._n_read

    def blocks(self) -> Iterator[tuple[Table, Any]]:
        """The blocks of the tables, each with its table.

        Raises:
            DataError: a table cannot be used, or has other columns.
        """
        yield from ((self.first, block) for block in self.first.blocks())
        self._n_read = 1
        for opened in self._others:
            with opened() as table:
                if table.columns != self.columns:
                    raise DataError(f"{table.name}: {_difference(table.columns, self.columns)} {self.first.name}")
                table.refuse(self._added)
                yield from ((table, block) for block in table.blocks())
            self._n_read += 1

    def parse(self, block: tuple[Table, Any]) -> Batch:
        """The rows of a block."""
        table, content = block
        return table.parse(content)

    def watch(self, batch: Batch) -> None:
        """See :meth:`Table.watch`."""
        batch.table.watch(batch)

    def number(self, text: str) -> str:
        """A number of the files as Python spells it."""
        return self.first.number(text)

    def refuse(self, added: Collection[str]) -> None:
        """See :meth:`Table.refuse`."""
        self._added = added
        self.first.refuse(added)


def _difference(columns: Sequence[str], others: Sequence[str]) -> str:
    """How columns differ from those of another table, which is named after it."""
    if lacking := [name for name in others if name not in columns]:
        return f"lacks the column {', '.join(lacking)} of"
    if more := [name for name in columns if name not in others]:
        return f"has the column {', '.join(more)}, which is not in"
    return "has its columns in another order than"


@contextmanager
def reading(
    path: str | Sequence[str], spec: InputSpec, as_format: Format | None = None, numbers: NumberFormat = PLAIN
) -> Generator[Table, None, None]:
    """Open a table; what is compressed is unpacked, and several files are one table.

    Args:
        path: as :func:`.find_sources` takes it; or several of them.
        spec: says how to read its fields.
        as_format: by default what the name of each file says, CSV for standard input.
        numbers: how a CSV file writes numbers.

    Raises:
        DataError: it cannot be read, or is no such table.
        MissingLibraryError: its format needs a library that is not installed.
    """
    paths = [path] if isinstance(path, str) else path
    sources = [source for one in paths for source in find_sources(one, lambda name: as_format or known_format(name))]
    formats = {as_format or format_of(source.path) for source in sources}
    if len(formats) > 1:
        raise DataError(f"files of several formats, {' and '.join(sorted(formats))}, are no table")
    (found,) = formats
    require_library(found)
    first, *others = [partial(_open, source, spec, found, numbers) for source in sources]
    with first() as table:
        yield JoinedTable(f"{table.name} and {len(others)} more", table, others) if others else table


@contextmanager
def _open(source: Source, spec: InputSpec, as_format: Format, numbers: NumberFormat) -> Generator[Table, None, None]:
    with source.open(as_format == "parquet") as file:
        if as_format == "parquet":
            from model_kit.batch.parquet import ParquetTable  # noqa: PLC0415 - an extra

            with _seekable(file) as whole:
                yield ParquetTable(whole, spec, source.name, source.values)
            return
        text = unpacked(file, source.name)
        table: Table
        if as_format == "jsonl":
            table = JsonLinesTable(text, spec, source.name)
        else:
            from model_kit.batch.csv_files import CsvTable  # noqa: PLC0415 - an extra

            table = CsvTable(text, spec, source.name, numbers)
        # A pipe has no size; neither does a device, nor what comes from afar.
        if source.path != STANDARD and (size := _size(file)):
            table.total, table.position = size, file.tell
        yield table


def _size(file: io.BufferedReader) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:
        return 0


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
