"""Encodes Arrow columns: judges each distinct text of a column once, by the validator that serves single records."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model_kit.records.encoding import LARGEST, Encoded, Encoder, text_columns
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.records.text import parse_cell, parse_value
from model_kit.records.validation import Validator
from model_kit.records.values import to_values
from model_kit.spec import UNSEEN, Field, InputSpec

#: Which rows are encoded for certain, shape (n_rows,).
Certain: TypeAlias = NDArray[np.bool_]

#: Values that a column remembers, none of them long; then all are forgotten. At 200 bytes each, 80 columns take 16 MB.
MOST_VALUES: Final = 1000
LONGEST_TEXT: Final = 100
#: So many values are looked up in less time than Arrow takes to convert them.
FEW: Final = 40
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
        is_parsed: columns of numbers were made of texts, so that NaN is no missing value; what is no plain number there
            is left to whoever has the text.

    Attributes:
        names: of the columns.
    """

    def __init__(
        self, spec: InputSpec, columns: tuple[str, ...], numbers: NumberFormat = PLAIN, *, is_parsed: bool = False
    ) -> None:
        self.names = columns
        self._nothing = Encoder(spec)([{}])
        self._columns = [
            (position, field.name, _Column(spec, field, numbers, is_parsed=is_parsed))
            for position, field in enumerate(spec.fields)
            if field.name in columns and field.kind != "text"
        ]
        self._texts = [
            (text_columns(spec, field.name), field.name, _TextColumn(spec, field, numbers))
            for field in spec.fields
            if field.name in columns and field.kind == "text"
        ]

    def __call__(self, columns: Mapping[str, pa.Array], n_rows: int) -> tuple[Encoded, Certain]:
        """Encode rows.

        Args:
            columns: by name, each of ``n_rows`` values; those that are no field are not looked at.
            n_rows: the number of rows.

        Returns:
            The encoded matrix, shape (n_rows, n_columns), and which of its rows are what validator and encoder make of
            the record. The other rows have a value that is not valid.
        """
        # One column after the other in memory.
        encoded = np.repeat(self._nothing.T, n_rows, axis=1).T
        certain = np.ones(n_rows, bool)
        for position, name, column in self._columns:
            try:
                values = column.encode(columns[name])
            except ValueError as error:
                raise ValueError(f"column {name}: {error}") from error
            encoded[:, position] = values
            certain &= values != _INVALID
        for positions, name, text in self._texts:
            encoded[:, positions] = numbers = text.encode(columns[name])
            certain &= numbers[:, 0] != _INVALID
        return encoded, certain


class _Column:
    """Encodes one field's values: fields are judged apart from each other."""

    def __init__(self, spec: InputSpec, field: Field, numbers: NumberFormat, *, is_parsed: bool) -> None:
        alone = InputSpec((field,), {field.name: spec.learned[field.name]}, spec.target)
        self._field = field
        self._is_parsed = is_parsed
        self._numbers = numbers
        self._validate = Validator(alone)
        self._encode = Encoder(alone)
        self._low = -LARGEST if field.minimum is None else max(field.minimum, -LARGEST)
        self._high = LARGEST if field.maximum is None else min(field.maximum, LARGEST)
        self._codes = self._encode.codes[field.name] if field.kind == "category" else None
        self._known: dict[object, float] = {}
        self._missing = self._judge(None)

    def encode(self, column: pa.Array) -> NDArray[np.float64]:
        """The encoded values, ``_INVALID`` for those that are not valid, shape (n_rows,)."""
        if pa.types.is_dictionary(column.type):
            places, missing = _as_numpy(column.indices)
            distinct = np.append(self._distinct(column.dictionary), self._missing)
            return distinct.take(places if missing is None else np.where(missing, len(distinct) - 1, places))
        if self._field.is_number and _is_numeric(column.type):
            return self._distinct(column)
        try:
            column = column.dictionary_encode()
        except pa.ArrowException:
            return np.array([self._judge(value) for value in to_values(column)])
        return self.encode(column)

    def _distinct(self, values: pa.Array) -> NDArray[np.float64]:
        converted = self._as_numbers(values)
        if converted is None:
            return np.array([self._judge(value) for value in to_values(values)], np.float64)
        numbers, missing = _as_numpy(converted)
        if missing is None and self._are_plain(numbers):
            return numbers
        with np.errstate(invalid="ignore"):
            plain = (numbers >= self._low) & (numbers <= self._high)
            if self._field.kind == "integer":
                plain &= numbers == np.floor(numbers)
        # Zero may have a sign.
        plain &= (numbers != 0) | ~np.signbit(numbers)
        if missing is not None:
            plain &= ~missing
        found = np.where(plain, numbers, _INVALID)
        if not is_text(values.type):
            absent = np.zeros(len(numbers), bool) if missing is None else missing
            if not self._is_parsed:
                absent |= np.isnan(numbers)
            found[absent] = self._missing
            plain |= absent
            if self._is_parsed:
                return found
        doubtful = np.flatnonzero(~plain)
        found[doubtful] = [self._judge(value) for value in to_values(values.take(pa.array(doubtful)))]
        return found

    def _are_plain(self, numbers: NDArray[np.float64]) -> bool:
        """Whether all are valid as they are, as those of most columns are; quicker than to look at each.

        NaN is neither the smallest nor the largest that may be; zero may have a sign.
        """
        if not len(numbers) or not (self._low <= numbers.min() and numbers.max() <= self._high):
            return False
        is_whole = self._field.kind != "integer" or bool((numbers == np.floor(numbers)).all())
        return is_whole and not np.signbit(numbers).any()

    def _as_numbers(self, values: pa.Array) -> pa.Array | None:
        """The values that are plainly numbers as float64, null for the others; ``None`` if judging each is as quick."""
        if not self._field.is_number:
            return None
        if is_text(values.type):
            if not self._numbers.is_plain or len(values) <= FEW:
                return None
            try:
                return values.cast(pa.float64())
            except pa.ArrowInvalid:
                plain = pc.match_substring_regex(values, _PLAIN_NUMBER)
                return pc.if_else(plain, values, pa.scalar(None, values.type)).cast(pa.float64())
        if values.type == pa.float64():
            return values
        return values.cast(pa.float64(), safe=False) if _is_numeric(values.type) else None

    def _judge(self, value: object) -> float:
        """The encoded value, as validator and encoder have it; ``_INVALID`` if the validator refuses it."""
        if self._codes is not None and isinstance(value, str):
            # Any text is a level, and a column may have as many as rows.
            level = parse_cell(self._field, value)
            if isinstance(level, str):
                return self._codes.get(level, UNSEEN)
        # True and 1 are one key, and not one value.
        key = None if isinstance(value, list | dict) else (type(value), value)
        found = self._known.get(key)
        if found is None:
            try:
                rows = self._validate([{self._field.name: to_json(self._field, value, self._numbers)}]).rows
            except (ValueError, OverflowError):
                rows = []
            found = float(self._encode(rows)[0, 0]) if rows else _INVALID
            if key is not None and (not isinstance(value, str) or len(value) <= LONGEST_TEXT):
                if len(self._known) >= MOST_VALUES:
                    self._known = {}
                self._known[key] = found
        return found


class _TextColumn:
    """Encodes the values of a text, each for itself: hardly one occurs twice."""

    def __init__(self, spec: InputSpec, field: Field, numbers: NumberFormat) -> None:
        alone = InputSpec((field,), {field.name: spec.learned[field.name]}, spec.target)
        self._field, self._numbers = field, numbers
        self._validate = Validator(alone)
        self._encode = Encoder(spec).texts[field.name]

    def encode(self, column: pa.Array) -> NDArray[np.float64]:
        """The text's columns, the first ``_INVALID`` for one that is not valid, shape (n_rows, 1 + width)."""
        return np.array([self._judge(value) for value in to_values(column)], np.float64).reshape(len(column), -1)

    def _judge(self, value: object) -> list[float]:
        try:
            rows = self._validate([{self._field.name: to_json(self._field, value, self._numbers)}]).rows
        except (ValueError, OverflowError):
            rows = []
        found = self._encode(rows[0].get(self._field.name) if rows else None)
        return found if rows else [_INVALID, *found[1:]]


def to_json(field: Field, value: Any, numbers: NumberFormat = PLAIN) -> object:
    """A value of a table as JSON has it, for the validator to judge."""
    if isinstance(value, bytes):
        # As some programs store text.
        value = value.decode(errors="replace")
    if isinstance(value, str) and field.is_number:
        value = numbers.plain(value)
    elif isinstance(value, Decimal):
        value = float(value)
    return None if isinstance(value, float) and value != value else parse_value(field, value)  # noqa: PLR0124 - NaN


def _as_numpy(column: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Numbers, and which of them are missing; Arrow's own conversion would import pandas."""
    if not len(column):
        return np.empty(0, np.intp), None
    validity, data = column.buffers()
    kind = np.dtype(str(column.type).replace("double", "float64"))
    numbers = np.frombuffer(data, kind, len(column), column.offset * kind.itemsize)
    if not column.null_count:
        return numbers, None
    bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    return numbers, bits[column.offset : column.offset + len(column)] == 0


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column's values are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
