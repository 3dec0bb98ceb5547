"""Reference aggregates for drift: how often each bin and level occurred in training. Never a row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from model_kit.spec import InputSpec, Row

#: Cells with fewer rows are merged, so that no cell is about a few rows.
FEWEST = 10


def reference(spec: InputSpec, rows: Sequence[Row]) -> dict[str, Any]:
    """Counts per bin and level.

    Returns:
        ``rows``: how many; ``fields``: name -> ``missing`` (rows without a value) and either ``edges`` (upper,
        inclusive, of all bins but the last) with ``counts``, or ``levels`` (level -> count) with ``other``. Cells of
        fewer than 10 rows are merged with a neighbour or into ``other``; what is still rare then is not told (0).
    """
    fields = {}
    for field in spec.fields:
        column = [row.get(field.name) for row in rows]
        present = [value for value in column if value is not None]
        missing = len(column) - len(present)
        cells: dict[str, Any]
        if field.kind == "category":
            cells = _count_levels([str(value) for value in present])
        else:
            cells = _count_bins([float(value) for value in present], spec.learned[field.name].bins)
        fields[field.name] = {"missing": _unless_rare(missing)} | cells
    return {"rows": len(rows), "fields": fields}


def _count_levels(values: list[str]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts, key=lambda level: (counts[level], level))
    other = 0
    while ordered and (counts[ordered[0]] < FEWEST or 0 < other < FEWEST):
        other += counts.pop(ordered.pop(0))
    return {"levels": counts, "other": _unless_rare(other)}


def _count_bins(values: list[float], edges: Sequence[float]) -> dict[str, Any]:
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_left(edges, value)] += 1
    kept = list(edges)
    position = 0
    while len(counts) > 1 and position < len(counts):
        if counts[position] >= FEWEST:
            position += 1
            continue
        # Merge with the next bin; the last one with the one before it.
        left = min(position, len(counts) - 2)
        counts[left : left + 2] = [counts[left] + counts[left + 1]]
        del kept[left]
        position = left
    return {"edges": kept, "counts": [_unless_rare(count) for count in counts]}


def _unless_rare(count: int) -> int:
    return count if count >= FEWEST else 0
