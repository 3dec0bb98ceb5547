"""How far out-of-fold predictions are from the truth, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from model_kit.scoring.about import About, context
from model_kit.scoring.summary import skill, verdict
from model_kit.spec import Target
from model_kit.training.performance import performance

PRICE = Target("price", "EUR", "log", subject="flat")
N = 900


def priced(spread: float = 0.1, target: Target = PRICE) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    truth = np.exp(random.normal(12, 0.5, N)) if target.scale == "log" else random.normal(0, 10, N)
    noise = random.normal(0, spread, (2, N))
    found = truth * np.exp(noise) if target.scale == "log" else truth + noise
    document = performance(np.arange(N), found, truth, target)
    assert document is not None
    return json.loads(json.dumps(document, allow_nan=False)), truth


def test_errors_are_beside_those_of_the_median() -> None:
    found, truth = priced()
    assert found["guess"] == pytest.approx(np.median(truth), rel=1e-3)
    overall = found["overall"]
    assert overall["guess_mae"] == pytest.approx(np.abs(truth - found["guess"]).mean())
    # The median of |exp(e) - 1| for e normal with a deviation of .1.
    assert overall["relative"] == pytest.approx(0.0675, abs=0.005)
    assert skill(overall, PRICE) == pytest.approx(1 - overall["mae"] / overall["guess_mae"])
    assert [third["rows"] for third in found["thirds"]] == [300, 300, 300]
    assert found["edges"] == sorted(found["edges"])
    assert sum(third["mae"] for third in found["thirds"]) / 3 == pytest.approx(overall["mae"])
    assert [one["relative"] for one in found["within"]] == [0.05, 0.1, 0.2]
    assert found["within"][1]["share"] == pytest.approx(0.68, abs=0.03)


@pytest.mark.parametrize("target", [PRICE, Target("shift")])
def test_histograms_count_every_row_and_no_cell_is_about_a_few(target: Target) -> None:
    found, truth = priced(target=target)
    for name in ("true", "error"):
        histogram = found[name]
        columns = histogram["columns"]
        assert len(histogram["edges"]) == len(columns) + 1 > 5
        counts = [count for column in columns for count in column["counts"]]
        assert min(counts) >= 10
        assert sum(counts) == pytest.approx(N, abs=N / 20)
        for column in columns:
            assert len(column["edges"]) == len(column["counts"]) + 1
            assert column["edges"] == sorted(column["edges"])
    values = {value for column in found["true"]["columns"] for value in column["edges"]}
    assert not values & set(truth.tolist())
    if target is not PRICE:
        assert found["within"] is found["overall"]["relative"] is None


def test_few_rows_have_no_thirds_and_fewer_nothing() -> None:
    truth = np.linspace(1, 2, 12)
    found = performance(np.arange(12), truth[None] * 1.1, truth, PRICE)
    assert found is not None
    assert (found["thirds"], found["edges"], found["true"], found["error"]) == ([], [], None, None)
    assert performance(np.arange(9), truth[None, :9], truth[:9], PRICE) is None


def test_prediction_of_one_value_has_no_histogram() -> None:
    truth = np.full(100, 5.0)
    found = performance(np.arange(100), truth[None], truth, PRICE)
    assert found is not None
    assert found["true"] is found["error"] is None
    assert skill(found["overall"], PRICE) == 0


def classified(skew: float = 0.5) -> tuple[dict[str, Any], Target]:
    target = Target("left", kind="class", classes=("stays", "leaves"), subject="employee")
    random = np.random.default_rng(1)
    truth = (random.random(N) < skew).astype(np.int64)
    odds = 4 * (truth - 0.5) + random.normal(0, 1.5, (2, N))
    second = 1 / (1 + np.exp(-odds))
    found = performance(np.arange(N), np.stack([1 - second, second], axis=-1), truth, target)
    assert found is not None
    return json.loads(json.dumps(found, allow_nan=False)), target


def test_classes_are_beside_the_most_frequent_one() -> None:
    found, target = classified(0.3)
    assert found["guess"] == "stays"
    assert found["overall"]["guess_accuracy"] == pytest.approx(0.7, abs=0.05)
    accuracies = [third["accuracy"] for third in found["thirds"]]
    assert accuracies == sorted(accuracies)
    assert found["overall"]["accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert "true" not in found
    said = verdict({"performance": found, "metrics": {}}, target)
    assert said.startswith("Much better than a guess: it is right about 9")
    assert "; stays for every employee would be right about 69 %" in said
    assert "Of the third that it is least sure of, " in said


def number(mae: float = 10.0, relative: float | None = 0.05, thirds: tuple[float, ...] = ()) -> dict[str, Any]:
    errors = {"rows": 90, "mae": mae, "relative": relative, "guess_mae": 40.0, "guess_relative": relative and 0.3}
    parts = [{**errors, "relative": relative and third, "mae": third} for third in thirds]
    return {"guess": 180.0, "overall": errors, "thirds": parts, "edges": [150.0, 220.0] if parts else []}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            number(thirds=(0.04, 0.05, 0.08)),
            (
                "Much better than a guess: half of the predictions are within 5.0 % of what was true, and they are "
                "off by 10 EUR on average, 75 % less than if 180 EUR were predicted for every flat. It is weakest in "
                "the highest third of its predictions, above 220 EUR: half of these are off by more than 8.0 %."
            ),
        ),
        (
            number(mae=30.0, relative=None, thirds=(40.0, 20.0, 30.0)),
            (
                "Better than a guess: they are off by 30 EUR on average, 25 % less than if 180 EUR were predicted for"
                " every flat. It is weakest in the lowest third of its predictions, below 150 EUR: they are off by 40"
                " EUR on average."
            ),
        ),
        (
            number(mae=50.0),
            (
                "No better than a guess: half of the predictions are within 5.0 % of what was true, and they are off "
                "by 50 EUR on average; predicting 180 EUR for every flat would be off by 40 EUR."
            ),
        ),
    ],
)
def test_verdict_is_written_from_the_numbers(found: dict[str, Any], expected: str) -> None:
    assert verdict({"performance": found}, PRICE) == expected


def test_model_that_ranks_without_naming_is_called_so() -> None:
    shares = {"rows": 90, "accuracy": 0.98, "probability": 0.97, "guess_accuracy": 0.98}
    card = {"performance": {"guess": True, "overall": shares, "thirds": [], "edges": []}, "metrics": {"roc_auc": 0.91}}
    said = verdict(card, Target("fraud", kind="class", classes=(True, False)))
    assert said == (
        "Its probabilities say more than its class: it is right about 98 % of the rows; true for every record would be "
        "right about 98 %. They tell the classes apart with a ROC AUC of 0.91, where 0.5 is chance."
    )


def test_card_without_performance_has_no_verdict() -> None:
    assert verdict({}, PRICE) == verdict({"performance": None}, PRICE) == ""


@pytest.mark.parametrize(
    ("about", "target", "expected"),
    [
        ({"period": "2006 to 2010", "place": "Ames, Iowa"}, PRICE, "EUR of 2006 to 2010, Ames, Iowa"),
        ({"period": "2024"}, PRICE, "EUR of 2024"),
        ({"place": "Ames"}, Target("y"), "Learned from data, Ames"),
        ({"title": "Prices"}, PRICE, ""),
        (None, PRICE, ""),
    ],
)
def test_period_and_place_are_a_line(about: dict[str, str] | None, target: Target, expected: str) -> None:
    assert context({"about": about}, target) == expected


def test_prose_is_what_is_given_and_of_texts() -> None:
    from model_kit.errors import DefinitionError

    assert About().to_dict() == {}
    assert About(title=" Prices ", limits=("No flats.", " ")).to_dict() == {"title": "Prices", "limits": ["No flats."]}
    with pytest.raises(DefinitionError, match="About: limits is 'No flats.', not a tuple of texts"):
        About(limits="No flats.")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="About: period is 2024, not a text"):
        About(period=2024)  # type: ignore[arg-type]
