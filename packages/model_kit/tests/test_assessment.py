"""Errors on labelled rows, overall and by group."""

from __future__ import annotations

import numpy as np
import pytest
from model_kit.scoring.assessment import MOST_FIELDS, Group, assess, by_level, score
from model_kit.spec import Field, Row, Target, fit_spec
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

LOG = Target("price", "USD", "log")
PLAIN = Target("price", "USD", "identity")


@pytest.fixture
def truth() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(7).uniform(50_000, 500_000, 300)


def test_scores_are_scikit_learns(truth: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    predicted = truth * np.exp(np.random.default_rng(8).normal(0.02, 0.1, 300))
    scores = score(truth, predicted, LOG)
    assert scores.n == 300
    assert scores.rmse == pytest.approx(root_mean_squared_error(np.log(truth), np.log(predicted)), rel=1e-12)
    assert scores.r2 == pytest.approx(r2_score(np.log(truth), np.log(predicted)), rel=1e-12)
    assert scores.mae == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-12)
    assert scores.relative == pytest.approx(np.median(np.abs(predicted / truth - 1)), rel=1e-12)
    assert scores.bias == pytest.approx(np.log(predicted / truth).mean(), rel=1e-12)


def test_scores_by_hand() -> None:
    scores = score(np.array([100.0, 200.0]), np.array([110.0, 180.0]), PLAIN)
    assert (scores.rmse, scores.mae, scores.bias) == (250**0.5, 15.0, -5.0)
    assert scores.relative == pytest.approx(0.1)
    assert scores.r2 == pytest.approx(1 - 250 / 2500)


def test_relative_error_of_what_is_not_positive_is_none() -> None:
    assert score(np.array([0.0, 2.0]), np.array([1.0, 2.0]), PLAIN).relative is None


@pytest.mark.parametrize("truth", [[3.0], [0.1, 0.1, 0.1]])
def test_r2_needs_variance(truth: list[float]) -> None:
    assert score(np.array(truth), np.array(truth) * 1.1, LOG).r2 is None


def test_groups_are_sorted_by_error_and_few_rows_are_marked() -> None:
    truth = np.full(32, 100.0)
    labels = ["good"] * 10 + ["bad"] * 20 + ["two"] * 2
    predicted = np.array([101.0] * 10 + [150.0] * 20 + [102.0] * 2)
    assessment = assess(truth, predicted, LOG, by={"kind": labels})
    assert [(group.name, group.scores.n, group.few) for group in assessment.by["kind"]] == [
        ("bad", 20, False),
        ("two", 2, True),
        ("good", 10, False),
    ]
    assert assessment.by["kind"][0].scores.bias == pytest.approx(np.log(1.5))


def test_groups_of_the_same_error_are_sorted_by_name() -> None:
    assessment = assess(np.ones(3), np.ones(3), LOG, by={"kind": ["c", "a", "b"]})
    assert [group.name for group in assessment.by["kind"]] == ["a", "b", "c"]


def test_thirds_are_cut_by_the_true_value() -> None:
    truth = np.arange(1000.0, 10_000.0, 1000.0)
    assessment = assess(truth, truth * np.repeat([1.1, 1.0, 0.9], 3), LOG)
    assert [group.name for group in assessment.thirds] == [
        "low, 1,000 to 3,000",
        "middle, 4,000 to 6,000",
        "high, 7,000 to 9,000",
    ]
    assert [round(group.scores.bias, 4) for group in assessment.thirds] == [0.0953, 0.0, -0.1054]
    twelve = np.arange(1.0, 13.0)
    assert [group.scores.n for group in assess(twelve, twelve, LOG).thirds] == [4, 4, 4]


def test_third_without_rows_is_left_out() -> None:
    assert [group.name for group in assess(np.full(5, 7.0), np.full(5, 7.0), LOG).thirds] == ["low, 7 to 7"]


@pytest.mark.parametrize(
    ("truth", "labels"),
    [
        ([0.0004567, 0.02, 0.3], ["low, 0.000457 to 0.000457", "middle, 0.02 to 0.02", "high, 0.3 to 0.3"]),
        ([-12.345, 0.0, 99.96], ["low, -12.3 to -12.3", "middle, 0 to 0", "high, 100 to 100"]),
        ([123.4, 999.9, 1_234_567.8], ["low, 123 to 123", "middle, 1,000 to 1,000", "high, 1,234,568 to 1,234,568"]),
    ],
)
def test_thirds_tell_targets_of_any_size_apart(truth: list[float], labels: list[str]) -> None:
    values = np.array(truth)
    assert [group.name for group in assess(values, values, PLAIN).thirds] == labels


def test_core_leaves_rows_out() -> None:
    truth, predicted = np.array([100.0, 100.0, 100.0]), np.array([100.0, 100.0, 1000.0])
    assessment = assess(truth, predicted, LOG, core=np.array([True, True, False]))
    assert assessment.core is not None
    assert (assessment.core.n, assessment.core.rmse) == (2, 0.0)
    assert assessment.overall.n == 3
    assert assess(truth, predicted, LOG).core == assessment.overall
    assert assess(truth, predicted, LOG, core=np.zeros(3, bool)).core is None


def test_document_has_every_group_beside_its_scores() -> None:
    assessment = assess(np.ones(2), np.ones(2), LOG, core=np.zeros(2, bool), by={"kind": ["a", "a"]})
    document = assessment.to_dict()
    assert document["core"] is None
    assert document["overall"] == {"n": 2, "rmse": 0.0, "r2": None, "mae": 0.0, "relative": 0.0, "bias": 0.0}
    assert document["by"] == {"kind": [{"name": "a", "few": True, **document["overall"]}]}
    assert len(document["thirds"]) == 1
    assert isinstance(assessment.by["kind"][0], Group)
    assert assess(np.ones(2), np.ones(2), LOG).to_dict()["core"] == document["overall"]


def test_many_groups_take_no_quadratic_time() -> None:
    truth = np.linspace(1, 2, 20_000)
    assert len(assess(truth, truth, LOG, by={"id": [str(number) for number in range(20_000)]}).by["id"]) == 20_000


def test_errors_by_level_pool_what_is_rare_and_are_of_the_strongest_categories() -> None:
    kinds = [*("a" * 12), *("b" * 10), *("c" * 9), None]
    fields = [Field(name, "category", name) for name in ("kind", "one", "same", "more", "most")]
    fields.append(Field("size", "number", "size"))
    rows: list[Row] = [
        dict.fromkeys(("kind", "same", "more", "most"), kind) | {"one": "x", "size": 1.0} for kind in kinds
    ]
    spec = fit_spec(fields, LOG, rows, rare_below=1)
    truth = np.full(32, 100.0)
    off = np.repeat([1.1, 1.3, 1.2], [12, 10, 10])
    found = by_level(
        np.stack([truth * off, truth / off]), truth, rows, spec, ["size", "one", "most", "kind", "more", "same"]
    )
    assert list(found) == ["most", "kind", "more"]
    assert len(found) == MOST_FIELDS
    assert [(group["level"], group["n"]) for group in found["kind"]] == [("b", 10), (None, 10), ("a", 12)]
    first = found["kind"][0]
    assert set(first) == {"level", "n", "rmse", "mae", "relative", "bias"}
    assert first["rmse"] == pytest.approx(np.log(1.3))
    assert first["mae"] == pytest.approx((30 + 100 - 100 / 1.3) / 2)
    assert first["bias"] == pytest.approx(0, abs=1e-12)


def test_no_group_of_few_rows_is_told() -> None:
    kinds = [*("a" * 12), *("b" * 10), *("c" * 9)]
    rows: list[Row] = [{"kind": kind} for kind in kinds]
    spec = fit_spec([Field("kind", "category", "kind")], LOG, rows, rare_below=1)
    found = by_level(np.ones((1, 31)), np.ones(31), rows, spec, ["kind"])
    assert [group["level"] for group in found["kind"]] == ["a", "b"]
