from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.records.generation import golden_row
from model_kit.scoring.bundle import read_bundle
from model_kit.testing import ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import Fitted, fit
from model_kit.training.export import Export, to_onnx
from model_kit.training.importance import N_ROWS, importance
from model_kit.training.train import train


def learn(rides: Dataset, **changes: Any) -> tuple[Fitted, Export]:
    definition = ride_definition(**changes)
    fitted = fit(definition, rides.rows, rides.target)
    return fitted, to_onnx(fitted, rides.rows)


def test_shares_are_those_of_the_mean_absolute_contributions(rides: Dataset) -> None:
    """The model is linear: a contribution is a coefficient times the distance from the typical value."""
    fitted, export = learn(rides)
    golden = golden_row(fitted.spec)
    shares = importance(fitted, export, golden, rides.rows)
    features = fitted.features(rides.rows)
    strength = np.abs((features - fitted.features([golden])) * fitted.estimator[-1].coef_).mean(axis=0)  # type: ignore[index]
    expected = dict(zip(fitted.spec.names, strength / strength.sum(), strict=True))
    assert shares == pytest.approx(expected, rel=1e-4)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert list(shares)[:2] == ["distance", "zone"]
    assert sum(shares.values()) == pytest.approx(1)


def test_group_stands_under_its_first_field(rides: Dataset) -> None:
    fitted, export = learn(rides, together=(("zone", "distance"),))
    shares = importance(fitted, export, golden_row(fitted.spec), rides.rows)
    assert set(shares) == {"zone", "passengers", "comfort"}


def test_no_share_where_no_prediction_differs(rides: Dataset) -> None:
    fitted, export = learn(rides)
    golden = golden_row(fitted.spec)
    assert importance(fitted, export, golden, [golden] * 3) == dict.fromkeys(fitted.spec.names, 0.0)


def test_many_rows_are_represented_by_some(rides: Dataset) -> None:
    fitted, export = learn(rides)
    golden = golden_row(fitted.spec)
    few = importance(fitted, export, golden, rides.rows)
    assert len(rides.rows) == N_ROWS
    many = [row for row in rides.rows for _ in range(3)]
    assert importance(fitted, export, golden, many) == pytest.approx(few, rel=1e-3)


def test_importance_is_in_the_card_and_the_same_each_time(rides: Dataset, tmp_path: Path) -> None:
    cards = []
    for name in ("one", "two"):
        train(ride_definition(), rides, tmp_path / name, cv=False)
        cards.append(read_bundle(tmp_path / name).json("card.json"))
    fitted, export = learn(rides)
    assert cards[0]["importance"] == importance(fitted, export, golden_row(fitted.spec), rides.rows)
    assert cards[0]["importance"] == cards[1]["importance"]
