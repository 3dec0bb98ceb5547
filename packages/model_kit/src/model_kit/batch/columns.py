"""Encodes Arrow columns: judges each distinct text of a column once, by the validator that serves single records."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model_kit.batch.numbers import PLAIN, NumberFormat
from model_kit.batch.values import to_values
from model_kit.records.encoding import LARGEST, Encoded, Encoder
from model_kit.records.text import parse_value
from model_kit.records.validation import Validator
from model_kit.spec import Field, InputSpec

#: Which rows are encoded for certain, shape (n_rows,).
Certain: TypeAlias = NDArray[np.bool_]

#: Values that a column remembers, none of them long; then all are forgotten. At 200 bytes each, 80 columns take 16 MB.
MOST_VALUES: Final = 1000
LONGEST_TEXT: Final = 100
#: Stands for a value that is not valid; no encoded value is infinite.
_INVALID: Final = np.inf
#: How numbers are spelled that Arrow converts to the very float64 that Python does.
_PLAIN_NUMBER: Final = r"^[+-]?[0-9]+(\.[0-9]+)?$"


class ColumnEncoder:
    """Arrow columns -> the encoded matrix; may be called by several threads at a time.

    Args:
        spec: the fitted table of fields.
        columns: names of the columns that there are.
        numbers: how numbers are written.
    """

    def __init__(self, spec: InputSpec, columns: tuple[str, ...], numbers: NumberFormat = PLAIN) -> None:
        self._nothing = Encoder(spec)([{}])
        self._columns = [
            (position, field.name, _Column(spec, field, numbers))
            for position, field in enumerate(spec.fields)
            if field.name in columns
        ]

    def __call__(self, columns: Mapping[str, pa.Array], n_rows: int) -> tuple[Encoded, Certain]:
        """Encode rows.

        Args:
            columns: by name, each of ``n_rows`` values; those that are no field are not looked at.
            n_rows: the number of rows.

        Returns:
            The encoded matrix, shape (n_rows, n_fields), and which of its rows are what validator and encoder make of
            the record. The other rows have a value that is not valid.
        """
        encoded = np.repeat(self._nothing, n_rows, axis=0)
        certain = np.ones(n_rows, bool)
        for position, name, column in self._columns:
            values = column.encode(columns[name])
            encoded[:, position] = values
            certain &= values != _INVALID
        return encoded, certain


class _Column:
    """Encodes one field's values: fields are judged apart from each other."""

    def __init__(self, spec: InputSpec, field: Field, numbers: NumberFormat) -> None:
        alone = InputSpec((field,), {field.name: spec.learned[field.name]}, spec.target)
        self._field = field
        self._numbers = numbers
        self._validate = Validator(alone)
        self._encode = Encoder(alone)
        self._low = -LARGEST if field.minimum is None else max(field.minimum, -LARGEST)
        self._high = LARGEST if field.maximum is None else min(field.maximum, LARGEST)
        self._known: dict[object, float] = {}
        self._missing = self._judge(None)

    def encode(self, column: pa.Array) -> NDArray[np.float64]:
        """The encoded values, ``_INVALID`` for those that are not valid, shape (n_rows,)."""
        if pa.types.is_dictionary(column.type):
            indices = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
            distinct = self._distinct(column.dictionary)
            found: NDArray[np.float64] = np.append(distinct, self._missing).take(indices)
            return found
        if self._field.is_number and _is_numeric(column.type):
            return self._distinct(column)
        try:
            column = column.dictionary_encode()
        except pa.ArrowException:
            return np.array([self._judge(value) for value in to_values(column)])
        return self.encode(column)

    def _distinct(self, values: pa.Array) -> NDArray[np.float64]:
        encoded = np.full(len(values), np.nan)
        rest = np.ones(len(values), bool)
        if self._field.is_number and (numbers := self._as_numbers(values)) is not None:
            with np.errstate(invalid="ignore"):
                plain = (numbers >= self._low) & (numbers <= self._high)
                if self._field.kind == "integer":
                    plain &= numbers == np.floor(numbers)
            # Zero may have a sign.
            plain &= (numbers != 0) | ~np.signbit(numbers)
            encoded[plain] = numbers[plain]
            rest = ~plain
        places = np.flatnonzero(rest)
        if places.size:
            encoded[places] = [self._judge(value) for value in to_values(values.take(pa.array(places)))]
        return encoded

    def _as_numbers(self, values: pa.Array) -> NDArray[np.float64] | None:
        """The values that are plainly numbers as such, NaN for the others; ``None`` if none is."""
        if _is_text(values.type):
            if not self._numbers.is_plain:
                return None
            plain = pc.match_substring_regex(values, _PLAIN_NUMBER)
            values = pc.if_else(plain, values, pa.scalar(None, values.type))
        elif not _is_numeric(values.type):
            return None
        found: NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return found

    def _judge(self, value: object) -> float:
        """The encoded value, as validator and encoder have it; ``_INVALID`` if the validator refuses it."""
        # True and 1 are one key, and not one value.
        key = (type(value), value)
        found = self._known.get(key)
        if found is None:
            try:
                rows = self._validate([{self._field.name: to_json(self._field, value, self._numbers)}]).rows
            except (ValueError, OverflowError):
                rows = []
            found = float(self._encode(rows)[0, 0]) if rows else _INVALID
            if not isinstance(value, str) or len(value) <= LONGEST_TEXT:
                if len(self._known) >= MOST_VALUES:
                    self._known = {}
                self._known[key] = found
        return found


def to_json(field: Field, value: Any, numbers: NumberFormat = PLAIN) -> object:
    """A value of a table as JSON has it, for the validator to judge."""
    if isinstance(value, str) and field.is_number:
        value = numbers.plain(value)
    elif isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and value != value else parse_value(field, value)  # noqa: PLR0124 - NaN


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
