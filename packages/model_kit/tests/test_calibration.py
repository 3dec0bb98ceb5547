"""Calibration of probabilities: bounded, monotone, and never kept where it does not help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.scoring.calibration import FITS, MIN_ROWS, RISE_BEYOND, SPARE, Calibration, calibrate, cross_fitted
from numpy.typing import NDArray

#: How scores of classes are made: as a classifier with more or less to say gives them.
KINDS = ("soft", "hard", "votes", "constant", "separable", "contrary", "shrunken")


def made_up(seed: int, kind: str, n_rows: int, n_classes: int, n_repeats: int) -> tuple[Any, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_rows)
    sides = np.eye(n_classes)[truth]
    found = []
    for _ in range(n_repeats):
        scores = random.normal(size=(n_rows, n_classes)) * random.choice([0.1, 1, 5]) + random.choice([0, 1, 3]) * sides
        scores += {"separable": 100.0, "contrary": -5.0}.get(kind, 0.0) * sides
        scores *= 1e-6 if kind == "shrunken" else 1.0
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        if kind == "hard":
            chances = np.eye(n_classes)[chances.argmax(axis=1)]
        elif kind == "votes":
            chances = np.stack([random.multinomial(5, one) for one in chances]) / 5
        elif kind == "constant":
            chances[:] = chances[0]
        found.append(chances)
    return np.array(found), truth


def log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-15)).mean())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    n_rows=st.sampled_from([10, 60, 199, 200, 500]),
    n_classes=st.integers(2, 5),
    n_repeats=st.integers(1, 2),
)
def test_tables_are_bounded_and_monotone_and_help(
    seed: int, kind: str, n_rows: int, n_classes: int, n_repeats: int
) -> None:
    before, truth = made_up(seed, kind, n_rows, n_classes, n_repeats)
    for fit in FITS.values():
        # The tables of all rows, and of the four fifths that the others are judged by.
        assert np.isfinite(cross_fitted(before, truth, fit)).all()
    card = calibrate(before, truth)
    for table in card["tables"] or []:
        points = np.array(table)
        assert np.isfinite(points).all()
        assert len(points) >= 2
        assert (np.diff(points, axis=0) > 0).all()
        assert np.abs(points[:, 1]).max() <= np.log(2 * n_rows + 1) + RISE_BEYOND + 1e-6
    repeated, pooled = np.tile(truth, n_repeats), before.reshape(-1, n_classes)
    after = Calibration(card["tables"])(pooled)
    np.testing.assert_allclose(after.sum(axis=1), 1)
    assert log_loss(after, repeated) <= log_loss(pooled, repeated) + 0.01
    assert card["log_loss"]["after"] <= card["log_loss"]["before"]
    unseen = cross_fitted(before, truth, FITS[card["kind"]])
    won = int(((unseen.argmax(axis=1) == repeated) & (pooled.argmax(axis=1) != repeated)).sum())
    lost = int(((unseen.argmax(axis=1) != repeated) & (pooled.argmax(axis=1) == repeated)).sum())
    assert lost - won <= max((lost + won) ** 0.5, SPARE * len(repeated))
    if card["kind"] in ("none", "common"):
        assert (won, lost) == (0, 0)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_choices_get_the_rate_at_which_they_are_right(n_classes: int) -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, n_classes, 2000)
    chosen = np.where(random.random(2000) < 0.7, truth, (truth + random.integers(1, n_classes, 2000)) % n_classes)
    before = np.eye(n_classes)[chosen]
    card = calibrate(before[None], truth)
    assert card["log_loss"]["before"] == pytest.approx(0.3 * 34.5, abs=1)
    after = Calibration(card["tables"])(before)
    assert (after.argmax(axis=1) == chosen).all()
    assert after.max(axis=1).mean() == pytest.approx((chosen == truth).mean(), abs=0.03)
    assert card["log_loss"]["after"] < np.log(n_classes)


def test_few_rows_have_one_line_for_all_classes() -> None:
    before, truth = made_up(3, "hard", MIN_ROWS - 1, 3, 1)
    card = calibrate(before, truth)
    assert card["kind"] == "common"
    assert card["tables"][0] == card["tables"][1] == card["tables"][2]


def test_common_line_of_two_classes_leaves_even_odds() -> None:
    before, truth = made_up(4, "votes", 400, 2, 2)
    (line,) = FITS["common"](np.log((before[0] + 1e-3) / (1 - before[0] + 1e-3)), np.eye(2, dtype=bool)[truth], 6.0)
    assert Calibration([line])(np.array([[0.5, 0.5]]))[0, 1] == pytest.approx(0.5, abs=1e-9)


def test_lines_that_get_fewer_rows_right_are_not_taken() -> None:
    # Chosen class by true class: one that is chosen seldom has a better rate than what it is mistaken for.
    counts = 20 * np.array([[1, 1, 1], [6, 7, 6], [0, 1, 7]])
    chosen, truth = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    before = np.eye(3)[chosen][None]
    lines, common = (cross_fitted(before, truth, FITS[kind]) for kind in ("line", "common"))
    assert log_loss(lines, truth) < 0.99 * log_loss(common, truth)
    assert (lines.argmax(axis=1) == truth).mean() < (chosen == truth).mean() - 0.01
    assert calibrate(before, truth)["kind"] == "common"


def test_lines_of_each_class_are_taken_where_they_get_more_rows_right() -> None:
    before, truth = made_up(5, "soft", 2000, 3, 1)
    skewed = before * np.array([1.0, 1.0, 0.2])
    skewed /= skewed.sum(axis=2, keepdims=True)
    card = calibrate(skewed, truth)
    assert card["kind"] in ("line", "table")
    after = Calibration(card["tables"])(skewed[0])
    assert (after.argmax(axis=1) == truth).mean() > (skewed[0].argmax(axis=1) == truth).mean()
