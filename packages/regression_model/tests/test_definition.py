"""The definition of the house model."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_kit.errors import FloorError
from model_kit.training import dataset
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import cross_validate, require_floors
from regression_model import DEFINITION
from regression_model.fields import NOT_CORE

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return dataset.synthetic(DEFINITION)


def test_permuted_prices_cannot_be_learned(sample: Dataset) -> None:
    # Whatever saw a hold-out price on its way (levels, encoders, rules) would show here.
    permuted = replace(sample, target=np.random.default_rng(20240).permutation(sample.target))
    metrics = cross_validate(DEFINITION, permuted, n_splits=3, n_repeats=1).metrics
    assert metrics["r2"] <= 0.05
    with pytest.raises(FloorError, match="R2 is -?0"):
        require_floors(DEFINITION, metrics)


def test_sample_can_be_learned(sample: Dataset) -> None:
    metrics = cross_validate(DEFINITION, sample, n_splits=3, n_repeats=1).metrics
    assert metrics["r2"] >= 0.85
    require_floors(DEFINITION, metrics)


def test_tutorial_model_on_the_real_data_would_pass_the_floors_and_a_guess_would_not() -> None:
    require_floors(DEFINITION, {"r2": 0.85, "rmse": 0.1537})
    with pytest.raises(FloorError):
        require_floors(DEFINITION, {"r2": 0.0, "rmse": 0.4})


def test_core_leaves_out_the_two_huge_cheap_sales_alone() -> None:
    assert sorted(NOT_CORE) == ["1299", "524"]


@pytest.mark.skipif(not (AMES / "train.csv").exists(), reason="the Kaggle files are not there (AMES_DATA)")
def test_real_training_file_is_read() -> None:
    notes: list[str] = []
    data = dataset.load(DEFINITION, AMES / "train.csv", report=notes.append)
    assert (data.name, data.synthetic, len(data.rows), notes) == ("train.csv", False, 1460, [])
    assert {"524", "1299"} < set(data.ids)
    assert (data.target.min(), data.target.max()) == (34900.0, 755000.0)
    assert sum(value is None for row in data.rows for value in row.values()) == 6965


def test_identifier_and_target_are_no_features() -> None:
    assert {"Id", "SalePrice"}.isdisjoint(field.name for field in DEFINITION.fields)


def test_serving_imports_neither_pandas_nor_scikit_learn() -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import regression_model; "
        "print(sorted({'pandas', 'sklearn', 'scipy', 'skl2onnx', 'joblib', 'tqdm'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("attribute", ["estimator", "keep_for_training", "sample"])
def test_what_training_imports_by_name_is_there(attribute: str) -> None:
    assert DEFINITION.resolve(attribute) is not None


def test_data_set_on_openml_is_that_of_house_prices() -> None:
    assert DEFINITION.openml_id == 42165
