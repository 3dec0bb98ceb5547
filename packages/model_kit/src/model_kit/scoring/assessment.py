"""How good a model's predictions are on labelled rows, overall and group by group; numpy alone, so that it runs where a
model is served.

All errors are on the scale that the estimator works on (the log of a price), where 0.1 is about 10 %; besides, the
absolute error is given in the target's unit and the relative one as a share of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import InputSpec, Row, Target

Numbers = NDArray[np.float64]

#: Parts of about equal size into which the rows are cut by the true value, lowest first.
THIRDS: Final = ("low", "middle", "high")
#: A group of fewer rows says little; it is marked. In a card there is none, so that no error is that of a few rows.
FEW: Final = 10
#: Fields by which a card tells errors.
MOST_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class Scores:
    """Errors over some rows.

    Attributes:
        n: number of rows.
        rmse: root mean squared error on the estimator's scale.
        r2: share of the variance explained on that scale; ``None`` where there is no variance.
        mae: mean absolute error in the target's unit.
        relative: median of the absolute error as a share of the true value; ``None`` if one of those is not positive.
        bias: mean error on the estimator's scale; above 0, predictions are too high.
    """

    n: int
    rmse: float
    r2: float | None
    mae: float
    relative: float | None
    bias: float


@dataclass(frozen=True, slots=True)
class Group:
    """Errors over the rows that have something in common.

    Attributes:
        name: what they have in common.
        few: whether they are so few that the scores say little.
        scores: the errors.
    """

    name: str
    few: bool
    scores: Scores


@dataclass(frozen=True, slots=True)
class Assessment:
    """Errors overall and in groups.

    Attributes:
        overall: over all rows.
        core: without the rows that the model package sets aside; ``None`` if there are no others.
        thirds: by the true value, lowest first; fewer than three where values repeat.
        by: name of a grouping -> its groups, the largest error first.
    """

    overall: Scores
    core: Scores | None
    thirds: tuple[Group, ...]
    by: Mapping[str, tuple[Group, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it: a group's scores stand beside its name."""
        return {
            "overall": asdict(self.overall),
            "core": self.core and asdict(self.core),
            "thirds": [_flat(group) for group in self.thirds],
            "by": {name: [_flat(group) for group in groups] for name, groups in self.by.items()},
        }


def score(truth: Numbers, predicted: Numbers, target: Target) -> Scores:
    """Errors over all rows.

    Args:
        truth: shape (n_rows,), in the target's unit; positive if its scale is the log; at least one row.
        predicted: the same shape and unit.
        target: says on which scale the estimator works.
    """
    actual, found = (np.log(values) if target.scale == "log" else values for values in (truth, predicted))
    errors = found - actual
    variance = float(np.mean((actual - actual.mean()) ** 2))
    squared = float(np.mean(errors**2))
    absolute = np.abs(predicted - truth)
    # Equal values may differ from their mean in the last digit.
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
    """Errors overall, over the core, by thirds of the true value, and in the groups of each grouping.

    Args:
        truth: see :func:`score`; so for the next two.
        predicted: shape (n_rows,).
        target: says on which scale the estimator works.
        core: shape (n_rows,), which rows count for the core; by default all.
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
    """Errors of the levels of the categories that matter most, for the card.

    Args:
        out_of_fold: shape (n_repeats, n_rows), in the target's unit.
        truth: shape (n_rows,), in the target's unit.
        rows: the training rows.
        spec: says which fields are categories.
        strongest: names of fields, those that matter most first.

    Returns:
        Field -> its groups, the largest error first: ``level`` (``None``: all levels of fewer than ``FEW`` rows, and
        rows without a value), ``n`` rows, and ``rmse``, ``mae``, ``relative`` and ``bias`` over all repeats, see
        :class:`Scores`. Only of fields with two groups at least.
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
        told = [
            _of_level(level, out_of_fold[:, members], truth[members], spec.target)
            for level, members in groups.items()
            if len(members) >= FEW
        ]
        if len(told) > 1:
            found[name] = sorted(told, key=lambda group: (-group["rmse"], group["level"] or ""))
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
    """Three significant digits, and all digits before the point."""
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
