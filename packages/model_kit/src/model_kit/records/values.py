"""Arrow columns as Python values, whatever they hold."""

from __future__ import annotations

import base64
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa


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
    """A value as JSON has it: bytes as base64, a decimal as a number; dates are left."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        # A number of more digits than a float holds would not be the same one.
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value
