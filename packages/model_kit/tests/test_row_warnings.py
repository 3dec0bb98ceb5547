"""What is said of rows that are scored all the same."""

from __future__ import annotations

from typing import Any

import pytest
from model_kit.errors import SpecError
from model_kit.records.field_names import MOST_NAMES, MisspeltFields
from model_kit.records.row_warnings import Contradiction, RowWarnings, check_contradictions, number
from model_kit.spec import Field, InputSpec, Learned, Row
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES, TARGET

RIDE = {"distance": 8, "passengers": 1, "zone": "A", "comfort": 2}


def crowded(row: Row) -> str | None:
    if row.get("comfort") == "2" and row.get("passengers") == 4:
        return "4 do not fit"
    return None


CROWDED = Contradiction("crowded", ("passengers", "comfort"), crowded)


@pytest.fixture
def look() -> RowWarnings:
    return RowWarnings(SPEC_OF_RIDES)


def said(look: RowWarnings, **changes: Any) -> list[tuple[str, str]]:
    return [(warning["code"], warning["message"]) for warning in look({**RIDE, **changes})]


def test_usual_row_has_none(look: RowWarnings) -> None:
    assert look(RIDE) == []


def test_field_that_was_not_given_is_imputed(look: RowWarnings) -> None:
    expected = [("imputed", "passengers was not given")]
    assert said(look, passengers=None) == expected
    without = {name: value for name, value in RIDE.items() if name != "passengers"}
    assert look(without) == [
        {"code": "imputed", "field": "passengers", "fields": ["passengers"], "message": expected[0][1]}
    ]


@pytest.mark.parametrize("null", [None, "NA"])
def test_absence_that_means_something_is_not_imputed(look: RowWarnings, null: str | None) -> None:
    assert said(look, comfort=null) == []


def test_typical_value_is_claimed_only_for_a_model_that_declares_it() -> None:
    colour = Field("colour", "category", "")
    spec = InputSpec((*FIELDS, colour), {**LEARNED, "colour": Learned(0.5, "red", codes={"red": 1})}, TARGET)
    assert said(RowWarnings(spec), passengers=None, colour=" NA ") == [
        ("imputed", "passengers was not given"),
        ("imputed", "colour was not given"),
    ]
    assert said(RowWarnings(spec, imputes=["passengers"]), passengers=None, distance=None, colour="red") == [
        ("imputed", "distance was not given"),
        ("imputed", "passengers was not given; a typical value was used"),
    ]
    assert said(RowWarnings(spec, imputes=True), passengers=None) == [
        ("imputed", "passengers was not given; a typical value was used"),
        ("imputed", "colour was not given"),
    ]


@pytest.mark.parametrize("code", [3, 3.0, "3"])
def test_level_that_training_never_saw_is_named(look: RowWarnings, code: Any) -> None:
    assert said(look, comfort=code) == [("unseen_level", 'comfort "3" did not occur in training; it counts as unknown')]


@pytest.mark.parametrize("code", [2, 2.0, "2"])
def test_code_is_the_same_level_however_it_is_sent(look: RowWarnings, code: Any) -> None:
    assert said(look, comfort=code) == []


def test_level_that_differs_in_case_only_is_told(look: RowWarnings) -> None:
    [(_, message)] = said(look, zone=" b ")
    assert message == 'zone "b" did not occur in training; it counts as unknown, and differs from "B" in case only'


def test_long_level_is_cut(look: RowWarnings) -> None:
    [(_, message)] = said(look, zone="x" * 5000)
    assert message == f'zone "{"x" * 60}..." did not occur in training; it counts as unknown'


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (0.25, "distance 0.25 is below what training saw (0.4 to 32)"),
        (40.0, "distance 40 is above what training saw (0.4 to 32)"),
        (1e300, "distance 1e+300 is above what training saw (0.4 to 32)"),
    ],
)
def test_number_outside_the_range_of_training(look: RowWarnings, distance: float, message: str) -> None:
    assert said(look, distance=distance) == [("out_of_range", message)]


@pytest.mark.parametrize("distance", [0.4, 32])
def test_ends_of_the_range_are_within(look: RowWarnings, distance: float) -> None:
    assert said(look, distance=distance) == []


def test_number_of_which_training_saw_no_value() -> None:
    spec = InputSpec(FIELDS, {**LEARNED, "passengers": Learned(1.0, None)}, TARGET)
    assert said(RowWarnings(spec)) == [("out_of_range", "passengers 1 is new: training saw no value of it")]


def test_warnings_come_in_the_order_of_the_fields_and_contradictions_last() -> None:
    look = RowWarnings(SPEC_OF_RIDES, (CROWDED,))
    assert look.codes == ("imputed", "unseen_level", "out_of_range", "misspelt_field", "crowded")
    found = look({**RIDE, "passengers": 4.0, "zone": "C", "distance": 99})
    assert [warning["code"] for warning in found] == ["out_of_range", "unseen_level", "crowded"]
    assert found[-1] == {
        "code": "crowded",
        "field": "passengers",
        "fields": ["passengers", "comfort"],
        "message": "4 do not fit",
    }


@pytest.mark.parametrize(
    ("contradiction", "message"),
    [
        (Contradiction("x", ("distance", "colour"), crowded), "^x: there is no field colour$"),
        (Contradiction("x", (), crowded), "^x: it is about no field$"),
        (Contradiction("imputed", ("zone",), crowded), "^two kinds of warnings have the code imputed$"),
        (CROWDED, "^two kinds of warnings have the code crowded$"),
    ],
)
def test_contradiction_that_cannot_be_is_refused(contradiction: Contradiction, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check_contradictions((CROWDED, contradiction), FIELDS)


@pytest.mark.parametrize(("value", "text"), [(20.0, "20"), (20, "20"), (0.1, "0.1"), (1e15, "1000000000000000.0")])
def test_numbers_have_the_digits_that_they_need(value: float, text: str) -> None:
    assert number(value) == text


def test_misspelt_field_is_said_before_the_others() -> None:
    look = RowWarnings(SPEC_OF_RIDES)
    record = {"distance": 3.5, "Passenger": 1, "zone": "A", "comfort": "2", "driver": "x"}
    first, second = look(record)
    assert (first["code"], first["field"]) == ("misspelt_field", "passengers")
    assert first["message"] == "passengers was not given, but 'Passenger', which is no field and counts for nothing"
    assert (second["code"], second["field"]) == ("imputed", "passengers")
    assert look(record | {"passengers": 1}) == []


def test_only_some_unknown_names_of_a_record_are_compared() -> None:
    find = MisspeltFields(("distance",))
    others = {f"name {number}": 1 for number in range(MOST_NAMES - 1)}
    assert find(others | {"Distance": 1}) == {"distance": "Distance"}
    assert find(others | {"name": 1, "Distance": 1}) == {}
    assert find([{"Distance": 1}]) == {}
