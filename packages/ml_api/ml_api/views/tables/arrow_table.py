"""Reads a stream of Arrow record batches, after checking what it would take in memory.

A stream can be a hundred bytes that say they are a terabyte: buffers that are compressed, dictionaries whose values are
repeated, columns of nulls. So the sizes that its messages declare are added up first, from their metadata alone.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, time
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from model_kit.records.columns import ColumnEncoder, to_json
from model_kit.records.encoded_records import EncodedRecords
from model_kit.records.values import to_json as plain_json
from model_kit.records.values import to_values
from model_kit.spec import InputSpec
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from ml_api.views.requests import TOO_MANY
from ml_api.views.tables.columns import check_names, encode, shown, to_lines

#: Record batches and dictionaries of a stream.
MAX_MESSAGES: Final = 2_000
#: Rows whose values are made together when one of them is asked about.
BLOCK: Final = 100
#: First bytes of files that are no stream -> what they are.
_FILES: Final = {b"ARROW1": "an Arrow file (Feather)", b"PAR1": "a Parquet file", b"FEA1": "a Feather file"}
#: Fields of the tables in the metadata of a message, see Message.fbs and Schema.fbs of Arrow.
_HEADER, _BATCH_LENGTH, _BATCH_BUFFERS, _BATCH_COMPRESSION, _DICTIONARY_DATA = 2, 0, 2, 3, 1
#: What is raised of a stream that is damaged.
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, OverflowError, struct.error)
_INFINITE: Final = {np.inf: msgspec.Raw(b"1e999"), -np.inf: msgspec.Raw(b"-1e999")}
_encode_json = msgspec.json.Encoder().encode


class ArrowTable:
    """A table of Arrow columns.

    Args:
        body: of the request.
        spec: says how to read the values.
        encoder: encodes columns.
        max_rows: maximum number of rows.
        max_values: maximum number of values of all dictionaries.
        max_bytes: maximum size of what the body is unpacked to.

    Attributes:
        names: of the columns.
        records: the rows, as a predictor takes them.
        faults: there are none.

    Raises:
        RequestEntityTooLarge: there are too many rows, messages, values or bytes.
        BadRequest: the body is no such stream, or a field's column cannot be read.
    """

    def __init__(
        self,
        body: bytes | bytearray,
        spec: InputSpec,
        encoder: ColumnEncoder,
        *,
        max_rows: int,
        max_values: int,
        max_bytes: int,
    ) -> None:
        for magic, kind in _FILES.items():
            if body.startswith(magic):
                raise BadRequest(f"The body is {kind}, not a stream of Arrow (pyarrow.ipc.new_stream).")
        self._body = body
        self._fields = {field.name: field for field in spec.fields}
        self.faults: dict[int, str] = {}
        with _refusing():
            n_rows = _check_sizes(body, max_rows, max_values, max_bytes)
            schema = pa.ipc.open_stream(pa.py_buffer(body)).schema
            self.names: Sequence[str] = schema.names
            check_names(self.names, spec)
            plain = [place for place, field in enumerate(schema) if self._is_plain(field)]
            table = _read(body, plain) if plain else pa.table({})
            if plain and table.num_rows != n_rows:
                raise ValueError("a batch has another length than it says")
            if sum(map(_expanded_size, table.columns)) > max_bytes:
                raise RequestEntityTooLarge(f"The table has more than the {max_bytes} bytes that are taken.")
            self._columns = dict(zip(table.column_names, map(_plain, table.columns), strict=True))
            columns = {name: column for name, column in self._columns.items() if name in self._fields}
            encoded, certain = encode(encoder, columns, n_rows)
        self._block: tuple[int, dict[str, list[Any]]] = -1, {}
        self.records = EncodedRecords(self.names, encoded, certain, self.record)

    def _is_plain(self, field: pa.Field) -> bool:
        """Return whether the column is read; a nested one that is no field is left out.

        Raises:
            BadRequest: the column of a field is no plain one.
        """
        kind = str(field.type)
        extension = (field.metadata or {}).get(b"ARROW:extension:name")
        if not extension and not isinstance(field.type, pa.BaseExtensionType) and _is_plain(field.type):
            return True
        if field.name in self._fields:
            if extension:
                kind = extension.decode(errors="replace")
            raise BadRequest(
                f"The column {shown(field.name)} has the type {shown(kind)}; it must have numbers, texts, booleans,"
                " dates or times."
            )
        return False

    def record(self, row: int) -> msgspec.Raw:
        """Return a row as JSON text."""
        start = row // BLOCK * BLOCK
        first, values = self._block
        if first != start:
            with _refusing():
                values = {name: to_values(column.slice(start, BLOCK)) for name, column in self._columns.items()}
            self._block = start, values
        record = {name: self._to_json(name, column[row - start]) for name, column in values.items()}
        return msgspec.Raw(_encode_json(record))

    def _to_json(self, name: str, value: Any) -> Any:
        field = self._fields.get(name)
        value = plain_json(value) if field is None else to_json(field, value)
        # JSON has no infinity, but numbers that are read as one.
        return _INFINITE.get(value, value) if isinstance(value, float) else value

    def lines(self) -> list[str]:
        """Return header and rows as CSV, without line ends.

        Raises:
            BadRequest: a column is nested.
        """
        if nested := [name for name in self.names if name not in self._columns]:
            raise BadRequest(f"echo: the column {shown(nested[0])} has a type that CSV does not have.")
        with _refusing():
            columns = [[_to_cell(plain_json(value)) for value in to_values(self._columns[name])] for name in self.names]
        return [*to_lines([[name] for name in self.names]), *to_lines(columns)]

    def arrow(self) -> pa.Table:
        """Return the columns as they were sent.

        Raises:
            BadRequest: a nested one cannot be read.
        """
        with _refusing():
            return pa.Table.from_batches(*_read_batches(self._body))


@contextmanager
def _refusing() -> Generator[None]:
    """Refuse a stream in which something cannot be read.

    Raises:
        BadRequest: an exception was raised in the block.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise BadRequest(f"The body is not a stream of Arrow that can be read: {_first_line(error)}.") from error


def count_rows(body: bytes | bytearray) -> int:
    """Return how many rows a stream has; 0 of what is none."""
    try:
        return sum(_batch_lengths(body))
    except _UNREADABLE:
        return 0


def _batch_lengths(body: bytes | bytearray) -> Iterator[int]:
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        if message.type == "record batch":
            data = _Flat(message.metadata)
            yield data.integer(data.table(data.root, _HEADER), _BATCH_LENGTH)


def _check_sizes(body: bytes | bytearray, max_rows: int, max_values: int, max_bytes: int) -> int:
    """Return the number of rows, after adding up what the messages declare.

    Raises:
        RequestEntityTooLarge: it is too much.
        ArrowException, struct.error, ValueError: the body is no stream.
    """
    n_rows = n_messages = n_values = n_unified = unpacked = 0
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(body)):
        kind = message.type
        if kind not in ("record batch", "dictionary"):
            continue
        n_messages += 1
        data = _Flat(message.metadata)
        batch = data.table(data.root, _HEADER)
        if kind == "dictionary":
            batch = data.table(batch, _DICTIONARY_DATA)
        length = data.integer(batch, _BATCH_LENGTH)
        if length < 0:
            raise ValueError("a batch has a negative length")
        if kind == "dictionary":
            n_values += length
        else:
            n_rows += length
            # The dictionaries of all batches are made one.
            n_unified += n_values
        unpacked += data.unpacked(batch, message.body)
        if n_messages > MAX_MESSAGES:
            raise RequestEntityTooLarge(f"The stream has more than {MAX_MESSAGES} batches; send fewer, larger ones.")
        if n_values > max_values or n_unified > 10 * max_values:
            raise RequestEntityTooLarge(f"The dictionaries have more than {max_values} values.")
        if unpacked > max_bytes:
            raise RequestEntityTooLarge(f"The body is unpacked to more than the {max_bytes} bytes that are taken.")
    if n_rows > max_rows:
        raise RequestEntityTooLarge(TOO_MANY.format(n_rows, max_rows))
    return n_rows


class _Flat:
    """The metadata of a message, in the format of FlatBuffers, which pyarrow has verified.

    Attributes:
        root: position of the table Message.
    """

    def __init__(self, metadata: pa.Buffer) -> None:
        self._data = memoryview(metadata)
        self.root = struct.unpack_from("<I", self._data, 0)[0]

    def _position(self, table: int, field: int) -> int:
        """Return where a field of a table is; 0: it has its default."""
        vtable = table - struct.unpack_from("<i", self._data, table)[0]
        entry = 4 + 2 * field
        if entry >= struct.unpack_from("<H", self._data, vtable)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._data, vtable + entry)[0]
        return offset and table + offset

    def table(self, table: int, field: int) -> int:
        """Return the position of the table, or vector, that a field refers to."""
        position = self._position(table, field)
        if not position:
            raise ValueError("a message has no content")
        return int(position + struct.unpack_from("<I", self._data, position)[0])

    def integer(self, table: int, field: int) -> int:
        """Return an integer of 64 bits."""
        position = self._position(table, field)
        return int(struct.unpack_from("<q", self._data, position)[0]) if position else 0

    def unpacked(self, batch: int, body: pa.Buffer) -> int:
        """Return what the compressed buffers of a batch are unpacked to: each begins with that, in 64 bits."""
        if not self._position(batch, _BATCH_COMPRESSION):
            return 0
        vector = self.table(batch, _BATCH_BUFFERS)
        count = struct.unpack_from("<I", self._data, vector)[0]
        pairs = np.frombuffer(self._data, "<i8", 2 * count, vector + 4)
        content, total = memoryview(body), 0
        for offset, length in zip(pairs[::2].tolist(), pairs[1::2].tolist(), strict=True):
            if length:
                size = struct.unpack_from("<q", content, offset)[0]
                if offset < 0 or length < 8 or size < -1:
                    raise ValueError("a compressed buffer has an impossible size")
                total += max(size, 0)
        return total


def _read(body: bytes | bytearray, places: Sequence[int]) -> pa.Table:
    """Read the columns at some places, each as one array.

    Raises:
        ArrowException, OSError, ValueError: they cannot be read.
    """
    batches, schema = _read_batches(body, places)
    table = pa.Table.from_batches(batches, schema)
    return table if len(batches) == 1 else table.unify_dictionaries().combine_chunks()


def _read_batches(body: bytes | bytearray, places: Sequence[int] = ()) -> tuple[list[pa.RecordBatch], pa.Schema]:
    """Read the columns at some places, by default all, and make sure that nothing in them leads astray."""
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=list(places))
    with pa.ipc.open_stream(pa.py_buffer(body), options=options) as reader:
        batches = list(reader)
        for batch in batches:
            batch.validate(full=True)
        return batches, reader.schema


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return (
            not types.is_null(kind.value_type)
            and not types.is_dictionary(kind.value_type)
            and _is_plain(kind.value_type)
        )
    return not types.is_nested(kind) and not types.is_run_end_encoded(kind)


def _expanded_size(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column's values where they may be more than those that were sent: many may be one."""
    kind = column.type
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(kind):
            lengths = _lengths(chunk.dictionary)
            if lengths is not None:
                total += pc.sum(pc.cast(lengths, pa.int64()).take(chunk.indices)).as_py() or 0
        elif _is_view(kind):
            total += pc.sum(_lengths(chunk)).as_py() or 0
    return total


def _lengths(texts: pa.Array) -> pa.Array | None:
    """Return the bytes of each value, ``None`` if they have a fixed width."""
    kind = texts.type
    if _is_view(kind):
        views = np.frombuffer(texts.buffers()[1] or b"", np.int32)[::4]
        return pa.array(views[texts.offset : texts.offset + len(texts)].astype(np.int64), mask=~_valid(texts))
    if pa.types.is_fixed_size_binary(kind):
        return pa.array(np.full(len(texts), kind.byte_width))
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return pc.binary_length(texts)
    return None


def _valid(array: pa.Array) -> Any:
    return np.array(array.is_valid().to_pylist(), bool)


def _is_view(kind: pa.DataType) -> bool:
    return bool(kind in (pa.string_view(), pa.binary_view()))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, of a type that an encoder takes, with a dictionary no longer than it."""
    found = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    kind = found.type
    if pa.types.is_dictionary(kind):
        dictionary = found.dictionary
        if _is_view(kind.value_type):
            dictionary = dictionary.cast(_without_views(kind.value_type))
            found = pa.DictionaryArray.from_arrays(found.indices, dictionary)
        return found.dictionary_decode() if len(dictionary) > len(found) else found
    return found.cast(_without_views(kind)) if _is_view(kind) else found


def _without_views(kind: pa.DataType) -> pa.DataType:
    return pa.string() if kind == pa.string_view() else pa.binary()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _to_cell(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value
