"""What is unusual about many rows is summed up by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_kit.records.column_summary import ColumnLimits, ColumnSummary
from model_kit.records.encoding import Encoder
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import FIELDS, LEARNED, SPEC_OF_RIDES

from bookings import BOOKING, SPEC_OF_BOOKINGS

RIDE: dict[str, Any] = {"distance": 8.0, "passengers": 1, "zone": "A", "comfort": "2"}


def summed_up(spec: InputSpec, *batches: list[dict[str, Any]]) -> ColumnSummary:
    summary = ColumnSummary(spec)
    for rows in batches:
        summary.add(Encoder(spec)(rows), lambda row, name, rows=rows: rows[row].get(name))  # type: ignore[misc]
    return summary


def test_rows_like_those_of_training_give_no_line() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE] * 30)
    assert summary.lines() == []
    assert summary.to_dict() == []
    assert not summary.is_strange_nearly_everywhere


def test_levels_never_seen_are_counted_with_an_example_over_batches() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE, RIDE | {"zone": "N/A"}], [RIDE | {"zone": "C"}, RIDE])
    assert summary.lines() == ["zone: 2 of 4 rows have a level never seen in training, such as 'N/A'"]
    assert not summary.is_strange_nearly_everywhere


def test_level_that_differs_in_case_only_is_the_better_example() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE | {"zone": "N/A"}], [RIDE | {"zone": "b"}, RIDE | {"zone": "C"}])
    assert summary.lines() == [
        "zone: 3 of 3 rows have a level never seen in training, such as 'b', which differs from 'B' in case only"
    ]
    assert summary.is_strange_nearly_everywhere


def test_value_beyond_the_largest_encoded_one_is_told_as_it_is() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE | {"distance": 5e15}])
    assert summary.lines() == [
        "distance: 1 of 1 rows have a value outside the training range, 0.4 to 32, such as '5000000000000000.0'"
    ]


def test_values_outside_the_training_range_are_counted() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE, RIDE | {"distance": 0.25}, RIDE | {"distance": 99.5}])
    assert summary.lines() == [
        "distance: 2 of 3 rows have a value outside the training range, 0.4 to 32, such as '0.25'"
    ]
    assert summary.to_dict() == [
        {
            "field": "distance",
            "n_rows": 3,
            "unseen_levels": 0,
            "out_of_range": 2,
            "missing": 0,
            "example": "0.25",
            "differs_in_case": "",
            "training_range": "0.4 to 32",
            "training_missing": 0.0,
        }
    ]


def test_dates_and_booleans_have_ranges_and_levels_too() -> None:
    learned = {**SPEC_OF_BOOKINGS.learned, "breakfast": Learned(0.1, True, codes={"true": 1})}
    spec = InputSpec(SPEC_OF_BOOKINGS.fields, learned, SPEC_OF_BOOKINGS.target)
    lines = summed_up(spec, [BOOKING, BOOKING | {"arrival": "2031-05-01", "breakfast": False}]).lines()
    assert lines == [
        "breakfast: 1 of 2 rows have a level never seen in training, such as 'false'",
        "arrival: 1 of 2 rows have a value outside the training range, 2024-01-01 to 2024-12-31, such as '2031-05-01'",
    ]


@pytest.mark.parametrize(
    ("share", "n_rows", "n_missing", "told"),
    [
        (0.0, 19, 19, False),  # too few rows to say
        (0.0, 20, 3, False),
        (0.0, 20, 4, True),
        (0.0, 1000, 10, False),  # a share of 1 % may be chance
        (0.0, 1000, 11, True),
        (0.1, 100, 25, False),  # 4 standard deviations are 12
        (0.1, 100, 26, True),
        (0.9, 100, 100, False),
        (1.0, 100, 100, False),
    ],
)
def test_more_missing_values_than_training_had_are_told_with_a_margin(
    share: float, n_rows: int, n_missing: int, *, told: bool
) -> None:
    learned = LEARNED | {"passengers": Learned(share, 1, 1, 4)}
    spec = InputSpec(FIELDS, learned, SPEC_OF_RIDES.target)
    rows: list[dict[str, Any]] = [RIDE | {"passengers": None}] * n_missing + [RIDE] * (n_rows - n_missing)
    expected = [f"passengers: {n_missing} of {n_rows:,} rows have no value, in training {share:.1%}"] if told else []
    assert summed_up(spec, rows).lines() == expected


def test_number_without_a_value_in_training_is_outside_its_range() -> None:
    spec = InputSpec((Field("x", "number", ""),), {"x": Learned(1.0, None)}, Target("y"))
    assert summed_up(spec, [{"x": 3.5}, {"x": None}]).lines() == [
        "x: 1 of 2 rows have a value outside the training range, which has no value, such as '3.5'"
    ]


def test_columns_with_most_unusual_rows_come_first() -> None:
    summary = summed_up(SPEC_OF_RIDES, [RIDE | {"distance": 99.0}, RIDE | {"zone": "C"}, RIDE | {"zone": "C"}])
    assert [report.field for report in summary.reports()] == ["zone", "distance"]


@pytest.mark.parametrize("change", [{"distance": 0.3}, {"distance": 33.0}, {"zone": "C"}, {"comfort": "3"}])
def test_limits_are_exceeded_exactly_where_training_saw_no_such_value(change: dict[str, Any]) -> None:
    limits = ColumnLimits(SPEC_OF_RIDES)
    encode = Encoder(SPEC_OF_RIDES)
    assert limits.count_exceeded(encode([RIDE, {"distance": 0.4, "zone": "B"}, {"distance": 32, "zone": "A"}])) == {}
    encoded = encode([RIDE, RIDE | change])
    [name] = change
    assert limits.count_exceeded(encoded) == {name: 1}
    assert np.argwhere(limits.exceeded(encoded)).tolist() == [[1, SPEC_OF_RIDES.names.index(name)]]
