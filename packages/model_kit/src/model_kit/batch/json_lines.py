"""JSON Lines in and out: one JSON object a line, each a row; a line that cannot be read is a row in error."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from io import BufferedReader
from typing import Any, BinaryIO, Final
from uuid import uuid4

from model_kit.batch.rows import (
    LONGEST_LINE,
    PREFIX_ADVICE,
    Answers,
    Batch,
    InputRow,
    Table,
    binary_kind,
    too_long,
)
from model_kit.errors import DataError
from model_kit.scoring.table_columns import Added
from model_kit.spec import InputSpec

#: Key under which the output repeats a line that is no JSON object.
INPUT: Final = "input"
#: Lines of a block, and bytes after which one ends.
LINES: Final = 1000
SIZE: Final = 1 << 18
_END_OF_TEXT: Final = b"\x1a"


class JsonLinesTable(Table):
    """The rows of a file, in order; blank lines and a byte-order mark are passed over.

    Args:
        file: UTF-8 text.
        spec: of the model that is asked.
        name: what errors call the file.
    """

    def __init__(self, file: BufferedReader, spec: InputSpec, name: str) -> None:
        super().__init__(name, "jsonl", spec)
        self._file = file
        self._added: Collection[str] = ()

    def refuse(self, added: Collection[str]) -> None:
        """Make sure that no row has one of these keys, when the row is read."""
        self._added = added

    def blocks(self) -> Iterator[list[tuple[int, bytes]]]:
        """Lines with their numbers, some at a time.

        Raises:
            DataError: the file is of another kind, or has a line longer than ``LONGEST_LINE``.
        """
        number = size = 0
        block: list[tuple[int, bytes]] = []
        while content := self._file.readline(LONGEST_LINE):
            number += 1
            if number == 1:
                _refuse_other_kinds(content, self.name)
                content = content.removeprefix(b"\xef\xbb\xbf")
            if len(content) == LONGEST_LINE:
                raise too_long(self.name, number)
            if content.strip().removesuffix(_END_OF_TEXT):
                block.append((number, content))
                size += len(content)
            if len(block) == LINES or size > SIZE:
                yield block
                block, size = [], 0
        if block:
            yield block

    def parse(self, block: list[tuple[int, bytes]]) -> JsonLinesBatch:
        """The rows of a block.

        Raises:
            DataError: a row has a key that is going to be added.
        """
        batch = JsonLinesBatch(self, block)
        for entry in batch.entries:
            if clash := next((key for key in self._added if key in entry.original), None):
                raise DataError(f"{self.name}, line {entry.number}: has a key {clash} already; {PREFIX_ADVICE}")
        return batch


class JsonLinesBatch(Batch):
    """Some rows of a file.

    Attributes:
        entries: the rows.
    """

    def __init__(self, table: Table, block: list[tuple[int, bytes]]) -> None:
        self.table = table
        self.entries = [_entry(content.strip(), number) for number, content in block]
        self.size = sum(len(content) for _, content in block)
        self.n_rows = len(block)

    def entry(self, row: int) -> InputRow:
        """A row."""
        return self.entries[row]

    def encode(self) -> None:
        """Nothing: each row has its own keys."""


class JsonLinesWriter:
    """Writes rows as JSON objects, one a line."""

    def __init__(self, file: BinaryIO, _: Table, added: Added) -> None:
        self._file = file
        self._added = tuple(added)

    def render(self, batch: Batch, answers: Answers) -> bytes:
        """The rows as they are written; may be called by several threads at a time."""
        return b"".join(
            json_line({**batch.to_json(row), **dict(zip(self._added, cells, strict=True))})
            for row, cells in enumerate(answers.rows())
        )

    def write(self, rendered: bytes) -> None:
        """Write what :meth:`render` made."""
        self._file.write(rendered)

    def close(self) -> None:
        """Nothing is left to write."""


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as JSON: what JSON has no type for (a date) is text, NaN or an infinity null; decimals keep all digits."""
    exact: dict[str, str] = {}

    def default(value: Any) -> str:
        if not isinstance(value, Decimal):
            return str(value)
        # What json writes for a number is a float's digits; no text can be this one.
        exact[f"{uuid4()}"] = format(value, "f")
        return next(reversed(exact))

    try:
        line = json.dumps(row, ensure_ascii=False, default=default, allow_nan=False)
    except ValueError:
        exact.clear()
        row = _without_special(dict(row))
        line = json.dumps(row, ensure_ascii=False, default=default)
    for mark, digits in exact.items():
        line = line.replace(f'"{mark}"', digits)
    try:
        return f"{line}\n".encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: JSON can spell it, UTF-8 cannot.
        return f"{json.dumps(row, default=str)}\n".encode()


def _refuse_other_kinds(content: bytes, name: str) -> None:
    if kind := binary_kind(content, "JSON Lines"):
        raise DataError(f"{name}: {kind}")
    if content.lstrip().startswith(b"<"):
        raise DataError(f"{name}: an HTML or XML page, not JSON Lines")
    if content.strip() == b"[" or content.lstrip().startswith(b"[{"):
        raise DataError(f"{name}: a JSON array, not JSON Lines; write one object a line")


def _entry(content: bytes, number: int) -> InputRow:
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return InputRow({INPUT: content.decode(errors="replace")}, number, {}, f"not JSON: {_reason(error)}")
    original = value if isinstance(value, dict) else {INPUT: value}
    return InputRow(original, number, value)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _without_special(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_special(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_special(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number
