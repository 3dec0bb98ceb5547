"""What holds between fields: where it does not, it is said, and made-up records hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from model_kit.errors import SpecError
from model_kit.records.identities import Identity, Order, Presence, Sum, check_identities
from model_kit.spec import Field, Level

FIELDS = (
    Field("total", "number", ""),
    Field("first", "number", ""),
    Field("second", "number", ""),
    Field("begins", "date", ""),
    Field("ends", "date", ""),
    Field("dogs", "integer", ""),
    Field("kennels", "integer", ""),
    Field("breed", "category", "", levels=(Level("none", "no dog"),)),
    Field("name", "text", ""),
    Field("walks", "integer", ""),
)
SUM = Sum("not_its_parts", "total", ("first", "second"), noun="Area", tolerance=1.0)
ORDER = Order("ends_before", "ends", "begins", "Ends on {}, before it begins on {}")
DOG = Presence("dog", "dog", ("dogs", "kennels"), ("breed", "name"), absent="none", parts=("walks",))
HAS_DOG = {"dogs": 1, "kennels": 1, "breed": "Pug", "name": "Rex", "walks": 0}


def said(identity: Identity, row: Mapping[str, Any]) -> dict[str, str]:
    told = {one.code: one.find(row) for one in identity.contradictions()}
    return {code: message for code, message in told.items() if message is not None}


def held(identity: Identity, row: Mapping[str, Any], typical: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found = dict(row)
    identity.hold(found, typical or {})
    return found


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"total": 3, "first": 1.0, "second": 2.9}, {}),
        ({"total": 3, "first": 1.0}, {}),
        ({"first": 1.0, "second": 2.0}, {}),
        ({"total": 3, "first": 1, "second": 4.5}, {"not_its_parts": "Area total is 3, but first + second is 5.5"}),
    ],
)
def test_parts_that_miss_their_total_are_told(row: Mapping[str, Any], expected: dict[str, str]) -> None:
    assert said(SUM, row) == expected


def test_sum_of_floats_may_miss_by_rounding() -> None:
    assert said(Sum("s", "total", ("first", "second")), {"total": 0.3, "first": 0.1, "second": 0.2}) == {}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"total": 10, "first": 1, "second": 2}, (3, 7)),
        ({"total": 10.0, "first": 1.0, "second": None}, (10.0, 0.0)),
        ({"total": 10.0, "first": 0.0, "second": 0.0}, (0.0, 10.0)),
        ({"total": 0.25, "first": 0.5, "second": 0.5}, (0.13, 0.12)),
        ({"total": None, "first": 1.0, "second": 2.0}, (1.0, 2.0)),
    ],
)
def test_parts_are_scaled_to_their_total(row: Mapping[str, Any], expected: tuple[float, float]) -> None:
    mended = held(SUM, row)
    assert (mended["first"], mended["second"]) == expected
    assert mended["total"] == row["total"]
    assert [type(mended["first"])] == [type(expected[0])]


def test_order_of_dates_is_told_and_held() -> None:
    row = {"begins": "2026-02-10", "ends": "2026-02-09"}
    assert said(ORDER, row) == {"ends_before": "Ends on 2026-02-09, before it begins on 2026-02-10 (ends, begins)"}
    assert held(ORDER, row) == {"begins": "2026-02-10", "ends": "2026-02-10"}
    assert said(ORDER, {"ends": "2026-02-09"}) == said(ORDER, {"begins": "2026-01-01", "ends": "2026-01-01"}) == {}
    plain = Order("less", "total", "first")
    assert said(plain, {"total": 1.0, "first": 2.5}) == {"less": "total is 1, less than first, which is 2.5"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"name": None}, {}),
        ({"dogs": None, "kennels": None}, {}),
        (
            {"breed": None},
            {"dog_without_details": "dogs is 1, but breed was not given, which means that there is no dog"},
        ),
        ({"breed": "none"}, {"dog_without_details": "dogs is 1, but breed none means that there is no dog"}),
        ({"dogs": 0}, {"dog_amounts_disagree": "kennels is 1, but dogs 0 means that there is no dog"}),
        ({"dogs": 0, "kennels": 0}, {"details_without_dog": "breed is Pug, but dogs 0 means that there is no dog"}),
        (
            {"dogs": 0, "kennels": 0, "breed": None},
            {"dog_details_disagree": "name is Rex, but breed was not given, which means that there is no dog"},
        ),
        (
            {"dogs": 0, "kennels": 0, "breed": "none", "name": None, "walks": 3},
            {"parts_without_dog": "walks is 3, but dogs 0 means that there is no dog"},
        ),
    ],
)
def test_thing_that_is_there_by_half_is_told_once(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert said(DOG, HAS_DOG | change) == expected


def test_thing_that_is_there_by_half_is_taken_away_and_typical_details_complete_it() -> None:
    gone = {"dogs": 0, "kennels": 0, "breed": "none", "name": "none", "walks": 0}
    assert held(DOG, HAS_DOG | {"kennels": 0, "walks": 2}) == gone
    assert held(DOG, HAS_DOG | {"name": None}, HAS_DOG) == HAS_DOG
    assert held(DOG, {"total": 1.0}) == {"total": 1.0}


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (Sum("s", "total", ("first", "third")), "Sum 's': there is no field third"),
        (Sum("s", "total", ("first",)), "Sum 's': a sum has two parts or more"),
        (Sum("s", "total", ("first", "breed")), "Sum 's': breed is no number"),
        (Order("o", "ends", "total"), "Order 'o': ends and total are not two numbers or two dates"),
        (Presence("p", "thing", (), ("breed",)), "Presence 'p': it needs an amount and a detail"),
        (Presence("p", "thing", ("dogs",), ("breed",), parts=("name",)), "Presence 'p': name is no number"),
    ],
)
def test_identity_about_other_fields_is_refused(identity: Identity, message: str) -> None:
    check_identities((SUM, ORDER, DOG), FIELDS)
    with pytest.raises(SpecError, match=f"^{message}$"):
        check_identities((identity,), FIELDS)
