"""Training data: a CSV file, read and checked against a model's fields, or refused with the reason.

It is read by the very reader and validator that serve predictions, so a cell means the same in training and in serving:
"NA" and empty are missing, and "None" can be a level.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.csv_files import Cells, Record, Records, binary_kind, read_records
from model_kit.errors import DataError
from model_kit.records.text import is_null, parse_number
from model_kit.records.validation import Validator
from model_kit.scoring.definition import ModelDefinition, Sample
from model_kit.spec import InputSpec, Learned, Row, Target

#: Fewer rows than this are no training data but a mistake.
MIN_ROWS: Final = 50
#: Characters of a faulty cell that an error repeats.
EXCERPT: Final = 20
#: Columns that an error names.
LISTED: Final = 10
#: Rows that are validated together.
_CHUNK: Final = 1000


@dataclass(frozen=True)
class Dataset:
    """Training data that has been read and checked.

    Attributes:
        name: what it is called wherever a model trained on it shows ("train.csv").
        sha256: of the file's bytes.
        synthetic: made by a generator, so that predictions mean nothing for the real world.
        ids: one identifier a row, for alignment only; never a feature. Row numbers from 1 where none is declared.
        rows: validated rows.
        target: shape (n_rows,), in the target's unit.
    """

    name: str
    sha256: str
    synthetic: bool
    ids: tuple[str, ...]
    rows: tuple[Row, ...]
    target: NDArray[np.float64]


class _Line(NamedTuple):
    number: int
    cells: Cells
    record: Record


def load(definition: ModelDefinition, path: Path, *, report: Callable[[str], None] = lambda _: None) -> Dataset:
    """Read a training file: the fields, the target and, if one is declared, the identifier, in any order.

    A synthetic sample is recognised by its identifiers, whatever the file is called.

    Args:
        definition: declares the columns.
        path: CSV file, UTF-8.
        report: called with what was ignored, one line each.

    Raises:
        DataError: the file cannot be used; the text names file, line and column.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(definition, content, path.name, report=report)


def synthetic(definition: ModelDefinition) -> Dataset:
    """The package's synthetic sample, generated anew.

    Raises:
        DataError: the package has none.
    """
    sample = require_sample(definition)
    return parse(definition, sample.csv(), sample.name)


def require_sample(definition: ModelDefinition) -> Sample:
    """The package's generator of synthetic data.

    Raises:
        DataError: it has none.
    """
    sample: Sample | None = definition.resolve("sample")
    if sample is None:
        raise DataError(f"the model {definition.name} has no synthetic sample; name a file to train on")
    return sample


def parse(
    definition: ModelDefinition, content: bytes, name: str, *, report: Callable[[str], None] = lambda _: None
) -> Dataset:
    """As :func:`load`, from the bytes of a file.

    Args:
        definition: declares the columns.
        content: the file.
        name: what errors, and the model's card, call it.
        report: called with what was ignored.

    Raises:
        DataError: the file cannot be used.
    """
    unfitted = InputSpec(
        definition.fields, {field.name: Learned(0.0, None) for field in definition.fields}, definition.target
    )
    records = read_records(io.StringIO(decode(content, name), newline=""), unfitted, name)
    _require_columns(records, definition, report)
    validate = Validator(unfitted)
    identifiers = _Identifiers(name, definition.identifier)
    rows: list[Row] = []
    target: list[float] = []
    lines = _lines(records)
    while chunk := list(islice(lines, _CHUNK)):
        rows += _validated(chunk, validate, unfitted, name)
        for line in chunk:
            identifiers.add(line)
            target.append(_target(line, definition.target, name))
    if len(rows) < MIN_ROWS:
        raise DataError(f"{name}: {len(rows)} rows; training needs at least {MIN_ROWS}")
    if not content.endswith((b"\n", b"\r")):
        report(f"{name}: the last line has no line break; if the file was cut off, its last value may be wrong")
    sample: Sample | None = definition.resolve("sample")
    made_up = [sample is not None and sample.is_synthetic(identifier) for identifier in identifiers.found]
    return Dataset(
        name=sample.name if sample is not None and all(made_up) else name,
        sha256=hashlib.sha256(content).hexdigest(),
        synthetic=any(made_up),
        ids=tuple(identifiers.found),
        rows=tuple(rows),
        target=np.array(target),
    )


def decode(content: bytes, name: str) -> str:
    """A file as text.

    Raises:
        DataError: it is not UTF-8; the text names the line, or what the file is.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if kind := binary_kind(content):
            raise DataError(f"{name}: {kind}") from error
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not UTF-8 text; export it as CSV UTF-8") from error


def _require_columns(records: Records, definition: ModelDefinition, report: Callable[[str], None]) -> None:
    wanted = [*([definition.identifier] if definition.identifier else []), *(field.name for field in definition.fields)]
    wanted.append(definition.target.name)
    missing = [column for column in wanted if column not in records.columns]
    if missing:
        raise DataError(f"{records.name}: the header lacks {_listed(missing)}")
    extra = [column for column in records.columns if column not in wanted]
    if extra:
        report(f"{records.name}: ignoring {_listed(extra)}, which the model does not use")


def _lines(records: Records) -> Iterator[_Line]:
    for cells, record in records:
        yield _Line(records.line, cells, record)


def _validated(lines: list[_Line], validate: Validator, spec: InputSpec, name: str) -> list[Row]:
    validated = validate([line.record for line in lines])
    for position, errors in validated.errors.items():
        for column, messages in errors.items():
            raise _fault(name, lines[position], column, messages[0].rstrip("."))
    for field in spec.fields:
        if not field.ordered:
            continue
        documented = {level.value for level in field.levels}
        for row, line in zip(validated.rows, lines, strict=True):
            value = row.get(field.name)
            if value is not None and value not in documented:
                raise _fault(name, line, field.name, "Not a documented level of this ordered category")
    return list(validated.rows)


class _Identifiers:
    """The identifiers of the rows so far, each once; row numbers where no column is declared."""

    def __init__(self, name: str, column: str | None) -> None:
        self._name = name
        self._column = column
        self.found: dict[str, int] = {}

    def add(self, line: _Line) -> None:
        """Take up the identifier of a row.

        Raises:
            DataError: it is missing, or an earlier row has it.
        """
        if self._column is None:
            self.found[str(len(self.found) + 1)] = line.number
            return
        text = line.cells[self._column].strip()
        if is_null(text):
            raise DataError(f"{self._name}, line {line.number}, column {self._column}: missing")
        number = parse_number(text)
        # pandas writes whole numbers as 524.0 if one of them is missing.
        identifier = str(int(number)) if isinstance(number, float) and number.is_integer() else text
        if identifier in self.found:
            raise _fault(self._name, line, self._column, f"Occurs before, in line {self.found[identifier]}")
        self.found[identifier] = line.number


def _target(line: _Line, target: Target, name: str) -> float:
    text = line.cells[target.name]
    if is_null(text):
        raise DataError(f"{name}, line {line.number}, column {target.name}: missing")
    number = parse_number(text)
    if isinstance(number, str):
        raise _fault(name, line, target.name, "Not a finite number")
    if target.scale == "log" and number <= 0:
        raise _fault(name, line, target.name, "Must be greater than 0")
    return float(number)


def _fault(name: str, line: _Line, column: str, reason: str) -> DataError:
    cell = line.cells[column]
    excerpt = cell if len(cell) <= EXCERPT else cell[:EXCERPT] + "..."
    found = "nothing" if is_null(cell) else repr(excerpt)
    return DataError(f"{name}, line {line.number}, column {column}: {reason}; found {found}")


def _listed(columns: list[str]) -> str:
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return f"{'column' if len(columns) == 1 else 'columns'} {', '.join(columns[:LISTED])}{more}"
