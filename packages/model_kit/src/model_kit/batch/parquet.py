"""Parquet files in and out, a batch of rows at a time; columns that are no field are carried as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet

from model_kit.batch.csv_files import CsvBatch
from model_kit.batch.rows import Answers, Batch, InputRow, Table
from model_kit.errors import DataError
from model_kit.records.columns import Certain, ColumnEncoder
from model_kit.records.columns import to_json as field_to_json
from model_kit.records.encoding import Encoded
from model_kit.records.values import to_json, to_values
from model_kit.scoring.table_columns import Added
from model_kit.spec import InputSpec

#: Rows of a batch.
BATCH: Final = 4000
#: Rows of a group as it is written; until then they are held as Arrow columns.
GROUP: Final = 20_000
#: Metadata in which libraries list all columns, which would no longer be true.
_DESCRIPTIONS: Final = frozenset({b"pandas", b"huggingface", b"org.apache.spark.sql.parquet.row.metadata"})


class ParquetTable(Table):
    """A Parquet file. A column of text is read as the cells of a CSV file are, so that "8" can be a number.

    Args:
        file: seekable.
        spec: says how to read its fields.
        name: what errors call the file.

    Attributes:
        schema: the file's Arrow schema.

    Raises:
        DataError: not a Parquet file, a required column missing or a column twice.
    """

    def __init__(self, file: BinaryIO, spec: InputSpec, name: str) -> None:
        super().__init__(name, "parquet", spec)
        try:
            self._content = pyarrow.parquet.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name}: not a Parquet file: {_first_line(error)}") from error
        self.schema = self._content.schema_arrow
        self.columns = tuple(self.schema.names)
        self.total = self._content.metadata.num_rows
        self._n_read = 0
        self.position = lambda: self._n_read
        self.refuse_columns()
        self._encode = ColumnEncoder(spec, self.columns)

    def blocks(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows in batches, each with the number of its first.

        Raises:
            DataError: the file is damaged.
        """
        try:
            for batch in self._content.iter_batches(batch_size=BATCH):
                first = self._n_read + 1
                self._n_read += batch.num_rows
                yield first, batch
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}, after row {self._n_read}: damaged: {_first_line(error)}") from error

    def parse(self, block: tuple[int, pa.RecordBatch]) -> ParquetBatch:
        """The rows of a batch."""
        return ParquetBatch(self, *block)

    def encode(self, batch: pa.RecordBatch) -> tuple[Encoded, Certain]:
        """See :class:`ColumnEncoder`.

        Raises:
            DataError: a field's column holds what cannot be read.
        """
        try:
            return self._encode(dict(zip(batch.schema.names, batch.columns, strict=True)), batch.num_rows)
        except ValueError as error:
            raise DataError(f"{self.name}, {error}") from error


class ParquetBatch(Batch):
    """Some rows of a Parquet file.

    Attributes:
        content: the rows.
    """

    def __init__(self, table: ParquetTable, first: int, content: pa.RecordBatch) -> None:
        self._table = table
        self._first = first
        self._fields = [field for field in table.spec.fields if field.name in content.schema.names]
        self._values: dict[str, list[Any]] = {}
        self.content = content
        self.size = self.n_rows = content.num_rows

    def encode(self) -> tuple[Encoded, Certain]:
        """The encoded matrix, and which rows of it are certain."""
        return self._table.encode(self.content)

    def entry(self, row: int) -> InputRow:
        """A row, of whose columns only those are converted that are looked at."""
        record = {field.name: field_to_json(field, self.value(field.name, row)) for field in self._fields}
        return InputRow(_Row(self, row), self._first + row, record)

    def to_json(self, row: int) -> Mapping[str, Any]:
        """A row with bytes as base64 and decimals as numbers."""
        return {name: to_json(self.value(name, row)) for name in self.content.schema.names}

    def value(self, name: str, row: int) -> Any:
        """A value of a column.

        Raises:
            DataError: there are no words for the column's values.
        """
        if name not in self._values:
            try:
                self._values[name] = to_values(self.content.column(name))
            except ValueError as error:
                raise DataError(f"{self._table.name}, column {name}: {error}") from error
        return self._values[name][row]


class _Row(Mapping[str, Any]):
    """A row, by column."""

    def __init__(self, batch: ParquetBatch, row: int) -> None:
        self._batch = batch
        self._row = row

    def __getitem__(self, name: str) -> Any:
        if name not in self._batch.content.schema.names:
            raise KeyError(name)
        return self._batch.value(name, self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.content.schema.names)

    def __len__(self) -> int:
        return len(self._batch.content.schema.names)


class ParquetWriter:
    """Writes batches as a Parquet file; :meth:`close` completes it.

    Args:
        file: binary, need not be seekable.
        table: where the rows come from: of another Parquet file the columns are written as they come, of a CSV file as
            text.
        added: columns that are added after its own.
    """

    def __init__(self, file: BinaryIO, table: Table, added: Added) -> None:
        kinds = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
        own = table.schema if isinstance(table, ParquetTable) else [(name, pa.string()) for name in table.columns]
        self._kinds = [kinds[kind] for kind in added.values()]
        extra = [pa.field(name, kind) for name, kind in zip(added, self._kinds, strict=True)]
        metadata = (table.schema.metadata or {}) if isinstance(table, ParquetTable) else {}
        kept = {key: value for key, value in metadata.items() if key not in _DESCRIPTIONS}
        self._schema = pa.schema([*pa.schema(own), *extra], metadata=kept or None)
        self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._batches: list[pa.RecordBatch] = []

    def render(self, batch: Batch, answers: Answers) -> pa.RecordBatch:
        """The rows as they are written; may be called by several threads at a time."""
        assert isinstance(batch, CsvBatch | ParquetBatch)  # noqa: S101 - JSON Lines become nothing else
        content = batch.arrow() if isinstance(batch, CsvBatch) else batch.content
        columns = list(zip(*answers.rows(), strict=True)) or [()] * len(self._kinds)
        extra = [pa.array(column, kind) for column, kind in zip(columns, self._kinds, strict=True)]
        return pa.RecordBatch.from_arrays([*content.columns, *extra], schema=self._schema)

    def write(self, rendered: pa.RecordBatch) -> None:
        """Write what :meth:`render` made."""
        self._batches.append(rendered)
        if sum(batch.num_rows for batch in self._batches) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._batches, schema=self._schema)
        if table.num_rows:
            self._writer.write_table(table, row_group_size=GROUP)
        self._batches = []

    def abandon(self) -> None:
        """Leave the file as it is; else pyarrow would complete it, unless it is, when the writer is deleted."""
        self._writer.is_open = False

    def close(self) -> None:
        """Write what is left and the index."""
        self._flush()
        self._writer.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
