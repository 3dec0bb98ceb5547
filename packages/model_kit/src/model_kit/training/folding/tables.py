"""Chooses tables over categories, and computes the positions of a row's entries in all tables at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import CannotFoldError

#: The raw columns of a table, one for each of its axes.
Group: TypeAlias = tuple[int, ...]

#: Entries of a table of several categories. Measured on 24 categories of 4 to 26 codes: 127 tables instead of one for
#: each of the 276 pairs, and half the time to look them up.
TABLE_SIZE = 512
#: Maximum number of entries of all tables; float32 represents whole numbers up to 2^24 only.
LARGEST = 1 << 20


class Codes:
    """Maps the codes of one raw column that the estimator distinguishes to positions 0 .. size - 1 of an axis.

    Attributes:
        low, high: one below the lowest and one above the highest code; codes beyond are clipped to these.
        size: number of positions.
    """

    def __init__(self, codes: Iterable[int]) -> None:
        known = set(codes)
        self.low, self.high = min(known) - 1, max(known) + 1
        self.size = self.high - self.low + 1

    def __getitem__(self, code: int) -> int:
        return code - self.low


def positions(
    codes: Mapping[int, Codes], groups: Sequence[Group], *, overlap: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Compute strides and offsets that give the position of a row's entry in each of several consecutive tables.

    Args:
        codes: of each category.
        groups: the categories of each table.
        overlap: number of entries that a table shares with the next one.

    Returns:
        Matrix, shape (n_categories, n_tables), and offsets, shape (n_tables,), that make positions of codes; the
        number of entries.

    Raises:
        CannotFoldError: there are too many entries.
    """
    row = {source: number for number, source in enumerate(codes)}
    strides, offsets = np.zeros((len(codes), len(groups))), np.zeros(len(groups))
    end = overlap if groups else 0
    for number, group in enumerate(groups):
        offsets[number], stride = end - overlap, 1
        for source in reversed(group):
            strides[row[source], number] = stride
            offsets[number] -= codes[source].low * stride
            stride *= codes[source].size
        end += stride - overlap
    if end > LARGEST:
        raise CannotFoldError(f"tables of {end} entries")
    return strides, offsets, end


def cover(pairs: Iterable[tuple[int, int]], singles: Iterable[int], size: Mapping[int, int]) -> list[Group]:
    """Group the categories such that each of ``pairs`` and of ``singles`` is in one group.

    Greedy: a group starts with the largest remaining pair, and is extended by the category that covers the most
    remaining pairs as long as its table has no more than ``TABLE_SIZE`` entries.
    """
    left = {_pair(*pair) for pair in pairs}
    members = sorted({source for pair in left for source in pair})
    groups: list[Group] = []
    while left:
        first = max(left, key=lambda pair: (size[pair[0]] * size[pair[1]], pair))
        group = list(first)
        while True:
            limit = TABLE_SIZE // math.prod(size[source] for source in group)
            gains = {
                source: sum(_pair(source, other) in left for other in group)
                for source in members
                if source not in group and size[source] <= limit
            }
            if not any(gains.values()):
                break
            group.append(max(gains, key=lambda source: (gains[source], -size[source], -source)))
        groups.append(tuple(sorted(group)))
        left -= set(combinations(groups[-1], 2))
    rest: list[Group] = []
    for source in sorted(set(singles) - set(members), key=lambda source: (size[source], source)):
        if rest and math.prod(size[other] for other in (*rest[-1], source)) <= TABLE_SIZE:
            rest[-1] = (*rest[-1], source)
        else:
            rest.append((source,))
    return groups + rest


def _pair(one: int, other: int) -> tuple[int, int]:
    return (min(one, other), max(one, other))
