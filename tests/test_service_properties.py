"""What holds whatever is sent, for the house-price model: twenty times as many fields as the model of rides."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_kit.records.generation import generate_rows
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.spec import InputSpec
from regression_model.derive import derive

from service import HOUSE, VERSION
from strategies import any_json, any_records

relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.fixture(scope="module")
def predict(houses: Path) -> Predictor:
    return Predictor(BundleModel.load(houses, derive, VERSION))


def records(spec: InputSpec) -> st.SearchStrategy[Any]:
    return any_records(spec) | any_json()


@relaxed
@given(data=st.data())
def test_each_row_has_a_price_or_an_error_and_the_others_keep_theirs(predict: Predictor, data: st.DataObject) -> None:
    rows = data.draw(st.lists(records(predict.model.spec), max_size=3))
    place = data.draw(st.integers(0, len(rows)))
    before = copy.deepcopy(rows)
    answer = predict([*rows[:place], HOUSE, *rows[place:]])
    assert repr(rows) == repr(before)
    assert answer.predictions[place] == predict([HOUSE]).predictions[0]
    assert len(answer.predictions) == len(rows) + 1
    for index, price in enumerate(answer.predictions):
        assert (price is None) == (index in answer.errors)
    assert np.isfinite(answer.scores).all()
    assert (answer.scores > 0).all()
    for errors in answer.errors.values():
        assert errors
        assert set(errors) <= {*predict.model.spec.names, "_schema"}


@relaxed
@given(data=st.data())
def test_order_of_fields_is_irrelevant(predict: Predictor, data: st.DataObject) -> None:
    record = data.draw(any_records(predict.model.spec))
    names = data.draw(st.permutations(list(record)))
    assert predict([{name: record[name] for name in names}]) == predict([record])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [2, 3, 17, 100, 1000])
def test_a_batch_is_its_rows_one_by_one(predict: Predictor, size: int, seed: int) -> None:
    """To the last bit, however many are scored together."""
    rows = generate_rows(predict.model.spec, size, seed=seed, nulls=0.2, unseen=0.2, extremes=0.2)
    alone = [predict([row]).predictions[0] for row in rows]
    assert predict(rows).predictions == alone
    assert predict(rows[::-1]).predictions == alone[::-1]
