"""What a text is worth for a field: one reading for every source of text."""

from __future__ import annotations

import math
import re
from typing import Final

from model_kit.spec import Field, Value

#: What files write for a missing value. "None" and "nan" are not among them: they can be levels.
NULLS: Final = frozenset({"", "NA"})

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
        field: says what to expect; a category of numeric codes takes "20" and "20.0" for 20.
        text: the cell; "" and "NA" are null, whatever the kind.
    """
    if is_null(text):
        return None
    if field.kind != "category":
        return parse_number(text)
    if field.numeric_codes:
        number = parse_number(text)
        return text if isinstance(number, str) or number != math.floor(number) else int(number)
    return text
