"""What would break a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from model_kit.comparison.contract import additions, breaks
from model_kit.spec import Field, InputSpec, Learned, Level, Target
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES, TARGET

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS
RANK = Field("tip", "number", "Tip")


def with_field(name: str, **changes: Any) -> InputSpec:
    """The spec of rides with one field declared otherwise."""
    fields = tuple(replace(field, **changes) if field.name == name else field for field in FIELDS)
    return InputSpec(fields, LEARNED, TARGET)


def with_learned(name: str, **changes: Any) -> InputSpec:
    return InputSpec(FIELDS, LEARNED | {name: replace(LEARNED[name], **changes)}, TARGET)


def with_new(field: Field) -> InputSpec:
    return InputSpec((*FIELDS, field), LEARNED | {field.name: Learned(0.0, 1.0, 0.0, 2.0)}, TARGET)


def without(name: str) -> InputSpec:
    fields = tuple(field for field in FIELDS if field.name != name)
    return InputSpec(fields, {key: value for key, value in LEARNED.items() if key != name}, TARGET)


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (without("comfort"), ["comfort:removed"]),
        (with_field("passengers", required=True), ["passengers:required"]),
        (with_new(Field("tip", "number", "Tip", required=True)), ["tip:required"]),
        (with_learned("zone", codes={"A": 1}), ["zone:level:B"]),
        (with_learned("comfort", codes={"2": 2, "3": 3}), ["comfort:level:1"]),
        (with_field("comfort", levels=COMFORT.levels[:2]), ["comfort:level:3"]),
        (with_field("distance", minimum=0.5), ["distance:minimum:0.5"]),
        (with_field("distance", maximum=500), ["distance:maximum:500"]),
        (with_field("passengers", minimum=2, maximum=6), ["passengers:minimum:2", "passengers:maximum:6"]),
        (with_field("distance", kind="integer"), ["distance:kind:integer"]),
        (with_field("distance", unit="miles"), ["distance:unit:miles"]),
        (with_field("comfort", numeric_codes=False), ["comfort:numeric_codes"]),
        (with_field("comfort", null_means=None), ["comfort:null"]),
        (InputSpec(FIELDS, LEARNED, replace(TARGET, name="price")), ["(target):name:price"]),
        (InputSpec(FIELDS, LEARNED, replace(TARGET, unit="USD")), ["(target):unit:USD"]),
        (InputSpec(FIELDS, LEARNED, replace(TARGET, scale="identity")), ["(target):scale:identity"]),
    ],
)
def test_what_a_client_relies_on_is_missed(new: InputSpec, found: list[str]) -> None:
    assert [entry.id for entry in breaks(SPEC_OF_RIDES, new)] == found


def test_a_field_of_another_kind_is_judged_as_a_kind_alone() -> None:
    text = replace(LEARNED["distance"], low=None, high=None, bins=(), codes={"near": 1})
    fields = (replace(DISTANCE, kind="category", minimum=None), *FIELDS[1:])
    new = InputSpec(fields, LEARNED | {"distance": text}, TARGET)
    assert [entry.id for entry in breaks(SPEC_OF_RIDES, new)] == ["distance:kind:category"]
    assert [entry.id for entry in breaks(new, SPEC_OF_RIDES)] == ["distance:kind:number"]


@pytest.mark.parametrize(
    "new",
    [
        SPEC_OF_RIDES,
        with_new(RANK),
        with_field("zone", required=False),
        with_field("distance", minimum=None),
        with_field("passengers", minimum=0, maximum=9),
        with_field("passengers", kind="number"),
        with_field("zone", levels=(*ZONE.levels, Level("C", "Airport"))),
        with_field("zone", levels=(), numeric_codes=True, null_means="anywhere"),
        with_field("distance", description="How far", group="Way"),
        with_learned("zone", codes={"A": 2, "B": 1, "C": 3}),
        with_learned("distance", low=3.0, high=4.0, bins=(3.5,), typical=3.0),
        InputSpec(FIELDS, LEARNED, Target("fare", "EUR", "log", 3.5)),
    ],
)
def test_what_takes_all_that_was_taken_breaks_nothing(new: InputSpec) -> None:
    assert breaks(SPEC_OF_RIDES, new) == ()


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (lambda: with_field("distance", minimum=0.5), "distance had the bound 0, is at least 0.5"),
        (lambda: with_field("distance", maximum=500), "distance had no such bound, is at most 500"),
        (lambda: with_learned("zone", codes={"A": 1}), "zone: the level B was known, is scored as unknown"),
    ],
)
def test_a_break_is_told_in_a_sentence(new: Callable[[], InputSpec], text: str) -> None:
    assert [entry.text for entry in breaks(SPEC_OF_RIDES, new())] == [text]


def test_new_optional_fields_are_told_and_required_ones_are_no_addition() -> None:
    assert additions(SPEC_OF_RIDES, with_new(RANK)) == ("tip",)
    assert additions(SPEC_OF_RIDES, with_new(replace(RANK, required=True))) == ()
