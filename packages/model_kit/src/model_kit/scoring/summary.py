"""How good a model is, in sentences written from the numbers of its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from model_kit.spec import Target, class_key

#: Share of a naive guess's error that a model avoids -> what that is called; the first that is reached.
_GRADES: Final = ((0.7, "Much better than a guess"), (0.4, "Clearly better than a guess"), (0.1, "Better than a guess"))
#: From here on the probabilities tell rows of two classes apart although the predicted class hardly says more than the
#: most frequent one.
_RANKS_WELL: Final = 0.7
_THIRDS: Final = ("lowest", "middle", "highest")


def verdict(card: Mapping[str, Any], target: Target) -> str:
    """How far predictions are from the truth, what a guess would have been, and where they are weakest.

    Returns:
        One sentence or two; empty for a card without ``performance``, of a model that was not cross-validated or is of
        an older version.
    """
    found = card.get("performance")
    if not found:
        return ""
    return _of_class(found, card, target) if target.is_class else _of_number(found, target)


def skill(errors: Mapping[str, Any], target: Target) -> float:
    """Share of the naive guess's error that the model avoids; 0 is as good as the guess, less is worse.

    Args:
        errors: ``overall`` or one of the ``thirds`` of the card's ``performance``.
        target: what is predicted.
    """
    if target.is_class:
        wrong, naive = 1 - errors["accuracy"], 1 - errors["guess_accuracy"]
    else:
        wrong, naive = errors["mae"], errors["guess_mae"]
    return 1 - wrong / naive if naive else 0.0


def _of_number(found: Mapping[str, Any], target: Target) -> str:
    overall, guess = found["overall"], _amount(found["guess"], target)
    off, better = _amount(overall["mae"], target), skill(overall, target)
    within = overall["relative"]
    half = "" if within is None else f"half of the predictions are within {_percent(within)} of what was true, and "
    if better <= 0:
        naive = _amount(overall["guess_mae"], target)
        return (
            f"No better than a guess: {half}they are off by {off} on average; predicting {guess} for every "
            f"{target.subject} would be off by {naive}."
        )
    text = (
        f"{_grade(better)}: {half}they are off by {off} on average, {_percent(better)} less than if {guess} were "
        f"predicted for every {target.subject}."
    )
    thirds, edges = found["thirds"], found["edges"]
    measure = "mae" if within is None else "relative"
    if len(thirds) < 3 or max(one[measure] for one in thirds) <= 1.1 * overall[measure]:
        return text
    weakest = max(range(3), key=lambda position: thirds[position][measure])
    low, high = (_amount(edge, target) for edge in edges)
    where = (f"below {low}", f"from {low} to {high}", f"above {high}")[weakest]
    value = thirds[weakest][measure]
    missed = f"off by {_amount(value, target)} on average" if within is None else f"off by more than {_percent(value)}"
    part = "they are" if within is None else "half of these are"
    return f"{text} It is weakest in the {_THIRDS[weakest]} third of its predictions, {where}: {part} {missed}."


def _of_class(found: Mapping[str, Any], card: Mapping[str, Any], target: Target) -> str:
    overall, guess = found["overall"], class_key(found["guess"])
    better, area = skill(overall, target), (card.get("metrics") or {}).get("roc_auc")
    naive = _percent(overall["guess_accuracy"])
    right = (
        f"it is right about {_percent(overall['accuracy'])} of the rows; {guess} for every {target.subject} would be "
        f"right about {naive}"
    )
    if better < _GRADES[-1][0] and area and area >= _RANKS_WELL:
        return (
            f"Its probabilities say more than its class: {right}. They tell the classes apart with a ROC AUC of "
            f"{area:.2f}, where 0.5 is chance."
        )
    text = f"{_grade(better)}: {right}."
    if len(found["thirds"]) < 3:
        return text
    least = found["thirds"][0]
    return f"{text} Of the third that it is least sure of, {_percent(least['accuracy'])} are right."


def _grade(better: float) -> str:
    return next((words for least, words in _GRADES if better >= least), "Hardly better than a guess")


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if 10 <= percent <= 99 or share in (0, 1) else f"{percent:.1f} %"


def _amount(value: float, target: Target) -> str:
    """Three significant digits, and all before the point, with the unit."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {target.unit}".rstrip()
