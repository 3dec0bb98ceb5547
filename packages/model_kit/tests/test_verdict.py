"""What is said of an estimator before it is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import ExportError
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.export import ADVICE
from model_kit.training.train import train
from model_kit.training.verdict import _sample, try_estimator
from sklearn.ensemble import AdaBoostRegressor
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

MakeDefinition = Callable[..., ModelDefinition]


@pytest.mark.parametrize(
    ("estimator", "runtime", "said"),
    [
        (Ridge(), "onnx", "folded"),
        (AdaBoostRegressor(n_estimators=3), "onnx", "ONNX: it is not folded: no rule for AdaBoostRegressor"),
        (Ridge(), "scikit-learn", "scikit-learn: the estimator itself computes predictions"),
        (KNeighborsRegressor(n_neighbors=60), "scikit-learn", "refused"),
        (make_pipeline(SelectKBest(k=2), KNeighborsRegressor()), "onnx", "refused"),
    ],
)
def test_fifty_rows_tell_what_serves_an_estimator(rides: Dataset, estimator: Any, runtime: str, said: str) -> None:
    definition = ride_definition(estimator=estimator, derive=None, runtime=runtime)
    if said == "refused":
        with pytest.raises(ExportError, match="keeps"):
            try_estimator(definition, rides)
    else:
        assert str(try_estimator(definition, rides)) == said


def test_estimator_that_needs_more_rows_is_trained_all_the_same(rides: Dataset, tmp_path: Path) -> None:
    told: list[str] = []
    train(ride_definition(estimator=Picky(), derive=None), rides, tmp_path / "bundle", report=told.append)
    assert told[0].startswith("On 50 rows: unknown: it takes more rows: TrainingError: rides: the estimator cannot be")
    assert (tmp_path / "bundle").exists()


class Picky(Ridge):  # type: ignore[misc]
    """Refuses few rows."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803 - scikit-learn's name
        if len(X) < 100:
            raise ValueError("too few")
        return super().fit(X, y)


class Counting(KNeighborsRegressor):  # type: ignore[misc]
    """Notes how many rows it is fitted on."""

    sizes: list[int] = []

    def fit(self, X: Any, y: Any) -> Any:  # noqa: N803 - scikit-learn's name
        self.sizes.append(len(X))
        return super().fit(X, y)


def test_what_cannot_be_served_is_refused_before_training_begins(rides: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="training rows, which Counting keeps") as raised:
        train(ride_definition(estimator=Counting(), derive=None), rides, tmp_path / "bundle")
    assert Counting.sizes == [50]
    assert len(str(raised.value).splitlines()) <= 4


def test_refusal_is_a_few_sentences_that_say_what_to_do(rides: Dataset) -> None:
    periodic = make_pipeline(SplineTransformer(extrapolation="periodic"), Ridge())
    with pytest.raises(ExportError) as raised:
        try_estimator(ride_definition(estimator=periodic, derive=None), rides)
    assert str(raised.value).splitlines() == [
        "nothing was exported.",
        "Folded graph: SplineTransformer(extrapolation='periodic')",
        "Graph of skl2onnx: it has no converter for SplineTransformer",
        ADVICE,
    ]
    assert 'Declare runtime="scikit-learn"' in ADVICE


def test_rows_of_every_class_are_among_the_fifty() -> None:
    target = np.zeros(1000)
    target[:5] = 1
    dataset = Dataset("rare", "0" * 64, True, tuple(map(str, range(1000))), tuple({"x": 1} for _ in target), target)
    chosen = _sample(dataset)
    assert len(chosen) == 50
    assert target[chosen].sum() == 5
