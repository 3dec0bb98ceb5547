"""Training data: a CSV file, read and checked against a model's fields, or refused with the reason.

It is read by the very reader and validator that serve predictions, so a cell means the same in training and in serving:
"NA" and empty are missing, and "None" can be a level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.csv_files import CsvTable, csv_table
from model_kit.batch.rows import InputRow
from model_kit.errors import DataError
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.records.target_classes import ClassReader
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
        target: shape (n_rows,), in the target's unit; of a class, its position in the target's classes.
        keys: of each row, which record it is about: rows with the same key are in one fold. Empty: each is of its own.
        outcomes: facts of the outcomes among the rows, beyond the file's own: ``name``, ``sha256``, ``rows``.
    """

    name: str
    sha256: str
    synthetic: bool
    ids: tuple[str, ...]
    rows: tuple[Row, ...]
    target: NDArray[Any]
    keys: tuple[str, ...] = ()
    outcomes: Mapping[str, Any] | None = None


def load(
    definition: ModelDefinition,
    path: Path,
    *,
    report: Callable[[str], None] = lambda _: None,
    numbers: NumberFormat = PLAIN,
) -> Dataset:
    """Read a training file: the fields, the target and, if one is declared, the identifier, in any order.

    A synthetic sample is recognised by its identifiers, whatever the file is called.

    Args:
        definition: declares the columns.
        path: CSV file, UTF-8.
        report: called with what was ignored, one line each.
        numbers: how its numbers are written.

    Raises:
        DataError: the file cannot be used; the text names file, line and column.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(definition, content, path.name, report=report, numbers=numbers)


def synthetic(definition: ModelDefinition) -> Dataset:
    """The data that come with the package, such as a synthetic sample, made anew.

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
    definition: ModelDefinition,
    content: bytes,
    name: str,
    *,
    report: Callable[[str], None] = lambda _: None,
    numbers: NumberFormat = PLAIN,
) -> Dataset:
    """As :func:`load`, from the bytes of a file.

    Args:
        definition: declares the columns.
        content: the file.
        name: what errors, and the model's card, call it.
        report: called with what was ignored.
        numbers: how its numbers are written.

    Raises:
        DataError: the file cannot be used.
    """
    unfitted = unfitted_spec(definition)
    table = csv_table(content, unfitted, name, numbers)
    _require_columns(table, definition, report)
    validate = Validator(unfitted)
    identifiers = _Identifiers(name, definition.identifier)
    rows: list[Row] = []
    target: list[float] = []
    read = _target_reader(definition.target, table)
    lines = table.entries
    while chunk := list(islice(lines, _CHUNK)):
        if fault := next((line for line in chunk if line.fault), None):
            raise DataError(f"{name}, line {fault.number}: {fault.fault}")
        rows += _validated(chunk, validate, unfitted, name)
        for line in chunk:
            identifiers.add(line)
            target.append(read(line))
    if len(rows) < MIN_ROWS:
        raise DataError(f"{name}: {len(rows)} rows; training needs at least {MIN_ROWS}")
    if not content.endswith((b"\n", b"\r")):
        report(f"{name}: the last line has no line break; if the file was cut off, its last value may be wrong")
    sample: Sample | None = definition.resolve("sample")
    made_up, is_sample = _origin(sample, identifiers.found, content)
    return Dataset(
        name=sample.name if sample is not None and is_sample else name,
        sha256=hashlib.sha256(content).hexdigest(),
        synthetic=made_up,
        ids=tuple(identifiers.found),
        rows=tuple(rows),
        target=np.array(target, np.int64 if definition.target.is_class else np.float64),
    )


def unfitted_spec(definition: ModelDefinition) -> InputSpec:
    """The spec of a model before anything is learned: enough to read and validate rows."""
    return InputSpec(
        definition.fields, {field.name: Learned(0.0, None) for field in definition.fields}, definition.target
    )


def undocumented_level(spec: InputSpec, row: Row) -> Iterator[str]:
    """Yield the ordered categories of which a valid row has a level that is not documented, so has no place."""
    for field in spec.fields:
        value = row.get(field.name) if field.ordered else None
        if value is not None and value not in {level.value for level in field.levels}:
            yield field.name


def _origin(sample: Sample | None, identifiers: Iterable[str], content: bytes) -> tuple[bool, bool]:
    """Whether some of a file's rows are made up, and whether all of it is the package's sample."""
    if sample is None:
        return False, False
    if sample.is_synthetic is None:
        is_sample = content == sample.csv()
        return is_sample and sample.synthetic, is_sample
    made_up = [sample.is_synthetic(identifier) for identifier in identifiers]
    return any(made_up), all(made_up)


def _require_columns(table: CsvTable, definition: ModelDefinition, report: Callable[[str], None]) -> None:
    wanted = [*([definition.identifier] if definition.identifier else []), *(field.name for field in definition.fields)]
    wanted.append(definition.target.name)
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise DataError(f"{table.name}: the header lacks {_listed(missing)}")
    extra = [column for column in table.columns if column not in wanted]
    if extra:
        report(f"{table.name}: ignoring {_listed(extra)}, which the model does not use")


def _validated(lines: list[InputRow], validate: Validator, spec: InputSpec, name: str) -> list[Row]:
    validated = validate([line.record for line in lines])
    for position, errors in validated.errors.items():
        for column, messages in errors.items():
            raise _fault(name, lines[position], column, messages[0].rstrip("."))
    for row, line in zip(validated.rows, lines, strict=True):
        for column in undocumented_level(spec, row):
            raise _fault(name, line, column, "Not a documented level of this ordered category")
    return list(validated.rows)


class _Identifiers:
    """The identifiers of the rows so far, each once; row numbers where no column is declared."""

    def __init__(self, name: str, column: str | None) -> None:
        self._name = name
        self._column = column
        self.found: dict[str, int] = {}

    def add(self, line: InputRow) -> None:
        """Take up the identifier of a row.

        Raises:
            DataError: it is missing, or an earlier row has it.
        """
        if self._column is None:
            self.found[str(len(self.found) + 1)] = line.number
            return
        text = line.original[self._column].strip()
        if is_null(text):
            raise DataError(f"{self._name}, line {line.number}, column {self._column}: missing")
        number = parse_number(text)
        # pandas writes whole numbers as 524.0 if one of them is missing.
        identifier = str(int(number)) if isinstance(number, float) and number.is_integer() else text
        if identifier in self.found:
            raise _fault(self._name, line, self._column, f"Occurs before, in line {self.found[identifier]}")
        self.found[identifier] = line.number


def _target_reader(target: Target, table: CsvTable) -> Callable[[InputRow], float]:
    """What reads a row's target: a number in its unit, or the position of a class."""
    classes = ClassReader(target) if target.is_class else None

    def read(line: InputRow) -> float:
        text, name = line.original[target.name], table.name
        if is_null(text):
            raise DataError(f"{name}, line {line.number}, column {target.name}: missing")
        if classes is not None:
            position = classes(text)
            if position is None:
                raise _fault(name, line, target.name, f"None of the classes {', '.join(target.keys)}")
            return position
        number = parse_number(table.number(text))
        if isinstance(number, str):
            raise _fault(name, line, target.name, "Not a finite number")
        if target.scale == "log" and number <= 0:
            raise _fault(name, line, target.name, "Must be greater than 0")
        return float(number)

    return read


def _fault(name: str, line: InputRow, column: str, reason: str) -> DataError:
    cell = line.original[column]
    excerpt = cell if len(cell) <= EXCERPT else cell[:EXCERPT] + "..."
    found = "nothing" if is_null(cell) else repr(excerpt)
    return DataError(f"{name}, line {line.number}, column {column}: {reason}; found {found}")


def _listed(columns: list[str]) -> str:
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    return f"{'column' if len(columns) == 1 else 'columns'} {', '.join(columns[:LISTED])}{more}"
