"""Reads outcomes with the records that they are about: new rows of training, each checked, none trusted yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from model_kit.batch.evaluation import identifier_text, truth_reader
from model_kit.batch.rows import InputRow, Table
from model_kit.batch.tables import reading
from model_kit.errors import DataError
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.records.text import is_null
from model_kit.records.validation import Validator, in_words
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Row
from model_kit.training.dataset import undocumented_level, unfitted_spec

#: Keys of a line of the prediction log, as ``ml-api log export`` writes it, that have the record and its outcome.
LOG_KEYS: Final = ("inputs", "outcome")
#: What writes such a file.
ADVICE: Final = "`ml-api log export --outcomes` writes outcomes with their records"
_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class HeldBack:
    """An outcome that is not trained on.

    Attributes:
        line: of the file; its place in a file without lines.
        reason: why, without a value of the record.
    """

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """A record whose outcome is known.

    Attributes:
        line: of the file.
        row: validated.
        target: in the target's unit; of a class its position.
        key: tells records apart among the outcomes; empty if it has none.
        identifier: what the model's data would call the record; empty if that is not known.
    """

    line: int
    row: Row
    target: float
    key: str
    identifier: str


@dataclass
class Outcomes:
    """What a file says.

    Attributes:
        name, sha256: of the file.
        lines: rows of the file.
        rows: those that can be used; of several of one record the last.
        held_back: those whose record or outcome is invalid.
        unseen_classes: lines whose outcome is no class of the target.
        without: why others do not count -> how many: no outcome yet, of another model, repeated.
    """

    name: str
    sha256: str
    lines: int = 0
    rows: list[OutcomeRow] = field(default_factory=list)
    held_back: list[HeldBack] = field(default_factory=list)
    unseen_classes: list[int] = field(default_factory=list)
    without: dict[str, int] = field(default_factory=dict)

    def pass_over(self, why: str) -> None:
        """Count a row that is none of new training."""
        self.without[why] = self.without.get(why, 0) + 1


def read_outcomes(definition: ModelDefinition, path: Path, numbers: NumberFormat = PLAIN) -> Outcomes:
    """Read a file of outcomes.

    Args:
        definition: declares the fields, the target and the identifier.
        path: lines of the prediction log (``ml-api log export``), or a table with all fields and the target, as
            training takes it: CSV, JSON Lines or Parquet.
        numbers: how a CSV file writes numbers.

    Raises:
        DataError: it is no such file, or no record of it has inputs.
    """
    try:
        with path.open("rb") as file:
            found = Outcomes(path.name, hashlib.file_digest(file, "sha256").hexdigest())
        if not path.stat().st_size:
            return found
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with reading(str(path), unfitted_spec(definition), None, numbers) as table:
        if table.columns and definition.target.name not in table.columns:
            (lacks,) = table.lacking([definition.target.name])
            raise DataError(f"{table.name}: lacks the column {lacks}; {ADVICE}")
        _read(definition, table, found)
    if not found.rows and found.without.get("inputs were not logged"):
        raise DataError(
            f"{path.name}: no outcome has the inputs of its prediction: they were not logged (PREDICTION_LOG_INPUTS)"
        )
    _keep_last(found)
    return found


def _read(definition: ModelDefinition, table: Table, found: Outcomes) -> None:
    target = definition.target
    validate, truth = Validator(table.spec), truth_reader(target)
    lines = table.entries
    while chunk := list(islice(lines, _CHUNK)):
        found.lines += len(chunk)
        parts = [part for line in chunk if (part := _part(definition, line, found))]
        validated = validate([part.record for part in parts])
        rows = dict(zip(validated.positions, validated.rows, strict=True))
        for position, part in enumerate(parts):
            row, line, value = rows.get(position), part.line, part.value
            if row is None:
                found.held_back.append(HeldBack(line, in_words(validated.errors[position])))
            elif all(row.get(name) is None for name in table.spec.names):
                found.held_back.append(HeldBack(line, f"has none of the model's fields; {ADVICE}"))
            elif level := next(undocumented_level(table.spec, row), None):
                found.held_back.append(HeldBack(line, f"{level}: Not a documented level of this ordered category."))
            else:
                written = table.number(value) if isinstance(value, str) and not target.is_class else value
                read = truth(written)
                if not isinstance(read, str):
                    found.rows.append(OutcomeRow(line, row, read, part.key, part.identifier))
                elif read.startswith("None of the classes"):
                    found.unseen_classes.append(line)
                else:
                    found.held_back.append(HeldBack(line, f"{target.name}: {read}"))


class _Part(NamedTuple):
    """What a row says, unchecked; see :class:`OutcomeRow`."""

    line: int
    record: object
    value: Any
    key: str
    identifier: str


def _part(definition: ModelDefinition, line: InputRow, found: Outcomes) -> _Part | None:
    """What a row says; ``None`` if it does not count, which is told."""
    original = line.original
    if line.fault or not isinstance(line.record, Mapping):
        found.held_back.append(HeldBack(line.number, line.fault or "no JSON object"))
        return None
    own = {*(one.name for one in definition.fields), definition.target.name}
    if own.isdisjoint(LOG_KEYS) and all(key in original for key in LOG_KEYS):
        return _logged(definition, line.number, original, found)
    value = original.get(definition.target.name)
    if value is None or (isinstance(value, str) and is_null(value)):
        found.pass_over("no outcome")
        return None
    identifier = identifier_text(original.get(definition.identifier or ""))
    return _Part(line.number, line.record, value, identifier, identifier)


def _logged(definition: ModelDefinition, line: int, original: Mapping[str, Any], found: Outcomes) -> _Part | None:
    inputs, outcome = (original[key] for key in LOG_KEYS)
    if original.get("model", definition.name) != definition.name:
        found.pass_over("of another model")
    elif outcome is None:
        found.pass_over("no outcome")
    elif inputs is None:
        found.pass_over("inputs were not logged")
    else:
        # The caller's own id says which record it is; it belongs to the caller's key.
        own = identifier_text(original.get("inference_id"))
        place = [original.get(name) for name in (("key", "inference_id") if own else ("prediction_id", "row"))]
        return _Part(line, inputs, outcome, json.dumps(place), own if definition.identifier else "")
    return None


def _keep_last(found: Outcomes) -> None:
    """Keep one row of each record that has a key: the last, as the log is in the order of time."""
    kept: dict[str, OutcomeRow] = {}
    for row in found.rows:
        key = row.key or f"line {row.line}"
        if key in kept:
            found.pass_over("repeated")
        kept[key] = row
    found.rows = sorted(kept.values(), key=lambda row: row.line)


def lacking_fields(outcomes: Outcomes, rows: Sequence[Row], definition: ModelDefinition) -> list[str]:
    """Return the fields that most rows of training have, and no outcome's record: they were not logged."""
    if not outcomes.rows:
        return []
    return [
        one.name
        for one in definition.fields
        if all(row.row.get(one.name) is None for row in outcomes.rows)
        and sum(row.get(one.name) is not None for row in rows) * 2 > len(rows)
    ]
