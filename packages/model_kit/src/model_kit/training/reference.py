"""Reference aggregates for drift: how often each bin and level occurred in training. Never a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import InputSpec, Row, Target
from model_kit.spec.dates import iso_to_days
from model_kit.spec.learning import find_words

#: Cells with fewer rows are merged, so that no cell is about a few rows.
FEWEST = 10
#: Bars of the targets' histogram at most, rows for each of them, and the share of rows beyond either end.
MOST_BARS: Final = 40
ROWS_PER_BAR: Final = 20
BEYOND: Final = 0.005


def reference(spec: InputSpec, rows: Sequence[Row]) -> dict[str, Any]:
    """Counts per bin and level.

    Returns:
        ``rows``: how many; ``fields``: name -> ``missing`` (rows without a value) and either ``edges`` (upper,
        inclusive, of all bins but the last; of dates in days since 1970-01-01) with ``counts``, or ``levels`` (level
        -> count) with ``other``. Cells of fewer than 10 rows are merged with a neighbour or into ``other``; what is
        still rare then is not told (0).
    """
    fields = {}
    for field in spec.fields:
        column = [row.get(field.name) for row in rows]
        present = [value for value in column if value is not None]
        missing = len(column) - len(present)
        bins = spec.learned[field.name].bins
        if field.kind == "text":
            cells = _count_bins([float(len(find_words(str(value)))) for value in present], bins)
        elif field.kind in ("category", "boolean"):
            cells = _count_levels([str(value).lower() if field.kind == "boolean" else str(value) for value in present])
        elif field.is_temporal:
            cells = _count_bins([iso_to_days(field, str(value)) for value in present], bins)
        else:
            cells = _count_bins([float(value) for value in present], bins)
        fields[field.name] = {"missing": _unless_rare(missing)} | cells
    return {"rows": len(rows), "fields": fields}


def _count_levels(values: list[str]) -> dict[str, Any]:
    counts = Counter(values)
    ordered = sorted(counts, key=lambda level: (counts[level], level))
    other = 0
    while ordered and (counts[ordered[0]] < FEWEST or 0 < other < FEWEST):
        other += counts.pop(ordered.pop(0))
    return {"levels": dict(counts), "other": _unless_rare(other)}


def _count_bins(values: list[float], edges: Sequence[float]) -> dict[str, Any]:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()
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


def distribution(values: NDArray[Any], target: Target) -> dict[str, Any]:
    """A histogram of training targets; of classes ``classes``, the share of the rows that has each.

    Args:
        values: shape (n_rows,), in the target's unit.
        target: says on which scale the bars have the same width.

    Returns:
        ``edges``: of the bars, in the target's unit, ascending, from about the 0.5 % to the 99.5 % quantile;
        ``shares``: of the rows in each bar, those beyond the ends in the outer ones. Neighbouring bars of fewer than
        10 rows share out evenly what they have together, so that none is about a few rows.
    """
    if target.is_class:
        shares = np.bincount(values, minlength=len(target.classes)) / len(values)
        return {"classes": dict(zip(target.keys, shares.round(4).tolist(), strict=True))}
    log = target.scale == "log"
    ends = np.quantile(values, [BEYOND, 1 - BEYOND]).tolist()
    if ends[0] == ends[1]:
        return {"edges": ends, "shares": [1.0]}
    # As round as their distance allows: no edge is some row's target.
    spread = (ends[1] - ends[0]) / max(map(abs, ends))
    n_digits = 3 + max(0, -math.floor(math.log10(spread)))
    low, high = (float(f"{end:.{n_digits}g}") for end in ends)
    n_bars = int(np.clip(len(values) // ROWS_PER_BAR, 1, MOST_BARS))
    edges = np.geomspace(low, high, n_bars + 1) if log else np.linspace(low, high, n_bars + 1)
    part = np.searchsorted(edges[1:-1], values, side="right")
    counts = _evened(np.bincount(part, minlength=n_bars).tolist())
    return {"edges": edges.tolist(), "shares": [count / len(values) for count in counts]}


def _evened(counts: Sequence[int]) -> list[float]:
    """The same in all, with neighbours of too few rows sharing theirs."""
    groups: list[list[int]] = [[]]
    for count in counts:
        if sum(groups[-1]) >= FEWEST:
            groups.append([])
        groups[-1].append(count)
    if len(groups) > 1 and sum(groups[-1]) < FEWEST:
        last = groups.pop()
        groups[-1] += last
    return [sum(group) / len(group) for group in groups for _ in group]
