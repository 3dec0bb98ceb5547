"""Classes from end to end: trained, exported, calibrated, loaded, predicted with sets and explanations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import DataError, DefinitionError, FloorError, SpecError
from model_kit.records.target_classes import ClassReader
from model_kit.scoring.bundle import CARD, GOLDEN
from model_kit.scoring.classes import decide, log_odds, to_probabilities
from model_kit.scoring.definition import Floors
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import InputSpec, Target
from model_kit.training.dataset import Dataset, parse
from model_kit.training.evaluation import make_folds
from model_kit.training.train import train
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from card_schema import assert_described
from staff import THREE, TWO, definition, make_dataset, make_rows, odds


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> BundleModel:
    folder = tmp_path_factory.mktemp("two") / "bundle"
    train(definition(TWO), make_dataset(), folder)
    return definition(TWO).load_bundle(folder)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> BundleModel:
    folder = tmp_path_factory.mktemp("three") / "bundle"
    train(definition(THREE), make_dataset(classes=3), folder)
    return definition(THREE).load_bundle(folder)


def test_cards_are_as_the_documentation_describes_them(two: BundleModel, three: BundleModel) -> None:
    assert_described(two.card)
    assert_described(three.card)


def test_predicts_classes_as_the_data_spells_them(two: BundleModel, three: BundleModel) -> None:
    rows = make_rows(400, seed=9)
    truth = np.array([odds(row) > 0 for row in rows])
    answer = Predictor(two)(rows)
    assert set(answer.predictions) == {"stays", "leaves"}
    assert np.mean(np.array(answer.predictions) == np.where(truth, "leaves", "stays")) > 0.9
    graded = Predictor(three)(rows).predictions
    assert set(graded) == {1, 2, 3}
    assert all(type(value) is int for value in graded)
    two.check()
    three.check()


def test_probabilities_are_aligned_sum_to_one_and_decide(two: BundleModel, three: BundleModel) -> None:
    rows: list[Any] = [*make_rows(5), "no record", *make_rows(3, seed=4), {"hours": "much"}]
    for model in (two, three):
        answer = Predictor(model).detailed(rows, probabilities=True)
        assert answer.probabilities is not None
        assert [one is None for one in answer.probabilities] == [position in (5, 9) for position in range(10)]
        for prediction, found in zip(answer.predictions, answer.probabilities, strict=True):
            if found is not None:
                assert list(found) == list(model.spec.target.keys)
                assert sum(found.values()) == pytest.approx(1, abs=1e-9)
                assert str(prediction) == max(found, key=lambda key: found[key])
        plain = Predictor(model)(rows)
        assert plain.predictions == answer.predictions
        assert set(plain.errors) == {5, 9}


def test_invalid_rows_between_do_not_shift_scores(two: BundleModel) -> None:
    rows: list[Any] = make_rows(6)
    # Blanks around a level send a row through the slow lane.
    slow = [row | {"hours": str(row["hours"])} if position % 2 else row for position, row in enumerate(rows)]
    slow[3] = rows[3] | {"site": " south "}
    answer = Predictor(two).detailed([*slow, *rows], probabilities=True)
    assert answer.probabilities is not None
    for position in (0, 2, 4):
        assert answer.probabilities[position] == answer.probabilities[6 + position]


def test_threshold_moves_the_decision() -> None:
    target = Target("left", kind="class", classes=("no", "yes"), threshold=0.2, positive="no")
    found = decide(np.array([[0.19, 0.81], [0.2, 0.8], [0.9, 0.1]]), target)
    assert found.tolist() == [1, 0, 0]


def test_sets_cover_each_class(two: BundleModel, three: BundleModel) -> None:
    for model, n_classes in ((two, 2), (three, 3)):
        fresh = make_dataset(4000, n_classes, seed=20)
        answer = Predictor(model).detailed(fresh.rows, interval=0.9)
        assert answer.intervals is not None
        classes = model.spec.target.classes
        sets: Any = answer.intervals
        within = np.array([classes[truth] in one for truth, one in zip(fresh.target, sets, strict=True)])
        for position in range(n_classes):
            assert within[fresh.target == position].mean() > 0.87
        levels = {entry["level"]: entry for entry in model.card["coverage"]["levels"]}
        assert levels[0.9]["overall"] == pytest.approx(0.9, abs=0.03)
        assert levels[0.5]["size"] <= levels[0.95]["size"]


def test_explanations_add_up_on_the_log_odds_of_the_class_asked_for(two: BundleModel, three: BundleModel) -> None:
    row = make_rows(1)[0] | {"hours": 171.0, "site": "south"}
    for model in (two, three):
        target = model.spec.target
        for key in (None, *target.keys):
            answer = Predictor(model).detailed([row], explain=2, probabilities=True, of_class=key)
            assert answer.explanations is not None
            assert answer.probabilities is not None
            (explanation,), (found,) = answer.explanations, answer.probabilities
            assert explanation is not None
            assert found is not None
            probability = found[key or str(answer.predictions[0])]
            parts: list[Any] = [*explanation.contributions, explanation.rest]
            total = log_odds(np.array(explanation.baseline.prediction)) + sum(part.effect for part in parts)
            assert total == pytest.approx(float(log_odds(np.array(probability))), abs=1e-9)
            amounts = explanation.baseline.prediction + sum(part.amount for part in parts)
            assert amounts == pytest.approx(probability, abs=1e-9)
            assert explanation.contributions[0].effect != 0


def test_card_has_scores_calibration_and_thresholds(two: BundleModel) -> None:
    card = two.card
    assert set(card["metrics"]) == {
        *("log_loss", "roc_auc", "average_precision", "brier", "accuracy", "balanced_accuracy", "calibration_error")
    }
    assert card["metrics"]["roc_auc"] > 0.85
    assert card["metrics"]["calibration_error"] < 0.05
    assert card["target_distribution"]["classes"].keys() == {"stays", "leaves"}
    assert [entry["threshold"] for entry in card["thresholds"]] == [step / 20 for step in range(1, 20)]
    for entry in card["thresholds"]:
        assert sum(value for name, value in entry.items() if name != "threshold") == pytest.approx(1, abs=1e-3)
    assert [one["name"] for one in card["classes"]["classes"]] == ["stays", "leaves"]
    assert card["runtime"]["kind"] == "onnx"


def test_probabilities_of_a_shrunken_model_are_calibrated(tmp_path: Path) -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression(C=3e-4))
    card = train(definition(TWO, estimator=estimator), make_dataset(6000), tmp_path / "bundle")
    assert card["calibration"]["kind"] in ("line", "table")
    assert card["metrics"]["calibration_error"] <= 0.02
    model = definition(TWO).load_bundle(tmp_path / "bundle")
    fresh = make_dataset(6000, seed=30)
    probabilities = model.score(model._encode(fresh.rows))
    of_truth = probabilities[np.arange(6000), fresh.target]
    assert -np.log(of_truth).mean() < card["metrics"]["log_loss"] * 1.1


def test_golden_row_has_class_and_probabilities(two: BundleModel) -> None:
    assert two.golden["prediction"] in TWO.classes
    assert sum(two.golden["probabilities"].values()) == pytest.approx(1, abs=1e-9)


def test_floors_are_of_any_metric(tmp_path: Path) -> None:
    with pytest.raises(FloorError, match=r"accuracy is 0\.\d+, below the floor of 0\.999"):
        train(definition(TWO, floors=Floors(accuracy=0.999)), make_dataset(300), tmp_path / "bundle")
    with pytest.raises(FloorError, match=r"log loss is 0\.\d+, above the limit of 0\.01"):
        train(definition(TWO, floors=Floors(log_loss=0.01)), make_dataset(300), tmp_path / "bundle")
    with pytest.raises(DefinitionError, match="floor of RMSE"):
        train(definition(TWO, floors=Floors(rmse=0.1)), make_dataset(300), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_regressor_of_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="LinearRegression predicts a number, and the target is a class"):
        train(definition(TWO, estimator=LinearRegression()), make_dataset(300), tmp_path / "bundle", cv=False)


def test_class_without_rows_is_refused(tmp_path: Path) -> None:
    target = Target("left", kind="class", classes=("stays", "leaves", "unsure"))
    with pytest.raises(DataError, match="no row has the class unsure"):
        train(definition(target), make_dataset(300), tmp_path / "bundle", cv=False)


def test_without_cross_validation_there_are_probabilities_and_no_sets(tmp_path: Path) -> None:
    train(definition(TWO), make_dataset(300), tmp_path / "bundle", cv=False)
    model = definition(TWO).load_bundle(tmp_path / "bundle")
    answer = Predictor(model).detailed(make_rows(3), probabilities=True)
    assert answer.probabilities is not None
    assert model.card["sets"] is None


def test_spec_keeps_classes_and_has_nothing_of_numbers() -> None:
    target = Target("left", kind="class", classes=(False, True), threshold=0.3, positive=True)
    text = InputSpec((), {}, target).to_json()
    assert json.loads(text)["target"] == {
        "name": "left",
        "subject": "record",
        "kind": "class",
        "classes": [False, True],
        "threshold": 0.3,
        "positive": True,
    }
    assert InputSpec.from_json(text).target == target


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"classes": ("a",)}, "two or more"),
        ({"classes": ("a", "a")}, "twice"),
        ({"classes": ("a", 1)}, "all texts"),
        ({"classes": (1.5, 2.5)}, "all texts"),
        ({"classes": ("a", " b")}, "blanks"),
        ({"classes": ("a", "b", "c"), "threshold": 0.3}, "only a target of two classes"),
        ({"classes": ("a", "b"), "positive": "c"}, "none of the classes"),
        ({"classes": ("a", "b"), "threshold": 1.0}, "between 0 and 1"),
        ({"classes": ("a", "b"), "unit": "USD"}, "neither scale nor unit"),
    ],
)
def test_impossible_targets_are_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Target("left", kind="class", **facts)


@pytest.mark.parametrize(
    ("classes", "text", "position"),
    [
        (("stays", "leaves"), " leaves ", 1),
        (("stays", "leaves"), "LEAVES", 1),
        (("stays", "Leaves", "leaves"), "leaves", 2),
        (("stays", "Leaves", "leaves"), "LEAVES", None),
        (("in time", "too late"), "Too\u00a0 Late", 1),
        ((1, 2), "2.0", 1),
        ((1, 2), "2.5", None),
        ((1, 2), "x", None),
        ((False, True), "YES", 1),
        ((False, True), "0", 0),
        ((False, True), "2", None),
    ],
)
def test_text_of_a_class(classes: Any, text: str, position: int | None) -> None:
    assert ClassReader(Target("t", kind="class", classes=classes))(text) == position


def test_training_file_names_an_unknown_class() -> None:
    lines = ["hours,site,day,left", *(f"{row['hours']},{row['site']},{row['day']},stays" for row in make_rows(60))]
    lines[31] = lines[31].replace("stays", "gone")
    with pytest.raises(DataError, match=r"line 32, column left: None of the classes stays, leaves; found 'gone'"):
        parse(definition(TWO), "\n".join(lines).encode() + b"\n", "staff.csv")


def test_copies_stay_in_one_fold_and_classes_are_spread() -> None:
    once = make_dataset(300)
    rows = (*once.rows, *once.rows[:100])
    dataset = Dataset(
        "m", "", True, tuple(map(str, range(400))), rows, np.concatenate([once.target, once.target[:100]])
    )
    for fit_on, hold_out in make_folds(definition(TWO), dataset, 5, 1):
        assert sorted([*fit_on, *hold_out]) == list(range(400))
        held = set(hold_out.tolist())
        assert all((row in held) == (row + 300 in held) for row in range(100))
        assert dataset.target[hold_out].mean() == pytest.approx(dataset.target.mean(), abs=0.08)


def test_folds_follow_time(tmp_path: Path) -> None:
    dataset = make_dataset(600)
    timed = definition(TWO, time_order="day")
    folds = make_folds(timed, dataset, 5, 1)
    for fit_on, hold_out in folds:
        assert max(dataset.rows[row]["day"] for row in fit_on) <= min(dataset.rows[row]["day"] for row in hold_out)
    card = train(timed, dataset, tmp_path / "bundle")
    assert card["cross_validation"]["time_order"] == "day"
    assert sum(map(sum, card["classes"]["confusion"])) == 300
    with pytest.raises(DefinitionError, match="time_order is 'hours', which is no date"):
        definition(TWO, time_order="hours")


def test_raw_outputs_become_probabilities() -> None:
    two = to_probabilities(np.array([[0.0], [2.0], [-900.0]], np.float32), "log_odds", 2)
    np.testing.assert_allclose(two[:2, 1], [0.5, 1 / (1 + np.exp(-2))])
    assert 0 < two[2, 1] < 1e-14
    three = to_probabilities(np.array([[1.0, 2.0, 3.0]]), "log_odds", 3)
    np.testing.assert_allclose(three[0], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum())
    np.testing.assert_allclose(to_probabilities(np.array([[0.25]]), "probability", 2), [[0.75, 0.25]])
    assert np.isnan(to_probabilities(np.array([[np.nan]]), "log_odds", 2)).all()


def test_bundle_files_know_the_classes(two: BundleModel, tmp_path: Path) -> None:
    assert two.spec.target.classes == TWO.classes
    assert {CARD, GOLDEN} <= set(two.lineage["files"])
