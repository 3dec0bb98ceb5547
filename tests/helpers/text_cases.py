"""Texts in records of rides, and how each source of records reads them."""

from __future__ import annotations

from typing import NamedTuple

from model_kit.spec import Value


class TextCase(NamedTuple):
    """A text in a record of rides, and how it is read.

    Attributes:
        field: name of the field.
        text: the text.
        value: what it is worth, as JSON has it.
        error: why it is refused; empty if it is not.
        typed_error: the same in JSON, where text is no number.
    """

    field: str
    text: str
    value: Value = None
    error: str = ""
    typed_error: str = ""

    def error_of(self, *, typed: bool) -> str:
        """The error in JSON (``typed``) or elsewhere."""
        return (typed and self.typed_error) or self.error


_NULL, _NUMBER = "Field may not be null.", "Not a valid number."
_CODE = "Not a valid string or whole number."
#: What every source of records is tried with: HTTP and JSON Lines (typed), CSV, Parquet and DataFrames.
TEXT_CASES = (
    *(TextCase("zone", text, error=_NULL) for text in ("", "  ", "NA", " NA ", "\t")),
    *(TextCase("zone", text, "B") for text in ("B", "B ", " B", "  B  ", "\u00a0B")),
    *(TextCase("zone", text, text) for text in ("b", "N/A", "NULL", "null", "-", "None", "nan", "na", "20.0")),
    *(TextCase("comfort", text) for text in ("", "  ", "NA", " NA ")),
    *(TextCase("comfort", text, "2") for text in ("2", "2.0", "02", " 2", "2 ", "+2", "2e0")),
    *(TextCase("comfort", text, "7") for text in ("7", "7.0", "007")),
    *(TextCase("comfort", text, text) for text in ("x", "N/A", "1 2")),
    *(TextCase("comfort", text, error=_CODE) for text in ("2.5", " 2.5 ", "-0.5", "9" * 17)),
    *(TextCase("passengers", text, typed_error="Not a valid integer.") for text in ("", " ", "NA", " NA ")),
    *(TextCase("passengers", text, 3, typed_error="Not a valid integer.") for text in ("3", " 3 ", "3.0", "03")),
    *(TextCase("passengers", text, error="Not a valid integer.") for text in ("3.5", "N/A", "three")),
    *(TextCase("distance", text, error=_NULL, typed_error=_NUMBER) for text in ("", "NA")),
    *(TextCase("distance", text, 9.5, typed_error=_NUMBER) for text in ("9.5", " 9.50 ", "95e-1")),
    *(TextCase("distance", text, error=_NUMBER) for text in ("9,5", "nan", "-", "far")),
)
