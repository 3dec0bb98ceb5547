"""Arrow columns as Python values, whatever they hold, and columns that are added to a table."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Numbers that Arrow spells as Python does, but for the .0 of whole ones, which may be less.
_SPELLED_ALIKE: Final = (1e-3, 1e9)

#: Types whose values Arrow spells as Python does.
_CAST: Final = (
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_large_string,
)


def to_values(column: pa.Array) -> list[Any]:
    """The values of a column; what Python has no value for (the year 10183, nanoseconds) is text.

    Raises:
        ValueError: the column cannot be told as text either.
    """
    kind = column.type
    # Of nanoseconds, Python's times keep none, and its durations only where pandas is installed.
    if kind not in (pa.time64("ns"), pa.duration("ns")):
        with suppress(ArithmeticError, KeyError, ValueError, ImportError, pa.ArrowException):
            return list(column.to_pylist())
    try:
        if pa.types.is_timestamp(kind) and kind.tz:
            # The zone may be unknown here, or the local time no date: the moment is told in UTC.
            texts = column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist()
            return [text and f"{text}Z" for text in texts]
        if pa.types.is_duration(kind):
            counts = column.cast(pa.int64()).to_pylist()
            return [None if count is None else f"{count} {kind.unit}" for count in counts]
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowException as error:
        raise ValueError(f"{kind} cannot be written as text") from error


def to_json(value: Any) -> Any:
    """A value as JSON has it: bytes as base64, a decimal as a number where one is the same; dates are left."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        # A number of more digits than a float holds would not be the same one.
        found = int(value) if value == value.to_integral_value() else float(value)
        return found if found == value or Decimal(repr(found)) == value else value
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def predicted(scores: NDArray[Any], labels: Sequence[Any]) -> pa.Array:
    """Predictions as a column: numbers, or those of ``labels`` whose positions they are; NaN becomes any of them."""
    return pa.array(labels).take(pa.array(np.nan_to_num(scores).astype(np.int32))) if labels else pa.array(scores)


def with_values(column: pa.Array, values: Mapping[int, Any]) -> pa.Array:
    """A column with other values at some positions."""
    if not values:
        return column
    rows = sorted(values)
    mask = np.zeros(len(column), bool)
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), pa.array([values[row] for row in rows], column.type))


def to_texts(column: pa.Array) -> pa.Array:
    """The values of a column as CSV has them: spelled as Python does, bytes as base64, empty where there is none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        texts = to_texts(column.dictionary).take(column.indices)
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        values = column.to_numpy(zero_copy_only=False)
        lowest, highest = _SPELLED_ALIKE
        with np.errstate(invalid="ignore"):
            size, whole = np.abs(values), values == np.floor(values)
            alike = (size < highest) & (whole | (size >= lowest))
        texts = column.cast(pa.string())
        texts = pc.if_else(pa.array(whole), pc.binary_join_element_wise(texts, "0", "."), texts)
        texts = with_values(texts, {row: _text(values[row].item()) for row in np.flatnonzero(~alike).tolist()})
    elif any(alike(kind) for alike in _CAST):
        texts = column.cast(pa.string())
    else:
        texts = pa.array([_text(to_json(value)) for value in to_values(column)], pa.string())
    return texts.fill_null("")


def _text(value: Any) -> str:
    # NaN is the only value unlike itself.
    return "" if value is None or value != value else str(value)  # noqa: PLR0124


def content_of(texts: pa.Array) -> pa.Buffer:
    """The values of a column of bytes or text, one right after the other."""
    _, offsets, data = texts.buffers()
    return data.slice(0, int(np.frombuffer(offsets, np.int32)[len(texts)])) if len(texts) else pa.py_buffer(b"")
