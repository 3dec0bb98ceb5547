"""Parquet files in and out, a batch of rows at a time; columns that are no field are carried as they are."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet

from model_kit.batch.file_systems import first_line
from model_kit.batch.rows import Answers, Batch, InputRow, Table
from model_kit.errors import DataError
from model_kit.records.columns import Certain, ColumnEncoder, is_text
from model_kit.records.columns import to_json as field_to_json
from model_kit.records.encoding import Encoded
from model_kit.records.values import predicted, to_json, to_values, with_values
from model_kit.scoring.table_columns import Added
from model_kit.spec import InputSpec

#: Rows of a batch.
BATCH: Final = 10_000
#: Rows of a group as it is written; until then they are held as Arrow columns, 25 MB of 80. Larger groups are quicker.
GROUP: Final = 50_000
#: Bytes of a column that are read at a time; else all that a group has of it would be held.
READ: Final = 1 << 18
#: Where Arrow keeps the schema in a Parquet file, as base64.
_SCHEMA: Final = b"ARROW:schema"
NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})
#: Metadata in which libraries list all columns, which would no longer be true.
_DESCRIPTIONS: Final = frozenset({b"pandas", b"huggingface", b"org.apache.spark.sql.parquet.row.metadata"})


class ParquetTable(Table):
    """A Parquet file. A column of text is read as the cells of a CSV file are, so that "8" can be a number.

    Args:
        file: seekable.
        spec: says how to read its fields.
        name: what errors call the file.
        values: columns that all rows have the same value of, which the file's path says; the file's own come first.

    Attributes:
        schema: the Arrow schema.
        read_schema: the same as it is read: columns of few texts, which the file has once each, stay dictionaries. They
            are then neither decoded nor coded again, which takes longer than all the rest.

    Raises:
        DataError: not a Parquet file, a required column missing or a column twice.
    """

    def __init__(self, file: BinaryIO, spec: InputSpec, name: str, values: Mapping[str, pa.Scalar] = NO_VALUES) -> None:
        super().__init__(name, "parquet", spec)
        try:
            content = pyarrow.parquet.ParquetFile(file)
            self._content = pyarrow.parquet.ParquetFile(
                file, metadata=content.metadata, read_dictionary=_few_texts(content), buffer_size=READ
            )
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name}: not a Parquet file: {first_line(error)}") from error
        self.schema, self.read_schema = content.schema_arrow, self._content.schema_arrow
        self._values = {column: value for column, value in values.items() if column not in self.schema.names}
        for column, value in self._values.items():
            self.schema = self.schema.append(pa.field(column, value.type))
            self.read_schema = self.read_schema.append(pa.field(column, value.type))
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
                columns = [*batch.columns, *(pa.repeat(value, batch.num_rows) for value in self._values.values())]
                yield first, pa.RecordBatch.from_arrays(columns, schema=self.read_schema)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.name}, after row {self._n_read}: damaged: {first_line(error)}") from error

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

    table: ParquetTable

    def __init__(self, table: ParquetTable, first: int, content: pa.RecordBatch) -> None:
        self.table = table
        self._first = first
        self._fields = [field for field in table.spec.fields if field.name in content.schema.names]
        self._values: dict[str, list[Any]] = {}
        self.content = content
        self.size = self.n_rows = content.num_rows

    def encode(self) -> tuple[Encoded, Certain]:
        """The encoded matrix, and which rows of it are certain."""
        return self.table.encode(self.content)

    def entry(self, row: int) -> InputRow:
        """A row, of whose columns the fields are converted."""
        record = {field.name: field_to_json(field, self.value(field.name, row)) for field in self._fields}
        return InputRow(self.original(row), self._first + row, record)

    def original(self, row: int) -> Mapping[str, Any]:
        """A row, of whose columns only those are converted that are looked at."""
        return _Row(self, row)

    def arrow(self) -> pa.RecordBatch:
        """The rows as columns."""
        return self.content

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
                raise DataError(f"{self.table.name}, column {name}: {error}") from error
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
        first = table.first
        own = read = pa.schema([(name, pa.string()) for name in table.columns])
        if isinstance(first, ParquetTable):
            own, read = first.schema, first.read_schema
        self._kinds = [kinds[kind] for kind in added.values()]
        extra = [pa.field(name, kind) for name, kind in zip(added, self._kinds, strict=True)]
        self._read = read
        self._schema = pa.schema([*read, *extra])
        kept = {key: value for key, value in (own.metadata or {}).items() if key not in _DESCRIPTIONS}
        described = pa.schema([*own, *extra], metadata=kept or None)
        self._metadata = {**kept, _SCHEMA: base64.b64encode(described.serialize())}
        self._writer = pyarrow.parquet.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            store_schema=False,
            # Those of texts take as long as all the rest.
            write_statistics=[field.name for field in self._schema if pa.types.is_primitive(field.type)],
        )
        self._batches: list[pa.RecordBatch] = []

    def render(self, batch: Batch, answers: Answers) -> pa.RecordBatch:
        """The rows as they are written; may be called by several threads at a time.

        Raises:
            DataError: a column cannot be of the type that it has in the first file.
        """
        content = batch.arrow()
        try:
            own = [_of_type(*pair) for pair in zip(content.columns, self._read.types, strict=True)]
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{batch.table.name}: other types than the first file: {first_line(error)}") from error
        columns = [
            predicted(answers.scores, answers.classes),
            *(pa.nulls(batch.n_rows, kind) for kind in self._kinds[1:]),
        ]
        extra = [
            with_values(column, {row: cells[place] for row, cells in answers.cells.items()})
            for place, column in enumerate(columns)
        ]
        return pa.RecordBatch.from_arrays([*own, *extra], schema=self._schema)

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
        self._writer.add_key_value_metadata(self._metadata)
        self._writer.close()


def _few_texts(content: pyarrow.parquet.ParquetFile) -> list[str]:
    """The columns of text whose values, in the first group, take no more than a byte each."""
    if not content.metadata.num_row_groups:
        return []
    group, texts = content.metadata.row_group(0), {field.name for field in content.schema_arrow if is_text(field.type)}
    columns = [group.column(place) for place in range(group.num_columns)]
    return [
        column.path_in_schema
        for column in columns
        if column.path_in_schema in texts
        and column.has_dictionary_page
        and column.total_uncompressed_size <= column.num_values
    ]


def _of_type(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as another type, without a loss."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).dictionary_encode().cast(kind)
    return column.cast(kind)
