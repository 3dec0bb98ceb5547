"""Plausible records of a model: each field as training had it, and together what the model package declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.records.generation import generate_rows
from model_kit.records.identities import Identity
from model_kit.records.row_warnings import Contradiction
from model_kit.scoring.protocol import Explainable
from model_kit.spec import RARE, Field, InputSpec, Learned, Row
from model_kit.spec.dates import days_to_iso

#: Numbers beyond the outermost bins come closer to these by this power: most are, and few are extreme.
_TAIL: Final = 4
#: Records drawn for each one, whose values stand in for those that contradict each other.
_SPARES: Final = 6


def sample_records(model: Explainable, n_rows: int, *, seed: int) -> list[dict[str, Any]]:
    """Draw valid records of which none is a row of the training data.

    Every field is drawn on its own, from its bins and levels as often as training had them. Then the identities that
    the model package declares are made to hold, and what still contradicts itself is drawn again, a few times, or
    becomes typical.

    Args:
        model: its optional attributes ``identities``, ``contradictions`` and ``reference`` are used.
        n_rows: how many.
        seed: the same seed gives the same records.
    """
    spec, counts = model.spec, getattr(model, "reference", {}).get("fields", {})
    consistent = Consistency(model)
    random = np.random.default_rng(seed)
    n_drawn = n_rows * (1 + (_SPARES if getattr(model, "contradictions", ()) else 0))
    columns: dict[str, Sequence[Any]] = {}
    for field, others in zip(spec.fields, _texts(spec, n_drawn, seed), strict=True):
        learned = spec.learned[field.name]
        values = others or _draw(field, learned, counts.get(field.name, {}), n_drawn, random)
        absent = random.random(n_drawn) < (0.0 if field.required else learned.missing)
        columns[field.name] = [None if gone else value for gone, value in zip(absent, values, strict=True)]
    drawn = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [consistent(row, drawn[n_rows + place :: n_rows]) for place, row in enumerate(drawn[:n_rows])]


class Consistency:
    """Makes records hold what a model package declares.

    Args:
        model: its optional attributes ``identities`` and ``contradictions`` are used; its golden row must hold them.
    """

    def __init__(self, model: Explainable) -> None:
        self._typical: Row = model.golden["row"]
        self._fields = {field.name: field for field in model.spec.fields}
        self._identities: Sequence[Identity] = getattr(model, "identities", ())
        self._contradictions: Sequence[Contradiction] = getattr(model, "contradictions", ())

    def __call__(self, record: Row, spares: Iterable[Row] = ()) -> dict[str, Any]:
        """A record without contradictions: fields that contradict each other get other values.

        Args:
            record: a complete one.
            spares: whose values are taken, one after the other; then those of the typical record are.
        """
        row, left, seen = self.hold(record), list(spares), set[str]()
        for _ in range(2 * len(self._contradictions) + len(left) + 1):
            broken = next((one for one in self._contradictions if one.find(row)), None)
            if broken is None:
                return row
            names = broken.fields
            if broken.code in seen:
                # An identity undoes it: what it is about becomes typical too.
                own = [one.fields for one in self._identities if set(one.fields) & set(names)]
                names = tuple({*names, *(name for fields in own for name in fields)})
            if left:
                source = left.pop()
            else:
                source = self._typical
                seen.add(broken.code)
            row = self.hold(row | {name: source.get(name) for name in names})
        # Values of some fields contradict the typical ones of others.
        return self._typical_values(tuple(self._fields))

    def hold(self, record: Row) -> dict[str, Any]:
        """A record in which the identities hold; where that is impossible, their fields are typical."""
        row = dict(record)
        for identity in self._identities:
            held = dict(row)
            identity.hold(held, self._typical)
            if not all(_is_valid(self._fields[name], held.get(name)) for name in identity.fields):
                held = row | self._typical_values(identity.fields)
            row = held
        return row

    def _typical_values(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: self._typical.get(name) for name in names}


def _is_valid(field: Field, value: Any) -> bool:
    if value is None:
        return not field.required
    if not field.is_number:
        return True
    low = -np.inf if field.minimum is None else field.minimum
    high = np.inf if field.maximum is None else field.maximum
    return bool(low <= value <= high) and (field.kind != "integer" or float(value).is_integer())


def _texts(spec: InputSpec, n_rows: int, seed: int) -> list[list[Any]]:
    """Known words at random for each field that is a text; of others nothing."""
    if all(field.kind != "text" for field in spec.fields):
        return [[] for _ in spec.fields]
    rows = generate_rows(spec, n_rows, seed=seed)
    return [[row[field.name] for row in rows] if field.kind == "text" else [] for field in spec.fields]


def _draw(
    field: Field, learned: Learned, counted: Mapping[str, Any], n_rows: int, random: np.random.Generator
) -> list[Any]:
    if field.kind in ("category", "boolean"):
        seen = counted.get("levels") or {
            level: 1 for level, code in (learned.codes or {}).items() if code != RARE or field.kind == "boolean"
        }
        levels = sorted(seen or learned.codes or [str(learned.typical)])
        weights = np.array([seen.get(level, 1) for level in levels], np.float64)
        drawn = [levels[place] for place in random.choice(len(levels), n_rows, p=weights / weights.sum()).tolist()]
        return [level == "true" for level in drawn] if field.kind == "boolean" else drawn
    values = _numbers(field, learned, counted, n_rows, random)
    if field.is_temporal:
        return [days_to_iso(field, value) for value in values.tolist()]
    if field.kind == "integer":
        return [round(value) for value in values.tolist()]
    return values.tolist()  # type: ignore[no-any-return]


def _numbers(
    field: Field, learned: Learned, counted: Mapping[str, Any], n_rows: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Numbers from the bins as often as training had them, as round as these; shape (n_rows,)."""
    inner = counted.get("edges", learned.bins)
    low = 0.0 if learned.low is None else learned.low
    high = low if learned.high is None else learned.high
    if not len(inner) and learned.bins:
        # Nearly all rows have one value: the others are too few for a bin of their own.
        low = high = float(learned.typical or 0.0) if not field.is_temporal else low
    edges = np.array([low, *inner, high], np.float64)
    weights = np.array(counted.get("counts") or [1], np.float64)
    if len(weights) != len(inner) + 1 or not weights.any():
        weights = np.ones(len(inner) + 1)
    cells = random.choice(len(weights), n_rows, p=weights / weights.sum())
    share = random.random(n_rows)
    if len(weights) > 1:
        share = np.where(cells == len(weights) - 1, share**_TAIL, share)
        share = np.where(cells == 0, 1 - (1 - share) ** _TAIL, share)
    values = edges[cells] + (edges[cells + 1] - edges[cells]) * share
    if field.kind in ("integer", "date") or (len(inner) and all(edge.is_integer() for edge in edges.tolist())):
        # A bin has its upper edge.
        return np.ceil(values).clip(low, high)
    span = float(high - low)
    return values.round(2 - (int(np.floor(np.log10(span))) if 0 < span < 1 else 0)).clip(low, high)
