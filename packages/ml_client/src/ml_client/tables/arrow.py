"""Tables of Arrow, and what of other tables goes through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ml_client.errors import DataError
from ml_client.tables import Size, Values, check_names, spans, zipped
from ml_client.values import Kinds, KindsNeededError, cell, to_json

#: Kind of a column of an answer -> its type; a nested one has a type of its own.
_TYPES: Final = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}


class ArrowBlock:
    """Some rows of a table.

    Args:
        table: the rows.
        is_text: whether every value is the text of a cell, as in a CSV file.
    """

    def __init__(self, table: Any, *, is_text: bool = False) -> None:
        self._table, self._is_text = table, is_text
        self.n_rows: int = table.num_rows

    def slice(self, start: int, stop: int) -> ArrowBlock:
        return ArrowBlock(self._table.slice(start, stop - start), is_text=self._is_text)

    def records(self, kinds: Kinds | None) -> list[Any]:
        names = self._table.column_names
        if self._is_text and kinds is None:
            raise KindsNeededError
        if self._is_text and not kinds:
            raise DataError("texts of a file are read by the kinds of the model's fields: the key needs the scope read")
        columns = [self._values(name, column, kinds) for name, column in zip(names, self._table.columns, strict=True)]
        return zipped(names, columns, self.n_rows)

    def _values(self, name: str, column: Any, kinds: Kinds | None) -> list[Any]:
        if self._is_text:
            kind = (kinds or {}).get(name)
            return [cell(text, kind) for text in column.to_pylist()]
        if pt.is_timestamp(column.type):  # Python's have microseconds
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        return [to_json(value, name, kinds) for value in column.to_pylist()]

    def arrow(self) -> Any:
        return prepared(self._table)


class ArrowSource:
    """A table, or a stream of record batches."""

    def __init__(self, table: Any, *, is_text: bool = False) -> None:
        check_names(table.column_names)
        self._table, self._is_text = table, is_text
        self.n_rows: int = table.num_rows

    def blocks(self, size: Size) -> Iterator[ArrowBlock]:
        whole = ArrowBlock(self._table, is_text=self._is_text)
        for start, stop in spans(self.n_rows, size):
            yield whole.slice(start, stop)

    def column(self, name: str, values: Values, kind: str) -> Any:
        if not isinstance(values, list):
            return values.cast(_TYPES[kind]) if kind in _TYPES else values
        return pa.chunked_array([pa.array(values, type=_TYPES.get(kind))])

    def table(self, columns: Mapping[str, Any]) -> Any:
        return pa.table(dict(columns))


def to_table(data: Any) -> Any:
    """Return what has Arrow's interface as a table; a stream is read to its end.

    Raises:
        DataError: it is no table.
    """
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return pa.table(data)
        return pa.Table.from_batches([pa.record_batch(data)])
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"a {type(data).__name__} is no table: {error}") from error


def prepared(table: Any) -> Any:
    """Return a table as the server reads it, NaN as null; ``None`` if it has columns of other than plain values."""
    columns = []
    for column in table.columns:
        kind = column.type
        value = kind.value_type if pt.is_dictionary(kind) else kind
        if pt.is_decimal(value):
            column = column.cast(pa.float64())  # noqa: PLW2901
        elif pt.is_floating(value):
            column = _without_nan(column.cast(value))  # noqa: PLW2901
        elif not (
            pt.is_null(value)
            or pt.is_boolean(value)
            or pt.is_integer(value)
            or pt.is_string(value)
            or pt.is_large_string(value)
            or pt.is_date(value)
            or pt.is_timestamp(value)
        ):
            if not pt.is_string_view(value):
                return None
            column = column.cast(pa.string())  # noqa: PLW2901
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def from_pandas(frame: Any) -> Any:
    """Return a DataFrame as a table, without its index; ``None`` if Arrow cannot hold it, mixed types for instance."""
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    except pa.ArrowException:
        return None
    return prepared(table.replace_schema_metadata(None))


def encode(table: Any, compression: str | None) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def decode(content: bytes) -> Any:
    """Return the table of an Arrow stream.

    Raises:
        DataError: it is none.
    """
    try:
        return pa.ipc.open_stream(content).read_all()
    except pa.ArrowException as error:
        raise DataError(f"not an Arrow stream: {error}") from error


def concatenated(arrays: list[Any]) -> Any:
    """Return the values of several columns as one; ``None`` if their types differ."""
    kinds = {array.type for array in arrays if not pt.is_null(array.type)}
    if len(kinds) > 1:
        return None
    kind = kinds.pop() if kinds else pa.null()
    return pa.chunked_array([chunk.cast(kind) for array in arrays for chunk in array.chunks], type=kind)


def kind_of(array: Any) -> str:
    """Return the kind of the values of a column."""
    kind = array.type
    if pt.is_floating(kind):
        return "number"
    if pt.is_integer(kind):
        return "integer"
    if pt.is_boolean(kind):
        return "boolean"
    return "text" if pt.is_string(kind) or pt.is_large_string(kind) else "nested"


def _without_nan(column: Any) -> Any:
    is_nan = pc.is_nan(column)
    if not pc.any(is_nan).as_py():
        return column
    return pc.if_else(is_nan, pa.scalar(None, column.type), column)
