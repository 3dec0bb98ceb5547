"""Errors of predictions whose outcome is known, by version and group, with the coverage of their ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import Select, select

from ml_api.html_report import render
from ml_api.prediction_log.database import Database
from ml_api.prediction_log.retention import since, stream
from ml_api.prediction_log.schema import outcomes, predictions

#: A table for people: title, heads, rows.
TableText: TypeAlias = tuple[str, list[str], list[list[str]]]
#: Said of a report without predictions.
EMPTY = "No prediction is in the log."
#: Rows of a group below which its figures are marked, as in a model's card.
FEW = 20
#: Groups that a table shows, the worst first; JSON has all.
SHOWN = 20
#: Normal quantile of the interval of a coverage (95 %).
_Z = 1.96
#: A probability of 0 counts as this in the log loss.
SMALLEST = 1e-15


@dataclass
class Figures:
    """Figures of some predictions; those of errors are about the rows with an outcome, and ``None`` without any.

    Attributes:
        predictions: rows with a prediction.
        errors: rows without one.
        outcomes: rows with a prediction and an outcome.
        mae: mean absolute error, in the target's unit.
        rmse: root of the mean squared error.
        bias: mean of prediction - outcome.
        accuracy: fraction of rows whose class is predicted.
        log_loss: mean negative logarithm of the true class's probability.
        brier: mean over rows of the sum over classes of (probability - outcome) squared; of two classes of the second.
        ranged: rows with an outcome and a range (an interval, or a set of classes).
        coverage: fraction of these whose outcome is within.
        coverage_low: lower end of its 95 % interval (Wilson).
        coverage_high: upper end.
        level: the coverage that was promised.
    """

    predictions: int = 0
    errors: int = 0
    outcomes: int = 0
    mae: float | None = None
    rmse: float | None = None
    bias: float | None = None
    accuracy: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    ranged: int = 0
    coverage: float | None = None
    coverage_low: float | None = None
    coverage_high: float | None = None
    level: float | None = None


@dataclass
class _Sums:
    """What is summed over rows, of which figures are made."""

    figures: Figures = field(default_factory=Figures)
    absolute: float = 0.0
    squared: float = 0.0
    signed: float = 0.0
    right: int = 0
    log_loss: float = 0.0
    brier: float = 0.0
    within: int = 0

    def add(self, prediction: float | None, detail: dict[str, Any], outcome: Any) -> None:
        """Add a row; ``outcome`` is ``None`` if it is not known."""
        figures = self.figures
        if prediction is None and "class" not in detail:
            figures.errors += 1
            return
        figures.predictions += 1
        if outcome is None:
            return
        figures.outcomes += 1
        if prediction is not None:
            error = prediction - outcome
            self.absolute += abs(error)
            self.squared += error * error
            self.signed += error
        else:
            self._add_class(detail, outcome)
        plausible = detail.get("interval") or detail.get("set")
        if plausible is not None:
            figures.ranged += 1
            figures.level = detail["level"]
            is_within = plausible[0] <= outcome <= plausible[1] if "interval" in detail else outcome in plausible
            self.within += is_within

    def _add_class(self, detail: dict[str, Any], outcome: Any) -> None:
        probabilities: dict[str, float] = detail["probabilities"]
        true = outcome if isinstance(outcome, str) else json.dumps(outcome)
        self.right += detail["class"] == outcome
        self.log_loss -= math.log(max(probabilities[true], SMALLEST))
        squares = [(probability - (name == true)) ** 2 for name, probability in probabilities.items()]
        self.brier += squares[-1] if len(squares) == 2 else sum(squares)

    def made(self, *, is_class: bool) -> Figures:
        """Return the figures."""
        figures, n = self.figures, self.figures.outcomes
        if n and is_class:
            figures.accuracy, figures.log_loss, figures.brier = self.right / n, self.log_loss / n, self.brier / n
        elif n:
            means = self.absolute / n, (self.squared / n) ** 0.5, self.signed / n
            figures.mae, figures.rmse, figures.bias = map(finite, means)
        if figures.ranged:
            figures.coverage = self.within / figures.ranged
            figures.coverage_low, figures.coverage_high = wilson(self.within, figures.ranged)
        return figures


def finite(value: float) -> float | None:
    """Return a number as JSON has it, which has no infinity."""
    return value if math.isfinite(value) else None


def wilson(hits: int, n: int, z: float = _Z) -> tuple[float, float]:
    """Return the interval of a proportion (Wilson, 1927), by default that of 95 %."""
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def report(
    database: Database, start: datetime | None, model: str | None = None, by: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute the report of the predictions from a time on.

    Args:
        database: of the log.
        start: ``None``: all.
        model: ``None``: all.
        by: fields whose groups are told apart; inputs must be logged for that.

    Returns:
        JSON values: ``since``, ``until``, and ``versions``, each with ``model``, ``version``, ``is_class``, its
        :class:`Figures` and ``by``: field -> its groups with ``value`` and figures, the largest error first.
    """
    columns = predictions.c
    query: Select[Any] = select(columns.model, columns.version, columns.prediction, columns.detail, outcomes.c.value)
    if by:
        query = query.add_columns(columns.inputs)
    query = since(query, start, model)
    versions: dict[tuple[str, str], _Sums] = {}
    groups: dict[tuple[str, str, str, str | None], _Sums] = {}
    classes: dict[tuple[str, str], bool] = {}
    for row in stream(database, query.select_from(predictions.outerjoin(outcomes)).order_by(*predictions.primary_key)):
        detail = json.loads(row.detail) if row.detail else {}
        outcome = None if row.value is None else json.loads(row.value)
        version = row.model, row.version
        classes[version] = classes.get(version, False) or "class" in detail
        inputs = json.loads(row.inputs) if by and row.inputs else {}
        sums = [versions.setdefault(version, _Sums())]
        for name in by:
            value = inputs.get(name)
            label = value if value is None or isinstance(value, str) else json.dumps(value)
            sums.append(groups.setdefault((*version, name, label), _Sums()))
        for one in sums:
            one.add(row.prediction, detail, outcome)
    found = [
        {"model": version[0], "version": version[1], "is_class": classes[version]}
        | asdict(sums.made(is_class=classes[version]))
        | {"by": {name: _groups(groups, version, name, is_class=classes[version]) for name in by}}
        for version, sums in sorted(versions.items())
    ]
    return {"since": start and utc(start), "until": utc(datetime.now(UTC)), "versions": found}


def _groups(
    groups: dict[tuple[str, str, str, str | None], _Sums], version: tuple[str, str], name: str, *, is_class: bool
) -> list[dict[str, Any]]:
    found = [
        {"value": value} | asdict(sums.made(is_class=is_class))
        for (*of, field_name, value), sums in groups.items()
        if (*of,) == version and field_name == name
    ]
    measure = "log_loss" if is_class else "rmse"
    return sorted(found, key=lambda group: (-(group[measure] or 0), group["value"] or ""))


def utc(moment: datetime) -> str:
    """Format a time in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def tables(document: dict[str, Any]) -> Iterator[TableText]:
    """Return the report as tables: title, heads, rows."""
    for is_class in (False, True):
        chosen = [one for one in document["versions"] if one["is_class"] == is_class]
        measures = ["accuracy", "log_loss", "brier"] if is_class else ["mae", "rmse", "bias"]
        heads = ["predictions", "errors", "outcomes", *(name.replace("_", " ") for name in measures), "coverage"]
        if chosen:
            rows = [[one["model"], one["version"], *_cells(one, measures)] for one in chosen]
            yield "Classes" if is_class else "Numbers", ["model", "version", *heads], rows
        for one in chosen:
            for name, groups in one["by"].items():
                rows = [["(none)" if g["value"] is None else g["value"], *_cells(g, measures)] for g in groups[:SHOWN]]
                more = f" (the worst {SHOWN} of {len(groups)})" if len(groups) > SHOWN else ""
                yield f"{one['model']} {one['version']} by {name}{more}", [name, *heads], rows


def _cells(figures: dict[str, Any], measures: Sequence[str]) -> list[str]:
    few = " *" if 0 < figures["outcomes"] < FEW else ""
    coverage = ""
    if figures["coverage"] is not None:
        ends = f"{figures['coverage_low']:.1%} to {figures['coverage_high']:.1%}"
        coverage = f"{figures['coverage']:.1%} ({ends}) of {figures['level']:.0%}"
    counts = [f"{figures['predictions']:,}", f"{figures['errors']:,}", f"{figures['outcomes']:,}{few}"]
    return [*counts, *(number(figures[name]) for name in measures), coverage]


def number(value: float | None) -> str:
    """Format a figure for people."""
    if value is None:
        return ""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def as_text(document: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    found = list(tables(document))
    return render_text(_heading(document), found, _notes(found), EMPTY)


def as_html(document: dict[str, Any]) -> str:
    """Return the report as one HTML file."""
    found = list(tables(document))
    return render_html("Live errors", _heading(document), found, _notes(found), EMPTY)


def render_text(heading: str, found: Sequence[TableText], notes: Sequence[str], empty: str) -> str:
    """Return tables for a terminal; ``empty`` is said if there are none."""
    lines = [heading, ""]
    for title, heads, rows in found:
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines += [title, *(_line(row, widths) for row in (heads, *rows)), ""]
    if not found:
        lines += [empty, ""]
    return "\n".join([*lines, *notes])


def render_html(title: str, heading: str, found: Sequence[TableText], notes: Sequence[str], empty: str) -> str:
    """Return tables as one HTML file that loads nothing and runs no script; ``empty`` is said if there are none."""
    return render(
        "prediction_log/report.html.jinja", title=title, heading=heading, tables=found, notes=notes, empty=empty
    )


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _heading(document: dict[str, Any]) -> str:
    return f"Predictions from {document['since'] or 'the beginning'} to {document['until']}"


def _notes(found: Sequence[TableText]) -> list[str]:
    is_marked = any(cell.endswith(" *") for _, _, rows in found for row in rows for cell in row)
    return [f"* fewer than {FEW} outcomes"] if is_marked else []
