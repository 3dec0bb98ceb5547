"""Measures how the predictions of two models differ: distribution, by field, worst rows, latency.

Rows are added in chunks and not kept: memory grows by three numbers a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.rows import InputRow
from model_kit.comparison.scorer import Prediction, Scorer
from model_kit.records.generation import NEVER_SEEN
from model_kit.records.text import is_null
from model_kit.scoring.classes import lowest_positive
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
#: Whether the old and the new model score a row -> where it is counted.
_SCORED_BY: Final = {
    (True, True): "compared",
    (True, False): "only_old",
    (False, True): "only_new",
    (False, False): "neither",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of the table, as each model reads it."""

    old: InputRow
    new: InputRow


@dataclass(frozen=True, slots=True)
class _Compared:
    """A row that both score."""

    number: int
    record: Mapping[str, Any]
    old: float
    new: float
    difference: float


def target_spread(target: Target, metrics: Mapping[str, Any] | None, typical: Any) -> float:
    """What a difference is at least a share of: on the identity scale, a prediction near 0 says nothing of its size.

    Args:
        target: of the old model.
        metrics: on its card; ``rmse`` and ``r2`` together give the standard deviation of the target.
        typical: a prediction that stands in where they are not known.

    Returns:
        The spread in the target's unit; 0 on the log scale, where a relative difference is meaningful everywhere; 1 of
        a class, whose probabilities differ by at most that.
    """
    if target.is_class:
        return 1.0
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
        self._predictions: list[tuple[float, float, float]] = []
        self._labels = {field.name: Labels(field, spec.learned[field.name]) for field in spec.fields}
        #: Field -> label -> number of rows, sum of sizes, sum of signed differences.
        self._groups: dict[str, dict[str, list[float]]] = {name: {} for name in spec.names}
        self._worst: list[_Compared] = []
        #: Rows for which the two predict different classes.
        self.n_reclassified = 0
        #: Number of rows by who scored them.
        self.rows = {"total": 0} | dict.fromkeys(_SCORED_BY.values(), 0)
        #: Rows that both score, for timing; each pair has the record as the old and as the new one reads it.
        self.sample: list[tuple[object, object]] = []

    def add(self, pairs: Sequence[Pair], old: Sequence[Prediction | None], new: Sequence[Prediction | None]) -> None:
        """Add rows with both predictions of each; ``None`` where a model gives none.

        Of classes the difference is the total variation of the two distributions, with the sign of the change of the
        class that the old model predicts, or of the positive one of two; shown are the probabilities of that class.
        """
        compared = []
        for pair, before, after in zip(pairs, old, new, strict=True):
            scored = before is not None and not pair.old.fault, after is not None and not pair.new.fault
            self.rows["total"] += 1
            self.rows[_SCORED_BY[scored]] += 1
            # Only records are scored.
            if before is not None and after is not None and all(scored) and isinstance(pair.new.record, Mapping):
                compared.append(_Compared(pair.new.number, pair.new.record, *self._differ(before, after)))
                if len(self.sample) < BATCH:
                    self.sample.append((pair.old.record, pair.new.record))
        self._predictions += [(row.old, row.new, row.difference) for row in compared]
        self._worst = sorted([*self._worst, *compared], key=lambda row: -abs(row.difference))[:N_WORST]
        for name, label_of in self._labels.items():
            groups = self._groups[name]
            for row in compared:
                group = groups.setdefault(label_of(row.record.get(name)), [0, 0.0, 0.0])
                group[0] += 1
                group[1] += abs(row.difference)
                group[2] += row.difference

    def _differ(self, before: Prediction, after: Prediction) -> tuple[float, float, float]:
        """The old and the new number, and their difference."""
        if not isinstance(before, dict) or not isinstance(after, dict):
            numbers = float(before), float(after)  # type: ignore[arg-type]
            return (*numbers, self._relative(*numbers))
        target = self._spec.target
        first, second = max(before, key=before.__getitem__), max(after, key=after.__getitem__)
        if len(target.classes) == 2:
            positive = target.keys[target.positive_position]
            others = [key for key in target.keys if key != positive]
            first, second = (
                positive if chances.get(positive, 0.0) >= lowest_positive(target) else others[0]
                for chances in (before, after)
            )
            shown = positive
        else:
            shown = first
        self.n_reclassified += first != second
        moved = sum(abs(before.get(key, 0.0) - after.get(key, 0.0)) for key in {*before, *after}) / 2
        change = after.get(shown, 0.0) - before.get(shown, 0.0)
        return before.get(shown, 0.0), after.get(shown, 0.0), float(np.copysign(moved, change))

    def _relative(self, before: float, after: float) -> float:
        if before == after:
            return 0.0
        size = max(abs(before), self._spread)
        return (after - before) / size if size else float(np.copysign(np.inf, after - before))

    @property
    def points(self) -> NDArray[np.float64]:
        """Of the compared rows the old and the new prediction and (new - old) / max(abs(old), spread); shape (3, n)."""
        return np.array(self._predictions, np.float64).reshape(-1, 3).T

    def distribution(self, beyond: float) -> dict[str, float] | None:
        """Quantiles and shares of the relative differences; ``None`` if no row was scored by both.

        Args:
            beyond: ``share`` is that of the rows that differ by more than this.
        """
        if not self._predictions:
            return None
        signed = self.points[2]
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
            **{f"share_beyond_{percent}_percent": float(np.mean(sizes > percent / 100)) for percent in (1, 5, 20)},
            "beyond": beyond,
            "spread": self._spread,
            **({"reclassified": self.n_reclassified / len(sizes)} if self._spec.target.is_class else {}),
        }

    def by_field(self) -> list[dict[str, Any]]:
        """For each field the mean size of the differences by bin or level; the field that explains most comes first.

        ``strength`` is the share of the sizes' variation that lies between the groups of the field.
        """
        if not self._predictions:
            return []
        sizes = np.abs(self.points[2])
        mean, total = float(sizes.mean()), float(((sizes - sizes.mean()) ** 2).sum())
        # If all differ by the same, only rounding errors vary.
        varied = np.isfinite(total) and float(np.ptp(sizes)) > _ROUNDING * mean
        found = []
        for field_name, label_of in self._labels.items():
            groups = _merged(self._groups[field_name], label_of.names)
            between = sum(n * (size / n - mean) ** 2 for _, (n, size, _) in groups)
            found.append(
                {
                    "field": field_name,
                    "strength": round(min(between / total, 1.0), 9) if varied else 0.0,
                    "groups": [
                        {"name": name, "rows": n, "mean_size": size / n, "mean": signed / n}
                        for name, (n, size, signed) in groups
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
            for row in self._worst
            if row.difference
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
        edges = [days_to_iso(field, edge) if field.is_temporal else f"{edge:.10g}" for edge in learned.bins]
        self.names = tuple(learned.codes or ())
        if self._binned:
            between = (f"{low} to {high}" for low, high in pairwise(edges))
            self.names = (f"up to {edges[0]}", *between, f"above {edges[-1]}") if edges else ("all",)
        self._levels = frozenset(self.names)

    def __call__(self, value: object) -> str:
        """The name; in brackets if it is none of ``names``."""
        number = as_number(self._field, value)
        if value is None or number != number:  # noqa: PLR0124 - NaN
            return MISSING
        if self._binned and number is not None:
            return self.names[bisect_left(self._bins, number)]
        if self._field.kind == "boolean":
            level = "true" if value else "false"
        else:
            level = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
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


def _merged(groups: Mapping[str, Sequence[float]], names: Sequence[str]) -> list[tuple[str, Sequence[float]]]:
    """Groups in the order of ``names``, others after them by name; those of few rows together as one."""
    kept = {name: sums for name, sums in groups.items() if sums[0] >= FEWEST}
    if few := [sums for name, sums in groups.items() if name not in kept]:
        kept[OTHERS] = [sum(column) for column in zip(*few, strict=True)]
    place = {name: position for position, name in enumerate(names)}
    return sorted(kept.items(), key=lambda item: (place.get(item[0], len(place)), item[0]))
