"""From a model's card to what its page tells; every entry of the card may be absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model_kit.scoring.protocol import Model
from model_kit.spec import InputSpec, Target

from ml_api.views import formatting
from ml_api.views.form import importance
from ml_api.views.responses import links

#: Fields whose importance is drawn.
N_BARS = 20
#: Values under an axis, both ends included.
N_TICKS = 4


@dataclass(frozen=True, slots=True)
class Score:
    """One figure of the card: what it is called, what it says, its value."""

    name: str
    text: str
    value: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One field's share of the importance; ``width`` is relative to the strongest, 0 to 100."""

    name: str
    label: str
    share: str
    width: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Histogram of the training targets.

    Attributes:
        edges: in the target's unit, ascending, one more than ``heights``.
        heights: 0 to 1, the highest is 1.
        ticks: a few values to write under it, evenly spaced.
    """

    edges: tuple[float, ...]
    heights: tuple[float, ...]
    ticks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of one field's levels: rows of text, the largest error first."""

    name: str
    label: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class About:
    """What the pages tell of one model.

    Attributes:
        name, version: the model's.
        subject: what one record is, with its article ("a ride").
        noun: the same without it.
        target: what is predicted; ``title`` is its name in words.
        synthetic, evaluated: whether the data are made up, whether the scores are known.
        scores: the card's metrics.
        coverage: rows of text under ``coverage_columns``; empty if the card has none.
        errors: of the levels of a few fields, the strongest first; ``error_columns`` are their columns.
        importance: strongest first.
        distribution: of the training targets, if the card has it.
        facts: heading -> name -> value, the rest of the card and the lineage.
        spec: the table of fields.
        links: where the model can be asked.
        intervals: predictions can come with a range.
    """

    name: str
    version: str
    noun: str
    subject: str
    title: str
    target: Target
    synthetic: bool
    evaluated: bool
    scores: tuple[Score, ...]
    coverage_columns: tuple[str, ...]
    coverage: tuple[tuple[str, ...], ...]
    error_columns: tuple[str, ...]
    errors: tuple[Errors, ...]
    importance: tuple[Bar, ...]
    distribution: Distribution | None
    facts: Mapping[str, Mapping[str, str]]
    spec: InputSpec
    links: Mapping[str, str]
    intervals: bool


def describe(name: str, model: Model) -> About:
    """What the pages tell of ``model``."""
    spec, card = model.spec, model.card
    noun = spec.target.subject
    columns, rows = _coverage(card.get("coverage"), spec.target.unit)
    return About(
        name=name,
        version=model.version,
        noun=noun,
        subject=formatting.article(noun),
        title=formatting.title(spec.target.name),
        target=spec.target,
        synthetic=bool((card.get("data") or {}).get("synthetic")),
        evaluated=bool(card.get("evaluated")),
        scores=tuple(_scores(card.get("metrics") or {}, spec.target)),
        coverage_columns=columns,
        coverage=rows,
        error_columns=("Rows", f"Mean absolute error, {spec.target.unit}", "Median error", "Too high or low"),
        errors=tuple(_errors(spec, card)),
        importance=_bars(spec, card),
        distribution=_distribution(card.get("target_distribution"), spec.target),
        facts=_facts(model),
        spec=spec,
        links=links(name),
        intervals=bool(card.get("intervals")),
    )


def _scores(metrics: Mapping[str, Any], target: Target) -> Sequence[Score]:
    scale = f"log {target.name}" if target.scale == "log" else target.name
    known = {
        "mae": ("Mean absolute error", f"{target.unit}; how far off a prediction is on average"),
        "r2": ("R²", f"share of the variance of {scale} that is explained; 1 is perfect"),
        "rmse": ("RMSE", f"of {scale}; 0 is perfect"),
        "rmse_core": ("RMSE, core", f"of {scale}, without the few rows known to be unusual"),
    }
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    order = [name for name in known if name in numbers] + [name for name in numbers if name not in known]
    return [Score(*known.get(name, (formatting.title(name), "")), formatting.number(numbers[name])) for name in order]


def _bars(spec: InputSpec, card: Mapping[str, Any]) -> tuple[Bar, ...]:
    shares = [(name, share) for name, share in importance(spec, card).items() if share > 0][:N_BARS]
    described = {field.name: field.description for field in spec.fields}
    return tuple(
        Bar(name, described[name], formatting.percent(share, 1), round(100 * share / shares[0][1], 1))
        for name, share in shares
    )


def _coverage(table: Mapping[str, Any] | None, unit: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows: how much each range promises, and holds overall and by third of the prediction."""
    if not table:
        return (), ()
    low, high = map(formatting.number, table["edges"])
    header = ("Promised", "Held", f"below {low} {unit}", f"{low} to {high}", f"above {high}", "Mean width")
    rows = []
    for row in table["levels"]:
        shares = [row["overall"], *row["thirds"], row["relative_width"]]
        told = ["–" if share is None else formatting.percent(share, 1) for share in shares]
        rows.append((formatting.percent(row["level"]), *told))
    return header, tuple(rows)


def _errors(spec: InputSpec, card: Mapping[str, Any]) -> Iterable[Errors]:
    found = card.get("errors") or {}
    fields = {field.name: field for field in spec.fields}
    ranked = [*importance(spec, card), *found]
    for name in sorted((name for name in found if name in fields), key=ranked.index):
        meanings = {level.value: level.meaning for level in fields[name].levels}
        rows = [
            (
                "All others" if group["level"] is None else meanings.get(group["level"]) or group["level"],
                formatting.number(group["n"]),
                formatting.number(group["mae"]),
                "–" if group["relative"] is None else formatting.percent(group["relative"], 1),
                _bias(group["bias"], spec.target),
            )
            for group in found[name]
        ]
        yield Errors(name, fields[name].description, tuple(rows))


def _bias(bias: float, target: Target) -> str:
    """The mean error with its sign: in per cent where the estimator works on the log."""
    told = formatting.percent(abs(math.expm1(bias)), 1) if target.scale == "log" else formatting.number(abs(bias))
    return f"{'−' if bias < 0 else '+'}{told}"


def _distribution(found: Any, target: Target) -> Distribution | None:
    if not found:
        return None
    edges, shares = found["edges"], found["shares"]
    low, high, highest = edges[0], edges[-1], max(shares)
    steps = [step / (N_TICKS - 1) for step in range(N_TICKS)]
    values = [low * (high / low) ** step if target.scale == "log" else low + (high - low) * step for step in steps]
    ticks = tuple(formatting.number(float(f"{value:.3g}")) for value in values)
    return Distribution(tuple(edges), tuple(round(share / highest, 4) for share in shares), ticks)


def _facts(model: Model) -> dict[str, dict[str, str]]:
    """The card's entries that are plain values, heading by heading; what has its own place on the page is left out."""
    card, lineage = model.card, model.lineage
    agreement, graph = card.get("agreement") or {}, card.get("graph") or {}
    data = card.get("data") or {}
    found = {
        "Data": {formatting.title(name): value for name, value in data.items()},
        "Lineage": {
            "Trained": _moment(lineage.get("trained_at")),
            "Git commit": lineage.get("git_commit"),
            "Artefact’s sha256": lineage.get("artifact_sha256"),
        },
        "Export": {
            "Off by at most, training rows": agreement.get("train"),
            "Off by at most, made-up rows": agreement.get("generated"),
            "Nodes of the graph": graph.get("nodes"),
        },
        "Libraries": dict(card.get("libraries") or {}),
    }
    return {
        heading: texts
        for heading, values in found.items()
        if (texts := {name: _text(value) for name, value in values.items() if _is_plain(value)})
    }


def _moment(text: Any) -> Any:
    """A time as people write it, to the minute; what is none as it is."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (TypeError, ValueError):
        return text


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return formatting.number(value, 2)
    return formatting.number(value) if isinstance(value, int) else str(value)
