"""Example records for the form: the typical record with its strongest fields set to low or high values.

The values are quantiles and levels of the spec, so that no example is a row of the training data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_kit.scoring.predictor import Predictor
from model_kit.scoring.sampling import Consistency
from model_kit.spec import RARE, Field, Learned, Value
from model_kit.spec.dates import days_to_iso

#: Levels of one category that are tried.
MAX_LEVELS = 60
#: Name of an example -> whether its prediction is lower or higher, and the share of the better values of a field that
#: are passed over: none at an end.
EXAMPLES = {"Low end": (-1, 0.0), "High end": (1, 0.0), "Below typical": (-1, 0.5), "Above typical": (1, 0.5)}
#: The order in which they are shown.
ORDER = ("Low end", "Below typical", "Above typical", "High end")


def example_records(predictor: Predictor, strongest: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Find records with lower and higher predictions than the golden row.

    They hold the identities that the model declares. A change that contradicts another field is left out, except among
    numbers that belong together, such as a total and its parts: the form adjusts those.

    Args:
        predictor: the model.
        strongest: the fields to change, strongest first.

    Returns:
        Name of the example -> the fields that differ from the golden row.
    """
    model = predictor.model
    typical = dict(model.golden["row"])
    fields = {field.name: field for field in model.spec.fields}
    tried = [(name, value) for name in strongest for value in _values(fields[name], model.spec.learned[name])]
    middle, *predictions = _scores(predictor, [typical, *(typical | {name: value} for name, value in tried)])
    if middle is None:
        return {}
    allowed, hold = _contradictions(predictor, typical), Consistency(model).hold
    examples: dict[str, dict[str, Any]] = {}
    for example, (sign, passed_over) in EXAMPLES.items():
        record, changed = typical, dict[str, Any]()
        for field in strongest:
            gains = {
                value: sign * (prediction - middle)
                for (name, value), prediction in zip(tried, predictions, strict=True)
                if name == field and prediction is not None and sign * (prediction - middle) > 0
            }
            better = sorted(gains, key=gains.__getitem__, reverse=True)
            for value in better[int(passed_over * len(better)) :]:
                kept = changed | {field: value}
                held = hold(record | kept)
                if kept.items() <= held.items() and _contradictions(predictor, held) <= allowed:
                    record, changed = held, kept
                    break
        found = changed | {name: value for name, value in record.items() if value != typical.get(name)}
        if found and found not in examples.values():
            examples[example] = found
    return {name: examples[name] for name in ORDER if name in examples}


def _scores(predictor: Predictor, records: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Predictions of records; of classes the probability of the positive or last one. ``None`` without prediction."""
    answer, target = predictor(records), predictor.model.spec.target
    scores = iter((answer.scores[:, target.positive_position] if target.is_class else answer.scores).tolist())
    return [None if prediction is None else next(scores) for prediction in answer.predictions]


def _contradictions(predictor: Predictor, record: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Return the fields of each contradiction in a record, except those among numbers that belong together."""
    answer = predictor.detailed([record], warnings=True)
    warnings = [warning for row_warnings in answer.warnings or () for warning in row_warnings or ()]
    spec = predictor.model.spec
    numbers = {field.name for field in spec.fields if field.is_number}
    groups = [numbers & set(group) for group in spec.together]
    contradicting = {tuple(warning["fields"]) for warning in warnings if len(warning["fields"]) > 1}
    return {fields for fields in contradicting if not any(set(fields) <= group for group in groups)}


def _values(field: Field, learned: Learned) -> Iterable[Value]:
    """Yield the quartiles of a number or date, the common levels of a category, or true and false."""
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
