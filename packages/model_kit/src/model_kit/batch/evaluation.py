"""How well a trained model predicts labelled rows: overall, core, by target and by group."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np

from model_kit.batch import class_evaluation
from model_kit.batch.numbers import is_local
from model_kit.batch.progress import Progress
from model_kit.batch.rows import Batch, Table
from model_kit.batch.scoring import predict_batch
from model_kit.errors import DataError, IntervalError
from model_kit.records.column_summary import ColumnSummary
from model_kit.records.text import is_null, parse_number
from model_kit.scoring.assessment import Assessment, Group, Scores, assess
from model_kit.scoring.class_assessment import ClassAssessment
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.intervals import Intervals, coverage
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import InputSpec, Target
from model_kit.spec.dates import days_to_iso, iso_to_days

MISSING: Final = "(missing)"
#: A number that takes more values than this is grouped by the bins that training learned.
MOST_VALUES: Final = 12
#: Groups that the table shows; JSON has all.
SHOWN: Final = 40
#: What coverages are called, in the order in which they are shown.
COVERAGES: Final[Mapping[str, str]] = {
    "file": "this file, thirds by predicted value",
    "cross_validated": "training data, cross-validated (from the model's card)",
    "nested": "this file as training data, nested cross-validation",
}
#: Rows without a score that are named.
NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be scored.

    Attributes:
        number: its line, or its place in a file without lines.
        identifier: its identifier; empty if it has none.
        reason: what is wrong with it.
    """

    number: int
    identifier: str
    reason: str


@dataclass
class Scored:
    """What became of the rows of a file.

    Attributes:
        summary: what is unusual about the columns.
        truth, predicted: targets of the rows that were scored, in order; of classes positions, and probabilities.
        core: which of them count for the core.
        labels: field -> the group of each of them.
        failures: the other rows.
    """

    summary: ColumnSummary
    truth: list[float] = field(default_factory=list)
    predicted: list[Any] = field(default_factory=list)
    core: list[bool] = field(default_factory=list)
    labels: dict[str, list[Any]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def assess(self, spec: InputSpec, card: Mapping[str, Any] | None = None) -> Assessment | ClassAssessment:
        """The errors; at least one row must have been scored. The card has the sets of classes."""
        by = {name: _named(name, values, spec) for name, values in self.labels.items()}
        if spec.target.is_class:
            return class_evaluation.assess(np.array(self.truth), np.array(self.predicted), spec.target, card or {}, by)
        truth, predicted = np.array(self.truth), np.array(self.predicted)
        return assess(truth, predicted, spec.target, core=np.array(self.core), by=by)


def score(table: Table, definition: ModelDefinition, model: BundleModel, by: Sequence[str]) -> Scored:
    """Score every row of a table that has the target.

    Args:
        table: its rows hold the target, in its unit.
        definition: names the identifier and the rows that are not core.
        model: what scores them.
        by: columns to group by.

    Raises:
        DataError: it lacks the target or a column to group by, or no row can be scored.
    """
    target = model.spec.target
    if table.columns:
        if target.name not in table.columns:
            (found,) = table.lacking([target.name])
            raise DataError(f"{table.name}: lacks the column {found}, which predictions are compared with")
        absent = [name for name in by if name not in table.columns]
        if absent:
            raise DataError(f"{table.name}: lacks the column {', '.join(absent)} to group by")
    predictor = Predictor(model)
    scored = Scored(ColumnSummary(model.spec), labels={name: [] for name in by})
    with Progress("Scoring", table.total) as progress:
        for block in table.blocks():
            batch = table.parse(block)
            table.watch(batch)
            _score(table, batch, definition, predictor, scored)
            table.local_numbers += batch.local_numbers
            progress.show(table.position(), f"{len(scored.truth) + len(scored.failures):,} rows")
    if not scored.truth:
        reason = f"; the first, {_place(scored.failures[0], definition)}" if scored.failures else ""
        hint = "; for numbers with commas, see --decimal and --thousands" if table.local_numbers else ""
        raise DataError(f"{table.name}: no row could be scored{reason}{hint}")
    return scored


def _score(table: Table, batch: Batch, definition: ModelDefinition, predictor: Predictor, scored: Scored) -> None:
    answers = predict_batch(predictor, batch)
    scored.summary.add(answers.encoded, answers.value_of(batch))
    target = table.spec.target
    read = truth_reader(target)
    probabilities = {}
    if target.is_class:
        found = predictor.model.score(answers.encoded) if answers.positions else ()
        probabilities = dict(zip(answers.positions, found, strict=True))
    for row, (prediction, error, *_) in enumerate(answers.rows()):
        entry = batch.entry(row)
        identifier = identifier_text(entry.original.get(definition.identifier or ""))
        value = entry.original.get(target.name)
        truth = read(table.number(value) if isinstance(value, str) and not target.is_class else value)
        if isinstance(truth, str) or prediction is None:
            table.local_numbers += isinstance(value, str) and isinstance(truth, str) and is_local(value)
            faults = [str(error or ""), f"{target.name}: {truth}" if isinstance(truth, str) and not entry.fault else ""]
            scored.failures.append(Failure(entry.number, identifier, "; ".join(filter(None, faults))))
            continue
        scored.truth.append(truth)
        scored.predicted.append(probabilities[row] if target.is_class else float(prediction))
        scored.core.append(identifier not in definition.not_core)
        for name, labels in scored.labels.items():
            record = entry.record if isinstance(entry.record, Mapping) else {}
            labels.append(record[name] if name in record else entry.original.get(name))


def truth_reader(target: Target) -> Callable[[object], float | str]:
    """What reads a row's target: a number, or the position of a class; a text that says what is wrong with it."""
    return class_evaluation.truth_reader(target) if target.is_class else lambda value: _truth(value, target)


def _truth(value: object, target: Target) -> float | str:
    """The target's value, or what is wrong with it."""
    if _is_missing(value):
        return "missing."
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, Decimal):
        number = float(number)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return "Not a finite number."
    return float(number) if number > 0 or target.scale == "identity" else "Must be greater than 0."


def _is_missing(value: object) -> bool:
    if isinstance(value, str):
        return is_null(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def identifier_text(value: object) -> str:
    """An identifier as text; 524.0 is 524."""
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, float) and number.is_integer():
        return str(int(number))
    return "" if value is None else str(value).strip()


def _named(name: str, values: Sequence[Any], spec: InputSpec) -> list[str]:
    """The name of each row's group; a number or date of many values is cut into the bins that training learned."""
    bins = spec.learned[name].bins if name in spec.learned else ()
    date = next((declared for declared in spec.fields if declared.name == name and declared.is_temporal), None)
    if date and bins and len(set(values)) > MOST_VALUES:
        edges = [days_to_iso(date, edge) for edge in bins]
        return [
            _label(value) if _is_missing(value) else _bin_name(bisect_left(bins, iso_to_days(date, value)), edges)
            for value in values
        ]
    numbers = {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    if bins and len(numbers) > MOST_VALUES:
        return [_bin(value, bins) if value in numbers else _label(value) for value in values]
    return [_label(value) for value in values]


def _bin(value: float, bins: Sequence[float]) -> str:
    return _bin_name(bisect_left(bins, value), [f"{edge:g}" for edge in bins])


def _bin_name(position: int, edges: Sequence[str]) -> str:
    if position == 0:
        return f"up to {edges[0]}"
    return f"above {edges[-1]}" if position == len(edges) else f"{edges[position - 1]} to {edges[position]}"


def _label(value: object) -> str:
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _place(failure: Failure, definition: ModelDefinition) -> str:
    identifier = f" ({definition.identifier} {failure.identifier})" if failure.identifier else ""
    return f"row at line {failure.number}{identifier}: {failure.reason}"


def covered(scored: Scored, model: BundleModel, nested: Mapping[str, Any] | None) -> dict[str, Any]:
    """How often the truth lies within the model's ranges, see :func:`model_kit.scoring.intervals.coverage`.

    Args:
        scored: the rows of a file.
        model: gives the ranges.
        nested: what nested cross-validation found, if it was asked for.

    Returns:
        ``file``: of these rows; ``cross_validated``: of those that it was trained on, as its card has it; ``nested``.
        ``None`` for what there is not.
    """
    predicted = np.array(scored.predicted)
    if model.spec.target.is_class:
        of_sets = class_evaluation.covered(np.array(scored.truth), predicted, model)
        return {"file": of_sets, "cross_validated": model.card.get("coverage"), "nested": nested}
    try:
        ranges = Intervals.from_card(model.card, model.spec.target).at_reported_levels(predicted)
        of_file = coverage(np.array(scored.truth), predicted, ranges)
    except IntervalError:
        of_file = None
    return {"file": of_file, "cross_validated": model.card.get("coverage"), "nested": nested}


def document(
    scored: Scored,
    assessment: Assessment | ClassAssessment,
    definition: ModelDefinition,
    model: BundleModel,
    name: str,
    sha256: str | None,
    ranges: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything as JSON has it."""
    target = model.spec.target
    return {
        "model": {
            "name": model.card["model"],
            "version": model.version,
            "artifact_sha256": model.lineage["artifact_sha256"],
            "trained_on": model.card["data"],
            "cross_validated": model.card["metrics"],
        },
        "data": {
            "name": name,
            "sha256": sha256,
            "rows": len(scored.truth) + len(scored.failures),
            "scored": len(scored.truth),
            "failed": len(scored.failures),
            "trained_on_this": sha256 is not None and sha256 == model.card["data"]["sha256"],
        },
        "target": {"name": target.name, "classes": list(target.classes), "threshold": target.threshold}
        if target.is_class
        else {"name": target.name, "unit": target.unit, "scale": target.scale},
        "left_out_of_core": sorted(definition.not_core),
        **assessment.to_dict(),
        "coverage": ranges,
        "columns": scored.summary.to_dict(),
        "failures": [
            {"number": failure.number, "id": failure.identifier or None, "reason": failure.reason}
            for failure in scored.failures
        ],
    }


def coverage_table(ranges: Mapping[str, Any]) -> str:
    """How often ranges hold the truth, as people read it; empty if there are none."""
    lines: list[tuple[str, ...]] = []
    of_classes = any("size" in level for part in ranges.values() for level in (part or {}).get("levels", ()))
    for part, title in COVERAGES.items():
        if ranges[part]:
            lines += [(), (title.partition(", thirds")[0] if of_classes else title,)]
            lines += [
                class_evaluation.coverage_cells(level) if of_classes else _coverage_cells(level)
                for level in ranges[part]["levels"]
            ]
    if not lines:
        return ""
    heading: tuple[str, ...] = ("range", "within", "low third", "middle", "high", "mean width")
    if of_classes:
        heading = ("set", "within", "lowest class", "highest class", "mean size")
    return "\n" + "\n".join(laid_out([heading, *lines[1:]])) + "\n"


def _coverage_cells(told: Mapping[str, Any]) -> tuple[str, ...]:
    shares = ["" if share is None else f"{share:.1%}" for share in (told["overall"], *told["thirds"])]
    width = told["relative_width"]
    return (f"  {told['level']:.0%}", *shares, "" if width is None else f"{width:.1%}")


def table(scored: Scored, assessment: Assessment | ClassAssessment, definition: ModelDefinition) -> str:
    """The scores as people read them."""
    target = definition.target
    if isinstance(assessment, ClassAssessment):
        return _with_failures(class_evaluation.table(assessment, target), scored, definition)
    log = target.scale == "log"
    lines: list[tuple[str, ...]] = [
        (
            "",
            "rows",
            "RMSE (log)" if log else "RMSE",
            "R2",
            ", ".join(filter(None, ("MAE", target.unit))),
            "median error",
            "bias",
        )
    ]
    lines.append(("all", *_cells(assessment.overall, log)))
    if assessment.core and definition.not_core:
        lines.append(
            (
                f"core (without {definition.identifier} {', '.join(sorted(definition.not_core))})",
                *_cells(assessment.core, log),
            )
        )
    lines += _section(f"by {target.name}, thirds", assessment.thirds, log)
    for name, groups in assessment.by.items():
        lines += _section(f"by {name}, the largest error first", groups[:SHOWN], log)
        if len(groups) > SHOWN:
            lines.append((f"  and {len(groups) - SHOWN:,} more: --json",))
    text = "\n".join(laid_out(lines))
    if any(group.few for groups in (assessment.thirds, *assessment.by.values()) for group in groups):
        text += "\n* few rows: says little"
    return _with_failures(text, scored, definition)


def _with_failures(text: str, scored: Scored, definition: ModelDefinition) -> str:
    for failure in scored.failures[:NAMED]:
        text += f"\nnot scored, {_place(failure, definition)}"
    if len(scored.failures) > NAMED:
        text += f"\nnot scored: {len(scored.failures) - NAMED:,} more: --json"
    return f"{text}\n"


def _section(title: str, groups: Sequence[Group], log: bool) -> Iterator[tuple[str, ...]]:
    yield ()
    yield (title,)
    for group in groups:
        yield (f"  {group.name}{' *' if group.few else ''}", *_cells(group.scores, log))


def _cells(scores: Scores, log: bool) -> tuple[str, ...]:
    return (
        f"{scores.n:,}",
        f"{scores.rmse:.4f}" if log else f"{scores.rmse:,.2f}",
        "" if scores.r2 is None else f"{scores.r2:.3f}",
        format_amount(scores.mae),
        "" if scores.relative is None else f"{scores.relative:.1%}",
        f"{math.expm1(scores.bias):+.1%}" if log else f"{scores.bias:+,.2f}",
    )


def format_amount(value: float) -> str:
    """A number in the target's unit with at least four significant digits: 13,349 or 0.04712."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def laid_out(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The first column to the left, numbers to the right; a line of one cell is a title."""
    full = [line for line in lines if len(line) > 1]
    widths = [max(len(line[column]) for line in full) for column in range(len(full[0]))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([line[0].ljust(widths[0]), *cells[1:]] if line else []).rstrip()
