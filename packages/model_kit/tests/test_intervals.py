"""Ranges: what they hold, whatever the model; the card's table against one that knows nothing of the rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit.errors import DataError, IntervalError
from model_kit.scoring import intervals as module
from model_kit.scoring.intervals import (
    LEVELS,
    MIN_RESIDUALS,
    REPORTED_LEVELS,
    Intervals,
    calibrate,
    coverage,
    cross_fitted,
)
from model_kit.spec import Target
from model_kit.testing import TARGET, ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import cross_validate, nested_coverage

PLAIN = Target("temperature", "C", "identity")


def houses(n_rows: int, n_repeats: int = 2, seed: int = 1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Predictions, whose logarithm errs by .1 below 150,000 and by .2 above; a row's errors are nearly the same."""
    random = np.random.default_rng(seed)
    predicted = np.exp(random.normal(np.log(150_000), 0.4, n_rows))
    error = random.normal(0, np.where(predicted < 150_000, 0.1, 0.2))
    again = np.exp(random.normal(0, 0.005, (n_repeats, n_rows)))
    return predicted * again, predicted * np.exp(error)


CALIBRATED = {target: Intervals(calibrate(*houses(400), target), target) for target in (TARGET, PLAIN)}


def test_a_bin_has_the_quantiles_of_its_own_errors() -> None:
    # Errors 1 to 99 below 100, twice as much above: with the finite-sample correction, 95 % of 100 rows is the 96th.
    truth = np.zeros(198)
    predictions = np.concatenate([np.full(99, 50.0), np.full(99, 150.0)])
    truth[:99] = 50 + np.arange(1, 100)
    truth[99:] = 150 - 2 * np.arange(1, 100)
    found = calibrate(predictions[np.newaxis], truth, PLAIN)
    assert (found["rows"], found["levels"]) == (198, list(LEVELS))
    # Both thirds' edges fall on values that repeat.
    assert found["edges"] == [150.0]
    low, high = found["widths"]
    assert low[LEVELS.index(0.5)] == pytest.approx(1 + 98 * 0.5 * 100 / 99, rel=1e-3)
    assert low[-1] == pytest.approx(1 + 98 * 0.95 * 100 / 99, rel=1e-3)
    assert high == pytest.approx([2 * width for width in low], rel=1e-3)


def test_a_row_counts_once_however_often_it_was_predicted() -> None:
    predictions, truth = houses(500)
    once = calibrate(predictions[:1], truth, TARGET)
    twice = calibrate(np.repeat(predictions[:1], 2, axis=0), truth, TARGET)
    assert twice["edges"] == once["edges"]
    # Repeating each error moves a quantile by less than one of them.
    np.testing.assert_allclose(twice["widths"], once["widths"], rtol=0.03)


@pytest.mark.parametrize(("n_rows", "n_bins"), [(40, 1), (119, 1), (120, 2), (200, 3), (300, 5), (1460, 5)])
def test_bins_are_as_many_as_rows_allow(n_rows: int, n_bins: int) -> None:
    predictions, truth = houses(n_rows)
    found = calibrate(predictions, truth, TARGET)
    assert len(found["widths"]) == n_bins
    assert len(found["edges"]) == n_bins - 1
    counts = np.bincount(np.searchsorted(found["edges"], predictions.ravel(), side="right"))
    assert counts.min() >= MIN_RESIDUALS * 2


def test_same_predictions_are_one_bin() -> None:
    _, truth = houses(500)
    found = calibrate(np.full((2, 500), 150_000.0), truth, TARGET)
    assert found["edges"] == []
    assert len(found["widths"]) == 1


def test_calibration_tells_no_row() -> None:
    predictions, truth = houses(1460)
    found = calibrate(predictions, truth, TARGET)
    errors = {f"{abs(error):.10g}" for error in np.log(predictions / truth).ravel()}
    assert not errors & {f"{width:.10g}" for widths in found["widths"] for width in widths}
    assert all(edge == round(edge, -2) for edge in found["edges"])


@pytest.mark.parametrize(("n_rows", "tolerance"), [(60, 0.06), (200, 0.04), (1460, 0.02)])
def test_ranges_hold_what_they_say_on_rows_that_did_not_calibrate_them(n_rows: int, tolerance: float) -> None:
    new, truth = houses(50_000, 1, seed=98)
    found = []
    for seed in range(10):
        intervals = Intervals(calibrate(*houses(n_rows, seed=seed), TARGET), TARGET)
        found.append(
            [level["overall"] for level in coverage(truth, new[0], intervals.at_reported_levels(new[0]))["levels"]],
        )
    mean = np.mean(found, axis=0)
    np.testing.assert_allclose(mean, REPORTED_LEVELS, atol=tolerance / 2)
    assert (mean >= np.array(REPORTED_LEVELS) - 0.01).all()


def test_cheap_and_dear_have_widths_of_their_own() -> None:
    intervals = Intervals(calibrate(*houses(1460), TARGET), TARGET)
    low, high = intervals(np.array([100_000.0, 300_000.0]), 0.9)
    np.testing.assert_allclose(np.log(high / low) / 2, [0.1645, 0.329], rtol=0.1)
    new, truth = houses(50_000, 1, seed=98)
    for level in coverage(truth, new[0], intervals.at_reported_levels(new[0]))["levels"]:
        np.testing.assert_allclose(level["thirds"], level["level"], atol=0.04)


@given(
    st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=5),
    st.floats(0.5, 0.95),
    st.floats(0.5, 0.95),
    st.sampled_from([TARGET, PLAIN]),
)
def test_prediction_is_within_and_a_higher_level_is_never_narrower(
    values: list[float], one: float, other: float, target: Target
) -> None:
    predictions = np.array(values)
    (low, high), (lowest, highest) = (CALIBRATED[target](predictions, level) for level in sorted((one, other)))
    assert (lowest <= low).all()
    assert (low <= predictions).all()
    assert (predictions <= high).all()
    assert (high <= highest).all()
    assert np.isfinite([lowest, highest]).all()


def test_ends_stay_finite_where_predictions_nearly_are_not() -> None:
    calibration = {"levels": [0.5, 0.95], "edges": [], "widths": [[1.0, 2.0]]}
    low, high = Intervals(calibration, TARGET)(np.array([1.7e308]), 0.95)
    assert high[0] == np.finfo(np.float64).max
    assert low[0] == pytest.approx(1.7e308 * math.exp(-2))


@pytest.mark.parametrize("level", [0.499, 0.951, 1.0, 0.0, -1.0, math.nan])
def test_level_beyond_what_is_calibrated_is_refused_with_the_reason(level: float) -> None:
    intervals = Intervals(calibrate(*houses(400), TARGET), TARGET)
    with pytest.raises(IntervalError, match=r"^the level of an interval is from 0\.5 to 0\.95, not .*too few errors"):
        intervals(np.array([1.0]), level)


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ({"evaluated": True}, "it was trained before there were any: train it again"),
        ({"evaluated": False, "intervals": None}, "it was trained without cross-validation"),
        (
            {"evaluated": True, "intervals": None, "data": {"rows": 30}},
            "it was evaluated on 30 rows, and they take 40",
        ),
    ],
)
def test_model_without_intervals_says_why(card: dict[str, Any], why: str) -> None:
    with pytest.raises(IntervalError) as caught:
        Intervals.from_card(card, TARGET)
    assert str(caught.value) == f"this model has no calibrated intervals: {why}"


def test_coverage_is_counted_overall_and_in_thirds_of_the_prediction() -> None:
    predictions = np.array([1.0, 2, 3, 4, 5, 6])
    truth = np.array([1.0, 9, 3, 4, 9, 9])
    ranges = np.array([[predictions - 0.5] * len(REPORTED_LEVELS), [predictions + 0.5] * len(REPORTED_LEVELS)])
    found = coverage(truth, predictions, ranges)
    assert found["edges"] == [2.667, 4.333]
    width = (1 / predictions).mean()
    assert found["levels"] == [
        {"level": level, "overall": 0.5, "thirds": [0.5, 1.0, 0.0], "relative_width": pytest.approx(width, abs=1e-4)}
        for level in REPORTED_LEVELS
    ]


def test_width_is_relative_to_positive_predictions_only_and_repeated_values_leave_no_third_empty() -> None:
    predictions = np.array([0.0, 0.0, 0.0, 0.0, 7.0])
    found = coverage(predictions, predictions, np.zeros((2, len(REPORTED_LEVELS), 5)))
    assert found["edges"] == [0.0]
    assert (found["levels"][0]["relative_width"], found["levels"][0]["thirds"]) == (None, [1.0, 1.0, 0.0])


@pytest.mark.parametrize("outlier", [1e9, -1e12, 1e300])
def test_one_outlier_leaves_bins_and_thirds_apart(outlier: float) -> None:
    predictions, truth = houses(1460)
    usual = calibrate(predictions, truth, PLAIN)
    usual_thirds = cross_fitted(predictions, truth, PLAIN)
    predictions[0, 3] = outlier
    found = calibrate(predictions, truth, PLAIN)
    assert len(set(found["edges"])) == len(found["widths"]) - 1 == 4
    np.testing.assert_allclose(found["edges"], usual["edges"], rtol=0.01)
    thirds = cross_fitted(predictions, truth, PLAIN)
    np.testing.assert_allclose(thirds["edges"], usual_thirds["edges"], rtol=0.01)
    for level, expected in zip(thirds["levels"], usual_thirds["levels"], strict=True):
        np.testing.assert_allclose(level["thirds"], expected["thirds"], atol=0.02)


def test_cross_fitted_coverage_is_by_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, truth = houses(400)
    seen: list[int] = []

    def watched(out_of_fold: Any, others: Any, target: Target) -> dict[str, Any]:
        seen.append(len(others))
        return calibrate(out_of_fold, others, target)

    monkeypatch.setattr(module, "calibrate", watched)
    found = cross_fitted(predictions, truth, TARGET)
    assert seen == [360] * 10
    np.testing.assert_allclose([level["overall"] for level in found["levels"]], REPORTED_LEVELS, atol=0.03)


def test_nested_coverage_agrees_with_the_card_and_with_what_is_said(rides: Dataset) -> None:
    definition = ride_definition()
    nested = nested_coverage(definition, rides, n_splits=5, n_jobs=1, progress=False)
    evaluation = cross_validate(definition, rides, n_splits=5, n_jobs=1, progress=False)
    quick = cross_fitted(evaluation.out_of_fold, rides.target, TARGET)
    for one, other in zip(nested["levels"], quick["levels"], strict=True):
        assert one["overall"] == pytest.approx(one["level"], abs=0.04)
        assert one["overall"] == pytest.approx(other["overall"], abs=0.03)
        assert one["relative_width"] == pytest.approx(other["relative_width"], rel=0.05)


def test_nested_coverage_of_too_few_rows_is_refused(rides: Dataset) -> None:
    few = Dataset(rides.name, rides.sha256, True, rides.ids[:42], rides.rows[:42], rides.target[:42])
    with pytest.raises(DataError, match="^rides by dice: 37 rows are too few to calibrate intervals on; it takes 40$"):
        nested_coverage(ride_definition(), few, n_jobs=1, progress=False)
