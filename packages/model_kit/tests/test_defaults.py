"""The default estimators: they fold, and the best in cross-validation comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import FIELDS, TARGET, ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.estimators import defaults
from model_kit.training.estimators.boosting import LARGE, SMALL, BoostedTrees
from model_kit.training.estimators.defaults import CANDIDATES, rank
from model_kit.training.estimators.encoding import MOST_INDICATORS, split_by_levels
from model_kit.training.evaluation import cross_validate, fit
from model_kit.training.export import to_onnx
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor


@pytest.fixture
def plain() -> ModelDefinition:
    """Rides without features of their own."""
    return ride_definition(derive=None, floors=None)


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("scale", ["log", "identity"])
def test_every_candidate_folds_and_learns(rides: Dataset, plain: ModelDefinition, name: str, scale: Any) -> None:
    definition = replace(plain, target=replace(TARGET, scale=scale), estimator=CANDIDATES[name])
    fitted = fit(definition, rides.rows, rides.target)
    export = to_onnx(fitted, rides.rows)
    assert export.graph["folded"], export.graph["reason"]
    assert export.agreement["generated"] <= 5e-6
    assert np.corrcoef(fitted.predict(rides.rows), rides.target)[0, 1] > 0.97


def test_candidates_are_ranked_by_rmse_and_reported(
    rides: Dataset, plain: ModelDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int, int]] = []

    def in_one_process(definition: ModelDefinition, dataset: Dataset, **options: Any) -> Any:
        assert isinstance(definition.estimator, str)
        name = definition.estimator.rpartition(":")[2]
        asked.append((name, len(dataset.rows), options["n_splits"], options["n_repeats"]))
        return cross_validate(definition, dataset, **(options | {"n_splits": 2, "n_jobs": 1, "progress": False}))

    monkeypatch.setattr(defaults, "cross_validate", in_one_process)
    monkeypatch.setattr(defaults, "RANK_ROWS", 200)
    said: list[str] = []
    scores = rank(plain, rides, said.append)
    assert asked == [("linear", 200, 5, 1), ("trees", 200, 5, 1), ("mean", 200, 5, 1)]
    assert sorted(scores) == ["linear", "mean", "trees"]
    found = [metrics["rmse"] for metrics in scores.values()]
    assert found == sorted(found)
    # The logarithm of a fare is a sum.
    assert next(iter(scores)) == "linear"
    assert said[0] == f"linear: RMSE {scores['linear']['rmse']:.4g}, R2 {scores['linear']['r2']:.4f}"


def test_nominal_levels_are_indicators_until_there_are_many(rides: Dataset, plain: ModelDefinition) -> None:
    many = [{**row, "zone": f"zone {number % (MOST_INDICATORS + 1)}"} for number, row in enumerate(rides.rows)]
    open_fields = tuple(replace(field, levels=()) if field.name == "zone" else field for field in FIELDS)
    definition = replace(plain, fields=open_fields, rare_below=1, estimator=CANDIDATES["linear"])
    assert split_by_levels(fit(definition, rides.rows, rides.target).spec, MOST_INDICATORS) == ([2], [])
    fitted = fit(definition, many, rides.target)
    assert split_by_levels(fitted.spec, MOST_INDICATORS) == ([], [2])
    assert to_onnx(fitted, many).graph["folded"]


@pytest.mark.parametrize(
    ("n_rows", "kind", "n_trees"),
    [
        (SMALL - 1, GradientBoostingRegressor, 150),
        (SMALL, GradientBoostingRegressor, 400),
        (LARGE, HistGradientBoostingRegressor, 400),
    ],
)
def test_trees_are_as_many_as_the_rows_allow(n_rows: int, kind: type[Any], n_trees: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(n_rows, 2))
    trees = BoostedTrees().fit(matrix, matrix[:, 0])
    assert type(trees.regressor_) is kind
    sizes = {"n_estimators": n_trees} if kind is GradientBoostingRegressor else {"max_iter": n_trees}
    assert sizes.items() <= trees.regressor_.get_params().items()
    assert np.corrcoef(trees.predict(matrix), matrix[:, 0])[0, 1] > 0.98


def test_trees_round_features_as_the_graph_does() -> None:
    matrix = np.linspace(0, 1, 500)[:, np.newaxis]
    trees = BoostedTrees().fit(matrix, matrix[:, 0])
    np.testing.assert_array_equal(trees.predict(matrix), trees.predict(matrix.astype(np.float32)))


def test_noise_is_predicted_by_a_graph_too(rides: Dataset, plain: ModelDefinition) -> None:
    noise = np.random.default_rng(3).normal(size=len(rides.rows))
    definition = replace(plain, target=replace(TARGET, scale="identity"), estimator=CANDIDATES["linear"])
    assert to_onnx(fit(definition, rides.rows, noise), rides.rows).graph["folded"]


def test_trees_learn_a_tiny_target_as_they_learn_a_large_one() -> None:
    matrix = np.random.default_rng(1).random((300, 3))
    target = matrix @ [1.0, 2.0, 3.0]
    tiny = 2.0**-40
    expected = BoostedTrees().fit(matrix, target).predict(matrix)
    assert np.ptp(expected) > 3
    np.testing.assert_array_equal(BoostedTrees().fit(matrix, target * tiny).predict(matrix), expected * tiny)


def test_trees_of_a_tiny_target_fold(rides: Dataset, plain: ModelDefinition) -> None:
    definition = replace(plain, target=replace(TARGET, scale="identity"), estimator=defaults.trees)
    fitted = fit(definition, rides.rows, rides.target * 1e-9)
    export = to_onnx(fitted, rides.rows)
    assert export.graph["folded"], export.graph["reason"]
    assert np.corrcoef(fitted.predict(rides.rows), rides.target)[0, 1] > 0.9
