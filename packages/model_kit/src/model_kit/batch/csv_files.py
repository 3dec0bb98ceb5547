"""CSV files in and out, a block of whole records at a time: pyarrow reads the fields, rows are written as they came.

Files as spreadsheets write them are read as they are: a byte-order mark, CRLF, semicolons or tabs between the cells,
a line "sep=;" before the header, quotes around numbers. What cannot be read safely is refused in a sentence.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from io import BufferedReader, BytesIO, RawIOBase, StringIO
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from model_kit.batch.numbers import ThousandsCheck, is_local
from model_kit.batch.rows import LONGEST_LINE, Answers, Batch, InputRow, Table, binary_kind, too_long
from model_kit.errors import DataError
from model_kit.records.columns import Certain, ColumnEncoder, to_json
from model_kit.records.encoding import Encoded
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.records.text import NULLS
from model_kit.records.values import content_of, predicted, to_texts, with_values
from model_kit.scoring.table_columns import Added
from model_kit.spec import InputSpec, Learned

#: What may stand between cells; of several that give equally many known columns, the first.
DELIMITERS: Final = ",;\t"
#: Bytes of a block, more or less: some 6,000 rows of 80 cells.
SIZE: Final = 1 << 21
#: What DOS ends a text with.
_END_OF_TEXT: Final = b"\x1a"
_MARK: Final = b"\xef\xbb\xbf"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)
#: What makes a writer look closer, besides the delimiter.
_QUOTED: Final = re.compile(r'["\r\n]')
#: Texts of a column, each stored once.
_TEXTS: Final = pa.dictionary(pa.int32(), pa.string())
#: Delimiters that the text of a number may hold, so that it would have to be quoted.
_NUMERIC: Final = frozenset("0123456789.+-e")


class Dialect(NamedTuple):
    """How a CSV file is written, so that what comes of it can be written the same way.

    Attributes:
        delimiter: what stands between cells.
        bom: whether a byte-order mark comes first.
        line_end: what ends a line.
    """

    delimiter: str = ","
    bom: bool = False
    line_end: str = "\n"


class Block(NamedTuple):
    """Some whole records of a file.

    Attributes:
        line: number of the first one's line, from 1.
        content: as the file has it.
        is_last: whether the file ends with it.
    """

    line: int
    content: bytes
    is_last: bool = False


class CsvTable(Table):
    """A CSV file, read from where it stands.

    Args:
        file: binary; need not be seekable.
        spec: says how to read its fields. Other columns are not looked at.
        name: what errors call the file.
        numbers: how its numbers are written.

    Raises:
        DataError: no header, a required column missing, a column twice, or not CSV.
    """

    def __init__(
        self,
        file: BufferedReader,
        spec: InputSpec,
        name: str = "input",
        numbers: NumberFormat = PLAIN,
    ) -> None:
        super().__init__(name, "csv", spec)
        # A cell may be as long as a line: whether a text is too long is for its field to say.
        csv.field_size_limit(max(LONGEST_LINE, csv.field_size_limit()))
        self._file = file
        self._numbers = numbers
        self._rest = b""
        self._line = 1
        self.columns = tuple(self._read_header())
        self.refuse_columns("the header ")
        self._fields = [field for field in spec.fields if field.name in self.columns]
        self._places = [self.columns.index(field.name) for field in self._fields]
        self._encode = ColumnEncoder(spec, self.columns, numbers, is_parsed=True)
        #: Fields that are numbers.
        self.number_names = [field.name for field in self._fields if field.is_number]
        self._thousands: ThousandsCheck | None = None
        if self.dialect.delimiter == ";" and numbers == PLAIN:
            ranges = {field.name: _range(spec.learned[field.name]) for field in self._fields if field.is_number}
            if spec.target.name in self.columns:
                ranges.setdefault(spec.target.name, None)
            self._thousands = ThousandsCheck(name, ranges)
        #: Columns of which all texts so far are plain numbers; none where it matters how they are written.
        self.plain_numbers = frozenset(self.number_names if numbers.is_plain and not self._thousands else ())

    def blocks(self) -> Iterator[Block]:
        """The records after the header, in blocks.

        Raises:
            DataError: a record is no CSV, not UTF-8 or longer than ``LONGEST_LINE``; the text names its line.
        """
        ended = False
        while not ended:
            pieces, missing = [self._rest], SIZE
            # Piece by piece: within one long read of a pipe, Python would take no notice of Ctrl-C.
            while missing > 0 and not ended:
                piece = self._file.read1(missing)
                pieces.append(piece)
                missing -= len(piece)
                ended = not piece
            content = b"".join(pieces)
            if ended:
                content = content.removesuffix(_END_OF_TEXT)
            size = len(content) if ended else self._whole_records(content)
            self._rest = content[size:]
            if size:
                yield Block(self._line, content[:size], ended)
            taken = content[:size]
            self._line += len(taken.splitlines()) if _has_lone_return(taken) else taken.count(b"\n")
            if len(self._rest) >= LONGEST_LINE:
                raise too_long(self.name, self._line)

    def parse(self, block: Block) -> CsvBatch:
        """The rows of a block.

        Raises:
            DataError: a record is no CSV, or the file ends within one; the text names its line.
        """
        return CsvBatch(self, block)

    def encode(self, columns: Mapping[str, pa.Array], n_rows: int) -> tuple[Encoded, Certain]:
        """See :class:`ColumnEncoder`."""
        return self._encode(columns, n_rows)

    def record(self, cells: Sequence[str]) -> dict[str, object]:
        """What the model is asked about a row with as many cells as there are columns."""
        fields = zip(self._fields, self._places, strict=True)
        return {field.name: to_json(field, cells[place], self._numbers) for field, place in fields}

    def number(self, text: str) -> str:
        """A number of the file as Python spells it."""
        return self._numbers.plain(text)

    def watch(self, batch: CsvBatch) -> None:
        """Look whether points stand between thousands.

        Raises:
            DataError: they seem to.
        """
        if self._thousands:
            for column in self._thousands.columns:
                self._thousands.add(column, batch.counts(column))
            self._thousands.check()

    @property
    def wanted(self) -> list[str]:
        """The columns that are read."""
        watched = self._thousands.columns if self._thousands else ()
        return list(dict.fromkeys([*(field.name for field in self._fields), *watched]))

    def _read_header(self) -> list[str]:
        """Cells of the header; finds the dialect, and leaves what comes after it."""
        ended = False
        while True:
            lines = self._rest.splitlines(keepends=True)
            # What does not end with a line feed may go on.
            whole = lines if ended else lines[:-1]
            bom, declared, first = False, None, 0
            for position, line in enumerate(whole):
                if position == 0 and line.startswith(_MARK):
                    bom, line = True, line.removeprefix(_MARK)  # noqa: PLW2901
                if position == 0:
                    self._refuse_other_kinds(line)
                separator = None if declared else _SEPARATOR_LINE.fullmatch(self.text(line, position + 1))
                declared = separator[1] if separator else declared
                if separator or not line.strip():
                    first = position + 1
                    continue
                content = b"".join(whole[first : position + 1]).removeprefix(_MARK)
                # A name within quotes may go on in the next line.
                if content.count(b'"') % 2 == 0 or (ended and position == len(whole) - 1):
                    text = self.text(content, first + 1)
                    line_end = "\r\n" if text.endswith("\r\n") else "\n"
                    self.dialect = Dialect(declared or _delimiter(text, self.spec), bom, line_end)
                    self._rest = b"".join(lines[position + 1 :])
                    self._line = position + 2
                    return self._header_cells(text, first + 1)
            if ended:
                raise DataError(f"{self.name}: the file is empty")
            if len(self._rest) >= LONGEST_LINE:
                raise too_long(self.name, max(len(whole), 1))
            piece = self._file.read1(1 << 16)
            ended = not piece
            self._rest += piece

    def _header_cells(self, text: str, line: int) -> list[str]:
        try:
            return next(csv.reader(StringIO(text, newline=""), delimiter=self.dialect.delimiter, strict=True))
        except csv.Error as error:
            raise _not_csv(self.name, line, error) from error

    def _refuse_other_kinds(self, line: bytes) -> None:
        first = line.lstrip().lstrip(b'"')
        if kind := binary_kind(first, "CSV"):
            raise DataError(f"{self.name}: {kind}")
        if b"\0" in first:
            raise DataError(f"{self.name}: a binary file, not CSV text")
        if first.startswith(b"{"):
            raise DataError(f"{self.name}: JSON, not CSV; JSON Lines: --format jsonl")
        if first.startswith(b"["):
            raise DataError(f"{self.name}: a JSON array, not CSV; write one object a line, and name it .jsonl")
        if first.startswith(b"<"):
            raise DataError(f"{self.name}: an HTML or XML page, not CSV; was it downloaded without signing in?")

    def text(self, content: bytes, line: int) -> str:
        """Decode some lines.

        Raises:
            DataError: they are not UTF-8; the text names the line.
        """
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line += content.count(b"\n", 0, error.start)
            raise DataError(f"{self.name}, line {line}: not UTF-8 text; export it as CSV UTF-8") from error

    def _whole_records(self, content: bytes) -> int:
        """How many bytes of ``content`` are whole records."""
        if b'"' not in content and not _has_lone_return(content):
            return content.rfind(b"\n") + 1
        quotes = enclosing_quotes(content, self.dialect.delimiter)
        ends = None if quotes is None or _has_lone_return(content) else record_ends(content, quotes)
        if ends is not None:
            return int(ends[-1]) + 1 if ends.size else 0
        return sum(len(raw) for _, raw, _ in self.read(Block(self._line, content), is_cut=True))

    def read(self, block: Block, *, is_cut: bool = False) -> Iterator[tuple[int, bytes, list[str]]]:
        """Line, bytes and cells of each record, by a CSV reader; of whole ones where the block is cut anywhere.

        Raises:
            DataError: a record is no CSV; the text names its line.
        """
        lines = block.content.splitlines(keepends=True)
        # The last line may go on; a carriage return may be the half of a line end.
        if is_cut and not block.content.endswith(b"\n"):
            lines.pop()
        taken: list[bytes] = []

        def decoded() -> Iterator[str]:
            for number, line in enumerate(lines):
                taken.append(line)
                yield self.text(line, block.line + number)

        reader = csv.reader(decoded(), delimiter=self.dialect.delimiter, strict=True)
        line = block.line
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                # What is wrong with the last lines may be that they go on.
                if is_cut and reader.line_num == len(lines):
                    return
                raise _not_csv(self.name, line, error) from error
            if cells is None:
                return
            yield line, b"".join(taken), cells
            taken.clear()
            line = block.line + reader.line_num


def csv_table(content: bytes, spec: InputSpec, name: str = "input", numbers: NumberFormat = PLAIN) -> CsvTable:
    """As :class:`CsvTable`, from the bytes of a file."""
    return CsvTable(BufferedReader(cast("RawIOBase", BytesIO(content))), spec, name, numbers)


class CsvBatch(Batch):
    """The rows of a block: as bytes, and their fields as Arrow columns.

    Attributes:
        size: bytes of the block.
        n_rows: number of rows.
        faults: position of a row that has a cell too many or too few -> what is wrong.
    """

    table: CsvTable

    def __init__(self, table: CsvTable, block: Block) -> None:
        self.table = table
        self.size = len(block.content)
        table.text(block.content, block.line)
        content = self._split(block)
        self._is_rewritten = content is None
        if content is None:
            content = self._read(block)
        self.n_rows = len(self._starts)
        self.faults: dict[int, str] = {}
        self._columns = self._parse(content)
        #: Rows that are not written as they came.
        self._fitted: dict[int, bytes] = {}
        #: Rows whose numbers like 12,5 are counted.
        self._counted: set[int] = set()
        width = len(table.columns)
        for row in self.faults:
            cells = self._cells(row)
            if len(cells) < width and row == self.n_rows - 1 and block.is_last and not _ends(block.content):
                fault = _wrong_width(len(cells), width)
                line = self.line(row)
                raise DataError(f"{table.name}, line {line}: {fault}; it is the last line: the file is cut off")
            kept, self.faults[row] = fitted(cells, width, table.dialect)
            self._fitted[row] = csv_text(kept, table.dialect).encode()

    def _split(self, block: Block) -> bytes | None:
        """Find the rows without a CSV reader; ``None`` if that is not certain."""
        content, delimiter = block.content, self.table.dialect.delimiter
        if len(delimiter.encode()) > 1 or _has_lone_return(content):
            return None
        if not content.endswith(b"\n"):
            content = content.removesuffix(b"\r") + b"\n"
        quotes = enclosing_quotes(content, delimiter)
        if quotes is None or quotes.size % 2:
            return None
        ends = record_ends(content, quotes)
        starts = np.concatenate([[0], ends[:-1] + 1])
        stops = ends - (np.frombuffer(content, np.uint8)[ends - 1] == ord("\r"))
        lengths = stops - starts
        # Blank lines are no rows; a cell may be too long.
        if lengths.min() <= 0 or lengths.max() > csv.field_size_limit():
            return None
        self._data, self._starts, self._stops, self._first = content, starts, stops, block.line
        return content

    def _read(self, block: Block) -> bytes:
        """Find the rows with a CSV reader, and write them so that they are certain."""
        rows: list[bytes] = []
        self._lines = []
        output = StringIO(newline="")
        # With both characters in the line end, cells that have either are quoted.
        writer = csv.writer(output, lineterminator="\r\n")
        for line, raw, cells in self.table.read(block):
            if cells:
                self._lines.append(line)
                rows.append(raw.removesuffix(b"\n").removesuffix(b"\r"))
                writer.writerow(cells)
        self._data = b"".join(rows)
        lengths = np.array([*map(len, rows)], np.intp)
        self._stops = lengths.cumsum()
        self._starts = self._stops - lengths
        return output.getvalue().encode()

    def _parse(self, content: bytes) -> dict[str, pa.Array]:
        """The columns that are wanted: numbers as such where all of them plainly are, all others as texts."""
        table = self.table
        if not self.n_rows:
            return {name: pa.array([], pa.string()).dictionary_encode() for name in table.wanted}
        if plain := table.plain_numbers:
            # One text that is no plain number, and the column is read as texts from here on.
            with suppress(pa.ArrowInvalid):
                return self._columns_of(content, plain)
        texts = self._columns_of(content, frozenset())
        table.plain_numbers = frozenset(name for name in plain if _all_numbers(texts[name]))
        return texts

    def _columns_of(self, content: bytes, plain: frozenset[str]) -> dict[str, pa.Array]:
        table = self.table
        self.faults.clear()

        def skip(row: pyarrow.csv.InvalidRow) -> str:
            self.faults[row.number - 1] = ""
            return "skip"

        kinds = {name: pa.float64() if name in plain else _TEXTS for name in table.wanted}
        return self._read_columns(content, kinds, skip, null_values=sorted(NULLS), strings_can_be_null=True)

    def _read_columns(
        self, content: bytes, kinds: Mapping[str, pa.DataType], skip: Callable[[Any], str], **options: Any
    ) -> dict[str, pa.Array]:
        columns, has_quotes = self.table.columns, b'"' in content
        # Arrow drops one from the beginning, which of a block is a cell's.
        if content.startswith(_MARK):
            content = _MARK + content
        places = {str(columns.index(name)): kind for name, kind in kinds.items()}
        found = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=[*map(str, range(len(columns)))]
            ),
            pyarrow.csv.ParseOptions(
                delimiter="," if self._is_rewritten else self.table.dialect.delimiter,
                quote_char='"' if has_quotes else False,
                newlines_in_values=has_quotes,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            # That it is UTF-8 has been made sure of.
            pyarrow.csv.ConvertOptions(check_utf8=False, include_columns=list(places), column_types=places, **options),
        )
        if not found.num_rows:
            return {name: pa.array([], pa.string()) for name in kinds}
        return {name: column.combine_chunks() for name, column in zip(kinds, found.columns, strict=True)}

    def encode(self) -> tuple[Encoded, Certain]:
        """The encoded matrix, and which rows of it are certain."""
        encoded, certain = self.table.encode(self._columns, self.n_rows - len(self.faults))
        if not self.faults:
            return encoded, certain
        all_rows, all_certain = np.empty((self.n_rows, encoded.shape[1])), np.zeros(self.n_rows, bool)
        whole = np.ones(self.n_rows, bool)
        whole[[*self.faults]] = False
        all_rows[whole], all_certain[whole] = encoded, certain
        return all_rows, all_certain

    def counts(self, column: str) -> Iterator[tuple[str, int]]:
        """The texts of a column, and how often each occurs."""
        found = self._columns[column].value_counts()
        for text, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
            if text is not None:
                yield text, count

    def line(self, row: int) -> int:
        """Number of the line on which a row begins."""
        return self._lines[row]

    @cached_property
    def _lines(self) -> list[int]:
        feeds = np.flatnonzero(np.frombuffer(self._data, np.uint8) == ord("\n"))
        found: list[int] = (np.searchsorted(feeds, self._starts) + self._first).tolist()
        return found

    def _cells(self, row: int) -> list[str]:
        raw = self._fitted.get(row) or self._data[self._starts[row] : self._stops[row]]
        return next(csv.reader(StringIO(raw.decode(), newline=""), delimiter=self.table.dialect.delimiter), [])

    def entry(self, row: int) -> InputRow:
        """A row with all its cells."""
        cells = self._cells(row)
        original = dict(zip(self.table.columns, cells, strict=True))
        if row in self.faults:
            return InputRow(original, self.line(row), {}, self.faults[row])
        record = self.table.record(cells)
        if row not in self._counted:
            self._counted.add(row)
            self.local_numbers += sum(
                isinstance(record[name], str) and is_local(original[name]) for name in self.table.number_names
            )
        return InputRow(original, self.line(row), record)

    def raw(self) -> pa.Array:
        """The rows as the file has them, without line ends."""
        # Rows, and what stands between them, in turn; of these every other one.
        bounds = np.column_stack([self._starts, self._stops]).astype(np.int32).reshape(-1)
        pieces = pa.Array.from_buffers(
            pa.binary(), max(len(bounds) - 1, 0), [None, pa.py_buffer(bounds), pa.py_buffer(self._data)]
        )
        return with_values(pieces.take(pa.array(np.arange(0, len(bounds), 2))), self._fitted)

    def arrow(self) -> pa.RecordBatch:
        """All cells as columns of text."""
        names = list(self.table.columns)
        if self._is_rewritten or self.faults or not self.n_rows:
            cells = [self._cells(row) for row in range(self.n_rows)]
            columns = zip(*cells, strict=True) if cells else [()] * len(names)
            return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)
        kinds = dict.fromkeys(names, pa.string())
        return pa.RecordBatch.from_pydict(self._read_columns(self._data, kinds, lambda _: "error"))

    def to_json(self, row: int) -> Mapping[str, Any]:
        """A row with types where the spec has them."""
        entry = self.entry(row)
        return {**entry.original, **cast("dict[str, Any]", entry.record)}


class CsvWriter:
    """Writes batches as a CSV file, of the same kind as the one that they come from.

    Args:
        file: binary.
        table: where the rows come from.
        added: columns that are added after its own.
    """

    def __init__(self, file: BinaryIO, table: Table, added: Added) -> None:
        self._file = file
        self._dialect = table.first.dialect if isinstance(table.first, CsvTable) else Dialect()
        header = csv_text((*table.columns, *added), self._dialect) + self._dialect.line_end
        file.write((_MARK if self._dialect.bom else b"") + header.encode())

    def render(self, batch: Batch, answers: Answers) -> pa.Buffer:
        """The rows as they are written; may be called by several threads at a time."""
        dialect = self._dialect
        if not isinstance(batch, CsvBatch):
            rows = self._rows(batch.arrow())
        elif batch.table.dialect.delimiter == dialect.delimiter:
            rows = batch.raw()
        else:
            found, wanted = batch.table.dialect.delimiter, dialect.delimiter
            raise DataError(f"{batch.table.name}: has {found!r} between its cells, the first file {wanted!r}")
        labels = [csv_text([_text(one)], dialect) for one in answers.classes]
        first, rest = {}, {}
        for row, cells in enumerate(answers.rows()) if dialect.delimiter in _NUMERIC else answers.cells.items():
            first[row] = csv_text([_text(cells[0])], dialect).encode()
            rest[row] = (csv_text([*map(_text, cells[1:])], dialect) + dialect.line_end).encode()
        predictions = predicted(answers.scores, labels)
        if not labels:
            predictions = to_texts(predictions)
        ends = pa.repeat(pa.scalar(dialect.line_end.encode()), batch.n_rows)
        columns = [rows, with_values(predictions.cast(pa.binary()), first), with_values(ends, rest)]
        return content_of(pc.binary_join_element_wise(*columns, dialect.delimiter.encode()))

    def _rows(self, content: pa.RecordBatch) -> pa.Array:
        """Columns as the cells of rows, without line ends."""
        delimiter, columns = self._dialect.delimiter, []
        for column in map(to_texts, content.columns):
            quoted = pc.match_substring_regex(column, f'["\\r\\n{re.escape(delimiter)}]')
            places = np.flatnonzero(quoted.to_numpy(zero_copy_only=False)).tolist()
            columns.append(with_values(column, {row: csv_text([column[row].as_py()], self._dialect) for row in places}))
        return pc.binary_join_element_wise(*columns, delimiter).cast(pa.binary())

    def write(self, rendered: pa.Buffer) -> None:
        """Write what :meth:`render` made."""
        self._file.write(rendered)

    def close(self) -> None:
        """Nothing is left to write."""


def _all_numbers(texts: pa.DictionaryArray) -> bool:
    try:
        texts.dictionary.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _text(value: Any) -> str:
    # NaN is the only value unlike itself.
    if value is None or value != value:  # noqa: PLR0124
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fitted(cells: Sequence[str], width: int, dialect: Dialect) -> tuple[list[str], str]:
    """As many cells as the header has of a row that has more or fewer, and what is wrong with it.

    Cells that are missing are empty; what there is beyond the header is repeated in the fault, so that nothing is lost.
    """
    fault = _wrong_width(len(cells), width)
    if any(cells[width:]):
        fault += f"; beyond them: {csv_text(cells[width:], dialect)}"
    return [*cells[:width], *[""] * (width - len(cells))], fault


def csv_text(cells: Sequence[str], dialect: Dialect) -> str:
    """Some cells of a row, quoted where that is needed."""
    text = dialect.delimiter.join(cells)
    if text.count(dialect.delimiter) == len(cells) - 1 and not _QUOTED.search(text):
        return text
    file = StringIO(newline="")
    # One cell more, as a row that is nothing but an empty cell is written in another way.
    csv.writer(file, delimiter=dialect.delimiter, lineterminator="\r\n").writerow([*cells, ""])
    return file.getvalue().removesuffix(f"{dialect.delimiter}\r\n")


def enclosing_quotes(content: bytes, delimiter: str) -> NDArray[np.intp] | None:
    """Where the quotes are, if it is certain without a CSV reader that they enclose cells or are doubled within.

    It is if each that opens stands at the beginning of a cell and each that closes at the end of one, or one stands
    right after the other. The last one may be left open.

    Args:
        content: text that begins where a record does, and whose lines end with line feeds.
        delimiter: what stands between cells.

    Returns:
        Their places, ascending; ``None`` if it is not certain.
    """
    if b'"' not in content:
        return np.empty(0, np.intp)
    if len(delimiter.encode()) > 1:
        return None
    # One byte more at each end, for the neighbours of the first and the last.
    data = np.frombuffer(b"\n%b\n" % content, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    before, after = data[quotes[::2] - 1], data[quotes[1::2] + 1]
    opens = np.isin(before, [ord(delimiter), ord("\n"), ord('"')])
    closes = np.isin(after, [ord(delimiter), ord("\n"), ord("\r"), ord('"')])
    return quotes - 1 if opens.all() and closes.all() else None


def record_ends(content: bytes, quotes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where the line feeds are that end a record, not within quotes."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    return ends[np.searchsorted(quotes, ends) % 2 == 0] if quotes.size else ends


def _has_lone_return(content: bytes) -> bool:
    # The last byte may be the half of a line end.
    return b"\r" in content and content.count(b"\r", 0, len(content) - 1) != content.count(b"\r\n")


def _ends(content: bytes) -> bool:
    return content.endswith((b"\n", b"\r"))


def _wrong_width(n_cells: int, width: int) -> str:
    return f"{n_cells} {'cell' if n_cells == 1 else 'cells'} where the header has {width}"


def _not_csv(name: str, line: int, error: csv.Error) -> DataError:
    return DataError(f"{name}, line {line}: not CSV: {error}")


def _range(learned: Learned) -> tuple[float, float] | None:
    return None if learned.low is None or learned.high is None else (learned.low, learned.high)


def _delimiter(header: str, spec: InputSpec) -> str:
    required, names = set(spec.required), set(spec.names)

    def known(delimiter: str) -> tuple[int, int, int]:
        try:
            columns = next(csv.reader(StringIO(header, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return 0, 0, 0
        found = {*columns, *(column.strip() for column in columns)}
        return len(required & found), len(names & found), len(columns)

    return max(DELIMITERS, key=known)
