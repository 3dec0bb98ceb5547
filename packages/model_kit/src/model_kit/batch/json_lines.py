"""JSON Lines in and out: one JSON object a line, each a row; a line that cannot be read is a row in error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, TextIO

from model_kit.batch.csv_files import LONGEST_LINE, binary_kind
from model_kit.batch.rows import InputRow
from model_kit.errors import DataError

#: Key under which the output repeats a line that is no JSON object.
INPUT: Final = "input"


def read_lines(file: BinaryIO, name: str, first: int = 1) -> Iterator[InputRow]:
    """The rows of a file, in order; blank lines and a byte-order mark are passed over.

    Args:
        file: UTF-8 text.
        name: what errors call the file.
        first: number of the first line.

    Raises:
        DataError: the file is of another kind, or has a line longer than ``LONGEST_LINE``.
    """
    number = first - 1
    while content := file.readline(LONGEST_LINE):
        number += 1
        if number == 1:
            _refuse_other_kinds(content, name)
            content = content.removeprefix(b"\xef\xbb\xbf")
        if len(content) == LONGEST_LINE:
            raise DataError(f"{name}, line {number}: longer than {LONGEST_LINE:,} bytes: no row of a table")
        if content.strip():
            yield _entry(content.strip(), number)


class JsonLinesWriter:
    """Writes rows as JSON objects, one a line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row; what JSON has no type for (a date) becomes text, and NaN or an infinity null."""
        try:
            line = json.dumps(row, ensure_ascii=False, default=str, allow_nan=False)
        except ValueError:
            row = _without_special(dict(row))
            line = json.dumps(row, ensure_ascii=False, default=str)
        try:
            line.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair: JSON can spell it, UTF-8 cannot.
            line = json.dumps(row, default=str)
        self._file.write(line + "\n")


def _refuse_other_kinds(content: bytes, name: str) -> None:
    if kind := binary_kind(content):
        raise DataError(f"{name}: {kind.replace('CSV text', 'JSON Lines')}")
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
