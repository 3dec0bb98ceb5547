"""How well classes of labelled rows are predicted, as tables: what :mod:`.evaluation` says of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import IntervalError
from model_kit.records.target_classes import ClassReader
from model_kit.records.text import is_null
from model_kit.scoring import class_assessment
from model_kit.scoring.class_assessment import ClassAssessment, ClassGroup, ClassScores
from model_kit.scoring.intervals import REPORTED_LEVELS
from model_kit.scoring.model import BundleModel
from model_kit.scoring.prediction_sets import PredictionSets
from model_kit.spec import Target, class_key

#: Groups that the table shows; JSON has all.
SHOWN: Final = 40
#: Level of the sets whose coverage is told by group.
LEVEL: Final = 0.9


def truth_reader(target: Target) -> Callable[[object], float | str]:
    """What reads a row's class: its position, or what is wrong with it."""
    read = ClassReader(target)

    def truth(value: object) -> float | str:
        if value is None or value != value or (isinstance(value, str) and is_null(value)):  # noqa: PLR0124 - NaN
            return "missing."
        text = class_key(value) if isinstance(value, str | int | bool) else str(value)
        position = read(text)
        return f"None of the classes {', '.join(target.keys)}." if position is None else position

    return truth


def assess(
    truth: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    target: Target,
    card: Mapping[str, Any],
    by: Mapping[str, Sequence[str]],
) -> ClassAssessment:
    """The scores overall, by class and by group, with the coverage of 90 % sets by group."""
    try:
        sets = PredictionSets.from_card(card, target)
        within = sets.members(probabilities, LEVEL)[np.arange(len(truth)), truth]
    except IntervalError:
        within = None
    return class_assessment.assess(truth, probabilities, target, by=by, within=within)


def covered(truth: NDArray[np.int64], probabilities: NDArray[np.float64], model: BundleModel) -> dict[str, Any] | None:
    """How often the class is in its set, as a card has it; ``None`` if the model has no sets."""
    try:
        sets = PredictionSets.from_card(model.card, model.spec.target)
    except IntervalError:
        return None
    levels = []
    for level in REPORTED_LEVELS:
        members = sets.members(probabilities, level)
        within = members[np.arange(len(truth)), truth]
        classes = [
            round(float(within[truth == one].mean()), 4) if (truth == one).any() else None
            for one in range(len(model.spec.target.classes))
        ]
        size = round(float(members.sum(axis=1).mean()), 4)
        levels.append({"level": level, "overall": round(float(within.mean()), 4), "classes": classes, "size": size})
    return {"levels": levels}


def coverage_cells(told: Mapping[str, Any]) -> tuple[str, ...]:
    """A level's row: coverage overall, of the classes that are covered least and most, the mean size of a set."""
    classes = [share for share in told["classes"] if share is not None]
    shares = [f"{share:.1%}" for share in (told["overall"], min(classes), max(classes))]
    return (f"  {told['level']:.0%}", *shares, f"{told['size']:.2f}")


def table(assessment: ClassAssessment, target: Target) -> str:
    """The scores as people read them, without a line end."""
    from model_kit.batch.evaluation import laid_out  # noqa: PLC0415 - which imports this module

    lines: list[tuple[str, ...]] = [
        ("", "rows", "log loss", "ROC AUC", "avg. precision", "Brier", "accuracy", "balanced"),
        ("all", *_cells(assessment.overall)),
    ]
    text = "\n".join(laid_out(lines))
    rows: list[tuple[str, ...]] = [("class", "rows", "predicted", "precision", "recall", "F1")]
    for one in assessment.classes:
        rows.append((one.name, f"{one.n:,}", f"{one.predicted:,}", *map(_share, (one.precision, one.recall, one.f1))))
    text += "\n\n" + "\n".join(laid_out(rows))
    confusion: list[tuple[str, ...]] = [("true \\ predicted", *target.keys)]
    confusion += [(key, *(f"{n:,}" for n in row)) for key, row in zip(target.keys, assessment.confusion, strict=True)]
    text += "\n\n" + "\n".join(laid_out(confusion))
    for name, groups in assessment.by.items():
        text += "\n\n" + "\n".join(laid_out([*_groups(name, groups[:SHOWN], target)]))
        if len(groups) > SHOWN:
            text += f"\n  and {len(groups) - SHOWN:,} more: --json"
        if any(group.few for group in groups[:SHOWN]):
            text += "\n* few rows: says little"
    return text


def _groups(name: str, groups: Sequence[ClassGroup], target: Target) -> Iterator[tuple[str, ...]]:
    two = len(target.classes) == 2
    rates = (f"predicted {target.keys[target.positive_position]}", "false positive", "false negative") if two else ()
    yield (f"by {name}", "rows", "log loss", "accuracy", *rates, "in 90 % set")
    for group in groups:
        told = (group.selection, group.false_positive, group.false_negative) if two else ()
        scores = (f"{group.scores.n:,}", f"{group.scores.log_loss:.4f}", f"{group.scores.accuracy:.1%}")
        yield (f"  {group.name}{' *' if group.few else ''}", *scores, *map(_rate, (*told, group.coverage)))


def _rate(rate: tuple[float, float] | None) -> str:
    return "" if rate is None else f"{rate[0]:.1%} ± {1.96 * rate[1]:.1%}"


def _cells(scores: ClassScores) -> tuple[str, ...]:
    return (
        f"{scores.n:,}",
        f"{scores.log_loss:.4f}",
        "" if scores.roc_auc is None else f"{scores.roc_auc:.4f}",
        "" if scores.average_precision is None else f"{scores.average_precision:.4f}",
        f"{scores.brier:.4f}",
        f"{scores.accuracy:.1%}",
        f"{scores.balanced_accuracy:.1%}",
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
