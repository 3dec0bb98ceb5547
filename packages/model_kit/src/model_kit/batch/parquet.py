"""Parquet files in and out, a batch of rows at a time; needs pyarrow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import ModuleType
from typing import Any, BinaryIO, Final

from model_kit.batch.rows import Added, InputRow
from model_kit.errors import DataError, MissingLibraryError
from model_kit.records.text import parse_value
from model_kit.spec import Field, InputSpec

#: Rows that are in memory as Python objects at a time.
BATCH: Final = 1000
#: Rows of a group as it is written; until then they are held as Arrow columns.
GROUP: Final = 20_000


class ParquetRows(Iterator[InputRow]):
    """The rows of a Parquet file, in order.

    A column of text is read as the cells of a CSV file are, so that "8" in a number's column is a number.

    Args:
        file: seekable.
        spec: says how to read its fields.
        name: what errors call the file.

    Attributes:
        columns: names of the columns, in order.
        schema: the file's Arrow schema.
        total: number of rows.

    Raises:
        DataError: not a Parquet file, a required column missing or a column twice.
        MissingLibraryError: pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO, spec: InputSpec, name: str) -> None:
        self._arrow, parquet = _arrow()
        try:
            content = parquet.ParquetFile(file)
        except (self._arrow.ArrowException, OSError) as error:
            raise DataError(f"{name}: not a Parquet file: {_first_line(error)}") from error
        self.name = name
        self.schema = content.schema_arrow
        self.columns: tuple[str, ...] = tuple(self.schema.names)
        self.total: int = content.metadata.num_rows
        twice = sorted({column for column in self.columns if self.columns.count(column) > 1})
        if twice:
            raise DataError(f"{name}: has a column more than once: {', '.join(twice)}")
        missing = [column for column in spec.required if column not in self.columns]
        if missing:
            raise DataError(f"{name}: lacks the required columns {', '.join(missing)}")
        self._fields = [field for field in spec.fields if field.name in self.columns]
        self._rows = self._read(content)

    def __next__(self) -> InputRow:
        """The next row.

        Raises:
            DataError: the file is damaged.
        """
        return next(self._rows)

    def _read(self, content: Any) -> Iterator[InputRow]:
        number = 0
        try:
            for batch in content.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield InputRow(row, number, {field.name: _value(field, row[field.name]) for field in self._fields})
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{self.name}, after row {number}: damaged: {_first_line(error)}") from error


class ParquetWriter:
    """Writes rows as a Parquet file; :meth:`close` completes it.

    Args:
        file: binary, need not be seekable.
        columns: names of the columns that rows come with.
        schema: their Arrow schema; without one all are text.
        added: columns that are added after them.
    """

    def __init__(self, file: BinaryIO, columns: tuple[str, ...], schema: Any, added: Added) -> None:
        self._arrow, parquet = _arrow()
        if schema is None:
            schema = self._arrow.schema([(column, self._arrow.string()) for column in columns])
        kinds = {"number": self._arrow.float64(), "text": self._arrow.string()}
        for name, kind in added.items():
            schema = schema.append(self._arrow.field(name, kinds[kind]))
        # pandas' own notes on the columns would no longer be true.
        self._schema = schema.remove_metadata()
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[Any] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        self._rows.append(row)
        if len(self._rows) == BATCH:
            self._gather()

    def close(self) -> None:
        """Write what is left and the index."""
        self._gather()
        self._flush()
        self._writer.close()

    def _gather(self) -> None:
        self._batches.append(self._arrow.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows = []
        if len(self._batches) * BATCH >= GROUP:
            self._flush()

    def _flush(self) -> None:
        table = self._arrow.Table.from_batches(self._batches, schema=self._schema)
        if table.num_rows:
            self._writer.write_table(table)
        self._batches = []


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow  # noqa: PLC0415, ICN001 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"Parquet files need {error.name}, which is not installed") from error
    return pyarrow, pyarrow.parquet


def _value(field: Field, value: Any) -> Any:
    if isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and math.isnan(value) else parse_value(field, value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
