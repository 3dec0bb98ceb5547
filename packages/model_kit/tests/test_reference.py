from __future__ import annotations

from typing import Any

from model_kit.reference import reference
from model_kit.spec import Field, InputSpec, Learned
from model_kit.testing import TARGET


def refer(values: list[Any], kind: str = "number", bins: tuple[float, ...] = ()) -> dict[str, Any]:
    field = Field("x", kind, "")  # type: ignore[arg-type]
    spec = InputSpec((field,), {"x": Learned(0, None, bins=bins)}, TARGET)
    document = reference(spec, [{"x": value} for value in values])
    assert document["rows"] == len(values)
    fields: dict[str, Any] = document["fields"]["x"]
    return fields


def test_numbers_are_counted_per_bin_with_the_upper_edge_included() -> None:
    values = [1] * 10 + [2] * 11 + [3] * 12
    assert refer(values, bins=(1, 2)) == {"missing": 0, "edges": [1, 2], "counts": [10, 11, 12]}


def test_rare_bins_are_merged_with_a_neighbour() -> None:
    assert refer([1] * 3 + [2] * 11 + [3] * 12, bins=(1, 2)) == {"missing": 0, "edges": [2], "counts": [14, 12]}
    assert refer([1] * 10 + [2] * 11 + [3] * 2, bins=(1, 2)) == {"missing": 0, "edges": [1], "counts": [10, 13]}
    assert refer([1, 2, 3] * 4, bins=(1, 2)) == {"missing": 0, "edges": [], "counts": [12]}
    # After one that is full, and where one merging is not enough.
    assert refer([1] * 12 + [2] * 3 + [3] * 12, bins=(1, 2)) == {"missing": 0, "edges": [1], "counts": [12, 15]}
    values = [1] * 12 + [2] * 3 + [3] * 4 + [4] * 5 + [5] * 12
    assert refer(values, bins=(1, 2, 3, 4)) == {"missing": 0, "edges": [1, 4], "counts": [12, 12, 12]}


def test_rare_levels_are_merged_into_other() -> None:
    values = ["a"] * 40 + ["b"] * 8 + ["c"] * 3
    assert refer(values, "category") == {"missing": 0, "levels": {"a": 40}, "other": 11}


def test_ten_are_enough() -> None:
    assert refer(["a"] * 10 + ["b"] * 9 + ["c"], "category") == {"missing": 0, "levels": {"a": 10}, "other": 10}
    assert refer(["a"] * 10, "category") == {"missing": 0, "levels": {"a": 10}, "other": 0}
    assert refer(["a"] * 20 + ["b"], "category") == {"missing": 0, "levels": {}, "other": 21}


def test_other_is_never_about_a_few_rows() -> None:
    values = ["a"] * 40 + ["b"] * 20 + ["c"] * 3
    assert refer(values, "category") == {"missing": 0, "levels": {"a": 40}, "other": 23}


def test_missing_values_are_counted_unless_there_are_only_a_few() -> None:
    assert refer([None] * 10 + [1] * 10)["missing"] == 10
    assert refer([None] * 9 + [1] * 10)["missing"] == 0


def test_field_that_only_a_few_rows_have_tells_nothing_of_them() -> None:
    assert refer([1, 2, 3] + [None] * 50, bins=(1, 2)) == {"missing": 50, "edges": [], "counts": [0]}
    assert refer(["a", "b"] + [None] * 50, "category") == {"missing": 50, "levels": {}, "other": 0}
