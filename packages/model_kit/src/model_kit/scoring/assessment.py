"""Metrics of predictions on labelled rows, overall and by group; needs numpy only, so that it runs where a
model is served.

RMSE, R2 and bias are on the estimator's scale: 0.1 is about 10 % on the log scale, and 0.1 of the target's unit on the
identity scale. The absolute error is in the target's unit, the relative error a fraction of the true value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import InputSpec, Row, Target

Numbers = NDArray[np.float64]

#: Names of the thirds of the rows by true value, lowest first.
THIRDS: Final = ("low", "middle", "high")
#: Smallest group with meaningful metrics: a smaller one is marked, and left out of a card.
FEW: Final = 10
#: Maximum number of fields for which a card has errors by level.
MOST_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics of some rows.

    Attributes:
        n: number of rows.
        rmse: root mean squared error on the estimator's scale.
        r2: fraction of the variance explained on that scale; ``None`` if there is no variance.
        mae: mean absolute error in the target's unit.
        relative: median absolute error as a fraction of the true value; ``None`` if a true value is not positive.
        bias: mean error on the estimator's scale; positive if predictions are too high.
    """

    n: int
    rmse: float
    r2: float | None
    mae: float
    relative: float | None
    bias: float


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics of one group of rows.

    Attributes:
        name: name of the group.
        few: whether the group is too small for meaningful metrics.
        scores: the metrics.
    """

    name: str
    few: bool
    scores: Scores


@dataclass(frozen=True, slots=True)
class Assessment:
    """Metrics overall and by group.

    Attributes:
        overall: over all rows.
        core: without the rows that the definition lists as ``not_core``; ``None`` if no rows remain.
        thirds: by true value, lowest first; fewer than three if values repeat.
        by: name of a grouping -> its groups, the largest error first.
    """

    overall: Scores
    core: Scores | None
    thirds: tuple[Group, ...]
    by: Mapping[str, tuple[Group, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values; a group's metrics are beside its name."""
        return {
            "overall": asdict(self.overall),
            "core": self.core and asdict(self.core),
            "thirds": [_flat(group) for group in self.thirds],
            "by": {name: [_flat(group) for group in groups] for name, groups in self.by.items()},
        }


def score(truth: Numbers, predicted: Numbers, target: Target) -> Scores:
    """Compute the metrics of all rows.

    Args:
        truth: shape (n_rows,), in the target's unit; positive if its scale is the log; at least one row.
        predicted: the same shape and unit.
        target: has the estimator's scale.
    """
    actual, found = (np.log(values) if target.scale == "log" else values for values in (truth, predicted))
    errors = found - actual
    variance = float(np.mean((actual - actual.mean()) ** 2))
    squared = float(np.mean(errors**2))
    absolute = np.abs(predicted - truth)
    # The mean of equal values may differ from them in the last digit.
    constant = bool(np.ptp(actual) == 0)
    return Scores(
        n=len(truth),
        rmse=squared**0.5,
        r2=None if constant else 1 - squared / variance,
        mae=float(absolute.mean()),
        relative=float(np.median(absolute / truth)) if (truth > 0).all() else None,
        bias=float(errors.mean()),
    )


def assess(
    truth: Numbers,
    predicted: Numbers,
    target: Target,
    *,
    core: NDArray[np.bool_] | None = None,
    by: Mapping[str, Sequence[str]] | None = None,
) -> Assessment:
    """Compute metrics overall, of the core, by third of the true value, and by group of each grouping.

    Args:
        truth: as for :func:`score`.
        predicted: shape (n_rows,).
        target: has the estimator's scale.
        core: mask of the core rows, shape (n_rows,); default: all.
        by: name of a grouping -> the group of each row.
    """
    kept = np.ones(len(truth), bool) if core is None else core
    groupings = {}
    for name, labels in (by or {}).items():
        groups = _groups(labels, truth, predicted, target)
        groupings[name] = tuple(sorted(groups, key=lambda group: (-group.scores.rmse, group.name)))
    return Assessment(
        overall=score(truth, predicted, target),
        core=score(truth[kept], predicted[kept], target) if kept.any() else None,
        thirds=_thirds(truth, predicted, target),
        by=groupings,
    )


def by_level(
    out_of_fold: Numbers, truth: Numbers, rows: Sequence[Row], spec: InputSpec, strongest: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Compute the errors by level of the most important categories, for the card.

    Args:
        out_of_fold: shape (n_repeats, n_rows), in the target's unit.
        truth: shape (n_rows,), in the target's unit.
        rows: the training rows.
        spec: has the kinds of the fields.
        strongest: names of fields, the most important first.

    Returns:
        Field -> its groups, the largest error first: ``level`` (``None``: all levels of fewer than ``FEW`` rows, and
        rows without a value), ``n`` rows, and ``rmse``, ``mae``, ``relative`` and ``bias`` over all repeats, see
        :class:`Scores`. Only fields with at least two groups are included.
    """
    kinds = {field.name: field.kind for field in spec.fields}
    found = {}
    for name in (name for name in strongest if kinds[name] == "category"):
        groups: dict[str | None, list[int]] = {}
        for position, row in enumerate(rows):
            value = row.get(name)
            groups.setdefault(None if value is None else str(value), []).append(position)
        for level in [level for level, members in groups.items() if level is not None and len(members) < FEW]:
            groups.setdefault(None, []).extend(groups.pop(level))
        levels = [
            _of_level(level, out_of_fold[:, members], truth[members], spec.target)
            for level, members in groups.items()
            if len(members) >= FEW
        ]
        if len(levels) > 1:
            found[name] = sorted(levels, key=lambda group: (-group["rmse"], group["level"] or ""))
        if len(found) == MOST_FIELDS:
            break
    return found


def _of_level(level: str | None, predicted: Numbers, truth: Numbers, target: Target) -> dict[str, Any]:
    scores = asdict(score(np.tile(truth, len(predicted)), predicted.ravel(), target))
    return {"level": level, "n": len(truth)} | {name: scores[name] for name in ("rmse", "mae", "relative", "bias")}


def _thirds(truth: Numbers, predicted: Numbers, target: Target) -> tuple[Group, ...]:
    edges = np.quantile(truth, [1 / 3, 2 / 3])
    part = np.searchsorted(edges, truth)
    groups = []
    for position, name in enumerate(THIRDS):
        chosen = part == position
        if chosen.any():
            label = f"{name}, {_short(truth[chosen].min())} to {_short(truth[chosen].max())}"
            groups.append(_group(label, chosen, truth, predicted, target))
    return tuple(groups)


def _short(value: float) -> str:
    """Format with three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _groups(labels: Sequence[str], truth: Numbers, predicted: Numbers, target: Target) -> list[Group]:
    positions: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        positions.setdefault(label, []).append(position)
    return [_group(name, np.array(chosen), truth, predicted, target) for name, chosen in positions.items()]


def _group(name: str, chosen: NDArray[Any], truth: Numbers, predicted: Numbers, target: Target) -> Group:
    scores = score(truth[chosen], predicted[chosen], target)
    return Group(name, scores.n < FEW, scores)


def _flat(group: Group) -> dict[str, Any]:
    return {"name": group.name, "few": group.few, **asdict(group.scores)}
