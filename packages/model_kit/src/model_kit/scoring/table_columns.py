"""Predictions as plain columns of a table: prediction, error, and where asked for range, reasons, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from model_kit.records.row_warnings import RowWarning, number
from model_kit.records.validation import in_words
from model_kit.scoring.explanation import Contribution, Explanation
from model_kit.scoring.predictor import Answer, DetailedAnswer
from model_kit.spec import Target, class_key

#: What a column holds.
ColumnKind: TypeAlias = Literal["number", "integer", "boolean", "text"]
#: Name of a column that is added to a table -> what it holds, in order.
Added: TypeAlias = dict[str, ColumnKind]
#: What an added column has for a row.
Cell: TypeAlias = "float | str | None"

PREDICTION: Final = "prediction"
ERROR: Final = "error"
#: Contributions to a prediction that a table has columns for.
MOST_CONTRIBUTIONS: Final = 50
#: What stands between two warnings, or the classes of a set; neither codes nor words have it.
BETWEEN: Final = " | "


class DetailOptions(NamedTuple):
    """What is asked for beside predictions.

    Attributes:
        interval: level of the range; ``None`` for none.
        explain: how many contributions; ``None`` for none.
        warnings: whether there are to be warnings.
        probabilities: whether there is to be the probability of each class.
        of_class: the class, as text, whose probability is explained; ``None`` for the predicted one.
    """

    interval: float | None = None
    explain: int | None = None
    warnings: bool = False
    probabilities: bool = False
    of_class: str | None = None

    def columns(self, target: Target) -> Added:
        """The columns beside prediction and error, in order; nothing if nothing is asked for."""
        columns: Added = {}
        if self.probabilities:
            columns |= {f"probability_{key}": "number" for key in target.keys}
        if self.interval is not None and target.is_class:
            columns[f"{PREDICTION}_set"] = "text"
        elif self.interval is not None:
            columns |= {f"{PREDICTION}_low": "number", f"{PREDICTION}_high": "number"}
        if self.explain is not None:
            sizes = _sizes(target)
            columns["explain_baseline"] = "number"
            for place in range(1, self.explain + 1):
                columns |= {f"explain_{place}_field": "text", f"explain_{place}_value": "text"}
                columns |= {f"explain_{place}_{size}": "number" for size in sizes}
            columns |= {f"explain_rest_{size}": "number" for size in sizes}
        if self.warnings:
            columns["warnings"] = "text"
        return columns


NO_DETAILS: Final = DetailOptions()


def clashing(names: Sequence[str], target: Target) -> list[str]:
    """Those of some columns of a table that have the name of one which a prediction with all details adds."""
    everything = DetailOptions(0.5, MOST_CONTRIBUTIONS, warnings=True, probabilities=target.is_class)
    added = {PREDICTION, ERROR, *everything.columns(target)}
    return [name for name in names if name in added]


def prediction_columns(target: Target, options: DetailOptions = NO_DETAILS) -> Added:
    """All columns that an answer has in a table, in order."""
    return {PREDICTION: kind_of(target), ERROR: "text", **options.columns(target)}


def kind_of(target: Target) -> ColumnKind:
    """The type of the column of predictions."""
    if not target.is_class:
        return "number"
    first = target.classes[0]
    return "boolean" if isinstance(first, bool) else "integer" if isinstance(first, int) else "text"


def iter_cells(
    answer: Answer, target: Target, options: DetailOptions = NO_DETAILS, faults: Mapping[int, str] | None = None
) -> Iterator[tuple[Cell, ...]]:
    """Return the cells of :func:`prediction_columns` for each row.

    Args:
        answer: with the details of ``options``.
        target: of the model.
        options: what was asked for.
        faults: position of a row that could not even be read -> why.
    """
    sizes = _sizes(target)
    n_cells = len(options.columns(target))
    for position, prediction in enumerate(answer.predictions):
        error = (faults and faults.get(position)) or in_words(answer.errors.get(position, {}))
        if error:
            yield None, error, *(None,) * n_cells
            continue
        cells: list[Cell] = [prediction, None]
        if isinstance(answer, DetailedAnswer):
            cells += _details(answer, position, target, options.explain, sizes)
        yield tuple(cells)


def _details(
    answer: DetailedAnswer, position: int, target: Target, n_explained: int | None, sizes: Sequence[str]
) -> Iterator[Cell]:
    if answer.probabilities is not None:
        yield from (answer.probabilities[position] or {}).values()
    if answer.intervals is not None and target.is_class:
        yield BETWEEN.join(map(_key, answer.intervals[position] or ()))
    elif answer.intervals is not None:
        yield from answer.intervals[position] or ()
    if n_explained is not None and answer.explanations is not None:
        yield from _explained(answer.explanations[position], n_explained, sizes)
    if answer.warnings is not None:
        yield _worded(answer.warnings[position] or [])


def _key(value: Any) -> str:
    return class_key(value)


def _sizes(target: Target) -> tuple[str, ...]:
    if target.is_class:
        return ("effect", "amount")
    return ("percent", "amount") if target.scale == "log" else ("amount",)


def _explained(explanation: Explanation | None, n_asked: int, sizes: Sequence[str]) -> list[Cell]:
    n_each = 2 + len(sizes)
    if explanation is None:
        return [None] * (1 + n_each * n_asked + len(sizes))
    cells: list[Cell] = [explanation.baseline.prediction]
    for one in explanation.contributions:
        cells += [one.field, _sent(one), *(getattr(one, size) for size in sizes)]
    cells += [None] * (n_each * (n_asked - len(explanation.contributions)))
    return cells + [getattr(explanation.rest, size) for size in sizes]


def _sent(one: Contribution) -> str | None:
    """What was sent, in words: "856", or with the rest of a group "1710 (1stFlrSF 856, 2ndFlrSF 854)"."""
    value = _value(one.value)
    if one.together is None:
        return value
    others = ", ".join(f"{name} {_value(other) or 'not given'}" for name, other in one.together.items())
    return f"{value or 'not given'} ({others})"


def _value(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else number(value)


def _worded(warnings: Sequence[RowWarning]) -> str | None:
    return BETWEEN.join(f"{warning['code']}: {warning['message']}" for warning in warnings) or None
