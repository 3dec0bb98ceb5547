"""Prepares a model's card for its page; every entry of the card is optional."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from model_kit.scoring.about import context
from model_kit.scoring.protocol import Model
from model_kit.spec import InputSpec, Target

from ml_api.views import formatting, performance
from ml_api.views.form import importance
from ml_api.views.responses import links

#: Maximum number of fields in the chart of importances.
N_BARS = 20
#: Labels of an axis, both ends included.
N_TICKS = 4
#: Texts of the card that are shown as a list, in this order.
_PROSE = ("place", "period", "source", "licence", "contact")
#: Default subject of a target.
_NO_SUBJECT = Target("").subject


def _extent(fields: int, required: int) -> str:
    """How many fields there are, and how many of them are required."""
    if fields == 1:
        return "1 field"
    return f"{fields} fields, {'all' if required == fields else required or 'none'} of them required"


def describe(name: str, model: Model) -> dict[str, Any]:
    """Return what the templates show of ``model``: texts, and tables as rows of texts.

    ``noun`` is what one record is ("ride"), ``subject`` the same with its article, ``heading`` what is predicted ("Fare
    of a ride"; "Predicted fare" if the target names no subject; of classes the card's title, if it has one), ``extent``
    how many fields there are, ``context`` of when and where it is.
    """
    spec, card = model.spec, model.card
    noun = spec.target.subject
    title, subject = formatting.title(spec.target.name), formatting.article(noun)
    columns, rows = (_set_coverage if spec.target.is_class else _coverage)(card.get("coverage"), spec.target)
    heading = f"Predicted {formatting.phrase(spec.target.name)}" if noun == _NO_SUBJECT else f"{title} of {subject}"
    about = card.get("about") or {}
    if spec.target.is_class:
        heading = about.get("title") or heading
    return {
        "name": name,
        "version": model.version,
        "noun": noun,
        "subject": subject,
        "heading": heading,
        "extent": _extent(len(spec.fields), len(spec.required)),
        "card_title": about.get("title") or heading,
        "purpose": about.get("purpose", ""),
        "context": context(card, spec.target),
        "prose": [(name.capitalize(), about[name]) for name in _PROSE if about.get(name)],
        "limits": about.get("limits") or (),
        **performance.describe(card, spec.target),
        "title": title,
        "target": spec.target,
        "synthetic": bool((card.get("data") or {}).get("synthetic")),
        "evaluated": bool(card.get("evaluated")),
        "scores": tuple(_scores(card.get("metrics") or {}, spec.target)),
        "coverage_columns": columns,
        "coverage": rows,
        "error_columns": (
            "Rows",
            ", ".join(filter(None, ("Mean absolute error", spec.target.unit))),
            "Median error" if spec.target.scale == "log" else "RMSE",
            "Too high or low",
        ),
        "errors": tuple(_errors(spec, card)),
        "importance": _bars(spec, card),
        **_of_classes(card, spec.target),
        "facts": _facts(model),
        "spec": spec,
        "links": links(name),
        "intervals": bool(card.get("intervals") or card.get("sets")),
    }


def _of_classes(card: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return what there is of classes only, ``None`` of a number, and the other way round."""
    found = card.get("target_distribution")
    if not target.is_class:
        return {"distribution": _distribution(found, target)}
    classes = card.get("classes") or {}
    shares = (found or {}).get("classes") or {}
    most = max(shares.values(), default=1) or 1
    return {
        "classes": target.keys,
        "distribution": None,
        "shares": [
            {"name": name, "share": formatting.percent(share, 1), "width": round(100 * share / most, 1)}
            for name, share in shares.items()
        ],
        "reliability": _reliability(card.get("reliability"), target),
        "confusion": classes and _confusion(classes, target),
        "thresholds": card.get("thresholds") and _thresholds(card["thresholds"], target),
    }


def _reliability(found: Mapping[str, Any] | None, target: Target) -> dict[str, Any] | None:
    if not found or not found["bins"]:
        return None
    most = max(one["n"] for one in found["bins"])
    dots = [
        (
            round(100 * one["predicted"], 1),
            round(100 - 100 * one["observed"], 1),
            round(1 + 3 * (one["n"] / most) ** 0.5, 1),
        )
        for one in found["bins"]
    ]
    what = target.keys[target.positive_position] if len(target.classes) == 2 else "the predicted class"
    return {"dots": dots, "what": what, "error": formatting.percent(found["error"], 1)}


def _confusion(found: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return the confusion matrix with each class's precision and recall; rows are those of one repeat."""
    n_repeats = found["repeats"]
    rows = [
        (
            one["name"],
            *(formatting.number(round(n / n_repeats)) for n in counts),
            *("–" if one[name] is None else formatting.percent(one[name], 1) for name in ("precision", "recall")),
        )
        for one, counts in zip(found["classes"], found["confusion"], strict=True)
    ]
    return {"columns": (*(f"as {key}" for key in target.keys), "Precision", "Recall"), "rows": rows}


def _thresholds(found: Sequence[Mapping[str, float]], target: Target) -> dict[str, Any]:
    names = ("true_positive", "false_negative", "false_positive", "true_negative")
    rows = [
        (formatting.percent(one["threshold"]), *(formatting.percent(one[name], 1) for name in names)) for one in found
    ]
    at = min(range(len(found)), key=lambda place: abs(found[place]["threshold"] - target.threshold))
    positive = target.keys[target.positive_position]
    return {"rows": rows, "at": at, "positive": positive, "threshold": formatting.percent(target.threshold)}


def _set_coverage(
    table: Mapping[str, Any] | None, target: Target
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Format the coverage of sets: each level, its coverage overall and by class, the mean number of classes."""
    if not table:
        return (), ()
    rows = [
        (
            formatting.percent(row["level"]),
            formatting.percent(row["overall"], 1),
            *(formatting.percent(share, 1) for share in row["classes"]),
            f"{row['size']:.2f}",
        )
        for row in table["levels"]
    ]
    return ("Promised", "Held", *target.keys, "Mean size"), tuple(rows)


def _scores(metrics: Mapping[str, Any], target: Target) -> Sequence[dict[str, str]]:
    scale = f"log {target.name}" if target.scale == "log" else target.name
    known = {
        "mae": (
            "Mean absolute error",
            "; ".join(filter(None, (target.unit, "how far off a prediction is on average"))),
        ),
        "r2": ("R²", f"share of the variance of {scale} that is explained; 1 is perfect"),
        "rmse": ("RMSE", f"of {scale}; 0 is perfect"),
        "accuracy": ("Accuracy", "share of rows whose class is predicted"),
        "roc_auc": ("ROC AUC", "how well the classes are told apart; 0.5 is chance, 1 is perfect"),
        "log_loss": ("Log loss", "of the probabilities; 0 is perfect"),
        "balanced_accuracy": ("Balanced accuracy", "each class counting the same"),
        "average_precision": ("Average precision", "area under precision and recall; 1 is perfect"),
        "brier": ("Brier score", "mean squared error of the probabilities; 0 is perfect"),
        "calibration_error": ("Calibration error", "how far probabilities are from what came true; 0 is perfect"),
        "rmse_core": ("RMSE, core", f"of {scale}, without the few rows known to be unusual"),
    }
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    order = [name for name in known if name in numbers] + [name for name in numbers if name not in known]
    texts = {name: known.get(name, (formatting.title(name), "")) for name in order}
    return [
        {"name": title, "text": text, "value": formatting.number(numbers[name])}
        for name, (title, text) in texts.items()
    ]


def _bars(spec: InputSpec, card: Mapping[str, Any]) -> list[dict[str, Any]]:
    shares = [(name, share) for name, share in importance(spec, card).items() if share > 0][:N_BARS]
    described = {field.name: field.description for field in spec.fields}
    return [
        {
            "name": name,
            "label": described[name],
            "share": formatting.percent(share, 1),
            "width": round(100 * share / shares[0][1], 1),
        }
        for name, share in shares
    ]


def _coverage(table: Mapping[str, Any] | None, target: Target) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Format the coverage table: each level, its coverage overall and by third of the prediction, the mean width.

    The width is relative to the prediction, which has no meaning on the identity scale.
    """
    if not table:
        return (), ()
    thirds = ("Low third", "Middle third", "High third")
    if len(table["edges"]) == 2:
        low, high = map(formatting.number, table["edges"])
        thirds = (f"below {low} {target.unit}".rstrip(), f"{low} to {high}", f"above {high}")
    header = ("Promised", "Held", *thirds)
    relative = target.scale == "log"
    rows = []
    for row in table["levels"]:
        shares = [row["overall"], *row["thirds"], *([row["relative_width"]] if relative else [])]
        cells = ["–" if share is None else formatting.percent(share, 1) for share in shares]
        rows.append((formatting.percent(row["level"]), *cells))
    return (*header, "Mean width") if relative else header, tuple(rows)


def _errors(spec: InputSpec, card: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
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
                _typical_error(group, spec.target),
                _bias(group["bias"], spec.target),
            )
            for group in sorted(found[name], key=lambda group: -_shown_error(group, spec.target))
        ]
        yield {"name": name, "label": fields[name].description, "rows": rows}


def _shown_error(group: Mapping[str, Any], target: Target) -> float:
    """Return the number by which groups are sorted, which their table shows; below all others where there is none."""
    error: float | None = group["relative" if target.scale == "log" else "rmse"]
    return -1.0 if error is None else error


def _typical_error(group: Mapping[str, Any], target: Target) -> str:
    """Format the median relative error on the log scale, the RMSE on the identity scale."""
    if target.scale != "log":
        return formatting.number(group["rmse"])
    return "–" if group["relative"] is None else formatting.percent(group["relative"], 1)


def _bias(bias: float, target: Target) -> str:
    """Format the mean error with its sign: a percentage on the log scale, an amount on the identity scale."""
    text = formatting.percent(abs(math.expm1(bias)), 1) if target.scale == "log" else formatting.number(abs(bias))
    return f"{'−' if bias < 0 else '+'}{text}"


def _distribution(found: Any, target: Target) -> dict[str, Any] | None:
    if not found:
        return None
    edges, shares = found["edges"], found["shares"]
    low, high, highest = edges[0], edges[-1], max(shares)
    steps = [step / (N_TICKS - 1) for step in range(N_TICKS)]
    values = [low * (high / low) ** step if target.scale == "log" else low + (high - low) * step for step in steps]
    heights = tuple(round(share / highest, 4) for share in shares)
    labels = formatting.ticks(values if low < high else [low])
    return {"edges": tuple(edges), "heights": heights, "ticks": labels}


def _facts(model: Model) -> dict[str, dict[str, str]]:
    """Collect the card's plain values by heading, except those that the page displays elsewhere."""
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
            "Served by": _scikit_learn(lineage.get("runtime")),
        },
        "Libraries": dict(card.get("libraries") or {}),
    }
    return {
        heading: texts
        for heading, values in found.items()
        if (texts := {name: _text(value) for name, value in values.items() if _is_plain(value)})
    }


def _scikit_learn(runtime: Mapping[str, Any] | None) -> str | None:
    """What it costs that scikit-learn serves the model; ``None`` where it does not."""
    if not runtime:
        return None
    row, seconds, memory = (runtime[name] for name in ("row_us", "import_seconds", "memory_mb"))
    return f"scikit-learn: {row:,} µs for one row; each worker imports it in {seconds} s and has {memory:,} MB more"


def _moment(text: Any) -> Any:
    """Format a time to the minute; any other value is returned unchanged."""
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
