"""Classifiers that decide by a threshold of their own predict what they predict in the notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import model_kit
import numpy as np
import pandas as pd
import pytest
from model_kit.errors import DataError, DefinitionError
from model_kit.scaffold.new import written_definition
from model_kit.scoring.classes import decide
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Target
from model_kit.training.train import train
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from staff import TWO, definition, make_dataset

pytestmark = pytest.mark.usefixtures("forgotten_packages")

FOREST = RandomForestClassifier(10, random_state=0)


@pytest.fixture
def data() -> tuple[pd.DataFrame, pd.Series[Any]]:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"size": random.normal(5, 2, 300), "rooms": random.integers(1, 6, 300).astype(float)})
    wanted = frame["size"] - frame["rooms"] + random.logistic(size=300) > 1
    return frame, pd.Series(np.where(wanted, "yes", "no"), name="let")


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize(
    ("estimator", "positive"),
    [
        (FixedThresholdClassifier(LogisticRegression(), threshold=0.2), "yes"),
        (FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="no"), "no"),
        # Of ten trees many rows have exactly this, which float32 rounds down; and calibration moves it.
        (FixedThresholdClassifier(FOREST, threshold=0.7), "yes"),
        (TunedThresholdClassifierCV(LogisticRegression(), cv=3, thresholds=12), "yes"),
        (make_pipeline(StandardScaler(), FixedThresholdClassifier(LinearSVC(), threshold=0.3)), "yes"),
    ],
)
def test_threshold_is_kept(
    data: tuple[pd.DataFrame, pd.Series[Any]], estimator: Any, positive: str, fitted: bool, tmp_path: Path
) -> None:
    frame, y = data
    lines: list[str] = []
    if fitted:
        estimator.fit(frame, y)
    folder = model_kit.save(estimator, frame, y, name="flat", into=tmp_path, report=lines.append)
    model = written_definition(folder, "flat_model").load()
    target = model.spec.target
    assert (target.positive, target.threshold) != (None, 0.5)
    assert target.positive == positive
    assert f"It predicts {positive} from a probability of {target.threshold:.6g} on" in lines
    expected = (estimator if fitted else estimator.fit(frame, y)).predict(frame)
    predictions = np.array(Predictor(model)(frame.to_dict("records")).predictions)
    assert np.mean(predictions == expected) >= 0.99
    # The scores are those of the threshold too.
    assert model.card["metrics"]["accuracy"] == pytest.approx(
        np.trace(model.card["classes"]["confusion"]) / np.sum(model.card["classes"]["confusion"]), abs=1e-9
    )


def test_calibrated_threshold_is_another_number(data: tuple[pd.DataFrame, pd.Series[Any]], tmp_path: Path) -> None:
    frame, y = data
    estimator = FixedThresholdClassifier(FOREST, threshold=0.7).fit(frame, y)
    folder = model_kit.save(estimator, frame, y, name="flat", into=tmp_path, report=lambda _: None)
    model = written_definition(folder, "flat_model").load()
    assert model.card["calibration"]["kind"] != "none"
    assert 0.5 < model.spec.target.threshold < 0.69


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.3, "response_method": "decision_function"}, 'give it response_method="predict_proba"'),
        ({"threshold": 1.2}, "a threshold of 1.2 predicts the same class of every row"),
    ],
)
def test_threshold_that_is_none_of_a_probability_is_refused(
    data: tuple[pd.DataFrame, pd.Series[Any]], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    frame, y = data
    estimator = FixedThresholdClassifier(LogisticRegression(), **options)
    for one in (estimator.fit(frame, y), FixedThresholdClassifier(LogisticRegression(), **options)):
        with pytest.raises((DefinitionError, DataError), match=message):
            model_kit.save(one, frame, y, name="flat", into=tmp_path, cv=False, report=lambda _: None)


def test_two_thresholds_are_refused(tmp_path: Path) -> None:
    target = Target("left", kind="class", classes=TWO.classes, threshold=0.3)
    estimator = FixedThresholdClassifier(LogisticRegression(max_iter=500), threshold=0.2)
    with pytest.raises(DefinitionError, match=r"has a threshold, and the target left declares 0\.3; declare one"):
        train(definition(target, estimator=estimator), make_dataset(300), tmp_path / "bundle", cv=False)


def test_probability_that_float32_rounds_down_is_not_below_the_threshold() -> None:
    target = Target("left", kind="class", classes=("no", "yes"), threshold=0.7)
    found = np.array([[0.3, float(np.float32(0.7))], [0.30001, 0.69999]])
    assert decide(found, target).tolist() == [1, 0]


def test_threshold_among_probabilities_that_the_calibration_tells_hardly_apart_is_exact(tmp_path: Path) -> None:
    # Every row from 0.6 on is right: the calibration is nearly flat there.
    frame = pd.DataFrame({"size": np.linspace(-4, 4, 800)})
    wanted = np.where(frame["size"] > 0, "yes", "no")
    wanted[:390:7] = "yes"
    estimator = FixedThresholdClassifier(LogisticRegression(), threshold=0.8).fit(frame, wanted)
    folder = model_kit.save(estimator, frame, wanted, name="steep", into=tmp_path, report=lambda _: None)
    predictions = Predictor(written_definition(folder, "steep_model").load())(frame.to_dict("records")).predictions
    assert (np.array(predictions) == estimator.predict(frame)).all()
    near = Target("y", kind="class", classes=("no", "yes"), threshold=0.9993768)
    assert decide(np.array([[0.0, 0.9993767], [0.0, 0.9993768]]), near).tolist() == [0, 1]
