from __future__ import annotations

import pytest
from model_kit.records.generation import NEVER_SEEN, generate_rows, golden_row
from model_kit.records.validation import Validator
from model_kit.spec import Field, InputSpec, Learned
from model_kit.testing import GOLDEN_ROW, LEARNED, SPEC_OF_RIDES, TARGET


def test_generated_rows_are_valid_even_at_the_extremes() -> None:
    rows = generate_rows(SPEC_OF_RIDES, 500, seed=1, nulls=0.3, unseen=0.3, extremes=0.5)
    assert len(rows) == 500
    assert Validator(SPEC_OF_RIDES)(rows).errors == {}


def test_same_seed_gives_the_same_rows() -> None:
    assert generate_rows(SPEC_OF_RIDES, 20, seed=1) == generate_rows(SPEC_OF_RIDES, 20, seed=1)
    assert generate_rows(SPEC_OF_RIDES, 20, seed=1) != generate_rows(SPEC_OF_RIDES, 20, seed=2)


def test_plain_rows_stay_within_what_training_saw() -> None:
    for row in generate_rows(SPEC_OF_RIDES, 300, seed=3):
        assert 0.4 <= row["distance"] <= 32
        assert row["passengers"] in (None, 1, 2, 3, 4)
        assert row["zone"] in LEARNED["zone"].codes  # type: ignore[operator]
        assert row["comfort"] in (None, "1", "2")


def test_nulls_unseen_levels_and_extremes_are_among_them() -> None:
    rows = generate_rows(SPEC_OF_RIDES, 2000, seed=4, nulls=0.2, unseen=0.2, extremes=0.2)
    shares = {
        "null": sum(row["passengers"] is None for row in rows) / 2000,
        "documented but unseen": sum(row["comfort"] == "3" for row in rows) / 2000,
        "never seen": sum(row["zone"] == NEVER_SEEN for row in rows) / 2000,
        "far out": sum(row["distance"] > 32 for row in rows) / 2000,
    }
    assert 0.2 < shares["null"] < 0.35
    assert 0.03 < shares["documented but unseen"] < 0.12
    assert 0.15 < shares["never seen"] < 0.25
    assert 0.03 < shares["far out"] < 0.12
    assert all(row["distance"] is not None and row["zone"] is not None for row in rows)


def test_field_that_training_never_saw_a_value_of_is_generated_too() -> None:
    fields = (Field("x", "number", "", minimum=3), Field("y", "category", ""))
    spec = InputSpec(fields, {"x": Learned(0.5, None), "y": Learned(0.5, None, codes={})}, TARGET)
    rows = generate_rows(spec, 50, seed=0)
    assert {row["y"] for row in rows} == {None, NEVER_SEEN}
    assert all(row["x"] is None or 3 <= row["x"] <= 4 for row in rows)
    assert len({row["x"] for row in rows}) > 10
    spec = InputSpec((Field("x", "number", "", required=True),), {"x": Learned(1, None)}, TARGET)
    values = [row["x"] for row in generate_rows(spec, 50, seed=0)]
    assert all(0 <= value <= 1 for value in values)
    assert len(set(values)) > 10


def test_golden_row_is_made_of_medians_and_modes() -> None:
    assert golden_row(SPEC_OF_RIDES) == GOLDEN_ROW


def test_golden_row_leaves_out_what_is_typically_absent() -> None:
    spec = InputSpec(SPEC_OF_RIDES.fields, {**LEARNED, "comfort": Learned(0.9, None, codes={"1": 1})}, TARGET)
    assert "comfort" not in golden_row(spec)


def numbers(n_rows: int, extremes: float, **bounds: float) -> list[float]:
    """Of a field that training saw between 10 and 110, and half of the time between 10 and 11."""
    learned = {"x": Learned(0, None, 10, 110, (10.25, 10.5, 10.75, 11))}
    spec = InputSpec((Field("x", "number", "", required=True, **bounds),), learned, TARGET)  # type: ignore[arg-type]
    return [row["x"] for row in generate_rows(spec, n_rows, seed=5, extremes=extremes)]


def test_extremes_are_the_ends_and_beyond() -> None:
    """By 10 widths of the training range at most, which is 100 wide."""
    assert set(numbers(500, 1.0)) == {10, 110, -90, 210, 0, -1, 1110, -990}


def test_extremes_keep_within_hard_bounds() -> None:
    assert set(numbers(500, 1.0, minimum=5)) == {10, 110, 210, 5, 1110}
    assert set(numbers(500, 1.0, maximum=120)) == {10, 110, -90, 120, 0, -1, -990}


def test_numbers_are_dense_where_the_data_is_and_everywhere_else_too() -> None:
    values = numbers(2000, 0.0)
    assert all(10 <= value <= 110 and value == round(value, 2) for value in values)
    # Half of them fall into one of five bins, four of which end at 11; of the others one in a hundred.
    assert 0.36 < sum(value <= 11 for value in values) / 2000 < 0.46
    assert len({value for value in values if value > 11}) > 1000
    for low, high in ((10, 10.25), (10.25, 10.5), (10.5, 10.75), (10.75, 11)):
        assert sum(low < value < high for value in values) > 100
    assert any(value != round(value, 1) for value in values)


@pytest.mark.parametrize("bounds", [{}, {"minimum": 0.0012, "maximum": 0.0049}])
def test_small_numbers_are_not_rounded_away(bounds: dict[str, float]) -> None:
    learned = {"x": Learned(0, None, 0.0012, 0.0049, (0.002,))}
    spec = InputSpec((Field("x", "number", "", required=True, **bounds),), learned, TARGET)  # type: ignore[arg-type]
    rows = generate_rows(spec, 300, seed=5)
    assert Validator(spec)(rows).errors == {}
    assert all(0.0012 <= row["x"] <= 0.0049 for row in rows)
    assert len({row["x"] for row in rows}) > 100


@pytest.mark.parametrize("low", [1000.0012, -1000.0049])
def test_small_differences_of_large_numbers_are_not_rounded_away(low: float) -> None:
    spec = InputSpec((Field("x", "number", "", required=True),), {"x": Learned(0, low, low, low + 0.0037)}, TARGET)
    values = {row["x"] for row in generate_rows(spec, 300, seed=5)}
    assert len(values) > 100
    assert all(low - 1e-5 < value < low + 0.0038 for value in values)


@pytest.mark.parametrize("value", [0.00123456, -4e-7, 0.0, 12.3456])
def test_number_that_never_varied_keeps_its_value(value: float) -> None:
    field = Field("x", "number", "", required=True, minimum=value, maximum=value)
    spec = InputSpec((field,), {"x": Learned(0, value, value, value)}, TARGET)
    assert generate_rows(spec, 5, seed=5) == [{"x": value}] * 5


def test_integers_keep_within_bounds_that_are_none() -> None:
    spec = InputSpec((Field("x", "integer", "", minimum=0.5, maximum=3.5),), {"x": Learned(0, 1, 1, 3)}, TARGET)
    rows = generate_rows(spec, 200, seed=5, extremes=0.5)
    assert {row["x"] for row in rows} == {1, 2, 3}
    assert {type(row["x"]) for row in rows} == {int}
