"""Predictions for whoever imports the package."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.errors import DataError
from model_kit.scoring import frames as predict
from model_kit.scoring.frames import make_prediction
from model_kit.testing import load_rides, write_ride_bundle
from regression_model import serving

#: Fares by hand, see ``model_kit.testing``.
SHORT = {"distance": 8, "passengers": 1, "zone": "A", "comfort": "2"}
SHORT_FARE = float(np.exp(2.5 + 8 / 8 + 1 / 16 + 2 / 32))
LONG = {"distance": 16.0, "passengers": None, "zone": "B", "comfort": None}
LONG_FARE = float(np.exp(2.5 + 16 / 8 + 1 / 16 - 1 / 4))


@pytest.fixture(autouse=True)
def rides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The bundle of rides in place of the package's own; what is yielded has one element a loading."""
    write_ride_bundle(tmp_path / "bundle")
    loaded: list[Path] = []

    def load() -> Any:
        loaded.append(tmp_path)
        return load_rides(tmp_path / "bundle")

    monkeypatch.setattr(serving, "load", load)
    predict.predictor.cache_clear()
    yield loaded
    predict.predictor.cache_clear()


def test_one_record_answers_as_one_element() -> None:
    assert make_prediction(input_data=SHORT) == {"predictions": [SHORT_FARE], "version": "1.2.3", "errors": None}


def test_records_are_answered_in_order() -> None:
    assert make_prediction(input_data=[LONG, SHORT])["predictions"] == [LONG_FARE, SHORT_FARE]


def test_no_records_are_no_error() -> None:
    assert make_prediction(input_data=[]) == {"predictions": [], "version": "1.2.3", "errors": None}


def test_faulty_row_keeps_its_place() -> None:
    records: list[Any] = [SHORT, SHORT | {"distance": "far"}, 7, LONG]
    answer = make_prediction(input_data=records)
    assert answer["predictions"] == [SHORT_FARE, None, None, LONG_FARE]
    assert answer["errors"] == {1: {"distance": ["Not a valid number."]}, 2: {"_schema": ["Invalid input type."]}}


def test_model_is_loaded_once(rides: list[Path]) -> None:
    make_prediction(input_data=SHORT)
    make_prediction(input_data=LONG)
    assert len(rides) == 1


def test_callers_data_is_not_changed() -> None:
    records: list[dict[str, Any]] = [dict(SHORT), {**LONG, "passengers": float("nan"), "other": [1]}]
    frame = pd.DataFrame([SHORT, LONG])
    records_before, frame_before = copy.deepcopy(records), frame.copy(deep=True)
    make_prediction(input_data=records)
    make_prediction(input_data=frame)
    assert repr(records) == repr(records_before)
    pd.testing.assert_frame_equal(frame, frame_before)


def test_dataframe_is_answered_by_position_whatever_its_index() -> None:
    frame = pd.DataFrame([SHORT, LONG, {**SHORT, "zone": None}], index=[7, 7, 3])
    answer = make_prediction(input_data=frame)
    assert answer["predictions"] == [SHORT_FARE, LONG_FARE, None]
    assert answer["errors"] == {2: {"zone": ["Field may not be null."]}}


def test_integers_that_pandas_made_floats_are_integers() -> None:
    frame = pd.DataFrame(
        {"distance": [8, 16], "passengers": [1.0, np.nan], "zone": ["A", "B"], "comfort": [2.0, np.nan]}
    )
    assert make_prediction(input_data=frame)["predictions"] == [SHORT_FARE, LONG_FARE]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "object", "category"])
def test_dtypes_of_pandas_do_not_matter(dtype: str) -> None:
    frame = pd.DataFrame({"distance": [8, 16], "zone": pd.Categorical(["A", "B"]), "comfort": pd.array(["2", None])})
    frame["passengers"] = pd.Series([1, None], dtype=dtype)
    assert make_prediction(input_data=frame)["predictions"] == [SHORT_FARE, LONG_FARE]


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s")]
)
def test_every_spelling_of_missing_is_missing(missing: object) -> None:
    record = {"distance": 16, "passengers": missing, "zone": "B", "comfort": missing}
    assert make_prediction(input_data=record)["predictions"] == [LONG_FARE]


def test_numpy_scalars_are_the_numbers_they_hold() -> None:
    record = {"distance": np.float32(8), "passengers": np.int64(1), "zone": np.str_("A"), "comfort": np.int8(2)}
    assert make_prediction(input_data=record)["predictions"] == [SHORT_FARE]


@pytest.mark.parametrize("value", [True, np.True_, "8", float("inf"), pd.Timestamp(0), [8]])
def test_what_is_no_number_is_an_error(value: object) -> None:
    answer = make_prediction(input_data=[SHORT | {"distance": value}])
    assert answer["predictions"] == [None]
    assert answer["errors"] is not None


def test_column_twice_is_refused() -> None:
    frame = pd.DataFrame([[1, 2, "A"]], columns=["distance", "distance", "zone"])
    with pytest.raises(DataError, match="the DataFrame has a column more than once: distance"):
        make_prediction(input_data=frame)


@pytest.mark.parametrize("data", ["distance", b"x", 7, None, iter([SHORT])])
def test_input_of_another_type_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="not records, one record or a DataFrame"):
        make_prediction(input_data=data)


@pytest.mark.parametrize("module", ["regression_model.serving", "model_kit.scoring.frames", "model_kit.cli.main"])
def test_serving_imports_neither_pandas_nor_scikit_learn(module: str) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import {module}; "
        "print(sorted({'pandas', 'sklearn', 'scipy', 'skl2onnx', 'joblib', 'tqdm'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "installed_version", lambda name: f"{name} 9.8.7")
    assert serving.version() == "regression-model 9.8.7"


def test_version_without_a_distribution_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(serving, "installed_version", missing)
    assert serving.version() == "0.1.0"
