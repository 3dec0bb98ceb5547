"""What holds whatever is sent, for a model of a few fields; the house-price model is held to the same."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.scoring.predictor import Predictor
from model_kit.testing import (
    GOLDEN_PREDICTION,
    GOLDEN_ROW,
    SPEC_OF_RIDES,
    load_rides,
    write_ride_bundle,
)

from strategies import any_json, any_records

RECORDS = any_records(SPEC_OF_RIDES)
ANYTHING = RECORDS | any_json()


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "rides"
    write_ride_bundle(folder)
    return Predictor(load_rides(folder))


@settings(deadline=None)
@given(records=st.lists(ANYTHING, max_size=6), place=st.integers(0, 6))
def test_each_row_has_a_price_or_an_error_and_the_others_keep_theirs(
    predict: Predictor, records: list[Any], place: int
) -> None:
    place = min(place, len(records))
    answer = predict([*records[:place], GOLDEN_ROW, *records[place:]])
    assert len(answer.predictions) == len(records) + 1
    assert answer.predictions[place] == pytest.approx(GOLDEN_PREDICTION, rel=1e-14)
    for index, price in enumerate(answer.predictions):
        assert (price is None) == (index in answer.errors)
    assert np.isfinite(answer.scores).all()
    for errors in answer.errors.values():
        assert errors
        assert all(messages and all(isinstance(text, str) for text in messages) for messages in errors.values())
        assert set(errors) <= {*SPEC_OF_RIDES.names, "_schema"}


@settings(deadline=None)
@given(records=st.lists(ANYTHING, max_size=6))
def test_a_batch_is_its_rows_one_by_one(predict: Predictor, records: list[Any]) -> None:
    answer = predict(records)
    for index, record in enumerate(records):
        alone = predict([record])
        assert alone.predictions == [answer.predictions[index]]
        assert alone.errors.get(0) == answer.errors.get(index)


@settings(deadline=None)
@given(record=RECORDS, random=st.randoms(use_true_random=False))
def test_order_of_fields_is_irrelevant(predict: Predictor, record: dict[str, Any], random: Any) -> None:
    items = list(record.items())
    random.shuffle(items)
    assert predict([dict(items)]) == predict([record])


@settings(deadline=None)
@given(records=st.lists(ANYTHING, max_size=4))
def test_what_the_caller_handed_over_stays_as_it_was(predict: Predictor, records: list[Any]) -> None:
    before = copy.deepcopy(records)
    predict(records)
    assert repr(records) == repr(before)


@settings(deadline=None)
@given(record=RECORDS, others=st.dictionaries(st.text(min_size=1, max_size=8), any_json(), max_size=3))
def test_fields_that_the_model_does_not_use_change_nothing(
    predict: Predictor, record: dict[str, Any], others: dict[str, Any]
) -> None:
    others = {name: value for name, value in others.items() if name not in SPEC_OF_RIDES.names}
    assert predict([{**others, **record}]) == predict([record])
