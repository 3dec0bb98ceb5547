"""Describes one prediction in texts, for the page of a browser without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_kit.records.row_warnings import IMPUTED
from model_kit.records.validation import WHOLE_ROW
from model_kit.spec import InputSpec

from ml_api.views import formatting, plain_words


@dataclass(frozen=True, slots=True)
class Result:
    """One prediction.

    Attributes:
        prediction: with its unit; a dash if there is none.
        trouble: why there is none; else empty.
        range: its range, or the plausible classes; empty if there are none.
        reasons: for each step from the typical record to this one: kind ("up", "down", "total"), label, value, amount.
        warnings: label of a field, and what is said of it.
        faults: field -> what is wrong with it.
    """

    prediction: str
    trouble: str
    range: str
    reasons: tuple[tuple[str, str, str, str], ...]
    warnings: tuple[tuple[str, str], ...]
    faults: Mapping[str, str]


def describe_result(document: Mapping[str, Any], spec: InputSpec) -> Result:
    """Describe the one prediction of a response.

    Args:
        document: body of the response, with ranges or probabilities, an explanation and warnings.
        spec: of the model.
    """
    labels = {field.name: formatting.lead(field.description)[0] for field in spec.fields}
    faults = {name: plain_words.fault(found) for name, found in (document["errors"] or {}).get("0", {}).items()}
    (prediction,) = document["predictions"]
    if prediction is None:
        told = [f"{labels[name]}: {text}" if name in labels else text for name, text in faults.items()]
        faults.pop(WHOLE_ROW, None)
        return Result("–", " ".join(told), "", (), (), faults)
    target = spec.target
    shown = str(prediction) if target.is_class else formatting.amount(prediction, target.unit)
    if target.is_class:
        shown += f", {formatting.percent(document['probabilities'][0][str(prediction)], 1)}"
    warnings = tuple(
        (labels[found["field"]], plain_words.warning(found["field"], found["message"]))
        for found in document["warnings"][0]
        if found["code"] != IMPUTED
    )
    reasons = tuple(_reasons(document["explanations"][0], spec, labels))
    return Result(shown, "", _range(document.get("intervals"), spec), reasons, warnings, faults)


def _range(intervals: Any, spec: InputSpec) -> str:
    if not intervals or intervals[0] is None:
        return ""
    if spec.target.is_class:
        return " or ".join(map(str, intervals[0]))
    low, high = (formatting.amount(end, spec.target.unit) for end in intervals[0])
    return f"{low.removesuffix(f' {spec.target.unit}')} to {high}"


def _reasons(explanation: Any, spec: InputSpec, labels: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    if explanation is None:
        return []
    unit, is_class = spec.target.unit, spec.target.is_class

    def write(value: float) -> str:
        return formatting.percent(value, 1) if is_class else formatting.amount(value, unit)

    def step(label: str, value: str, found: Mapping[str, Any]) -> tuple[str, str, str, str]:
        amount = found["amount"]
        return "down" if amount < 0 else "up", label, value, ("−" if amount < 0 else "+") + write(abs(amount))

    baseline, rest = explanation["baseline"], explanation["rest"]
    name = baseline["name"]
    found = [("total", name[:1].upper() + name[1:], "", write(baseline["prediction"]))]
    found += [step(labels[one["field"]], formatting.plain(one["value"]), one) for one in explanation["contributions"]]
    if rest["fields"]:
        found.append(step(f"{rest['fields']} other field{'s' if rest['fields'] > 1 else ''}", "", rest))
    return found
