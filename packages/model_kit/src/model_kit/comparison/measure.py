"""Measures how the predictions of two models differ: distribution, by field, worst rows, latency.

Rows are added in chunks and not kept: memory grows by three numbers a row.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from statistics import median
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.rows import InputRow
from model_kit.comparison.scorer import Scorer
from model_kit.records.generation import NEVER_SEEN
from model_kit.records.text import is_null
from model_kit.spec import RARE, Field, InputSpec, Learned, Target
from model_kit.spec.dates import days_to_iso, iso_to_days

#: Rows of the largest differences that are reported.
N_WORST: Final = 10
#: Unusual fields of such a row that are reported.
N_UNUSUAL: Final = 3
#: Smaller groups are merged: they say little, and reports must not describe a few rows.
FEWEST: Final = 10
OTHERS: Final = f"(levels of fewer than {FEWEST} rows)"
MISSING: Final = "(missing)"
_ROUNDING: Final = 1e-9
#: Rows of the large batch that is timed.
BATCH: Final = 1000
_ROUNDS: Final = {1: (40, 5), BATCH: (15, 1)}


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of the table, as each model reads it."""

    old: InputRow
    new: InputRow


@dataclass
class _Group:
    n: int = 0
    absolute: float = 0.0
    signed: float = 0.0

    def add(self, difference: float) -> None:
        self.n += 1
        self.absolute += abs(difference)
        self.signed += difference


@dataclass(order=True, frozen=True, slots=True)
class _Worst:
    size: float
    before: int
    number: int
    old: float
    new: float
    difference: float
    record: Mapping[str, Any]


def target_spread(target: Target, metrics: Mapping[str, Any] | None, typical: float) -> float:
    """What a difference is at least a share of: on the identity scale, a prediction near 0 says nothing of its size.

    Args:
        target: of the old model.
        metrics: on its card; ``rmse`` and ``r2`` together give the standard deviation of the target.
        typical: a prediction that stands in where they are not known.

    Returns:
        The spread in the target's unit; 0 on the log scale, where a relative difference is meaningful everywhere.
    """
    if target.scale == "log":
        return 0.0
    rmse, r2 = (metrics or {}).get("rmse"), (metrics or {}).get("r2")
    return float(rmse / (1 - r2) ** 0.5) if rmse and r2 is not None and r2 < 1 else abs(typical)


class Measure:
    """How the predictions of two models for the same rows differ.

    Args:
        spec: of the new model: its bins and levels group the rows.
        spread: see :func:`target_spread`.
        values: whether the values of single rows may be shown.
    """

    def __init__(self, spec: InputSpec, spread: float, *, values: bool) -> None:
        self._spec = spec
        self._spread = spread
        self._values = values
        self._old: list[float] = []
        self._new: list[float] = []
        self._differences: list[float] = []
        self._labels = {field.name: Labels(field, spec.learned[field.name]) for field in spec.fields}
        self._groups: dict[str, dict[str, _Group]] = {name: {} for name in spec.names}
        self._worst: list[_Worst] = []
        #: Number of rows by who scored them.
        self.rows = {"total": 0, "compared": 0, "only_old": 0, "only_new": 0, "neither": 0}
        #: Rows that both score, for timing; each pair has the record as the old and as the new one reads it.
        self.sample: list[tuple[object, object]] = []

    def add(self, pairs: Sequence[Pair], old: Sequence[float | None], new: Sequence[float | None]) -> None:
        """Add rows with both predictions of each; ``None`` where a model gives none."""
        for pair, before, after in zip(pairs, old, new, strict=True):
            self.rows["total"] += 1
            if before is None or after is None or pair.new.fault or pair.old.fault:
                scored = (before is not None and not pair.old.fault, after is not None and not pair.new.fault)
                self.rows[{(True, False): "only_old", (False, True): "only_new"}.get(scored, "neither")] += 1
                continue
            self._add(pair, before, after)

    def _add(self, pair: Pair, before: float, after: float) -> None:
        difference = self._relative(before, after)
        self._old.append(before)
        self._new.append(after)
        self._differences.append(difference)
        self.rows["compared"] += 1
        if len(self.sample) < BATCH:
            self.sample.append((pair.old.record, pair.new.record))
        # Only records are scored.
        record = cast("Mapping[str, Any]", pair.new.record)
        for name, label_of in self._labels.items():
            label, groups = label_of(record.get(name)), self._groups[name]
            group = groups.get(label)
            if group is None:
                group = groups[label] = _Group()
            group.add(difference)
        worst = _Worst(abs(difference), -self.rows["total"], pair.new.number, before, after, difference, record)
        (heapq.heappush if len(self._worst) < N_WORST else heapq.heappushpop)(self._worst, worst)

    def _relative(self, before: float, after: float) -> float:
        if before == after:
            return 0.0
        size = max(abs(before), self._spread)
        return (after - before) / size if size else float(np.copysign(np.inf, after - before))

    @property
    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions of the old and of the new model, each of shape (n_compared,)."""
        return np.array(self._old), np.array(self._new)

    @property
    def differences(self) -> NDArray[np.float64]:
        """Relative differences (new - old) / max(abs(old), spread), shape (n_compared,)."""
        return np.array(self._differences)

    def distribution(self, beyond: float) -> dict[str, float] | None:
        """Quantiles and shares of the relative differences; ``None`` if no row was scored by both.

        Args:
            beyond: ``share`` is that of the rows that differ by more than this.
        """
        if not self._old:
            return None
        signed = self.differences
        sizes = np.abs(signed)
        # Without interpolation, which fails at infinity.
        median_size, p90, p99 = np.quantile(sizes, [0.5, 0.9, 0.99], method="inverted_cdf").tolist()
        return {
            "median": median_size,
            "p90": p90,
            "p99": p99,
            "max": float(sizes.max()),
            "share": float(np.mean(sizes > beyond)),
            "signed_median": float(np.median(signed)),
            "share_beyond_1_percent": float(np.mean(sizes > 0.01)),
            "share_beyond_5_percent": float(np.mean(sizes > 0.05)),
            "share_beyond_20_percent": float(np.mean(sizes > 0.20)),
            "beyond": beyond,
            "spread": self._spread,
        }

    def by_field(self) -> list[dict[str, Any]]:
        """For each field the mean size of the differences by bin or level; the field that explains most comes first.

        ``strength`` is the share of the sizes' variation that lies between the groups of the field.
        """
        if not self._old:
            return []
        sizes = np.abs(self.differences)
        mean, total = float(sizes.mean()), float(((sizes - sizes.mean()) ** 2).sum())
        # If all differ by the same, only rounding errors vary.
        varied = np.isfinite(total) and float(np.ptp(sizes)) > _ROUNDING * mean
        found = []
        for field_name, label_of in self._labels.items():
            groups = _merged(self._groups[field_name])
            between = sum(group.n * (group.absolute / group.n - mean) ** 2 for group in groups.values())
            places = {name: place for place, name in enumerate(label_of.names)}
            found.append(
                {
                    "field": field_name,
                    "strength": round(min(between / total, 1.0), 9) if varied else 0.0,
                    "groups": [
                        {"name": name, "rows": g.n, "mean_size": g.absolute / g.n, "mean": g.signed / g.n}
                        for name, g in sorted(
                            groups.items(), key=lambda item: (places.get(item[0], len(places)), item[0])
                        )
                    ],
                }
            )
        return sorted(found, key=lambda entry: -entry["strength"])

    def worst(self) -> list[dict[str, Any]]:
        """The rows of the largest differences, largest first, with the unusual fields of each."""
        return [
            {
                "row": row.number,
                "old": row.old,
                "new": row.new,
                "difference": row.difference,
                "unusual": [
                    {"field": name, "how": how} | ({"value": row.record.get(name)} if self._values else {})
                    for name, how in unusual(row.record, self._spec)
                ],
            }
            for row in sorted(self._worst, reverse=True)
            if row.size > 0
        ]


class Labels:
    """Names the bin or level that a field's valid value belongs to.

    Attributes:
        names: of the bins or of the levels seen in training, in their order.
    """

    def __init__(self, field: Field, learned: Learned) -> None:
        self._field = field
        self._bins = learned.bins
        self._binned = field.is_number or field.is_temporal
        self.names = _bin_names(field, learned.bins) if self._binned else tuple(learned.codes or ())
        self._levels = frozenset(self.names)

    def __call__(self, value: object) -> str:
        """The name; in brackets if it is none of ``names``."""
        number = as_number(self._field, value)
        if value is None or number != number:  # noqa: PLR0124 - NaN
            return MISSING
        if self._binned and number is not None:
            return self.names[bisect_left(self._bins, number)]
        level = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        level = level.lower() if isinstance(value, bool) else level
        if level in self._levels:
            return level
        return MISSING if is_null(level) else f"({NEVER_SEEN})"


def as_number(field: Field, value: object) -> float | None:
    """A number as it is, a date in days since 1970-01-01; ``None`` for anything else."""
    if isinstance(value, str) and field.is_temporal:
        return iso_to_days(field, value)
    return value if isinstance(value, int | float) else None


def unusual(record: Mapping[str, Any], spec: InputSpec) -> list[tuple[str, str]]:
    """The fields of a record that are furthest from typical, each with a description that has no value of it."""
    found = []
    for position, field in enumerate(spec.fields):
        size, how = _strangeness(record.get(field.name), field, spec.learned[field.name])
        if size > 0:
            found.append((-size, position, field.name, how))
    return [(name, how) for _, _, name, how in sorted(found)[:N_UNUSUAL]]


def _strangeness(value: object, field: Field, learned: Learned) -> tuple[float, str]:
    """How far a value is from typical, in spreads of a number (about half of the rows lie within one), and in words."""
    label = Labels(field, learned)(value)
    if label == MISSING:
        return 2 * (1 - learned.missing), f"missing, as in {learned.missing:.0%} of the training rows"
    number, typical = as_number(field, value), as_number(field, learned.typical)
    if field.kind in ("category", "boolean"):
        if label.startswith("("):
            return 4.0, "a level never seen"
        if field.kind == "category" and (learned.codes or {}).get(label) == RARE and not field.ordered:
            return 3.0, "a rare level"
        typical_label = Labels(field, learned)(learned.typical)
        return (0.0, "typical") if label == typical_label else (1.0, "not the most frequent level")
    if number is None or typical is None:
        return 0.0, "typical"
    if learned.low is not None and number < learned.low:
        return 5.0, "below all training rows"
    if learned.high is not None and number > learned.high:
        return 5.0, "above all training rows"
    edges = learned.bins
    spread = edges[-(len(edges) // 4) - 1] - edges[len(edges) // 4] if len(edges) > 1 else 0.0
    spread = spread or ((learned.high or 0.0) - (learned.low or 0.0)) / 4 or 1.0
    distance = (number - typical) / spread
    return abs(distance), f"{abs(distance):.1f} spreads {'above' if distance > 0 else 'below'} typical"


def latency(old: Scorer, new: Scorer, sample: Sequence[tuple[object, object]]) -> dict[str, dict[str, float]] | None:
    """Median seconds for one row and for 1,000, the two models taking turns; ``None`` without rows.

    ``ratio`` is that of the shortest times: other load on the machine only adds to them, so it is more stable than
    that of the medians.
    """
    if not sample:
        return None
    found = {}
    for n_rows, (rounds, times) in _ROUNDS.items():
        rows = list(islice(cycle(sample), n_rows))
        for scorer, records in ((old, [row for row, _ in rows]), (new, [row for _, row in rows])):
            scorer.ask(records)
            scorer.predictions()
        seconds: dict[Scorer, list[float]] = {old: [], new: []}
        for number in range(rounds):
            for scorer in (old, new) if number % 2 else (new, old):
                seconds[scorer] += scorer.seconds(times)
        before, after = median(seconds[old]), median(seconds[new])
        ratio = min(seconds[new]) / min(seconds[old])
        found["one_row" if n_rows == 1 else "thousand_rows"] = {"old": before, "new": after, "ratio": ratio}
    return found


def _bin_names(field: Field, bins: tuple[float, ...]) -> tuple[str, ...]:
    if not bins:
        return ("all",)
    edges = [days_to_iso(field, edge) if field.is_temporal else f"{edge:.10g}" for edge in bins]
    return (f"up to {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges)), f"above {edges[-1]}")


def _merged(groups: Mapping[str, _Group]) -> dict[str, _Group]:
    kept = {name: group for name, group in groups.items() if group.n >= FEWEST}
    few = [group for name, group in groups.items() if name not in kept]
    if few:
        others = _Group(
            sum(group.n for group in few), sum(group.absolute for group in few), sum(group.signed for group in few)
        )
        kept[OTHERS] = others
    return kept
