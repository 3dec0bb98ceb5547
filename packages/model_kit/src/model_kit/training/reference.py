"""Reference aggregates for drift: how often each bin and level occurred in training. Never a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoder
from model_kit.scoring.classes import decide
from model_kit.scoring.reference import bins_of, shown_probability
from model_kit.spec import InputSpec, Row, Target

#: Cells with fewer rows are merged, so that no cell is about a few rows.
FEWEST = 10
#: Bins of predictions.
N_BINS: Final = 10
#: Predictions that differ by less than this are the same, as float32 and float64 do: relative to them, or to a
#: hundredth of their range.
SAME: Final = 1e-5
#: Digits of an edge between predictions.
DIGITS: Final = 6
#: Bars of the targets' histogram at most, rows for each of them, and the share of rows beyond either end.
MOST_BARS: Final = 40
ROWS_PER_BAR: Final = 20
BEYOND: Final = 0.005


def reference(spec: InputSpec, rows: Sequence[Row]) -> dict[str, Any]:
    """Counts per bin and level.

    Returns:
        ``rows``: how many; ``fields``: name -> ``missing`` (rows without a value) and either ``edges`` (upper,
        inclusive, of all bins but the last; of dates in days since 1970-01-01, of texts in words) with ``counts``, or
        ``levels`` (level -> count) with ``other``; of texts also ``unknown``, those without a known word. Cells of
        fewer than 10 rows are merged with a neighbour or into ``other``; what is still rare then is not told (0).
    """
    fields = {}
    encoded = Encoder(spec)(rows)
    for number, field in enumerate(spec.fields):
        if field.kind in ("category", "boolean"):
            present = [value for row in rows if (value := row.get(field.name)) is not None]
            missing = len(rows) - len(present)
            texts = [str(value).lower() if field.kind == "boolean" else str(value) for value in present]
            cells = _merged_levels(Counter(texts))
        else:
            column = encoded[:, number]
            values = column[~np.isnan(column)]
            missing = len(rows) - len(values)
            cells = {}
            if field.kind == "text":
                is_known = values > 0
                cells["unknown"] = _unless_rare(int((~is_known).sum()))
                values = values[is_known]
            edges = spec.learned[field.name].bins
            cells |= merged_bins(np.bincount(bins_of(values, edges), minlength=len(edges) + 1).tolist(), edges)
        fields[field.name] = {"missing": _unless_rare(missing)} | cells
    return {"rows": len(rows), "fields": fields}


def reference_predictions(
    out_of_fold: NDArray[np.float64], served: NDArray[np.float64], target: Target
) -> dict[str, dict[str, Any]]:
    """How predictions of rows that the model did not see are spread.

    Args:
        out_of_fold: shape (n_repeats, n), in the target's unit; of classes calibrated probabilities, shape (n_repeats,
            n, n_classes).
        served: those of the model itself for its training rows, shape (n_rows,) or (n_rows, n_classes). Bins end
            between them, at about the deciles of the others: where many are the same, all are in one bin.
        target: of the model.

    Returns:
        ``prediction``, and of classes ``probability`` (of the positive one of two classes, else the largest), each with
        ``edges`` and ``counts`` or ``levels`` and ``other``, as in :func:`reference`: means over the repeats.
    """
    if not target.is_class:
        return {"prediction": _binned(out_of_fold, served)}
    counts = [np.bincount(decide(repeat, target), minlength=len(target.classes)) for repeat in out_of_fold]
    means = np.mean(counts, axis=0).round().astype(int).tolist()
    probabilities = np.array([shown_probability(repeat, target) for repeat in out_of_fold])
    return {
        "prediction": _merged_levels(dict(zip(target.keys, means, strict=True))),
        "probability": _binned(probabilities, shown_probability(served, target)),
    }


def _binned(out_of_fold: NDArray[np.float64], served: NDArray[np.float64]) -> dict[str, Any]:
    edges = _edges_between(np.sort(served), np.sort(out_of_fold.ravel()))
    counts = np.bincount(bins_of(out_of_fold.ravel(), edges), minlength=len(edges) + 1) / len(out_of_fold)
    return merged_bins(counts.round().astype(int).tolist(), edges)


def _edges_between(served: NDArray[np.float64], unseen: NDArray[np.float64]) -> list[float]:
    """Numbers at about the deciles of ``unseen``, each half way between neighbours of ``served``. Both ascend."""
    least = float(served[-1] - served[0]) / 100
    edges = set()
    for step in range(1, N_BINS):
        value = float(unseen[math.ceil(len(unseen) * step / N_BINS) - 1])
        same = SAME * max(abs(value), least)
        place = int(np.searchsorted(served, value + same, side="right"))
        lower = float(served[place - 1]) if place else value
        larger = served[served > lower + same]
        if len(larger):
            edges.add(float(f"{(lower + float(larger[0])) / 2:.{DIGITS}g}"))
    return sorted(edges)


def _merged_levels(counted: Mapping[str, int]) -> dict[str, Any]:
    counts = dict(counted)
    ordered = sorted(counts, key=lambda level: (counts[level], level))
    other = 0
    while ordered and (counts[ordered[0]] < FEWEST or 0 < other < FEWEST):
        other += counts.pop(ordered.pop(0))
    return {"levels": counts, "other": _unless_rare(other)}


def merged_bins(counts: list[int], edges: Sequence[float], n_repeats: int = 1) -> dict[str, Any]:
    """Merge bins of fewer than 10 rows with a neighbour.

    Args:
        counts: rows in each, those of all repeats.
        edges: between them.
        n_repeats: how often each row is counted.

    Returns:
        ``edges`` and ``counts`` of what is left, means over the repeats; 0 if even all together are too few.
    """
    fewest = FEWEST * n_repeats
    kept = list(edges)
    position = 0
    while len(counts) > 1 and position < len(counts):
        if counts[position] >= fewest:
            position += 1
            continue
        # Merge with the next bin; the last one with the one before it.
        left = min(position, len(counts) - 2)
        counts[left : left + 2] = [counts[left] + counts[left + 1]]
        del kept[left]
        position = left
    return {"edges": kept, "counts": [_unless_rare(round(count / n_repeats)) for count in counts]}


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
    low, high = round_ends(values)
    if low == high:
        return {"edges": [low, high], "shares": [1.0]}
    n_bars = int(np.clip(len(values) // ROWS_PER_BAR, 1, MOST_BARS))
    edges = np.geomspace(low, high, n_bars + 1) if log else np.linspace(low, high, n_bars + 1)
    part = np.searchsorted(edges[1:-1], values, side="right")
    counts = _evened(np.bincount(part, minlength=n_bars).tolist())
    return {"edges": edges.tolist(), "shares": [count / len(values) for count in counts]}


def round_ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """About the 0.5 % and the 99.5 % quantile, as round as their distance allows: neither is some row's value."""
    low, high = np.quantile(values, [BEYOND, 1 - BEYOND]).tolist()
    if low == high:
        return low, high
    spread = (high - low) / max(abs(low), abs(high))
    n_digits = 3 + max(0, -math.floor(math.log10(spread)))
    return float(f"{low:.{n_digits}g}"), float(f"{high:.{n_digits}g}")


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
