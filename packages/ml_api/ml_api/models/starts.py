"""Records to start from, beside the typical one: the same with its strongest fields low or high.

They are made of the spec's quantiles and levels, so that none is a row of the training data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_kit.scoring.predictor import Predictor
from model_kit.spec import RARE, Field, Learned, Value
from model_kit.spec.dates import days_to_iso

#: Levels of one category that are tried.
MAX_LEVELS = 60
LOW, HIGH = "Low end", "High end"


def starts(predictor: Predictor, strongest: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name -> what differs from the golden row, of records that the model predicts lower and higher.

    Nothing is changed that would contradict another field, but for numbers that belong together, such as a sum and its
    parts: whoever shows the record shares the sum out among them.

    Args:
        predictor: the model.
        strongest: the fields to change, strongest first.
    """
    spec = predictor.model.spec
    typical = dict(predictor.model.golden["row"])
    fields = {field.name: field for field in spec.fields}
    tried = [(name, value) for name in strongest for value in _values(fields[name], spec.learned[name])]
    middle, *predictions = predictor([typical, *(typical | {name: value} for name, value in tried)]).predictions
    if middle is None:
        return {}
    found: dict[str, dict[str, Any]] = {LOW: {}, HIGH: {}}
    allowed = _contradictions(predictor, typical)
    for start, sign in ((LOW, -1), (HIGH, 1)):
        for field in strongest:
            better = {
                value: sign * (prediction - middle)
                for (name, value), prediction in zip(tried, predictions, strict=True)
                if name == field and prediction is not None
            }
            for value in sorted(better, key=better.__getitem__, reverse=True):
                if better[value] <= 0:
                    break
                if _contradictions(predictor, typical | found[start] | {field: value}) <= allowed:
                    found[start][field] = value
                    break
    return {start: changes for start, changes in found.items() if changes}


def _contradictions(predictor: Predictor, record: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """The fields of each contradiction in a record, but for those among numbers that belong together."""
    answer = predictor.detailed([record], warnings=True)
    warnings = [warning for of_row in answer.warnings or () for warning in of_row or ()]
    spec = predictor.model.spec
    numbers = {field.name for field in spec.fields if field.is_number}
    groups = [numbers & set(group) for group in spec.together]
    about = {tuple(warning["fields"]) for warning in warnings if len(warning["fields"]) > 1}
    return {fields for fields in about if not any(set(fields) <= group for group in groups)}


def _values(field: Field, learned: Learned) -> Iterable[Value]:
    """The quantiles of a number or date between the quarters; the common levels of a category; true and false."""
    if field.kind == "category":
        yield from sorted(level for level, code in (learned.codes or {}).items() if code != RARE)[:MAX_LEVELS]
        return
    if field.kind == "boolean":
        yield from (level == "true" for level in learned.codes or {})
        return
    bins = learned.bins
    for edge in bins[len(bins) // 4 : 3 * len(bins) // 4 + 1]:
        if field.is_temporal:
            yield days_to_iso(field, edge)
        else:
            yield int(edge) if field.kind == "integer" else edge
