"""Records to start from, beside the typical one: the same with its strongest fields low or high.

They are made of the spec's quantiles and levels, so that none is a row of the training data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_kit.prediction import Predictor
from model_kit.spec import RARE, Field, Learned, Value

#: Levels of one category that are tried.
MAX_LEVELS = 60


def starts(predictor: Predictor, strongest: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name -> what differs from the golden row, of records that the model prices lower and higher.

    Args:
        predictor: the model.
        strongest: the fields to change, strongest first.
    """
    typical = dict(predictor.model.golden["row"])
    alternatives = {name: list(_alternatives(predictor, typical, name)) for name in strongest}
    flat = [typical, *(typical | change for changes in alternatives.values() for change in changes)]
    predictions = iter(predictor(flat).predictions)
    middle = next(predictions)
    found: dict[str, dict[str, Any]] = {"Low end": {}, "High end": {}}
    if middle is None:
        return {}
    for changes in alternatives.values():
        scored = [(value, change) for change in changes if (value := next(predictions)) is not None]
        if not scored:
            continue
        lowest, highest = min(scored, key=lambda pair: pair[0]), max(scored, key=lambda pair: pair[0])
        if lowest[0] < middle:
            found["Low end"] |= lowest[1]
        if highest[0] > middle:
            found["High end"] |= highest[1]
    return {name: changes for name, changes in found.items() if changes}


def _alternatives(predictor: Predictor, typical: Mapping[str, Any], name: str) -> Iterable[dict[str, Any]]:
    spec = predictor.model.spec
    field = next(field for field in spec.fields if field.name == name)
    for value in _values(field, spec.learned[name]):
        if value != typical.get(name):
            yield {name: value}


def _values(field: Field, learned: Learned) -> Iterable[Value]:
    """The quarters of a number in training; the common levels of a category."""
    if field.kind == "category":
        yield from sorted(level for level, code in (learned.codes or {}).items() if code != RARE)[:MAX_LEVELS]
    elif learned.bins:
        for edge in (learned.bins[len(learned.bins) // 4], learned.bins[3 * len(learned.bins) // 4]):
            yield int(edge) if field.kind == "integer" else edge
