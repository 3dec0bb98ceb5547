"""Reads CSV as RFC 4180 has it: cells between commas, quotes around some, a header line; in UTF-8."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from model_kit.records.encoded_records import EncodedRecords
from model_kit.records.text import NULLS, parse_cell
from model_kit.spec import Field, InputSpec
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from ml_api.views.requests import TOO_MANY
from ml_api.views.tables.columns import check_names, encode, to_lines

if TYPE_CHECKING:
    import pyarrow as pa
    from model_kit.records.columns import ColumnEncoder

#: Rows that are encoded at a time, which bounds the memory of their cells.
CHUNK = 2_500
_BYTE_ORDER_MARK = "\ufeff"
_SEPARATORS = (b",", b"\n", b"\r")
#: What some programs put between cells instead of a comma.
_OTHER_DELIMITERS = (";", "\t", "|")


class CsvTable:
    """A table of texts.

    Args:
        body: of the request.
        spec: says how to read the cells.
        encoder: encodes columns; ``None`` where pyarrow is not installed: then each row is read for itself.
        max_rows: maximum number of rows.
        max_values: maximum number of cells.

    Attributes:
        names: of the columns.
        header: the line with them, without its end.
        rows: the lines of the records, without their ends, each with as many cells as the header.
        records: the rows, as a predictor takes them.
        faults: position of a row that has a cell too many or too few -> what is wrong.

    Raises:
        RequestEntityTooLarge: there are too many rows or cells.
        BadRequest: the body is not CSV in UTF-8, or two columns have the same name.
    """

    def __init__(
        self,
        body: bytes | bytearray,
        spec: InputSpec,
        encoder: ColumnEncoder | None,
        *,
        max_rows: int,
        max_values: int,
    ) -> None:
        # Each value but the first follows a separator.
        if len(body) > max_values and sum(map(body.count, _SEPARATORS)) > max_values:
            raise RequestEntityTooLarge(f"The body has more than {max_values} values.")
        text = _decode(body)
        self._is_quoted = '"' in text
        found = _quoted_records(text) if self._is_quoted else _plain_records(text)
        self.header, n_columns = next(found, ("", 0))
        self.names = self._cells_of(self.header)
        _check_names(self.names, spec)
        self._fields: Mapping[str, Field] = {field.name: field for field in spec.fields}
        self.rows: list[str] = []
        self.faults: dict[int, str] = {}
        count = 0
        for count, (row, n_cells) in enumerate(found, start=1):
            if count > max_rows:
                continue
            if n_cells == n_columns:
                self.rows.append(row)
            else:
                self.faults[count - 1] = f"The row has {n_cells} cells where the header has {n_columns}."
                cells = [*self._cells_of(row), *[""] * n_columns][:n_columns]
                self.rows.append(to_lines([[cell] for cell in cells])[0] if self._is_quoted else ",".join(cells))
        if count > max_rows:
            raise RequestEntityTooLarge(TOO_MANY.format(count, max_rows))
        self.records: Sequence[object] = _Records(self.record, count) if encoder is None else self._encode(encoder)

    def record(self, row: int) -> dict[str, object] | None:
        """Return a row as JSON has it; ``None`` if it has a cell too many or too few."""
        if row in self.faults:
            return None
        fields = self._fields
        return {
            name: parse_cell(fields[name], text) if name in fields else text
            for name, text in zip(self.names, self._cells_of(self.rows[row]), strict=True)
        }

    def lines(self) -> list[str]:
        """Return header and rows as CSV, without line ends."""
        return [self.header, *self.rows]

    def arrow(self) -> pa.Table:
        """Return the columns as texts."""
        import pyarrow as pa  # noqa: PLC0415 - an extra

        cells = [self._cells_of(row) for row in self.rows]
        columns = zip(*cells, strict=True) if cells else [()] * len(self.names)
        return pa.table([pa.array(column, pa.string()) for column in columns], self.names)

    def _cells_of(self, row: str) -> list[str]:
        return next(csv.reader(StringIO(row, newline=""), strict=True), []) if self._is_quoted else row.split(",")

    def _encode(self, encoder: ColumnEncoder) -> EncodedRecords:
        starts = range(0, len(self.rows), CHUNK) or (0,)
        chunks = [self._encode_chunk(encoder, self.rows[start : start + CHUNK]) for start in starts]
        encoded, certain = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        certain[list(self.faults)] = False
        return EncodedRecords(self.names, encoded, certain, self.record)

    def _encode_chunk(self, encoder: ColumnEncoder, rows: Sequence[str]) -> tuple[Any, Any]:
        wanted = [name for name in self.names if name in self._fields]
        found: dict[str, pa.Array] = _parse(rows, self.names, wanted) if rows and wanted else {}
        return encode(encoder, found, len(rows))


class _Records(Sequence[object]):
    """Records that are made when they are asked for."""

    def __init__(self, record: Callable[[int], object], count: int) -> None:
        self._record, self._count = record, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self._record(row) for row in range(*position.indices(self._count))]
        if not 0 <= position < self._count:
            raise IndexError(position)
        return self._record(position)


def _parse(rows: Sequence[str], names: Sequence[str], wanted: Sequence[str]) -> dict[str, pa.Array]:
    """Parse rows that each have as many cells as there are names; cells that say that there is no value are null."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.csv  # noqa: PLC0415

    # The mark keeps Arrow from taking one at the beginning of the first cell for that of a file.
    content = f"{_BYTE_ORDER_MARK}{chr(10).join(rows)}\n".encode()
    found = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
        pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.dictionary(pa.int32(), pa.string())),
            null_values=sorted(NULLS),
            strings_can_be_null=True,
        ),
    )
    return {name: found.column(name).combine_chunks() for name in wanted}


def _decode(body: bytes | bytearray) -> str:
    try:
        return body.decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: invalid byte at offset {error.start}.") from error


def _plain_records(text: str) -> Iterator[tuple[str, int]]:
    """Return the lines of a text without quotes, and how many cells each has; blank lines are none."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n"):
        if line:
            yield line, line.count(",") + 1


def _quoted_records(text: str) -> Iterator[tuple[str, int]]:
    """Return the same of a text with quotes, by a CSV reader."""
    # A cell may be as long as the body: whether a text is too long is for its field to say.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadRequest(f"The body is not CSV: {error}, in the record that begins on line {first}.") from error
        if cells is None:
            return
        if cells:
            yield "".join(taken).rstrip("\r\n"), len(cells)
        taken.clear()


def _check_names(names: Sequence[str], spec: InputSpec) -> None:
    if not names or names == [""]:
        raise BadRequest("The body is empty; the first line of CSV has the names of the columns.")
    if len(names) == 1 and names[0] not in spec.names and any(mark in names[0] for mark in _OTHER_DELIMITERS):
        raise BadRequest("The header has one column; the cells must be separated by commas.")
    check_names(names, spec)
