"""How a source writes its numbers: decimal mark and thousands separator."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from model_kit.records.text import is_null

#: Blanks between thousands: the usual one, the no-break one, the thin and the narrow no-break one.
BLANKS: Final = " \u00a0\u2009\u202f"


class NumberFormat(NamedTuple):
    """How numbers are written.

    Attributes:
        decimal: the decimal mark; ``None`` where nobody said, which is a point.
        thousands: what stands between groups of three digits; empty for nothing.
    """

    decimal: str | None = None
    thousands: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as Python writes them."""
        return self.decimal in {None, "."} and not self.thousands

    def read(self, text: str) -> str | None:
        """A number as Python spells it; ``None`` if it is not written like this."""
        decimal, thousands = re.escape(self.decimal or "."), re.escape(self.thousands)
        # A blank looks like any other.
        if self.thousands and self.thousands in BLANKS:
            thousands = f"[{BLANKS}]"
        whole = rf"\d{{1,3}}(?:{thousands}\d{{3}})+|\d+" if thousands else r"\d+"
        found = re.fullmatch(rf"\s*([+-]?)({whole})?(?:{decimal}(\d*))?([eE][+-]?\d+)?\s*", text, re.ASCII)
        if not found or not (found[2] or found[3]):
            return None
        digits = re.sub(thousands, "", found[2] or "") if thousands else found[2] or ""
        return f"{found[1]}{digits}{'.' + found[3] if found[3] else ''}{found[4] or ''}"

    def plain(self, text: str) -> str:
        """The number that a text is, as Python spells it; another text becomes one that is no number in Python."""
        if self.is_plain:
            return text
        found = self.read(text)
        # 1.5 is no number where points stand between thousands.
        return found or (text if is_null(text) else f"'{text}'")


PLAIN: Final = NumberFormat()
