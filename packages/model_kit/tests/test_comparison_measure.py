"""How far the predictions of two models are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from model_kit.batch.rows import InputRow
from model_kit.comparison.measure import FEWEST, MISSING, N_WORST, OTHERS, Labels, Measure, Pair, target_spread, unusual
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES, TARGET

RIDE: dict[str, Any] = {"distance": 3.5, "passengers": 1, "zone": "A", "comfort": "2"}


def measured(
    old: Sequence[float | None],
    new: Sequence[float | None],
    records: Sequence[dict[str, Any]] | None = None,
    spread: float = 0.0,
    values: bool = True,
) -> Measure:
    measure = Measure(SPEC_OF_RIDES, spread, values=values)
    entries = [InputRow(record, number, record) for number, record in enumerate(records or [RIDE] * len(old), 1)]
    measure.add([Pair(entry, entry) for entry in entries], old, new)
    return measure


def test_the_distribution_is_of_relative_differences() -> None:
    # 100 rows that differ by 1 %, 2 %, ... 100 %; every second one downwards.
    signs = [(-1) ** number for number in range(1, 101)]
    new = [10 * (1 + sign * number / 100) for number, sign in enumerate(signs, 1)]
    found = measured([10.0] * 100, new).distribution(beyond=0.75)
    assert found is not None
    assert {name: round(value, 9) for name, value in found.items()} == {
        "median": 0.50,
        "p90": 0.90,
        "p99": 0.99,
        "max": 1.0,
        "share": 0.25,
        "signed_median": 0.005,
        "share_beyond_1_percent": 0.99,
        "share_beyond_5_percent": 0.95,
        "share_beyond_20_percent": 0.80,
        "beyond": 0.75,
        "spread": 0.0,
    }


def test_equal_predictions_differ_by_nothing_even_if_they_are_zero() -> None:
    found = measured([10.0, 0.0], [10.0, 0.0]).distribution(0.1)
    assert found is not None
    assert found["max"] == 0.0
    assert measured([10.0, 0.0], [10.0, 0.0]).worst() == []


def test_what_was_zero_and_is_not_differs_infinitely() -> None:
    found = measured([0.0], [-1.0]).distribution(0.1)
    assert found is not None
    assert found["max"] == math.inf
    assert found["signed_median"] == -math.inf


def test_a_difference_is_a_share_of_the_spread_where_the_prediction_is_smaller() -> None:
    measure = measured([0.001, -2.0, 20.0], [0.011, 2.0, 21.0], spread=10.0)
    assert measure.points[2] == pytest.approx([0.001, 0.4, 0.05])
    found = measure.distribution(0.1)
    assert found is not None
    assert found["max"] == pytest.approx(0.4)
    assert found["spread"] == 10.0
    assert measure.worst()[0]["difference"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("scale", "metrics", "spread"),
    [
        ("log", {"rmse": 0.5, "r2": 0.75}, 0.0),
        # rmse**2 is the share 1 - r2 of the target's variance.
        ("identity", {"rmse": 3.0, "r2": 0.75}, 6.0),
        ("identity", {"rmse": 3.0, "r2": -1.25}, 2.0),
        ("identity", {"rmse": 3.0}, 7.0),
        ("identity", {"rmse": 0.0, "r2": 1.0}, 7.0),
        ("identity", None, 7.0),
    ],
)
def test_the_spread_is_that_of_the_target_on_the_identity_scale(
    scale: Literal["log", "identity"], metrics: dict[str, float] | None, spread: float
) -> None:
    assert target_spread(Target("temperature", "C", scale), metrics, typical=-7.0) == spread


def test_rows_are_counted_by_who_scores_them() -> None:
    measure = measured([1.0, None, 1.0, None], [1.0, 1.0, None, None])
    assert measure.rows == {"total": 4, "compared": 1, "only_old": 1, "only_new": 1, "neither": 1}
    old, new, _ = measure.points
    assert (old.tolist(), new.tolist()) == ([1.0], [1.0])


def test_a_row_that_could_not_be_read_is_not_compared() -> None:
    measure = Measure(SPEC_OF_RIDES, 0.0, values=True)
    measure.add([Pair(InputRow({}, 1, RIDE), InputRow({}, 1, None, "no row"))], [1.0], [1.0])
    assert measure.rows["only_old"] == 1
    assert measure.distribution(0.1) is None
    assert measure.by_field() == []
    assert measure.sample == []


def test_the_field_that_explains_most_comes_first_with_its_groups_in_order() -> None:
    zones = ["A", "B"] * 50
    distances = [[0.5, 2.0, 5.0, 20.0][number // 25] for number in range(100)]
    records = [RIDE | {"zone": zone, "distance": distance} for zone, distance in zip(zones, distances, strict=True)]
    new = [10.0 * (1.5 if zone == "B" else 0.9) for zone in zones]
    fields = measured([10.0] * 100, new, records).by_field()
    assert fields[0]["field"] == "zone"
    assert fields[0]["strength"] == pytest.approx(1.0)
    assert [(group["name"], group["rows"]) for group in fields[0]["groups"]] == [("A", 50), ("B", 50)]
    assert [group["mean"] for group in fields[0]["groups"]] == pytest.approx([-0.1, 0.5])
    assert [group["mean_size"] for group in fields[0]["groups"]] == pytest.approx([0.1, 0.5])
    by_name = {entry["field"]: entry for entry in fields}
    assert [group["name"] for group in by_name["distance"]["groups"]] == ["up to 1", "1 to 3.5", "3.5 to 8", "above 8"]
    assert by_name["passengers"]["strength"] == 0.0


def test_groups_of_few_rows_are_put_together() -> None:
    records = [RIDE] * FEWEST + [RIDE | {"zone": "B"}] * (FEWEST - 1) + [RIDE | {"zone": "X"}]
    fields = {entry["field"]: entry for entry in measured([10.0] * 20, [11.0] * 20, records).by_field()}
    assert [(group["name"], group["rows"]) for group in fields["zone"]["groups"]] == [("A", 10), (OTHERS, 10)]


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("distance", 1.0, "up to 1"),
        ("distance", 1.01, "1 to 3.5"),
        ("distance", 99, "above 8"),
        ("distance", None, MISSING),
        ("distance", math.nan, MISSING),
        ("zone", "B", "B"),
        ("zone", "Z", "(never seen)"),
        ("zone", "N/A", "(never seen)"),
        ("comfort", 2, "2"),
        ("comfort", 2.0, "2"),
        ("comfort", "2", "2"),
        ("comfort", "NA", MISSING),
    ],
)
def test_a_value_has_the_name_of_its_bin_or_level(name: str, value: object, label: str) -> None:
    field = next(field for field in FIELDS if field.name == name)
    assert Labels(field, LEARNED[name])(value) == label


@pytest.mark.parametrize(
    ("field", "learned", "labels"),
    [
        (
            Field("start", "date", "Start"),
            Learned(0.0, "1970-01-11", 0.0, 40.0, (10.0, 31.0)),
            {
                "1970-01-11": "up to 1970-01-11",
                "1970-01-12": "1970-01-11 to 1970-02-01",
                "2026-01-31": "above 1970-02-01",
                None: MISSING,
            },
        ),
        (
            Field("paid", "boolean", "Paid"),
            Learned(0.0, True, codes={"true": 1}),
            {True: "true", False: "(never seen)", None: MISSING},
        ),
    ],
)
def test_dates_have_bins_and_booleans_levels(field: Field, learned: Learned, labels: dict[Any, str]) -> None:
    assert {value: Labels(field, learned)(value) for value in labels} == labels


def test_a_boolean_sent_as_a_number_has_the_label_of_its_value() -> None:
    labels = Labels(Field("paid", "boolean", "Paid"), Learned(0.0, True, codes={"false": 0, "true": 1}))
    assert [labels(value) for value in (1, 1.0, 0, 0.0)] == ["true", "true", "false", "false"]


def test_what_is_unusual_about_dates_and_booleans_is_shown() -> None:
    fields = (Field("start", "date", "Start"), Field("end", "date", "End"), Field("paid", "boolean", "Paid"))
    learned = {
        "start": Learned(0.0, "1970-01-11", 0.0, 40.0, (10.0, 31.0)),
        "end": Learned(0.0, "1970-01-11", 0.0, 40.0, (10.0, 31.0)),
        "paid": Learned(0.0, True, codes={"false": 0, "true": 1}),
    }
    assert unusual({"start": "1969-12-31", "end": "1970-02-01", "paid": False}, InputSpec(fields, learned, TARGET)) == [
        ("start", "below all training rows"),
        ("end", "1.0 spreads above typical"),
        ("paid", "not the most frequent level"),
    ]


def test_a_number_without_bins_is_one_group() -> None:
    assert Labels(Field("x", "number", "X"), Learned(0.0, 1.0, 1.0, 1.0))(5) == "all"


def test_the_worst_rows_come_largest_first_the_first_of_equals_before_the_others() -> None:
    new = [10.0 + (5.0 if number in {3, 7} else number / 100) for number in range(20)]
    worst = measured([10.0] * 20, new).worst()
    assert len(worst) == N_WORST
    assert [row["row"] for row in worst[:3]] == [4, 8, 20]
    assert worst[0]["difference"] == pytest.approx(0.5)
    assert (worst[0]["old"], worst[0]["new"]) == (10.0, 15.0)


@pytest.mark.parametrize("values", [True, False])
def test_what_is_unusual_about_a_row_is_told_with_its_values_only_where_they_may_be(values: bool) -> None:
    record = {"distance": 40.0, "passengers": None, "zone": "Z", "comfort": "2"}
    (row,) = measured([10.0], [12.0], [record], values=values).worst()
    assert [(fact["field"], fact["how"]) for fact in row["unusual"]] == [
        ("distance", "above all training rows"),
        ("zone", "a level never seen"),
        ("passengers", "missing, as in 10% of the training rows"),
    ]
    assert ("40.0" in str(row)) is values
    assert [fact.get("value") for fact in row["unusual"]] == ([40.0, "Z", None] if values else [None] * 3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"distance": 10.5}, [("distance", "1.0 spreads above typical")]),
        ({"distance": 0.5}, [("distance", "0.4 spreads below typical")]),
        ({"distance": 0.1}, [("distance", "below all training rows")]),
        ({"zone": "B"}, [("zone", "not the most frequent level")]),
        ({"comfort": None}, [("comfort", "missing, as in 20% of the training rows")]),
    ],
)
def test_how_far_a_value_is_from_typical_is_told_in_words(changes: dict[str, Any], told: list[tuple[str, str]]) -> None:
    assert unusual(RIDE | changes, SPEC_OF_RIDES) == told


def test_a_rare_level_and_a_number_that_hardly_varied_are_told() -> None:
    fields = (Field("make", "category", "Make"), Field("doors", "integer", "Doors"), Field("note", "number", "Note"))
    learned = {
        "make": Learned(0.0, "Volta", codes={"Volta": 1, "Edel": 0}),
        "doors": Learned(0.0, 4, 2, 6, (4.0,)),
        "note": Learned(1.0, None),
    }
    spec = InputSpec(fields, learned, TARGET)
    assert unusual({"make": "Edel", "doors": 5, "note": 3.0}, spec) == [
        ("make", "a rare level"),
        ("doors", "1.0 spreads above typical"),
    ]


def test_no_more_rows_are_kept_for_timing_than_are_timed() -> None:
    n_rows = 1005
    measure = measured([1.0] * n_rows, [1.0] * n_rows)
    assert len(measure.sample) == 1000
    assert measure.points.shape == (3, n_rows)
