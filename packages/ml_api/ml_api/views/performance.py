"""Prepares for the card's page how far predictions are from the truth: a verdict, a table of thirds, two charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_kit.scoring.summary import skill, verdict
from model_kit.spec import Target, class_key

from ml_api.views import formatting

#: Labels of an axis, both ends included.
N_TICKS = 4
#: Opacity of a cell with the fewest rows for its area, and what the most adds to it.
FAINTEST, REST = 0.12, 0.88


def describe(card: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return ``verdict``, ``thirds`` (columns and rows of texts) and ``charts``; each empty where nothing is known."""
    found = card.get("performance")
    if not found:
        return {"verdict": "", "thirds": None, "charts": ()}
    table = _class_table if target.is_class else _number_table
    return {"verdict": verdict(card, target), "thirds": table(found, target), "charts": tuple(_charts(found, target))}


def _number_table(found: Mapping[str, Any], target: Target) -> dict[str, Any]:
    unit = f", {target.unit}" if target.unit else ""
    is_relative = found["overall"]["relative"] is not None
    rows = [
        (
            name,
            formatting.number(errors["rows"]),
            *([formatting.percent(errors["relative"], 1)] if is_relative else []),
            formatting.number(errors["mae"]),
            formatting.number(errors["guess_mae"]),
            _skill(errors, target),
        )
        for name, errors in _named(found, lambda edge: f"{formatting.number(edge)} {target.unit}".rstrip())
    ]
    per_cent = ["Half are within"] if is_relative else []
    return {
        "columns": ("Predictions", "Rows", *per_cent, f"Mean error{unit}", "If guessed", "Better by"),
        "rows": rows,
        "guess": f"{formatting.number(found['guess'])} {target.unit}".rstrip(),
        "what": "the median of the training data",
    }


def _class_table(found: Mapping[str, Any], target: Target) -> dict[str, Any]:
    rows = [
        (
            name,
            formatting.number(errors["rows"]),
            formatting.percent(errors["probability"], 1),
            formatting.percent(errors["accuracy"], 1),
            formatting.percent(errors["guess_accuracy"], 1),
            _skill(errors, target),
        )
        for name, errors in _named(found, lambda edge: formatting.percent(edge, 1))
    ]
    return {
        "columns": ("How sure it is", "Rows", "Says", "Is right", "If guessed", "Fewer errors by"),
        "rows": rows,
        "guess": class_key(found["guess"]),
        "what": "the most frequent class",
    }


def _named(found: Mapping[str, Any], write: Callable[[float], str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the errors of all rows and of each third, with their names."""
    named = [("All", found["overall"])]
    if len(found["thirds"]) == 3:
        low, high = map(write, found["edges"])
        names = (f"Lowest third, below {low}", f"Middle third, to {high}", f"Highest third, above {high}")
        named += zip(names, found["thirds"], strict=True)
    return named


def _skill(errors: Mapping[str, Any], target: Target) -> str:
    share = skill(errors, target)
    return f"{'−' if share < 0 else ''}{formatting.percent(abs(share))}"


def _charts(found: Mapping[str, Any], target: Target) -> list[dict[str, Any]]:
    log, name = target.scale == "log", formatting.phrase(target.name)
    unit = f", {target.unit}" if target.unit else ""
    logarithmic = ", on a logarithmic axis"
    charts = []
    for key, scale, title, upwards in (
        ("true", log, "Predicted and true", f"the true {name}{unit}"),
        ("error", False, "How far off", "the error in per cent" if log else f"the error{unit}"),
    ):
        histogram = found.get(key)
        if not histogram or not any(sum(column["counts"]) for column in histogram["columns"]):
            continue
        across = histogram["edges"]
        edges = [edge for column in histogram["columns"] for edge in column["edges"]]
        ends = (across[0], across[-1]) if key == "true" else (-max(map(abs, edges)), max(map(abs, edges)))
        x, y = _axis(across[0], across[-1], log=log), _axis(*ends, log=scale)
        said = formatting.percent if key == "error" and log else formatting.number
        charts.append(
            {
                "title": title,
                "cells": _cells(histogram, x, y),
                "line": "M0 100L100 0" if key == "true" else "M0 50H100",
                "x": formatting.ticks(_steps(across[0], across[-1], log=log)),
                "y": [_signed(value, said) for value in (-ends[1], -ends[1] / 2, 0, ends[1] / 2, ends[1])]
                if key == "error"
                else list(formatting.ticks(_steps(*ends, log=log))),
                "text": f"To the right the prediction{unit}{logarithmic if log else ''}; upwards {upwards}"
                f"{logarithmic if scale else ''}. On the dashed line a prediction is right; the darker, the more rows.",
            }
        )
    return charts


def _cells(
    histogram: Mapping[str, Any], x: Callable[[float], float], y: Callable[[float], float]
) -> list[dict[str, float]]:
    """Return rectangles in a box of 100 by 100, y downwards, with the density of rows as opacity."""
    found = []
    for left, right, column in zip(histogram["edges"], histogram["edges"][1:], histogram["columns"], strict=False):
        for low, high, count in zip(column["edges"], column["edges"][1:], column["counts"], strict=False):
            width, height = x(right) - x(left), y(high) - y(low)
            if count and width > 0 and height > 0:
                found.append((x(left), 100 - y(high), width, height, count / (width * height)))
    densest = max((density for *_, density in found), default=1.0)
    return [
        {
            "x": round(left, 2),
            "y": round(top, 2),
            "width": round(width, 2),
            "height": round(height, 2),
            "opacity": round(FAINTEST + REST * math.sqrt(density / densest), 2),
        }
        for left, top, width, height, density in found
    ]


def _axis(low: float, high: float, *, log: bool) -> Callable[[float], float]:
    """Return a function from a value to its position, 0 to 100."""
    on = math.log if log else float
    start, span = on(low), on(high) - on(low)
    return lambda value: min(100.0, max(0.0, 100 * (on(value) - start) / span))


def _steps(low: float, high: float, *, log: bool) -> Sequence[float]:
    shares = [step / (N_TICKS - 1) for step in range(N_TICKS)]
    return [low * (high / low) ** share if log else low + (high - low) * share for share in shares]


def _signed(value: float, write: Callable[[float], str]) -> str:
    return f"{'−' if value < 0 else '+' if value > 0 else ''}{write(abs(value))}"
