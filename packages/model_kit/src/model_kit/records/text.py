"""Reads a text as the value of a field, the same from every source.

======== ===================================== =========================================
kind     text in JSON (HTTP, JSON Lines)       text in CSV, Parquet or a DataFrame
======== ===================================== =========================================
category a level; blank or "NA" is no value    the same
text     a text; blank or "NA" is no value     the same
date     ISO 8601; blank or "NA" is no value   the same, and the file's own format
number   refused                               a number; blank or "NA" is no value
boolean  refused                               yes, no, ...; blank or "NA" is no value
======== ===================================== =========================================

Blanks around a text are no part of it. "N/A", "NULL", "-" and the like are levels: unknown ones, unless the training
file has them. So is a level that differs from a known one in case only.
"""

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

#: Largest code of a level: one of more digits than a float holds cannot be a level.
MAX_LEVEL_CODE: Final = 10**15

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


def parse_json(field: Field, value: object) -> object:
    """Read a JSON value: text of a level or date without blanks around it, or ``None`` if it says that there is none.

    Where levels are whole numbers, "020" and "20.0" are "20"; "20.5" is the number, which is no level. All other values
    are returned unchanged, for the validator to judge.
    """
    if not isinstance(value, str) or field.is_number or field.kind == "boolean":
        return value
    if is_null(value):
        return None
    return _parse_code(value.strip()) if field.numeric_codes else value.strip()


def _parse_code(text: str) -> str | float:
    number = parse_number(text)
    if isinstance(number, str) or number != math.floor(number) or abs(number) > MAX_LEVEL_CODE:
        return number
    return str(int(number))


def parse_cell(field: Field, text: str) -> Value:
    """A cell as the value of a field; what does not fit the field's kind is left for the validator to refuse.

    Args:
        field: says what to expect; a category of numeric codes takes "20" and "20.0" for 20, a boolean "yes" for
            true, a date what its format says.
        text: the cell; "" and "NA" are null, whatever the kind.
    """
    if is_null(text):
        return None
    if field.kind in ("category", "text"):
        return _parse_code(text.strip()) if field.numeric_codes else text.strip()
    if field.is_number:
        return parse_number(text)
    if field.kind == "boolean":
        known = BOOLEANS.get(text.strip().lower())
        return parse_number(text) if known is None else known
    try:
        return to_iso(field, parse_text(field, text.strip()))
    except ValueError:
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
