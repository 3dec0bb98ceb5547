"""Exports, trainings and their messages for targets on any scale, and for estimators that cannot be exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import DataError, ExportError, FloorError
from model_kit.scoring.bundle import read_bundle
from model_kit.scoring.definition import Floors
from model_kit.testing import TARGET, load_rides, ride_definition
from model_kit.training import export as module
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import Fitted, cross_validate, fit, sizes
from model_kit.training.export import TOLERANCE, agreement, to_onnx
from model_kit.training.folding.rules import Folded
from model_kit.training.folding.terms import Number, Terms
from model_kit.training.train import train
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression

IDENTITY = replace(TARGET, scale="identity")


class Cube(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The third power of the first column: nothing that folds or that skl2onnx knows."""

    def fit(self, X: Any, y: Any) -> Cube:  # noqa: N803 - scikit-learn's names
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return np.asarray(X)[:, 0] ** 3


def around(rides: Dataset, shift: float, factor: float = 1.0) -> Dataset:
    """The rides with another target."""
    return replace(rides, target=(rides.target - rides.target.mean()) * factor + shift)


@pytest.mark.parametrize(("shift", "factor"), [(0, 1), (-1000, 1), (0, 1e-9), (0, 1e12), (1e6, 1)])
def test_any_target_of_identity_scale_trains_and_is_served(
    tmp_path: Path, rides: Dataset, shift: float, factor: float
) -> None:
    definition = ride_definition(target=IDENTITY, estimator=LinearRegression(), floors=None)
    card = train(definition, around(rides, shift, factor), tmp_path / "bundle")
    assert card["metrics"]["r2"] > 0.9
    assert card["agreement"]["train"] <= 5e-6
    # A width relative to predictions around 0 would mean nothing.
    relative = [level["relative_width"] for level in card["coverage"]["levels"]]
    assert (relative == [None] * 4) is (shift <= 0)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    load_rides(tmp_path / "bundle").check()


def test_small_predictions_may_differ_by_millionths_of_the_targets_spread(rides: Dataset) -> None:
    data = around(rides, 0.0)
    fitted = fit(ride_definition(target=IDENTITY), data.rows, data.target)
    assert fitted.spread == pytest.approx(np.std(data.target))
    content = to_onnx(fitted, data.rows).content
    for factor, within in ((0.5, True), (1.5, False)):
        by = factor * TOLERANCE * fitted.spread
        nudged = replace(fitted, estimator=_Nudged(fitted, by))
        small = [row for row, value in zip(data.rows, fitted.predict(data.rows), strict=True) if abs(value) < 1]
        assert small
        if within:
            assert agreement(nudged, content, small, {}) == pytest.approx(factor * TOLERANCE, rel=0.01)
        else:
            with pytest.raises(ExportError, match=r"row \d+: the graph predicts .*, and they may differ by "):
                agreement(nudged, content, small, {})


def test_on_the_log_scale_differences_are_relative_to_the_prediction(rides: Dataset) -> None:
    assert fit(ride_definition(), rides.rows, rides.target).spread == 0


@pytest.mark.parametrize("estimator", [Cube(), KernelRidge()], ids=str)
def test_failure_gives_both_reasons_and_advice_in_four_lines(rides: Dataset, estimator: Any) -> None:
    definition = ride_definition(target=IDENTITY, estimator=estimator, derive=None)
    with pytest.raises(ExportError) as raised:
        to_onnx(fit(definition, rides.rows, rides.target), rides.rows)
    first, folded, plain, advice = str(raised.value).splitlines()
    assert first == "nothing was exported."
    assert folded == f"Folded graph: no rule for {type(estimator).__name__}"
    assert plain.startswith("Graph of skl2onnx: ")
    assert "docs/own-model.md" in advice
    assert max(map(len, (folded, plain, advice))) < 300


def test_reason_why_the_folded_graph_disagreed_is_kept(rides: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Terms()
    wrong.add_linear([Number(0)], [1.0], 0.0)
    monkeypatch.setattr(module, "fold", lambda *_: Folded((wrong,), "value"))
    definition = ride_definition(target=IDENTITY, estimator=Cube(), derive=None)
    with pytest.raises(ExportError, match=r"Folded graph: row \d+: the graph predicts"):
        to_onnx(fit(definition, rides.rows, rides.target), rides.rows)


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo\n" * 5000), KeyError("x" * 9000), ValueError()])
def test_whatever_skl2onnx_raises_is_told_in_a_line(
    rides: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def convert(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(module, "convert_sklearn", convert)
    definition = ride_definition(target=IDENTITY, estimator=Cube(), derive=None)
    with pytest.raises(ExportError) as raised:
        to_onnx(fit(definition, rides.rows, rides.target), rides.rows)
    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"Graph of skl2onnx: {type(error).__name__}")
    assert len(lines[2]) < 260


def test_prediction_that_is_not_finite_says_what_to_do(rides: Dataset) -> None:
    fitted = fit(ride_definition(), rides.rows, rides.target)
    content = to_onnx(fitted, rides.rows).content
    with pytest.raises(ExportError, match="row 0 is not finite; limit how far it extrapolates"):
        agreement(replace(fitted, estimator=_Nudged(fitted, np.nan)), content, rides.rows, {})


def test_target_of_one_value_is_refused(tmp_path: Path, rides: Dataset) -> None:
    data = replace(rides, target=np.full(len(rides.rows), 7.5))
    with pytest.raises(DataError, match="^rides by dice, column fare: every row has 7.5, so there is nothing to learn"):
        train(ride_definition(), data, tmp_path / "bundle")


def test_fewer_rows_than_folds_are_refused(rides: Dataset) -> None:
    few = replace(rides, ids=rides.ids[:7], rows=rides.rows[:7], target=rides.target[:7])
    with pytest.raises(DataError, match="7 rows cannot be cross-validated in 10 folds; add rows"):
        cross_validate(ride_definition(), few)


def test_keeping_no_row_is_refused(rides: Dataset) -> None:
    definition = ride_definition(keep_for_training=lambda rows, _: np.zeros(len(rows), bool))
    with pytest.raises(DataError, match="rides: keep_for_training keeps no row; it must return True for those"):
        fit(definition, rides.rows, rides.target)


def test_model_no_better_than_the_mean_is_reported_loudly_and_refused_only_by_floors(
    tmp_path: Path, rides: Dataset
) -> None:
    noise = replace(rides, target=np.random.default_rng(0).normal(size=len(rides.rows)))
    definition = ride_definition(target=IDENTITY, floors=None)
    said: list[str] = []
    card = train(definition, noise, tmp_path / "bundle", report=said.append)
    assert card["metrics"]["r2"] <= 0
    (warning,) = [line for line in said if "***" in line]
    assert warning.startswith(
        f"*** R2 is {card['metrics']['r2']:.4f}: the model predicts fare of unseen rows no better"
    )
    with pytest.raises(FloorError):
        train(replace(definition, floors=Floors(r2=0.0, rmse=9)), noise, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("n_rows", "expected"), [(442, (10, 2)), (4999, (10, 2)), (5000, (10, 1)), (19_999, (10, 1)), (20_000, (5, 1))]
)
def test_folds_and_repeats_are_fewer_for_many_rows(n_rows: int, expected: tuple[int, int]) -> None:
    assert sizes(n_rows) == expected


def test_card_declares_cross_validation_preprocessing_and_imputation(tmp_path: Path, rides: Dataset) -> None:
    definition = ride_definition(estimator=LinearRegression(), derive=None)
    card = train(definition, rides, tmp_path / "bundle")
    assert card["cross_validation"] == {"splits": 10, "repeats": 2}
    assert (card["preprocessing"], card["imputation"]) == ("kit", "kit")
    card = train(definition, rides, tmp_path / "bundle", cv=False)
    assert card["cross_validation"] is None
    assert read_bundle(tmp_path / "bundle").json("card.json")["imputation"] == "kit"


class _Nudged:
    """An estimator that predicts a little more than the fitted one."""

    def __init__(self, fitted: Fitted, by: float) -> None:
        self._estimator, self._by = fitted.estimator, by

    def fit(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:  # noqa: N803 - scikit-learn's name
        raise AssertionError("it is fitted already")

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        return self._estimator.predict(X) + self._by
