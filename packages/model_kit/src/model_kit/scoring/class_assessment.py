"""Metrics of predicted classes on labelled rows, overall, by class and by group; needs numpy only.

Of two classes, precision, recall, ROC AUC and average precision are about the positive one; of more, the ROC AUC is the
mean of each class against the rest (every class counts the same), and the average precision likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.scoring.assessment import FEW
from model_kit.scoring.classes import Probabilities, decide
from model_kit.spec import Target

Positions = NDArray[np.int64]
#: A probability of 0 counts as this in the log loss.
SMALLEST: Final = 1e-15
#: Metrics of which more is better; of the others less is.
_HIGHER_IS_BETTER: Final = frozenset({"r2", "roc_auc", "average_precision", "accuracy", "balanced_accuracy"})


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric, of a number or a class, is better."""
    return metric in _HIGHER_IS_BETTER


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Metrics of some rows.

    Attributes:
        n: number of rows.
        log_loss: mean negative logarithm of the true class's probability.
        roc_auc: area under the ROC curve; ``None`` where the rows have one class only.
        average_precision: area under the precision-recall curve; ``None`` likewise.
        brier: mean squared difference of probability and outcome, of the positive class; of more than two classes
            summed over them.
        accuracy: fraction of rows whose class is predicted.
        balanced_accuracy: mean over the classes that occur of the fraction of their rows that is predicted.
    """

    n: int
    log_loss: float
    roc_auc: float | None
    average_precision: float | None
    brier: float
    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True, slots=True)
class OneClass:
    """What became of the rows of one class.

    Attributes:
        name: the class, as text.
        n: rows that have it.
        predicted: rows that are predicted to have it.
        precision: fraction of these that have it; ``None`` where there are none.
        recall: fraction of those that are predicted; ``None`` likewise.
        f1: harmonic mean of both; ``None`` where one is missing.
    """

    name: str
    n: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ClassGroup:
    """Metrics of one group of rows, for questions of fairness.

    A rate has its standard error beside it, as a pair; ``None`` where no row counts for it. Rates are about the
    positive class, or are left out (``None``) where there are more than two.

    Attributes:
        name: name of the group.
        few: whether it is too small for meaningful metrics.
        scores: the metrics.
        selection: fraction that is predicted positive.
        false_positive: fraction of the negative that is predicted positive.
        false_negative: fraction of the positive that is predicted negative.
        coverage: fraction of rows whose class is in its prediction set.
    """

    name: str
    few: bool
    scores: ClassScores
    selection: tuple[float, float] | None
    false_positive: tuple[float, float] | None
    false_negative: tuple[float, float] | None
    coverage: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ClassAssessment:
    """Metrics overall, by class and by group.

    Attributes:
        overall: over all rows.
        classes: one for each class, in the target's order.
        confusion: rows by true class, then by predicted class.
        by: name of a grouping -> its groups, the largest log loss first.
    """

    overall: ClassScores
    classes: tuple[OneClass, ...]
    confusion: tuple[tuple[int, ...], ...]
    by: Mapping[str, tuple[ClassGroup, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values; a group's metrics are beside its name."""
        by = {}
        for name, groups in self.by.items():
            flat = [asdict(group) for group in groups]
            by[name] = [{**group, **group.pop("scores")} for group in flat]
        return {
            "overall": asdict(self.overall),
            "classes": [asdict(one) for one in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "by": by,
        }


def score(truth: Positions, probabilities: Probabilities, target: Target) -> ClassScores:
    """Compute the metrics of all rows.

    Args:
        truth: positions of the true classes, shape (n_rows,); at least one row.
        probabilities: shape (n_rows, n_classes).
        target: has the threshold.
    """
    n_rows, n_classes = probabilities.shape
    of_truth = probabilities[np.arange(n_rows), truth]
    counted = [target.positive_position] if n_classes == 2 else range(n_classes)
    happened = truth[:, np.newaxis] == np.arange(n_classes)
    squared = ((probabilities - happened) ** 2).mean(axis=0)
    right = decide(probabilities, target) == truth
    return ClassScores(
        n=n_rows,
        log_loss=float(-np.log(np.maximum(of_truth, SMALLEST)).mean()),
        roc_auc=_mean(_roc_auc, probabilities, happened, counted),
        average_precision=_mean(_average_precision, probabilities, happened, counted),
        brier=float(squared[0] if n_classes == 2 else squared.sum()),
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.mean([right[truth == one].mean() for one in np.unique(truth)])),
    )


def assess(
    truth: Positions,
    probabilities: Probabilities,
    target: Target,
    *,
    by: Mapping[str, Sequence[str]] | None = None,
    within: NDArray[np.bool_] | None = None,
) -> ClassAssessment:
    """Compute metrics overall, by class, and by group of each grouping.

    Args:
        truth: as for :func:`score`.
        probabilities: likewise.
        target: likewise.
        by: name of a grouping -> the group of each row.
        within: whether a row's class is in its prediction set, shape (n_rows,).
    """
    groupings = {}
    for name, labels in (by or {}).items():
        members: dict[str, list[int]] = {}
        for position, label in enumerate(labels):
            members.setdefault(label, []).append(position)
        groups = [
            _group(label, np.array(rows), truth, probabilities, target, within) for label, rows in members.items()
        ]
        groupings[name] = tuple(sorted(groups, key=lambda group: (-group.scores.log_loss, group.name)))
    n_classes = len(target.classes)
    predicted = decide(probabilities, target)
    confusion = np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    return ClassAssessment(
        overall=score(truth, probabilities, target),
        classes=tuple(_one_class(name, one, confusion) for one, name in enumerate(target.keys)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        by=groupings,
    )


def thresholds(truth: Positions, probabilities: Probabilities, target: Target) -> list[dict[str, Any]]:
    """Two classes at other thresholds, for a card.

    Returns:
        For each ``threshold`` from .05 to .95: ``true_positive``, ``false_positive``, ``false_negative`` and
        ``true_negative``, fractions of the rows.
    """
    of_positive = probabilities[:, target.positive_position]
    is_positive = truth == target.positive_position
    found = []
    for step in range(1, 20):
        selected = of_positive >= step / 20
        rates = {
            "true_positive": selected & is_positive,
            "false_positive": selected & ~is_positive,
            "false_negative": ~selected & is_positive,
            "true_negative": ~selected & ~is_positive,
        }
        found.append({"threshold": step / 20} | {name: round(float(rows.mean()), 4) for name, rows in rates.items()})
    return found


def _one_class(name: str, position: int, confusion: NDArray[np.int64]) -> OneClass:
    n, predicted, hits = confusion[position].sum(), confusion[:, position].sum(), confusion[position, position]
    precision = float(hits / predicted) if predicted else None
    recall = float(hits / n) if n else None
    f1 = None if precision is None or recall is None else float(2 * hits / (n + predicted))
    return OneClass(name, int(n), int(predicted), precision, recall, f1)


def _group(
    name: str,
    rows: NDArray[np.int64],
    truth: Positions,
    probabilities: Probabilities,
    target: Target,
    within: NDArray[np.bool_] | None,
) -> ClassGroup:
    truth, probabilities = truth[rows], probabilities[rows]
    covered = None if within is None else _rate(within[rows])
    scores = score(truth, probabilities, target)
    if len(target.classes) > 2:
        return ClassGroup(name, scores.n < FEW, scores, None, None, None, covered)
    is_positive = truth == target.positive_position
    selected = decide(probabilities, target) == target.positive_position
    return ClassGroup(
        name,
        scores.n < FEW,
        scores,
        _rate(selected),
        _rate(selected[~is_positive]),
        _rate(~selected[is_positive]),
        covered,
    )


def _rate(happened: NDArray[np.bool_]) -> tuple[float, float] | None:
    """A rate and its standard error, which is not 0 where nothing or everything happened (Agresti and Coull 1998)."""
    n = len(happened)
    if not n:
        return None
    n_happened = int(happened.sum())
    adjusted = (n_happened + 2) / (n + 4)
    return n_happened / n, float((adjusted * (1 - adjusted) / (n + 4)) ** 0.5)


def _mean(
    metric: Callable[[NDArray[np.float64], NDArray[np.bool_]], float],
    probabilities: Probabilities,
    happened: NDArray[np.bool_],
    counted: Sequence[int],
) -> float | None:
    """The mean of a metric over the classes that occur, and that not all rows have; ``None`` without any."""
    n_rows = len(happened)
    found = [metric(probabilities[:, one], happened[:, one]) for one in counted if 0 < happened[:, one].sum() < n_rows]
    return float(np.mean(found)) if found else None


def _roc_auc(scores: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """By ranks; equal scores share theirs (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    n_in = int(happened.sum())
    return float((ranks[happened].sum() - n_in * (n_in + 1) / 2) / (n_in * (len(scores) - n_in)))


def _average_precision(scores: NDArray[np.float64], happened: NDArray[np.bool_]) -> float:
    """Precision at each score that a hit has, averaged over the hits."""
    order = np.argsort(-scores, kind="stable")
    hits = happened[order].cumsum()
    # Rows of equal scores are taken at once: at the last of them.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / hits[-1])
