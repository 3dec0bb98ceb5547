"""Training data: a CSV file of house sales, read and checked, or refused with the reason.

It is read by the very reader and validator that serve predictions, so a cell means the same in training and in serving:
"NA" and empty are missing, and "None" is a level of ``MasVnrType``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from model_kit.definition import Dataset
from model_kit.errors import DataError
from model_kit.spec import InputSpec, Learned, Row
from model_kit.tabular import Cells, Records, binary_kind, is_null, parse_number, read_records
from model_kit.validation import Validator

from regression_model import sample
from regression_model.fields import FIELDS, IDENTIFIER, TARGET

#: Fewer rows than this are no training data but a mistake.
MIN_ROWS: Final = 50
#: Characters of a faulty cell that an error repeats.
EXCERPT: Final = 20
#: Columns that an error names.
LISTED: Final = 10

#: The declared fields with nothing learned yet: all that reading needs.
_UNFITTED: Final = InputSpec(FIELDS, {field.name: Learned(0.0, None) for field in FIELDS}, TARGET)
_ORDERS: Final[Mapping[str, frozenset[str]]] = {
    field.name: frozenset(level.value for level in field.levels) for field in FIELDS if field.ordered
}


def load(path: Path, *, say: Callable[[str], None] = lambda _: None) -> Dataset:
    """Read a training file: the 79 fields, ``Id`` and ``SalePrice``, in any order.

    The synthetic sample is recognised by its identifiers, whatever the file is called.

    Args:
        path: CSV file, UTF-8.
        say: told what was passed over, one line each: other columns.

    Raises:
        DataError: the file cannot be used; the text names file, line and column.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(content, path.name, say=say)


def synthetic() -> Dataset:
    """The synthetic sample, generated anew."""
    return parse(sample.csv_bytes(), sample.NAME)


def parse(content: bytes, name: str, *, say: Callable[[str], None] = lambda _: None) -> Dataset:
    """As :func:`load`, from the bytes of a file.

    Args:
        content: the file.
        name: what errors, and the model's card, call it.
        say: told what was passed over.

    Raises:
        DataError: the file cannot be used.
    """
    records = read_records(io.StringIO(_decode(content, name), newline=""), _UNFITTED, name)
    _require_columns(records, say)
    cells, rows, lines = _read(records)
    if len(rows) < MIN_ROWS:
        raise DataError(f"{name}: {len(rows)} rows; training needs at least {MIN_ROWS}")
    if not content.endswith(b"\n"):
        # Cut off inside the last price, it would still be a number.
        raise DataError(
            f"{name}, line {lines[-1]}: the last line does not end, so the file may be cut off. "
            "Fetch it again; if it is complete, add a line break at its end"
        )
    valid = _validate(rows, cells, lines, name)
    ids = _identifiers(cells, lines, name)
    made_up = [sample.is_synthetic(identifier) for identifier in ids]
    return Dataset(
        name=sample.NAME if all(made_up) else name,
        sha256=hashlib.sha256(content).hexdigest(),
        synthetic=any(made_up),
        ids=ids,
        rows=valid,
        target=np.array([_target(row, line, name) for row, line in zip(cells, lines, strict=True)]),
    )


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if kind := binary_kind(content):
            raise DataError(f"{name}: {kind}") from error
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text; export it as CSV UTF-8") from error


def _require_columns(records: Records, say: Callable[[str], None]) -> None:
    present = set(records.columns)
    missing = [column for column in sample.COLUMNS if column not in present]
    if missing:
        raise DataError(f"{records.name}: the header lacks {_listed(missing)}")
    extra = [column for column in records.columns if column not in sample.COLUMNS]
    if extra:
        say(f"{records.name}: ignoring {_listed(extra)}, which the model does not use")


def _read(records: Records) -> tuple[list[Cells], list[Row], list[int]]:
    cells: list[Cells] = []
    rows: list[Row] = []
    lines: list[int] = []
    for original, record in records:
        cells.append({column: original[column] for column in sample.COLUMNS})
        rows.append(record)
        lines.append(records.line)
    return cells, rows, lines


def _validate(rows: list[Row], cells: list[Cells], lines: list[int], name: str) -> tuple[Row, ...]:
    validated = Validator(_UNFITTED)(rows)
    for position, errors in validated.errors.items():
        for column, messages in errors.items():
            raise _fault(name, lines[position], column, messages[0].rstrip("."), cells[position][column])
    for row, line in zip(validated.rows, lines, strict=True):
        for column, levels in _ORDERS.items():
            value = row.get(column)
            if value is not None and value not in levels:
                raise _fault(name, line, column, "Not a documented level of this ordered category", str(value))
    return tuple(validated.rows)


def _identifiers(cells: list[Cells], lines: list[int], name: str) -> tuple[str, ...]:
    first_line: dict[str, int] = {}
    for row, line in zip(cells, lines, strict=True):
        text = row[IDENTIFIER].strip()
        if is_null(text):
            raise DataError(f"{name}, line {line}, column {IDENTIFIER}: missing")
        number = parse_number(text)
        # pandas writes whole numbers as 524.0 if one of them is missing.
        identifier = str(int(number)) if isinstance(number, float) and number.is_integer() else text
        if identifier in first_line:
            reason = f"Occurs before, in line {first_line[identifier]}"
            raise _fault(name, line, IDENTIFIER, reason, identifier)
        first_line[identifier] = line
    return tuple(first_line)


def _target(row: Cells, line: int, name: str) -> float:
    text = row[TARGET.name]
    if is_null(text):
        raise DataError(f"{name}, line {line}, column {TARGET.name}: missing")
    number = parse_number(text)
    if isinstance(number, str):
        raise _fault(name, line, TARGET.name, "Not a finite number", text)
    if number <= 0:
        raise _fault(name, line, TARGET.name, "Must be greater than 0", text)
    return float(number)


def _fault(name: str, line: int, column: str, reason: str, cell: str) -> DataError:
    excerpt = cell if len(cell) <= EXCERPT else cell[:EXCERPT] + "..."
    found = "nothing" if is_null(cell) else repr(excerpt)
    return DataError(f"{name}, line {line}, column {column}: {reason}; found {found}")


def _listed(columns: list[str]) -> str:
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return f"{'column' if len(columns) == 1 else 'columns'} {', '.join(columns[:LISTED])}{more}"
