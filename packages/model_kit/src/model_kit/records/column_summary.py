"""Sums up by column what is unusual about many rows: levels and values that training never saw, missing values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import LARGEST, Encoded
from model_kit.records.row_warnings import LONGEST, number
from model_kit.spec import UNSEEN, Field, InputSpec, Learned
from model_kit.spec.dates import days_to_iso

#: Row of the encoded matrix, field name -> the value as its source has it.
ValueOf: TypeAlias = Callable[[int, str], object]

#: A column is reported loudly if at least this share of the rows is unusual in it.
NEARLY_ALL: Final = 0.9
#: Missing values are judged from so many rows on.
MIN_ROWS: Final = 20
#: More missing values than training had are reported if they exceed what its share predicts by this many standard
#: deviations of a binomial, by this number of rows and by this share of the rows. The last two allow for the error of
#: the share itself: a column without a missing value in training may still have a few.
DEVIATIONS: Final = 4
SPARE_ROWS: Final = 3
SPARE_SHARE: Final = 0.01
#: Unknown levels of a column whose text is looked at, to find one that differs from a known level in case only.
MAX_EXAMPLES: Final = 20


class ColumnLimits:
    """What training saw of each column; built once per model.

    Attributes:
        low, high: range of the encoded values.
        missing: share of missing values, 0 to 1.
    """

    def __init__(self, spec: InputSpec) -> None:
        bounds = np.array([_bounds(field, spec.learned[field.name]) for field in spec.fields], np.float64)
        # What texts have behind the columns of the fields is within any range.
        bounds = np.pad(bounds.reshape(-1, 2), ((0, spec.n_columns - len(bounds)), (0, 0)))
        bounds[len(spec.fields) :] = -LARGEST, LARGEST
        behind = [0.0] * (spec.n_columns - len(spec.fields))
        self.missing = np.array([*(spec.learned[name].missing for name in spec.names), *behind])
        self._names = spec.names
        # Rows of a matrix, which numpy compares with one in half the time that it takes for arrays of one dimension.
        rows: Encoded = bounds.reshape(-1, 2).clip(-LARGEST, LARGEST).T[:, np.newaxis].copy()
        self.low, self.high = rows

    def exceeded(self, encoded: Encoded) -> NDArray[np.bool_]:
        """Mask of the cells with a level or value that training never saw."""
        found: NDArray[np.bool_] = (encoded < self.low) | (encoded > self.high)
        return found

    def count_exceeded(self, encoded: Encoded) -> dict[str, int]:
        """Name of a field -> number of such cells; fields without any are left out. Quick for a few rows."""
        # Bytes are compared in a fraction of the time that a comparison of arrays takes.
        within: Encoded = np.minimum(np.maximum(encoded, self.low), self.high)
        if within.tobytes() == encoded.tobytes():
            return {}
        counts = self.exceeded(encoded).sum(axis=0)
        return {self._names[column]: int(counts[column]) for column in counts.nonzero()[0].tolist()}


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """What is unusual about one column.

    Attributes:
        field: the column's field.
        n_rows: number of rows looked at.
        unseen_levels: rows with a level that training never saw.
        out_of_range: rows with a value outside the range of training.
        missing: rows without a value, if training had markedly fewer; else 0.
        example: one of these levels or values; empty if none is known.
        differs_in_case: the known level from which the example differs in case only; empty if there is none.
        training_range: in words; empty for levels.
        training_missing: share of rows without a value in training, 0 to 1.
    """

    field: str
    n_rows: int
    unseen_levels: int
    out_of_range: int
    missing: int
    example: str
    differs_in_case: str
    training_range: str
    training_missing: float

    @property
    def n_strange(self) -> int:
        """Number of unusual rows."""
        return self.unseen_levels + self.out_of_range + self.missing

    @property
    def is_strange_nearly_everywhere(self) -> bool:
        """Whether the column is unusual in nearly every row of several."""
        return self.n_rows > 1 and self.n_strange >= NEARLY_ALL * self.n_rows

    def __str__(self) -> str:
        """What is unusual, in one line."""
        example = f", such as {self.example!r}" if self.example else ""
        if self.differs_in_case:
            example += f", which differs from {self.differs_in_case!r} in case only"
        counts = {
            f"a level never seen in training{example}": self.unseen_levels,
            f"a value outside the training range, {self.training_range}{example}": self.out_of_range,
            f"no value, in training {self.training_missing:.1%}": self.missing,
        }
        found = [f"{n:,} of {self.n_rows:,} rows have {what}" for what, n in counts.items() if n]
        return f"{self.field}: {'; '.join(found)}"


class ColumnSummary:
    """Counts what is unusual, matrix by matrix.

    Args:
        spec: the fitted table of fields.
        limits: made of it, where there are any already.

    Attributes:
        n_rows: number of rows so far.
    """

    def __init__(self, spec: InputSpec, limits: ColumnLimits | None = None) -> None:
        self.n_rows = 0
        self._spec = spec
        self._limits = limits or ColumnLimits(spec)
        self._exceeded = np.zeros(spec.n_columns, np.int64)
        self._missing = self._exceeded.copy()
        self._looked_at = self._exceeded.copy()
        self._examples: dict[str, tuple[str, str]] = {}

    def add(self, encoded: Encoded, value_of: ValueOf | None = None) -> None:
        """Count the rows of an encoded matrix.

        Args:
            encoded: shape (n_rows, n_columns).
            value_of: called for a few unknown levels, as examples.
        """
        self.n_rows += len(encoded)
        self._missing += np.isnan(encoded).sum(axis=0)
        exceeded = self._limits.exceeded(encoded)
        self._exceeded += (n_exceeded := exceeded.sum(axis=0))
        for column in np.flatnonzero(n_exceeded).tolist():
            field = self._spec.fields[column]
            rows = np.flatnonzero(exceeded[:, column])
            if not _has_levels(field):
                row = int(rows[0])
                value = float(encoded[row, column])
                text = _in_words(field, value)
                if abs(value) >= LARGEST and value_of is not None:
                    # It is clipped; the source has it.
                    text = str(value_of(row, field.name)).strip()[:LONGEST]
                self._examples.setdefault(field.name, (text, ""))
            elif value_of is not None:
                looked_at = rows[: MAX_EXAMPLES - self._looked_at[column]].tolist()
                self._looked_at[column] += len(looked_at)
                for row in looked_at:
                    self._add_level(field, value_of(row, field.name))

    def _add_level(self, field: Field, value: object) -> None:
        level = str(value).lower() if field.kind == "boolean" else str(value).strip()
        known = self._spec.learned[field.name].codes or {}
        same = next((one for one in known if one.casefold() == level.casefold() and field.kind == "category"), "")
        if field.name not in self._examples or (same and not self._examples[field.name][1]):
            self._examples[field.name] = (level[:LONGEST], same)

    def reports(self) -> list[ColumnReport]:
        """The unusual columns, those that are in most rows first."""
        found = []
        missing = self._excess_missing()
        for column in np.flatnonzero(self._exceeded + missing).tolist():
            field = self._spec.fields[column]
            n_exceeded = int(self._exceeded[column])
            counts = (n_exceeded, 0) if _has_levels(field) else (0, n_exceeded)
            example, same = self._examples.get(field.name, ("", ""))
            learned = self._spec.learned[field.name]
            training = (_range(field, learned), learned.missing)
            found.append(ColumnReport(field.name, self.n_rows, *counts, int(missing[column]), example, same, *training))
        return sorted(found, key=lambda report: -report.n_strange)

    def counts(self) -> dict[str, int]:
        """Name of an unusual column -> number of its unusual rows."""
        counts = self._exceeded + self._excess_missing()
        return {self._spec.names[column]: int(counts[column]) for column in np.flatnonzero(counts).tolist()}

    def _excess_missing(self) -> NDArray[np.int64]:
        """Rows without a value of the columns where they are more than chance explains; 0 for the others."""
        share = self._limits.missing
        expected = share * self.n_rows
        margin = DEVIATIONS * np.sqrt(expected * (1 - share)) + SPARE_ROWS
        is_excess = self._missing > expected + np.maximum(margin, SPARE_SHARE * self.n_rows)
        return np.where(is_excess & (self.n_rows >= MIN_ROWS), self._missing, 0)

    def lines(self) -> list[str]:
        """The reports in words, one line each."""
        return [str(report) for report in self.reports()]

    def to_dict(self) -> list[dict[str, Any]]:
        """The reports as JSON."""
        return [asdict(report) for report in self.reports()]

    @property
    def is_strange_nearly_everywhere(self) -> bool:
        """Whether a column is unusual in nearly every row."""
        return any(report.is_strange_nearly_everywhere for report in self.reports())


def _has_levels(field: Field) -> bool:
    return field.kind in ("category", "boolean")


def _bounds(field: Field, learned: Learned) -> tuple[float, float]:
    """The lowest and the highest encoded value of training."""
    if field.kind == "category":
        return UNSEEN + 1, LARGEST
    if field.kind == "boolean":
        codes = (learned.codes or {}).values()
        return min(codes, default=LARGEST), max(codes, default=-LARGEST)
    if learned.low is None or learned.high is None:
        return LARGEST, -LARGEST
    return learned.low, learned.high


def _in_words(field: Field, value: float) -> str:
    if field.kind == "text":
        return f"{number(value)} known words" if value else "no known word"
    return days_to_iso(field, value) if field.is_temporal else number(value)


def _range(field: Field, learned: Learned) -> str:
    if _has_levels(field):
        return ""
    if learned.low is None or learned.high is None:
        return "which has no value"
    return f"{_in_words(field, learned.low)} to {_in_words(field, learned.high)}"
