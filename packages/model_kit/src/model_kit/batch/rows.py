"""What tables are made of, whatever the format: blocks of rows, single rows, what is added to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from numpy.typing import NDArray

from model_kit.errors import DataError
from model_kit.records.features import Encoded
from model_kit.records.field_names import nearly
from model_kit.scoring.table_columns import Cell
from model_kit.spec import ClassValue, InputSpec

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]

#: Bytes of the longest line that is read; a longer one is no row of a table, and would fill the memory.
LONGEST_LINE: Final = 4_000_000
#: What to do about a column that is there already.
PREFIX_ADVICE: Final = "--prefix model_ names the new ones model_prediction, model_error and so on"
#: First bytes of files that are no text -> what they are.
_MAGIC: Final[Mapping[bytes, str]] = {
    b"PK\x03\x04": "a workbook (.xlsx) or zip archive, not {}; export the sheet as CSV UTF-8",
    b"\x1f\x8b": "compressed by gzip, not {}; unpack it first",
    b"PAR1": "a Parquet file, not {}",
    b"\xd0\xcf\x11\xe0": "a workbook (.xls), not {}; export the sheet as CSV UTF-8",
    b"\xff\xfe": "UTF-16, not UTF-8 text; export it as {} UTF-8",
    b"\xfe\xff": "UTF-16, not UTF-8 text; export it as {} UTF-8",
}


class InputRow(NamedTuple):
    """A row as a file has it, and what the model is asked about it.

    Attributes:
        original: all that the file says about the row, by column or key, in its order.
        number: line on which it begins, or its place among the rows of a file without lines, from 1.
        record: what a validator judges.
        fault: why the row could not even be read; empty if it could.
    """

    original: Mapping[str, Any]
    number: int
    record: object
    fault: str = ""


class Answers(NamedTuple):
    """What is added to the rows of a batch.

    Attributes:
        scores: predictions, shape (n_rows,), of classes their positions; NaN where ``cells`` has the row.
        cells: position of a row that was answered singly -> all its added cells.
        encoded: the rows that have a prediction, encoded.
        positions: of these rows in the batch.
        classes: that are predicted; nothing if numbers are.
    """

    scores: NDArray[Any]
    cells: dict[int, tuple[Cell, ...]]
    encoded: Encoded
    positions: Sequence[int]
    classes: Sequence[ClassValue] = ()

    def rows(self) -> list[tuple[Cell, ...]]:
        """The added cells of each row."""
        if self.classes:
            return [self.cells.get(row) or (self.classes[int(one)], None) for row, one in enumerate(self.scores)]
        return [self.cells.get(row) or (score, None) for row, score in enumerate(self.scores.tolist())]

    def value_of(self, batch: Batch) -> Callable[[int, str], object]:
        """What the batch has for a row of ``encoded`` and a field."""
        return lambda row, name: batch.original(self.positions[row]).get(name)

    @property
    def n_failed(self) -> int:
        """Number of rows without a prediction."""
        return sum(cells[0] is None for cells in self.cells.values())


class Batch(ABC):
    """Some rows of a table.

    Attributes:
        table: of which.
        size: how much of the file they are, in the unit of the table's ``total``.
        n_rows: number of rows.
        local_numbers: numbers so far that were refused because they are written like 12,5.
    """

    table: Table
    size: int
    n_rows: int
    local_numbers: int = 0

    @abstractmethod
    def entry(self, row: int) -> InputRow:
        """A row with all that the file says about it."""

    @abstractmethod
    def encode(self) -> tuple[Encoded, NDArray[Any]] | None:
        """The encoded matrix, and which rows of it are certain; ``None`` of rows without columns."""

    def original(self, row: int) -> Mapping[str, Any]:
        """All that the file says about a row."""
        return self.entry(row).original

    def to_json(self, row: int) -> Mapping[str, Any]:
        """A row as JSON Lines have it."""
        return self.original(row)

    def arrow(self) -> Any:
        """The rows as an Arrow record batch; rows without columns are never asked for it."""
        raise NotImplementedError


class Table(ABC):
    """A table that is being read.

    Attributes:
        name: what errors call it.
        format: how it is written.
        spec: says how to read its fields.
        columns: its columns in order; empty where each row has its own keys.
        first: the first file's, where there are several; else the table itself.
        total: how much there is to read, in the unit of ``position``; ``None`` if that is not known.
        position: how much has been read.
        local_numbers: numbers so far that were refused because they are written like 12,5.
    """

    def __init__(self, name: str, form: Format, spec: InputSpec) -> None:
        self.name = name
        self.format = form
        self.spec = spec
        self.columns: tuple[str, ...] = ()
        self.first: Table = self
        self.total: int | None = None
        self.position: Callable[[], int] = int
        self.local_numbers = 0

    @abstractmethod
    def blocks(self) -> Iterator[Any]:
        """What has not been read yet, in pieces that can be parsed apart from each other."""

    @abstractmethod
    def parse(self, block: Any) -> Batch:
        """The rows of a block."""

    def watch(self, batch: Any) -> None:
        """Look at a batch for what makes the whole table unusable.

        Raises:
            DataError: it is; the text says what to do.
        """
        del batch

    def number(self, text: str) -> str:
        """A number of the file as Python spells it."""
        return text

    @property
    def entries(self) -> Iterator[InputRow]:
        """The rows, each once, in order."""
        for block in self.blocks():
            batch = self.parse(block)
            self.watch(batch)
            yield from map(batch.entry, range(batch.n_rows))
            self.local_numbers += batch.local_numbers

    def refuse(self, added: Collection[str]) -> None:
        """Make sure that columns which are going to be added are not there already.

        Raises:
            DataError: one is.
        """
        clashes = [column for column in added if column in self.columns]
        if clashes:
            raise DataError(f"{self.name}: has a column {' and '.join(clashes)} already; {PREFIX_ADVICE}")

    def lacking(self, names: Collection[str]) -> list[str]:
        """Those of some columns that are not there, each with the column that nearly has its name."""
        if not self.columns:
            return []
        unknown = [column for column in self.columns if column not in self.spec.names]
        return [
            f"{name} (there is {near!r})" if (near := nearly(name, unknown)) else name
            for name in names
            if name not in self.columns
        ]

    def refuse_columns(self, what: str = "") -> None:
        """Make sure that required columns are there, at least one that is a field, and none twice.

        Raises:
            DataError: they are not.
        """
        columns = self.columns
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice == [""]:
            raise DataError(f"{self.name}: {what}has {columns.count('')} columns without a name")
        if twice:
            raise DataError(f"{self.name}: {what}has a column more than once: {', '.join(twice)}")
        if missing := [name for name in self.spec.required if name not in columns]:
            if len(columns) == 1 and any(mark in columns[0] for mark in "|:"):
                found = f"{', '.join(missing)}; cells must be separated by commas, semicolons or tabs"
            else:
                found = ", ".join(self.lacking(missing))
            raise DataError(f"{self.name}: {what}lacks the required columns {found}")
        # Without a required field, any table would be predicted, as typical records.
        if columns and self.spec.names and not set(columns) & set(self.spec.names):
            raise DataError(f"{self.name}: {what}has no field of the model, such as {self.spec.names[0]}")


def binary_kind(content: bytes, wanted: str) -> str | None:
    """What a file that is no text is, and what to do about it, by its first bytes; ``None`` if they say nothing."""
    return next((kind.format(wanted) for magic, kind in _MAGIC.items() if content.startswith(magic)), None)


def too_long(name: str, line: int) -> DataError:
    """What to raise where a line is no row of a table."""
    return DataError(f"{name}, line {line}: longer than {LONGEST_LINE:,} bytes: no row of a table")
