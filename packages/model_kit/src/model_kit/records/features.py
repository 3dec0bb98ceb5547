"""From the encoded matrix to features: the fields, with dates as their parts, unless a package derives its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import Field, InputSpec
from model_kit.spec.dates import MS_PER_DAY

#: Encoded matrix, float64, shape (n_rows, n_fields): NaN = missing, category = its code, boolean = 0 or 1, date or
#: datetime = days since 1970-01-01.
Encoded: TypeAlias = NDArray[np.float64]
#: A model package's stateless step from the encoded matrix to its features, row by row.
Derive: TypeAlias = Callable[[Encoded], NDArray[np.float64]]

MS_PER_HOUR: Final = 3_600_000
_Numbers = TypeVar("_Numbers", float, Encoded)


@dataclass(frozen=True)
class Derivation:
    """A :data:`Derive` with a quicker form for single rows.

    numpy takes a microsecond for a call, however short the column; plain floats do the arithmetic of a row in a tenth
    of the time. Both forms must give the same numbers, to the bit.

    Attributes:
        rows: encoded matrix -> features; both float64, a row each.
        row: the same for one row, as floats.
    """

    rows: Derive
    row: Callable[[Sequence[float]], Sequence[float]]

    def __call__(self, encoded: Encoded) -> NDArray[np.float64]:
        """Features of any number of rows."""
        return self.rows(encoded)


@dataclass(frozen=True)
class Layout:
    """Positions in the feature matrix, by how the columns are to be treated.

    Attributes:
        names: of all columns.
        numeric: numbers.
        ordered: ordered categories, whose codes grow with the level; months and days of the week, from 1.
        nominal: other categories, whose codes are names.
    """

    names: tuple[str, ...]
    numeric: tuple[int, ...]
    ordered: tuple[int, ...]
    nominal: tuple[int, ...]


def default_derive(spec: InputSpec) -> Derive:
    """The step from the encoded matrix to the features of a package without ``derive``.

    A date becomes year, month, day of the week (Monday is 1) and days since the earliest date in training; a datetime
    has the hour beside them. All other fields stay as they are.
    """
    dates = [field if field.is_temporal else None for field in spec.fields]
    if not any(dates):
        return _unchanged
    first_days = [spec.learned[field.name].low or 0.0 for field in spec.fields]
    columns = list(zip(dates, first_days, strict=True))

    def row(encoded: Sequence[float]) -> list[float]:
        features: list[float] = []
        for value, (field, first_day) in zip(encoded, columns, strict=True):
            if field is None:
                features.append(value)
            else:
                features += _parts(value, field, first_day)
        return features

    def rows(encoded: Encoded) -> Encoded:
        features: list[Encoded] = []
        for value, (field, first_day) in zip(encoded.T, columns, strict=True):
            features += [value] if field is None else _parts(value, field, first_day)
        return np.column_stack(features)

    return Derivation(rows, row)


def default_layout(spec: InputSpec) -> Layout:
    """The columns that :func:`default_derive` makes."""
    columns = [column for field in spec.fields for column in _columns(field)]

    def positions(treatment: str) -> tuple[int, ...]:
        return tuple(position for position, (_, found) in enumerate(columns) if found == treatment)

    names = tuple(name for name, _ in columns)
    return Layout(names, positions("numeric"), positions("ordered"), positions("nominal"))


def _columns(field: Field) -> list[tuple[str, Literal["numeric", "ordered", "nominal"]]]:
    if field.is_temporal:
        parts: list[tuple[str, Literal["numeric", "ordered", "nominal"]]] = [
            (f"{field.name} year", "numeric"),
            (f"{field.name} month", "ordered"),
            (f"{field.name} day of week", "ordered"),
            (f"{field.name} days since first", "numeric"),
        ]
        return [*parts, (f"{field.name} hour", "numeric")] if field.kind == "datetime" else parts
    if field.kind == "category":
        return [(field.name, "ordered" if field.ordered else "nominal")]
    return [(field.name, "numeric")]


def _unchanged(encoded: Encoded) -> Encoded:
    return encoded


def _parts(days: _Numbers, field: Field, first_day: float) -> list[_Numbers]:
    """Year, month, day of the week, days since ``first_day`` and, of a datetime, the hour; NaN stays NaN.

    Arithmetic alone, so that a float and an array give the same bits; after Hinnant, "chrono-compatible low-level date
    algorithms": the year begins in March, so that the leap day is its last.
    """
    # Whole milliseconds, as days are encoded: a day's fraction is no exact hour.
    milliseconds = (days * MS_PER_DAY + 0.5) // 1
    day = milliseconds // MS_PER_DAY
    since_march_0 = day + 719468
    era = since_march_0 // 146097
    of_era = since_march_0 - era * 146097
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    day_of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    from_march = (5 * day_of_year + 2) // 153
    after_december = from_march >= 10
    month = from_march + 3 - 12 * after_december
    year = year_of_era + era * 400 + 1 * after_december
    parts: list[_Numbers] = [year, month, (day + 3) % 7 + 1, days - first_day]
    if field.kind == "datetime":
        parts.append((milliseconds - day * MS_PER_DAY) // MS_PER_HOUR)
    return parts
