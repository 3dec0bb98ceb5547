"""Python values as JSON has them: what is missing is null, numbers keep their digits, dates are ISO 8601."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from ml_client.errors import DataError

#: Field -> its kind, as the model's description has it; other columns are no field.
Kinds: TypeAlias = Mapping[str, str]

#: Types that JSON has as they are. Floats are not among them: infinity is not in JSON.
_PLAIN: Final = frozenset({str, bool, type(None)})
#: A number beyond all floats: the server refuses that row, and not the whole body.
_INFINITY: Final = (msgspec.Raw(b"-1e999"), msgspec.Raw(b"1e999"))
_LARGEST_INTEGER: Final = 2**63
#: How files write what is missing, and booleans; the server reads cells of tables in the same way.
_NULLS: Final = frozenset({"", "NA"})
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_encoder = msgspec.json.Encoder()


class KindsNeededError(Exception):
    """Values cannot be written without the kinds of the model's fields."""


def encode(document: Any) -> bytes:
    """Encode a document whose values :func:`to_json` made; NaN is null.

    Raises:
        DataError: a text is not Unicode.
    """
    try:
        return _encoder.encode(document)
    except UnicodeEncodeError as error:
        raise DataError(f"a text cannot be sent, because it is not Unicode: {error.object!r}"[:200]) from error


def to_json(value: Any, name: str, kinds: Kinds | None) -> Any:
    """Return a value as :func:`encode` takes it.

    Args:
        value: any; pandas' and numpy's scalars, dates and decimals included.
        name: its field, for kinds and messages.
        kinds: of the model's fields.

    Raises:
        KindsNeededError: it is a date, which is written by the kind of its field.
        DataError: JSON has nothing for it.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return _INFINITY[value > 0] if math.isinf(value) else value
    if isinstance(value, bool | str):
        return value if isinstance(value, bool) else str(value)
    if isinstance(value, int):
        return int(value) if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else msgspec.Raw(str(int(value)).encode())
    if isinstance(value, float):
        return to_json(float(value), name, kinds)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, date):  # datetimes too, and pandas' NaT
        return None if value != value else moment(value, name, kinds)  # noqa: PLR0124
    if isinstance(value, Mapping):
        return {str(key): to_json(item, name, kinds) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item, name, kinds) for item in value]
    if isinstance(value, UUID):
        return str(value)
    if kind.__name__ == "NAType":
        return None
    if kind.__module__ == "numpy" and hasattr(value, "item"):
        return _scalar(value, name, kinds)
    raise DataError(f"{name}: a value of the type {kind.__module__}.{kind.__qualname__} cannot be sent: {value!r:.80}")


def record(value: Any, kinds: Kinds | None) -> Any:
    """Return a record as :func:`encode` takes it; what is no mapping is left for the server to refuse."""
    if not isinstance(value, Mapping):
        return to_json(value, "record", kinds)
    return {
        str(name): item if type(item) in _PLAIN else to_json(item, str(name), kinds) for name, item in value.items()
    }


def moment(value: date, name: str, kinds: Kinds | None) -> str:
    """Return a date or datetime in ISO 8601: of a date without the time of day, of a datetime with it.

    Raises:
        KindsNeededError: the kinds are not known.
    """
    if kinds is None:
        raise KindsNeededError
    kind = kinds.get(name)
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T00:00:00" if kind == "datetime" else value.isoformat()
    if kind != "datetime" and value.timetz() == time.min:
        return value.date().isoformat()
    return value.isoformat()


def cell(text: str | None, kind: str | None) -> Any:
    """Return the text of a CSV file as a JSON value: a number or boolean where the field has this kind.

    Text that does not fit is left for the server to refuse. Texts of other kinds are read by the server.
    """
    if text is None or text.strip() in _NULLS:
        return None
    if kind == "boolean":
        known = _BOOLEANS.get(text.strip().lower())
        return text if known is None else known
    if kind in ("integer", "number"):
        if _INTEGER.fullmatch(text.strip()):
            return int(text)
        if _NUMBER.fullmatch(text.strip()) and math.isfinite(number := float(text)):
            return number
    return text


def _decimal(value: Decimal) -> Any:
    if value.is_nan():
        return None
    return _INFINITY[value > 0] if value.is_infinite() else msgspec.Raw(str(value).encode())


def _scalar(value: Any, name: str, kinds: Kinds | None) -> Any:
    """Return a scalar of numpy; a point in time has microseconds in Python."""
    if value.dtype.kind == "M":
        value = value.astype("datetime64[us]")
    elif value.dtype.kind not in "biufUO" or value.shape:
        raise DataError(f"{name}: a value of numpy's type {value.dtype} cannot be sent")
    return to_json(value.item(), name, kinds)
