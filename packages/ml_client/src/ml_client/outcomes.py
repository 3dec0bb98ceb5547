"""What the server did with outcomes: what came true for predictions in its log."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class OutcomeResult(msgspec.Struct, frozen=True):
    """What became of one outcome.

    Attributes:
        status: ``recorded``, ``unchanged``, ``conflict``, ``unknown`` or ``invalid``.
        detail: why it is not recorded; else ``None``.
    """

    status: str
    detail: str | None


class Outcomes(msgspec.Struct, frozen=True):
    """What became of outcomes, in the order in which they were sent.

    Attributes:
        results: one for each.
        counts: status -> its results.
    """

    results: list[OutcomeResult]
    counts: dict[str, int]


def merged(parts: Iterable[Outcomes]) -> Outcomes:
    """Return the results of several requests as one."""
    results: list[OutcomeResult] = []
    counts: dict[str, int] = {}
    for part in parts:
        results += part.results
        for status, number in part.counts.items():
            counts[status] = counts.get(status, 0) + number
    return Outcomes(results, counts)
