from __future__ import annotations

import copy
import gc
import math
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit.records.validation import Validated, Validator, in_words, schema_for
from model_kit.spec import Field, InputSpec, Learned
from model_kit.testing import GOLDEN_ROW, SPEC_OF_RIDES, TARGET

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def validate(records: list[Any]) -> Validated:
    return Validator(SPEC_OF_RIDES)(records)


def errors(**fields: Any) -> dict[str, list[str]]:
    return validate([GOLDEN_ROW | fields]).errors.get(0, {})


@pytest.mark.parametrize("value", [3, 3.0, 1e0])
def test_integer_takes_any_number_with_an_integral_value(value: float) -> None:
    validated = validate([GOLDEN_ROW | {"passengers": value}])
    assert validated.errors == {}
    assert validated.rows[0]["passengers"] == value
    assert isinstance(validated.rows[0]["passengers"], int)


@pytest.mark.parametrize("value", [3.7, "12", True, [], {}, "three"])
def test_integer_refuses_everything_else(value: object) -> None:
    assert errors(passengers=value) == {"passengers": ["Not a valid integer."]}


@pytest.mark.parametrize("value", ["12", True, [], {}, False])
def test_number_refuses_what_is_no_number(value: object) -> None:
    assert errors(distance=value) == {"distance": ["Not a valid number."]}


@pytest.mark.parametrize("field", ["distance", "passengers"])
def test_numbers_must_be_finite_and_fit_a_float(field: str) -> None:
    special = ["Special numeric values (nan or infinity) are not permitted."]
    assert errors(**{field: math.inf}) == {field: special}
    assert errors(**{field: math.nan}) == {field: special}
    assert errors(**{field: 10**400}) == {field: ["Number too large."]}


def test_hard_bounds_are_inclusive() -> None:
    assert errors(distance=0, passengers=8) == {}
    assert errors(distance=-0.1) == {"distance": ["Must be greater than or equal to 0."]}
    both = ["Must be greater than or equal to 1 and less than or equal to 8."]
    assert errors(passengers=9) == {"passengers": both}


@pytest.mark.parametrize("value", [5, True, 1.5, [], {}])
def test_category_takes_strings_alone(value: object) -> None:
    assert errors(zone=value) == {"zone": ["Not a valid string."]}


@pytest.mark.parametrize("value", ["nowhere", "N/A", "\ud800", "a"])
def test_level_never_seen_is_valid(value: str) -> None:
    assert errors(zone=value) == {}


@pytest.mark.parametrize("value", [2, 2.0, "2"])
def test_code_is_the_same_level_however_it_is_written(value: object) -> None:
    assert validate([GOLDEN_ROW | {"comfort": value}]).rows[0]["comfort"] == "2"


@pytest.mark.parametrize("value", [2.5, True, math.nan, math.inf, 10**400, 1e300, []])
def test_code_refuses_what_cannot_be_one(value: object) -> None:
    assert errors(comfort=value) == {"comfort": ["Not a valid string or whole number."]}


@pytest.mark.parametrize("sign", [1, -1])
def test_code_has_no_more_digits_than_a_float_holds(sign: int) -> None:
    assert validate([GOLDEN_ROW | {"comfort": sign * 10**15}]).rows[0]["comfort"] == str(sign * 10**15)
    assert validate([GOLDEN_ROW | {"comfort": sign * 1e15}]).rows[0]["comfort"] == str(sign * 10**15)
    for value in (sign * (10**15 + 1), sign * 1.1e15):
        assert errors(comfort=value) == {"comfort": ["Not a valid string or whole number."]}


def test_required_fields_must_be_present_and_not_null() -> None:
    assert validate([{}]).errors == {
        0: {"distance": ["Missing data for required field."], "zone": ["Missing data for required field."]}
    }
    assert errors(zone=None) == {"zone": ["Field may not be null."]}


def test_optional_fields_may_be_missing_or_null() -> None:
    assert validate([{"distance": 1, "zone": "A"}, {"distance": 1, "zone": "A", "passengers": None}]).errors == {}


def test_fields_that_the_model_does_not_use_are_ignored() -> None:
    assert validate([GOLDEN_ROW | {"Id": object(), "": 1}]).rows == [GOLDEN_ROW]


class Large:
    """Stands for a record of many megabytes."""


def test_record_that_was_refused_is_not_kept_until_garbage_is_collected() -> None:
    validator = Validator(SPEC_OF_RIDES)
    record = Large()
    seen = weakref.ref(record)
    gc.disable()
    try:
        assert validator([record]).errors == {0: {"_schema": ["Invalid input type."]}}
        del record
        assert seen() is None
    finally:
        gc.enable()


def test_every_record_is_judged_in_its_own_place() -> None:
    validated = validate([1, GOLDEN_ROW, None, "x", [], {"zone": "A"}, GOLDEN_ROW])
    assert validated.positions == [1, 6]
    assert validated.rows == [GOLDEN_ROW, GOLDEN_ROW]
    assert validated.errors == {
        **dict.fromkeys((0, 2, 3, 4), {"_schema": ["Invalid input type."]}),
        5: {"distance": ["Missing data for required field."]},
    }


@given(st.lists(st.dictionaries(st.sampled_from([*SPEC_OF_RIDES.names, "Id"]), JSON) | JSON, max_size=5))
def test_any_record_is_either_valid_or_in_error_and_never_changed(records: list[Any]) -> None:
    before = copy.deepcopy(records)
    validated = validate(records)
    assert sorted([*validated.positions, *validated.errors]) == list(range(len(records)))
    assert len(validated.rows) == len(validated.positions)
    assert repr(records) == repr(before)


@pytest.mark.parametrize(
    ("bounds", "wrong", "right"),
    [({"minimum": 2}, 1, 10**9), ({"maximum": 2}, 3, -(10**9)), ({"minimum": 1, "maximum": 2}, 0, 2), ({}, "x", -1)],
)
@pytest.mark.parametrize("kind", ["integer", "number"])
def test_either_bound_may_be_left_open(kind: Any, bounds: dict[str, Any], wrong: Any, right: int) -> None:
    spec = InputSpec((Field("x", kind, "", **bounds),), {"x": Learned(0, None)}, TARGET)
    validated = Validator(spec)([{"x": wrong}, {"x": right}])
    assert list(validated.errors) == [0]
    assert validated.rows == [{"x": right}]


def test_errors_in_words() -> None:
    assert (
        in_words({"distance": ["No.", "Not at all."], "_schema": ["Why?"]})
        == "distance: No. Not at all.; _schema: Why?"
    )
    assert in_words({}) == ""


def test_schema_has_a_name() -> None:
    assert type(schema_for(SPEC_OF_RIDES)).__name__ == "Record"
