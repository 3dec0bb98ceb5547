"""Finds numbers in files that are written in another way than was said, such as 12,5 or 9.600 for 9600."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from model_kit.errors import DataError

#: A number written with a comma, 12,5 or 1,000 or 1.234,5, or with two points.
_LOCAL: Final = re.compile(r"\s*[+-]?\d[\d.]*,[\d.,]*\d\s*|\s*[+-]?\d{1,3}(\.\d{3}){2,}\s*", re.ASCII)
_POINT: Final = re.compile(r"\s*[+-]?\d*\.\d+\s*", re.ASCII)
#: 9.600 may be 9600; 0.125 and 1234.500 may not.
_GROUPED: Final = re.compile(r"\s*[+-]?[1-9]\d{0,2}\.\d{3}\s*", re.ASCII)
#: A column is suspicious if this share of its numbers with a point may be thousands,
NEARLY_ALL: Final = 0.9
#: and there are at least so many of them, or where the range of training is known, half of all its values are such.
MIN_GROUPED: Final = 3


def is_local(text: str) -> bool:
    """Whether a text is a number as other countries write it, like 12,5 or 1,000."""
    return bool(_LOCAL.fullmatch(text))


class ThousandsCheck:
    """Finds columns whose points may stand between thousands, 9.600 for 9600, in files with semicolons.

    Args:
        name: what errors call the file.
        ranges: column of numbers -> lowest and highest value of training; ``None`` if nothing is known.
    """

    def __init__(self, name: str, ranges: Mapping[str, tuple[float, float] | None]) -> None:
        self._name = name
        self._ranges = ranges
        self._n_values = dict.fromkeys(ranges, 0)
        self._n_points = dict.fromkeys(ranges, 0)
        self._n_grouped = dict.fromkeys(ranges, 0)
        self._examples: dict[str, str] = {}

    @property
    def columns(self) -> Iterable[str]:
        """The columns of numbers."""
        return self._ranges

    def add(self, column: str, counts: Iterable[tuple[str, int]]) -> None:
        """Count texts of a column, each with the number of rows that have it."""
        limits = self._ranges[column]
        for text, count in counts:
            self._n_values[column] += count
            if not _POINT.fullmatch(text):
                continue
            self._n_points[column] += count
            outside = limits is None or not limits[0] <= float(text) <= limits[1]
            if outside and _GROUPED.fullmatch(text):
                self._n_grouped[column] += count
                self._examples.setdefault(column, text.strip())

    def check(self) -> None:
        """Refuse the file if a column is suspicious.

        Raises:
            DataError: one is; the text says what to do.
        """
        for column, n_grouped in self._n_grouped.items():
            least = MIN_GROUPED
            if self._ranges[column] is not None:
                least = max(1, min(MIN_GROUPED, (self._n_values[column] + 1) // 2))
            if n_grouped >= max(least, NEARLY_ALL * self._n_points[column]):
                example = self._examples[column]
                where = "" if self._ranges[column] is None else ", and lie outside the range of training as decimals"
                raise DataError(
                    f"{self._name}, column {column}: numbers like {example} have three digits after the point{where}; "
                    f"if {example} means {example.replace('.', '')}: --thousands . (and --decimal , if there are "
                    f"decimals); if it means {float(example):g}: --decimal ."
                )
