"""Population stability indices of a window of rows, and whether each is more than chance explains.

The index of two samples of N and M rows from the same distribution over B cells is about (1/N + 1/M) times a
chi-squared variable with B - 1 degrees of freedom (B. Yurdakul, "Statistical properties of population stability index",
2018). The threshold is the larger of a practical limit and the quantile of that at ``ALPHA``, divided by the number of
checks of the window (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from model_kit.scoring.reference import N_OTHERS, Distribution, Reference

#: Probability that a window without drift has any field that is called drifted.
ALPHA: Final = 1e-4
#: Practical limits of the index: of all cells, and of the two cells "has it" and "has it not".
LIMIT, SHARE_LIMIT = 0.1, 0.02
#: Rows of a window below which nothing is judged.
MIN_ROWS: Final = 50
#: Rows that a cell has in the reference, and is expected to have in the window, at least; others are merged. With
#: fewer, the tail of the index is heavier than that of the chi-squared distribution.
MIN_EXPECTED: Final = 20
#: Added to each count, so that no share is 0.
_ADDED: Final = 0.5

DRIFTED, STEADY, FEW, NO_REFERENCE = "drifted", "steady", "too few rows", "no reference"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of the window with the reference.

    Attributes:
        what: ``distribution``, ``missing``, ``unknown``, or ``share`` of a level.
        label: the level.
        psi: the index.
        threshold: above it there is drift; ``None``: not judged.
        window, reference: the two shares; ``None`` of a distribution.
    """

    what: str
    label: str
    psi: float
    threshold: float | None
    window: float | None = None
    reference: float | None = None

    @property
    def has_drifted(self) -> bool:
        """Whether the index is above its threshold."""
        return self.threshold is not None and self.psi > self.threshold


@dataclass(frozen=True, slots=True)
class Finding:
    """What a window says of a field, or of the predictions.

    Attributes:
        name: of the field, or ``(prediction)``, ``(probability)``.
        verdict: ``drifted``, ``steady``, ``too few rows`` or ``no reference``.
        rows: of the window.
        checks: that were made; the first is that of the distribution, if there is one.
        missing, unknown: shares of the window's rows; ``None`` of predictions.
        cells: label, share in the window, share in the reference; before merging.
    """

    name: str
    verdict: str
    rows: int
    checks: tuple[Check, ...] = ()
    missing: float | None = None
    unknown: float | None = None
    cells: tuple[tuple[str, float, float], ...] = ()

    @property
    def excess(self) -> float:
        """The largest index relative to its threshold; 0 without any."""
        return max((check.psi / check.threshold for check in self.checks if check.threshold), default=0.0)

    @property
    def distribution(self) -> Check | None:
        """The check of all cells."""
        return next((check for check in self.checks if check.what == "distribution"), None)


def psi(window: Sequence[float], reference: Sequence[float]) -> float:
    """The population stability index of two rows of counts; half a row is added to each cell."""
    n, m = sum(window) + _ADDED * len(window), sum(reference) + _ADDED * len(reference)
    shares = [((w + _ADDED) / n, (r + _ADDED) / m) for w, r in zip(window, reference, strict=True)]
    return sum((w - r) * math.log(w / r) for w, r in shares)


def tail(x: float, degrees: int) -> float:
    """The probability that a chi-squared variable exceeds ``x``."""
    found = math.erfc(math.sqrt(x / 2)) if degrees % 2 else math.exp(-x / 2)
    for lower in range(2 - degrees % 2, degrees, 2):
        found += math.exp(lower / 2 * math.log(x / 2) - x / 2 - math.lgamma(lower / 2 + 1)) if x else 0.0
    return found


@lru_cache(4096)
def quantile(probability: float, degrees: int) -> float:
    """What a chi-squared variable exceeds with a probability, by bisection."""
    low, high = 0.0, 2.0 * degrees
    while tail(high, degrees) > probability:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, degrees) > probability else (low, middle)
    return high


def merged(
    window: Sequence[float], reference: Sequence[float], *, has_levels: bool
) -> tuple[list[float], list[float], list[int]]:
    """Merge cells with less than ``MIN_EXPECTED`` rows in the reference, or expected in the window.

    Bins are merged with the next one (the last with the one before it), levels with the last cell, all others.

    Returns:
        Counts of window and reference, and of each merged cell the place of the one that it was; -1 if of several.
    """
    n, m = sum(window), sum(reference)
    least = MIN_EXPECTED * max(1.0, m / n) if n else math.inf
    groups: list[list[int]] = []
    if has_levels:
        last = len(reference) - 1
        others, kept = [last], sorted(range(last), key=lambda cell: -reference[cell])
        while kept and (reference[kept[-1]] < least or 0 < sum(reference[cell] for cell in others) < least):
            others.append(kept.pop())
        groups = [[cell] for cell in kept]
        if any(window[cell] or reference[cell] for cell in others):
            groups.append(others)
    else:
        group: list[int] = []
        for cell in range(len(reference)):
            group.append(cell)
            if sum(reference[one] for one in group) >= least:
                groups.append(group)
                group = []
        if group:
            groups = [*groups[:-1], groups[-1] + group] if groups else [group]
    merged_counts = [[sum(counts[cell] for cell in group) for group in groups] for counts in (window, reference)]
    return merged_counts[0], merged_counts[1], [group[0] if len(group) == 1 else -1 for group in groups]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A check before its threshold is known, which depends on how many there are."""

    name: str
    what: str
    label: str
    psi: float
    limit: float
    spread: float
    degrees: int
    window: float | None = None
    reference: float | None = None


def judge(window: Mapping[str, Sequence[int]], reference: Reference) -> list[Finding]:
    """Compare a window with the reference.

    Args:
        window: name of a distribution -> counts, as :meth:`model_kit.scoring.reference.Reference.count` has them.
        reference: of the very model that scored the rows.

    Returns:
        One finding for each distribution, in their order. One that the window does not have, or with other cells, has
        the verdict ``no reference``.
    """
    usable = {
        one.name: list(window[one.name])
        for one in reference.distributions
        if len(window.get(one.name, ())) == N_OTHERS + len(one.labels)
    }
    candidates = [
        candidate
        for one in reference.distributions
        if one.name in usable
        for candidate in _candidates(one, usable[one.name], reference.rows)
    ]
    alpha = ALPHA / max(len(candidates), 1)
    checks: dict[str, list[Check]] = {}
    for one in candidates:
        threshold = max(one.limit, one.spread * quantile(alpha, one.degrees))
        check = Check(one.what, one.label, one.psi, threshold, one.window, one.reference)
        checks.setdefault(one.name, []).append(check)
    return [
        _finding(one, usable[one.name], checks.get(one.name, []))
        if one.name in usable
        else Finding(one.name, NO_REFERENCE, 0)
        for one in reference.distributions
    ]


def _candidates(one: Distribution, counts: Sequence[int], m_rows: int) -> Iterator[_Candidate]:
    n_rows, known = sum(counts), _known(one, counts)
    if n_rows < MIN_ROWS:
        return
    n, m = sum(known), sum(one.counts)
    if n >= MIN_ROWS and m >= MIN_ROWS and not one.has_trend:
        spread = 1 / n + 1 / m
        w, r, places = merged(known, one.counts, has_levels=one.has_levels)
        if len(w) > 1:
            yield _Candidate(one.name, "distribution", "", psi(w, r), LIMIT, spread, len(w) - 1)
            for w_cell, r_cell, place in zip(w, r, places, strict=True) if one.has_levels else ():
                if place >= 0:
                    index = psi([w_cell, n - w_cell], [r_cell, m - r_cell])
                    label = one.labels[place]
                    yield _Candidate(one.name, "share", label, index, SHARE_LIMIT, spread, 1, w_cell / n, r_cell / m)
    for what, count, share in (("missing", counts[0], one.missing), ("unknown", counts[1], one.unknown)):
        if share is None or (what == "unknown" and one.has_trend):
            continue
        expected = share * m_rows
        index = psi([count, n_rows - count], [expected, m_rows - expected])
        if what == "unknown" and count <= share * n_rows:
            index = 0.0  # fewer than are expected are no drift
        spread = 1 / n_rows + 1 / m_rows
        yield _Candidate(one.name, what, "", index, SHARE_LIMIT, spread, 1, count / n_rows, share)


def _known(one: Distribution, counts: Sequence[int]) -> list[int]:
    """Counts of the cells; unknown levels are among the others, if training had rare ones too."""
    known = list(counts[N_OTHERS:])
    if one.has_levels and one.counts[-1]:
        known[-1] += counts[1]
    return known


def _finding(one: Distribution, counts: Sequence[int], checks: Sequence[Check]) -> Finding:
    n_rows, known = sum(counts), _known(one, counts)
    n, m = max(sum(known), 1), max(sum(one.counts), 1)
    if any(check.has_drifted for check in checks):
        verdict = DRIFTED
    elif n_rows < MIN_ROWS or (sum(known) < MIN_ROWS <= sum(one.counts) and not one.has_trend):
        verdict = FEW
    else:
        verdict = STEADY
    is_field = one.missing is not None
    cells = tuple(
        (label, w / n, r / m)
        for label, w, r in zip(one.labels, known, one.counts, strict=True)
        if w or r or label in one.labels[:-1] or not one.has_levels
    )
    return Finding(
        one.name,
        verdict,
        n_rows,
        tuple(checks),
        counts[0] / n_rows if is_field and n_rows else None,
        counts[1] / n_rows if is_field and n_rows else None,
        cells,
    )


def verdict_of(findings: Sequence[Finding]) -> str:
    """The verdict on all: drifted if one is, else steady if one is, else what the first one is."""
    found = [finding.verdict for finding in findings]
    for verdict in (DRIFTED, STEADY, FEW):
        if verdict in found:
            return verdict
    return NO_REFERENCE
