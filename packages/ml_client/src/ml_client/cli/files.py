"""Files in and out: CSV and Parquet as tables of Arrow, JSON Lines as records, a block at a time."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ml_client.errors import DataError
from ml_client.options import MAX_ROWS
from ml_client.predictions import Predictions
from ml_client.tables import Source
from ml_client.tables.records import RecordSource

STANDARD: Final = "-"
CSV, PARQUET, LINES = "csv", "parquet", "jsonl"
FORMATS: Final = (CSV, PARQUET, LINES)
_SUFFIXES: Final = {
    ".csv": CSV,
    ".tsv": CSV,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".jsonl": LINES,
    ".ndjson": LINES,
}
#: Bytes of a CSV file that are parsed at a time: some 10,000 rows of 80 columns.
_BLOCK: Final = 4 * 1024 * 1024

_encoder = msgspec.json.Encoder()


def format_of(path: str, default: str) -> str:
    """Return the format that the name of a file says, without its compression."""
    name = path.lower()
    for suffix in (".gz", ".bz2", ".zst"):
        name = name.removesuffix(suffix)
    return _SUFFIXES.get(Path(name).suffix, default)


def delimiter_of(path: str) -> str:
    """Return the delimiter that the name of a file says."""
    return "\t" if ".tsv" in path.lower() else ","


class Lines:
    """A file of JSON Lines, one record a line.

    Attributes:
        names: of its columns, as far as they are known.
        n_rows: likewise.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.names: Sequence[str] = ()
        self.n_rows: int | None = None

    def sources(self) -> Iterator[tuple[Source, Any]]:
        """Return the records in blocks, each with what is written beside its answers.

        Raises:
            DataError: a line is not JSON.
        """
        some: list[Any] = []
        with Path(self._path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    some.append(msgspec.json.decode(line))
                except msgspec.MsgspecError as error:
                    raise DataError(f"{self._path}, line {number}: not JSON: {error}") from error
                if len(some) == MAX_ROWS:
                    yield RecordSource(some), some
                    some = []
        if some:
            yield RecordSource(some), some


class Table:
    """A file of CSV, whose values stay text, or Parquet.

    Raises:
        DataError: it is none, or pyarrow is not installed.
    """

    def __init__(self, path: str, file_format: str, delimiter: str) -> None:
        pyarrow = _pyarrow()
        self._path = path
        self._is_text = file_format == CSV
        self.n_rows: int | None = None
        try:
            if self._is_text:
                self._batches = _csv_batches(path, delimiter)
                self._schema = self._batches.schema
            else:
                content = pyarrow.parquet.ParquetFile(path)
                self._batches = content.iter_batches(batch_size=MAX_ROWS)
                self._schema, self.n_rows = content.schema_arrow, content.metadata.num_rows
            self.names: Sequence[str] = self._schema.names
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: the header is not UTF-8") from error
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: {_first_line(error)}") from error

    def sources(self) -> Iterator[tuple[Source, Any]]:
        """See :meth:`Lines.sources`.

        Raises:
            DataError: the file is damaged.
        """
        from ml_client.tables.arrow import ArrowSource  # noqa: PLC0415 - an extra

        pyarrow = _pyarrow()
        batches = iter(self._batches)
        is_empty = True
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(f"{self._path}: {_first_line(error)}") from error
            if batch.num_rows:
                is_empty = False
                table = pyarrow.Table.from_batches([batch])
                yield ArrowSource(table, is_text=self._is_text), table
        if is_empty:  # the output has columns all the same
            yield ArrowSource(self._schema.empty_table()), self._schema.empty_table()


def read(path: str, file_format: str, delimiter: str | None) -> Lines | Table:
    """Open a file.

    Raises:
        DataError: it cannot be read.
    """
    if file_format == LINES:
        return Lines(path)
    return Table(path, file_format, delimiter or delimiter_of(path))


class Writer:
    """Writes blocks of rows with their answers.

    Args:
        file: where to.
        file_format: of the file.
        prefix: what the names of the new columns begin with.
        delimiter: of CSV.
    """

    def __init__(self, file: BinaryIO, file_format: str, prefix: str, delimiter: str) -> None:
        self._file, self._format, self._prefix, self._delimiter = file, file_format, prefix, delimiter
        self._parquet: Any = None
        self._schema: Any = None

    def write(self, given: Any, result: Predictions[Any, Any]) -> None:
        """Write rows as they were given, and the answers beside them.

        Raises:
            DataError: a column cannot be written.
        """
        if isinstance(given, list):
            self._write_lines(given, result.table)
            return
        table = given
        answers = result.table
        for name in answers.column_names:
            table = table.append_column(f"{self._prefix}{name}", _plain(answers.column(name)))
        if self._format == LINES:
            self._write_lines(given.to_pylist(), answers.to_pylist())
        else:
            self._write_table(table)

    def close(self) -> None:
        """Complete the file."""
        if self._parquet is not None:
            self._parquet.close()

    def _write_lines(self, records: Sequence[Any], answers: Sequence[Any]) -> None:
        for record, answer in zip(records, answers, strict=True):
            added = {f"{self._prefix}{name}": value for name, value in answer.items()}
            line = (record if isinstance(record, dict) else {"record": record}) | added
            self._file.write(_encoder.encode(line) + b"\n")

    def _write_table(self, table: Any) -> None:
        pyarrow = _pyarrow()
        if self._schema is None:
            self._schema = table.schema
            if self._format == CSV:
                header = io.StringIO()
                csv.writer(header, delimiter=self._delimiter, lineterminator="\n").writerow(table.column_names)
                self._file.write(header.getvalue().encode())
            else:
                self._parquet = pyarrow.parquet.ParquetWriter(self._file, self._schema)
        missing = [name for name in table.column_names if name not in self._schema.names]
        if missing:
            raise DataError(f"the column {missing[0]} is not in the rows before; write JSON Lines instead")
        columns = {
            field.name: table.column(field.name) if field.name in table.column_names else pyarrow.nulls(len(table))
            for field in self._schema
        }
        try:
            table = pyarrow.table({field.name: columns[field.name].cast(field.type) for field in self._schema})
        except pyarrow.ArrowException as error:
            raise DataError(f"a column has another type than in the rows before: {_first_line(error)}") from error
        if self._format == CSV:
            self._file.write(csv_lines(table, self._delimiter))
        else:
            self._parquet.write_table(table)


@contextmanager
def writing(path: str, file_format: str, prefix: str, delimiter: str) -> Generator[Writer]:
    """Open the output, ``-`` for standard output; a file is replaced only when all is written.

    Raises:
        OSError: it cannot be written.
    """
    with _output(path) as file:
        writer = Writer(file, file_format, prefix, delimiter)
        yield writer
        writer.close()


@contextmanager
def _output(path: str) -> Generator[BinaryIO]:
    target = Path(path)
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif target.exists() and not target.is_file():  # a device or a pipe
        with target.open("wb") as file:
            yield file
    else:
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def check_names(names: Sequence[str], added: Sequence[str], prefix: str) -> None:
    """Check that no column of a file has the name of a new one.

    Raises:
        DataError: one has.
    """
    for name in added:
        if f"{prefix}{name}" in names:
            raise DataError(f"the file has a column {prefix}{name} already; give the new ones a --prefix")


def csv_lines(table: Any, delimiter: str) -> bytes:
    """Return a table as lines of CSV; what is missing is empty, and an empty text is quoted."""
    import pyarrow.compute as pc  # noqa: PLC0415 - an extra

    pa = _pyarrow()
    special = f'["\r\n{delimiter}]|^$'
    columns = []
    for column in table.columns:
        text = column.cast(pa.string())
        is_special = pc.match_substring_regex(text, special)
        if pc.any(is_special).as_py():
            doubled = pc.replace_substring(text, '"', '""')
            text = pc.if_else(is_special, pc.binary_join_element_wise('"', doubled, '"', ""), text)
        columns.append(text)
    lines = pc.binary_join_element_wise(*columns, delimiter, null_handling="replace", null_replacement="")
    return "".join(f"{line}\n" for line in lines.to_pylist()).encode()


def _plain(column: Any) -> Any:
    """Return a column as a file of CSV or Parquet has it: what is nested as JSON."""
    import pyarrow.types as pt  # noqa: PLC0415 - an extra

    pa = _pyarrow()
    if not pt.is_nested(column.type):
        return column
    texts = [None if value is None else _encoder.encode(value).decode() for value in column.to_pylist()]
    return pa.array(texts, type=pa.string())


def _csv_batches(path: str, delimiter: str) -> Any:
    """Return a reader of CSV that reads every value as text; an empty one that is not quoted is missing.

    Raises:
        DataError: the file is empty.
    """
    pyarrow = _pyarrow()
    # Types are by name; without them the reader would guess, and "007" be 7.
    with _stream(path) as stream:
        text = stream.read(_BLOCK).decode("utf-8-sig", "replace")
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    if not names:
        raise DataError(f"{path}: there is no header")
    return pyarrow.csv.open_csv(
        _stream(path),
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _stream(path: str) -> Any:
    """Return the decompressed content of a file."""
    return _pyarrow().input_stream(path, compression="detect")


@contextmanager
def spooled(path: str) -> Generator[str]:
    """Return the path of a file; of standard input that of a copy, which can be read twice."""
    if path != STANDARD:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="ml-client-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield copy.name


def _pyarrow() -> Any:
    """Return pyarrow with its modules for files.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pyarrow.csv  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise DataError('CSV and Parquet need pyarrow: pip install pyarrow, the extra "arrow"') from error
    return pyarrow


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
