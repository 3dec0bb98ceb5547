from __future__ import annotations

import random

import numpy as np
import pytest
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW


def test_one_answer_for_each_record_in_order(model: BundleModel) -> None:
    answer = Predictor(model)([GOLDEN_ROW, {"zone": "A"}, 5, GOLDEN_ROW])
    assert answer.predictions == [GOLDEN_PREDICTION, None, None, GOLDEN_PREDICTION]
    assert answer.errors == {
        1: {"distance": ["Missing data for required field."]},
        2: {"_schema": ["Invalid input type."]},
    }


def test_nothing_sent_is_nothing_answered(model: BundleModel) -> None:
    answer = Predictor(model)([])
    assert (answer.predictions, answer.errors) == ([], {})


def test_nothing_valid_is_not_scored(model: BundleModel) -> None:
    answer = Predictor(model)([{}, None])
    assert answer.predictions == [None, None]
    assert set(answer.errors) == {0, 1}


def test_shuffled_rows_and_fields_score_the_same(model: BundleModel) -> None:
    predict = Predictor(model)
    rows = [{"distance": number, "zone": "AB"[number % 2], "passengers": None} for number in range(50)]
    shuffled = [dict(reversed(row.items())) for row in rows]
    random.Random(0).shuffle(shuffled)
    expected = dict(zip([row["distance"] for row in rows], predict(rows).predictions, strict=True))
    assert predict(shuffled).predictions == [expected[row["distance"]] for row in shuffled]


def test_score_that_is_no_number_is_the_error_of_its_own_row(
    model: BundleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "score", lambda encoded: np.array([1.0, np.nan, np.inf])[: len(encoded)])
    answer = Predictor(model)([GOLDEN_ROW] * 3)
    assert answer.predictions == [1.0, None, None]
    assert answer.errors == dict.fromkeys((1, 2), {"_schema": ["The model gives no finite prediction for this row."]})


@pytest.mark.parametrize("n_scores", [1, 3])
def test_model_that_loses_or_invents_a_row_is_an_error(
    model: BundleModel, monkeypatch: pytest.MonkeyPatch, n_scores: int
) -> None:
    monkeypatch.setattr(model, "score", lambda _: np.ones(n_scores))
    with pytest.raises(ValueError, match="zip"):
        Predictor(model)([GOLDEN_ROW, GOLDEN_ROW])
