"""Predictions of records and DataFrames in Python."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.cli.main import COMMANDS
from model_kit.errors import DataError
from model_kit.scoring.frames import make_prediction
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor

#: Fares by hand, see ``model_kit.testing``.
SHORT = {"distance": 8, "passengers": 1, "zone": "A", "comfort": "2"}
SHORT_FARE = float(np.exp(2.5 + 8 / 8 + 1 / 16 + 2 / 32))
LONG = {"distance": 16.0, "passengers": None, "zone": "B", "comfort": None}
LONG_FARE = float(np.exp(2.5 + 16 / 8 + 1 / 16 - 1 / 4))


@pytest.fixture
def predict(model: BundleModel) -> Predictor:
    return Predictor(model)


def test_one_record_answers_as_one_element(predict: Predictor) -> None:
    assert make_prediction(predict, SHORT) == {"predictions": [SHORT_FARE], "version": "1.2.3", "errors": None}


def test_records_are_answered_in_order(predict: Predictor) -> None:
    assert make_prediction(predict, [LONG, SHORT])["predictions"] == [LONG_FARE, SHORT_FARE]


def test_no_records_are_no_error(predict: Predictor) -> None:
    assert make_prediction(predict, []) == {"predictions": [], "version": "1.2.3", "errors": None}


def test_faulty_row_keeps_its_place(predict: Predictor) -> None:
    records: list[Any] = [SHORT, SHORT | {"distance": "far"}, 7, LONG]
    answer = make_prediction(predict, records)
    assert answer["predictions"] == [SHORT_FARE, None, None, LONG_FARE]
    assert answer["errors"] == {1: {"distance": ["Not a valid number."]}, 2: {"_schema": ["Invalid input type."]}}


def test_callers_data_is_not_changed(predict: Predictor) -> None:
    records: list[dict[str, Any]] = [dict(SHORT), {**LONG, "passengers": float("nan"), "other": [1]}]
    frame = pd.DataFrame([SHORT, LONG])
    records_before, frame_before = copy.deepcopy(records), frame.copy(deep=True)
    make_prediction(predict, records)
    make_prediction(predict, frame)
    assert repr(records) == repr(records_before)
    pd.testing.assert_frame_equal(frame, frame_before)


def test_dataframe_is_answered_by_position_whatever_its_index(predict: Predictor) -> None:
    frame = pd.DataFrame([SHORT, LONG, {**SHORT, "zone": None}], index=[7, 7, 3])
    answer = make_prediction(predict, frame)
    assert answer["predictions"] == [SHORT_FARE, LONG_FARE, None]
    assert answer["errors"] == {2: {"zone": ["Field may not be null."]}}


def test_integers_that_pandas_made_floats_are_integers(predict: Predictor) -> None:
    frame = pd.DataFrame(
        {"distance": [8, 16], "passengers": [1.0, np.nan], "zone": ["A", "B"], "comfort": [2.0, np.nan]}
    )
    assert make_prediction(predict, frame)["predictions"] == [SHORT_FARE, LONG_FARE]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "object", "category"])
def test_dtypes_of_pandas_do_not_matter(predict: Predictor, dtype: str) -> None:
    frame = pd.DataFrame({"distance": [8, 16], "zone": pd.Categorical(["A", "B"]), "comfort": pd.array(["2", None])})
    frame["passengers"] = pd.Series([1, None], dtype=dtype)
    assert make_prediction(predict, frame)["predictions"] == [SHORT_FARE, LONG_FARE]


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s")]
)
def test_every_spelling_of_missing_is_missing(predict: Predictor, missing: object) -> None:
    record = {"distance": 16, "passengers": missing, "zone": "B", "comfort": missing}
    assert make_prediction(predict, record)["predictions"] == [LONG_FARE]


def test_numpy_scalars_are_the_numbers_they_hold(predict: Predictor) -> None:
    record = {"distance": np.float32(8), "passengers": np.int64(1), "zone": np.str_("A"), "comfort": np.int8(2)}
    assert make_prediction(predict, record)["predictions"] == [SHORT_FARE]


@pytest.mark.parametrize("value", [True, np.True_, "8", float("inf"), pd.Timestamp(0), [8]])
def test_what_is_no_number_is_an_error(predict: Predictor, value: object) -> None:
    answer = make_prediction(predict, [SHORT | {"distance": value}])
    assert answer["predictions"] == [None]
    assert answer["errors"] is not None


def test_column_twice_is_refused(predict: Predictor) -> None:
    frame = pd.DataFrame([[1, 2, "A"]], columns=["distance", "distance", "zone"])
    with pytest.raises(DataError, match="the DataFrame has a column more than once: distance"):
        make_prediction(predict, frame)


@pytest.mark.parametrize("data", ["distance", b"x", 7, None, iter([SHORT])])
def test_input_of_another_type_is_refused(predict: Predictor, data: Any) -> None:
    with pytest.raises(TypeError, match="not records, one record or a DataFrame"):
        make_prediction(predict, data)


@pytest.mark.parametrize(
    "module",
    [
        "model_kit.scoring.definition",
        "model_kit.scoring.frames",
        ", ".join(f"model_kit.cli.{name}" for name in ("main", *COMMANDS)),
    ],
    ids=["definition", "frames", "commands"],
)
def test_serving_imports_neither_pandas_nor_scikit_learn(module: str) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import {module}; "
        "print(sorted({'pandas', 'sklearn', 'scipy', 'skl2onnx', 'joblib', 'tqdm'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
