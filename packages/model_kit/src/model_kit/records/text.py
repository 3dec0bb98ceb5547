"""What a text, or a Python value of a table, is worth for a field: one reading for every source."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time
from typing import Final

from model_kit.spec import Field, Value
from model_kit.spec.dates import parse_text, to_iso

#: What files write for a missing value. "None" and "nan" are not among them: they can be levels.
NULLS: Final = frozenset({"", "NA"})

#: How files write booleans, in any case.
BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

# No more digits than a 64-bit integer holds; longer ones are read as floats.
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def is_null(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.strip() in NULLS


def parse_number(text: str) -> int | float | str:
    """A cell as a number: ``int`` if it is spelled like one, else a finite ``float``, else the text itself.

    The text is kept so that whoever validates it can say that it is no number; so are "nan", "inf" and "1e999".
    """
    stripped = text.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    if _NUMBER.fullmatch(stripped) and math.isfinite(number := float(stripped)):
        return number
    return text


def parse_cell(field: Field, text: str) -> Value:
    """A cell as the value of a field; what does not fit the field's kind is left for the validator to refuse.

    Args:
        field: says what to expect; a category of numeric codes takes "20" and "20.0" for 20, a boolean "yes" for
            true, a date what its format says.
        text: the cell; "" and "NA" are null, whatever the kind.
    """
    if is_null(text):
        return None
    if field.is_number:
        return parse_number(text)
    if field.kind == "boolean":
        known = BOOLEANS.get(text.strip().lower())
        return parse_number(text) if known is None else known
    if field.is_temporal:
        try:
            return to_iso(field, parse_text(field, text.strip()))
        except ValueError:
            return text
    if field.numeric_codes:
        number = parse_number(text)
        return text if isinstance(number, str) or number != math.floor(number) else int(number)
    return text


def parse_value(field: Field, value: object) -> object:
    """A Python value of a table as JSON has it: text is read as a cell, a datetime at midnight is a date.

    What does not fit the field's kind is left, or told in ISO 8601, for the validator to refuse.

    Args:
        field: says what to expect.
        value: what a library made of a cell; pandas' timestamps are datetimes.
    """
    if isinstance(value, str):
        return parse_cell(field, value)
    if not isinstance(value, date):
        return value
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T00:00:00" if field.kind == "datetime" else value.isoformat()
    if field.kind == "date" and value.timetz() == time.min:
        return value.date().isoformat()
    return value.isoformat()
