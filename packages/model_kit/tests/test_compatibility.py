"""Differences of two specs, and what they mean for clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from model_kit.spec import Field, InputSpec, Learned, Level
from model_kit.spec.compatibility import Change, compare_specs, declared_changes, major_version, verdict
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES, TARGET

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS
TIP = Field("tip", "number", "Tip")


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


def reordered(*names: str) -> InputSpec:
    return InputSpec(tuple(field for name in names for field in FIELDS if field.name == name), LEARNED, TARGET)


def with_target(**changes: Any) -> InputSpec:
    return InputSpec(FIELDS, LEARNED, replace(TARGET, **changes))


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (without("comfort"), ["comfort:removed"]),
        (with_field("passengers", required=True), ["passengers:required"]),
        (with_new(Field("tip", "number", "Tip", required=True)), ["tip:required"]),
        (with_learned("zone", codes={"A": 1}), ["zone:level:B"]),
        (with_learned("comfort", codes={"2": 2, "3": 3}), ["comfort:level:1"]),
        (with_field("comfort", levels=COMFORT.levels[:2]), ["comfort:level:3"]),
        (with_field("comfort", levels=COMFORT.levels[::-1]), ["comfort:ordered"]),
        (with_field("comfort", ordered=False), ["comfort:ordered"]),
        (with_field("distance", minimum=0.5), ["distance:minimum:0.5"]),
        (with_field("distance", maximum=500), ["distance:maximum:500"]),
        (with_field("passengers", minimum=2, maximum=6), ["passengers:minimum:2", "passengers:maximum:6"]),
        (with_field("distance", kind="integer"), ["distance:kind:integer"]),
        (with_field("distance", unit="miles"), ["distance:unit:miles"]),
        (with_field("distance", unit=None), ["distance:unit:None"]),
        (with_field("comfort", numeric_codes=False), ["comfort:numeric_codes"]),
        (with_target(name="price"), ["(target):name:price"]),
        (with_target(unit="USD"), ["(target):unit:USD"]),
        (with_target(scale="identity"), ["(target):scale:identity"]),
    ],
)
def test_a_change_that_clients_must_follow_is_breaking(new: InputSpec, found: list[str]) -> None:
    changes = compare_specs(SPEC_OF_RIDES, new)
    assert [change.id for change in changes if change.breaking] == found
    assert verdict(changes) == "breaking"


def test_a_field_of_another_kind_is_one_breaking_change() -> None:
    text = replace(LEARNED["distance"], low=None, high=None, bins=(), codes={"near": 1})
    fields = (replace(DISTANCE, kind="category", minimum=None), *FIELDS[1:])
    new = InputSpec(fields, LEARNED | {"distance": text}, TARGET)
    for old, other, kind in ((SPEC_OF_RIDES, new, "category"), (new, SPEC_OF_RIDES, "number")):
        changes = compare_specs(old, other)
        assert [change.id for change in changes if change.breaking] == [f"distance:kind:{kind}"]


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (with_new(TIP), ["tip:added"]),
        (with_field("zone", required=False), ["zone:optional"]),
        (with_field("distance", minimum=None), ["distance:minimum:none"]),
        (with_field("passengers", minimum=0, maximum=9), ["passengers:minimum:0", "passengers:maximum:9"]),
        (with_field("passengers", kind="number"), ["passengers:kind:number"]),
        (with_field("zone", levels=(*ZONE.levels, Level("C", "Airport"))), ["zone:level:C", "zone:documentation"]),
        (
            with_field("zone", levels=(), numeric_codes=True, null_means="anywhere"),
            ["zone:numeric_codes", "zone:documentation"],
        ),
        (with_field("comfort", null_means=None), ["comfort:documentation"]),
        (with_field("distance", description="How far"), ["distance:documentation"]),
        (with_field("distance", group="Way"), ["distance:documentation"]),
        (with_field("zone", levels=(Level("A", "Inner city"), ZONE.levels[1])), ["zone:documentation"]),
        (with_learned("zone", codes={"A": 2, "B": 1, "C": 3}), ["zone:level:C", "(spec):learned"]),
        (with_learned("distance", low=3.0, high=4.0, bins=(3.5,), typical=3.0), ["(spec):learned"]),
        (with_target(offset=3.5), ["(spec):learned"]),
        (with_target(subject="trip"), ["(spec):explanations"]),
        (reordered("zone", "distance", "passengers", "comfort"), ["(spec):order"]),
    ],
)
def test_a_change_that_takes_all_that_was_taken_is_compatible(new: InputSpec, found: list[str]) -> None:
    changes = compare_specs(SPEC_OF_RIDES, new)
    assert [change.id for change in changes] == found
    assert verdict(changes) == "compatible"


def test_equal_specs_are_identical() -> None:
    changes = compare_specs(SPEC_OF_RIDES, InputSpec.from_json(SPEC_OF_RIDES.to_json()))
    assert changes == ()
    assert verdict(changes) == "identical"


def test_breaking_changes_come_first() -> None:
    new = InputSpec((*with_field("comfort", required=True).fields, TIP), with_new(TIP).learned, TARGET)
    assert [change.id for change in compare_specs(with_new(replace(TIP, description="A tip")), new)] == [
        "comfort:required",
        "tip:documentation",
    ]


@pytest.mark.parametrize(
    ("old", "new", "id_", "text"),
    [
        ({}, {"format": "%d/%m/%Y"}, "start:format:%d/%m/%Y", "start: files had the format ISO 8601, have %d/%m/%Y"),
        ({"format": "%d/%m/%Y"}, {}, "start:format:None", "start: files had the format %d/%m/%Y, have ISO 8601"),
        ({"kind": "datetime"}, {"kind": "datetime", "time_zone": True}, "start:time_zone", "start needs a time zone"),
        ({}, {"kind": "datetime"}, "start:kind:datetime", "start was of kind date, is datetime"),
    ],
)
def test_a_date_written_otherwise_is_breaking(old: dict[str, Any], new: dict[str, Any], id_: str, text: str) -> None:
    field = Field("start", "date", "Start")
    specs = (InputSpec((replace(field, **changes),), {"start": Learned(0.0, None)}, TARGET) for changes in (old, new))
    assert compare_specs(*specs) == (Change(id_, text, breaking=True),)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (lambda: with_field("distance", minimum=0.5), "distance had the bound 0, is at least 0.5"),
        (lambda: with_field("distance", minimum=None), "distance had the bound 0, has no minimum"),
        (lambda: with_field("distance", maximum=500), "distance had no such bound, is at most 500"),
        (lambda: with_field("comfort", numeric_codes=False), "comfort: numbers are no longer taken for its levels"),
        (lambda: with_target(unit=""), "the prediction's unit was EUR, is none"),
        (
            lambda: InputSpec(
                FIELDS, {k: replace(v, missing=0.5) for k, v in LEARNED.items()}, replace(TARGET, offset=1)
            ),
            "training learned other ranges, typical values or codes of distance, passengers, zone, comfort, (target)",
        ),
    ],
)
def test_a_change_is_explained_in_a_sentence(new: Callable[[], InputSpec], text: str) -> None:
    assert [change.text for change in compare_specs(SPEC_OF_RIDES, new())] == [text]


@pytest.mark.parametrize(
    ("version", "major"),
    [("1.2.3", 1), ("12.0.0+abc123", 12), ("0.3.1", 0), ("2", 2), ("1!3.0", 3), ("1.2.0.post1", 1), ("v1", None)],
)
def test_the_major_version_is_the_first_number(version: str, major: int | None) -> None:
    assert major_version(version) == major


LUXURY = (Level("1", "Basic"), Level("3", "Luxury"), Level("2", "Standard"))


@pytest.mark.parametrize(
    ("new", "changes"),
    [
        (SPEC_OF_RIDES, []),
        (with_field("distance", description="Way", group="Other"), []),
        (with_learned("zone", codes={"B": 1}), []),
        (replace(SPEC_OF_RIDES, target=replace(TARGET, offset=1.0)), []),
        (reordered("comfort", "zone", "passengers", "distance"), []),
        (replace(SPEC_OF_RIDES, together=(("distance", "zone"),)), []),
        (with_field("distance", kind="integer"), ["distance was of kind number, is integer"]),
        (with_field("distance", unit="miles"), ["distance was in km, is in miles"]),
        (with_field("passengers", maximum=None), ["passengers had the bound 8, has no maximum"]),
        (with_field("zone", levels=ZONE.levels[:1]), ["zone: the level B is documented no longer"]),
        (with_field("comfort", levels=LUXURY), ["comfort: the order of its levels means something else"]),
        (with_new(TIP), ["tip is new and optional"]),
        (without("distance"), ["distance is removed"]),
    ],
)
def test_what_callers_rely_on_is_named_and_nothing_that_was_learned(new: InputSpec, changes: list[str]) -> None:
    assert [change.text for change in declared_changes(SPEC_OF_RIDES, new)] == changes
