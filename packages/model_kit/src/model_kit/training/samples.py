"""Writes the samples that come with model packages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any


def to_csv(columns: Mapping[str, Iterable[Any]]) -> bytes:
    """Write columns of equal length as a training file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()
