from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import TARGET
from model_kit.training.reference import FEWEST, distribution, reference, reference_predictions


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
    # Also of numbers that a client keeps in float32.
    tenths = [0.1] * 10 + [float(np.float32(0.1))] * 10 + [0.2] * 10
    assert refer(tenths, bins=(0.1,)) == {"missing": 0, "edges": [0.1], "counts": [20, 10]}


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


def test_predictions_are_counted_between_those_of_the_model() -> None:
    served = np.arange(100) / 10
    out_of_fold = np.array([served + 0.04, served + 1.04])
    found = reference_predictions(out_of_fold, served, PLAIN)
    assert found == {
        "prediction": {
            # At the deciles of both repeats together, of which the counts are the mean.
            "edges": [1.45, 2.45, 3.45, 4.45, 5.45, 6.45, 7.45, 8.45, 9.45],
            "counts": [10, 10, 10, 10, 10, 10, 10, 10, 10, 10],
        }
    }


def test_predictions_that_are_the_same_but_for_their_last_digits_are_in_one_bin() -> None:
    served = np.repeat([100.0, 200.0, 300.0], 40)
    noise = 1 + 1e-7 * np.tile([-1, 1], 60)
    found = reference_predictions(np.array([served * noise]), served * noise[::-1], PLAIN)
    assert found == {"prediction": {"edges": [150.0, 250.0], "counts": [40, 40, 40]}}
    assert reference_predictions(np.zeros((1, 50)), np.zeros(50), PLAIN)["prediction"] == {"edges": [], "counts": [50]}


def test_predicted_classes_are_counted_as_means_with_their_probabilities() -> None:
    target = Target("left", kind="class", classes=("no", "yes"), threshold=0.4)
    yes = np.array([np.repeat([0.1, 0.6], [60, 40]), np.repeat([0.1, 0.41], [80, 20])])
    found = reference_predictions(np.stack([1 - yes, yes], axis=2), np.stack([1 - yes[0], yes[0]], axis=1), target)
    assert found == {
        "prediction": {"levels": {"no": 70, "yes": 30}, "other": 0},
        "probability": {"edges": [0.35], "counts": [70, 30]},
    }


def test_rare_classes_are_merged_and_the_largest_probability_of_several_is_counted() -> None:
    target = Target("kind", kind="class", classes=("a", "b", "c"))
    found = np.eye(3)[np.repeat([0, 1, 2], [50, 30, 5])] * 0.6 + 0.2
    assert reference_predictions(found[np.newaxis], found, target) == {
        "prediction": {"levels": {"a": 50}, "other": 35},
        "probability": {"edges": [], "counts": [85]},
    }


PLAIN = Target("temperature", "C", "identity")


def test_targets_are_counted_in_bars_of_one_width_with_the_ends_in_the_outer_ones() -> None:
    values = np.concatenate([np.arange(1000) / 10, [1e6, -1e6]])
    found = distribution(values, PLAIN)
    edges = np.array(found["edges"])
    assert len(found["shares"]) == 40
    np.testing.assert_allclose(np.diff(edges), (edges[-1] - edges[0]) / 40)
    assert (edges[0], edges[-1]) == pytest.approx((0.4, 99.5), abs=0.11)
    np.testing.assert_allclose(found["shares"], 1 / 40, atol=0.006)
    assert sum(found["shares"]) == pytest.approx(1)


def test_bars_of_a_log_scale_have_one_ratio() -> None:
    found = distribution(np.exp(np.linspace(0, 5, 400)), TARGET)
    assert len(found["shares"]) == 20
    ratios = np.divide(found["edges"][1:], found["edges"][:-1])
    np.testing.assert_allclose(ratios, ratios[0])
    np.testing.assert_allclose(found["shares"], 1 / 20, atol=0.01)


def test_no_bar_is_about_a_few_rows() -> None:
    values = np.concatenate([np.full(390, 1.0), np.linspace(2, 10, 10)])
    shares = distribution(values, PLAIN)["shares"]
    # The ten on their own are told evenly.
    assert shares[0] == 390 / 400
    assert set(shares[1:]) == {FEWEST / 400 / (len(shares) - 1)}


def test_leftover_bars_join_their_neighbours() -> None:
    values = np.concatenate([np.full(390, 1.0), np.full(6, 9.0)])
    shares = distribution(values, PLAIN)["shares"]
    assert len(set(shares)) == 1
    assert sum(shares) == pytest.approx(1)


def test_targets_that_are_all_the_same_are_one_bar() -> None:
    assert distribution(np.zeros(50), PLAIN) == {"edges": [0.0, 0.0], "shares": [1.0]}


def test_targets_that_are_close_together_still_have_bars() -> None:
    found = distribution(np.linspace(1000.1, 1000.9, 100), PLAIN)
    assert len(found["shares"]) == 5
    assert found["edges"] == sorted(set(found["edges"]))
