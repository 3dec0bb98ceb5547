"""The synthetic sample."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit.training import dataset
from regression_model import DEFINITION, sample
from regression_model.fields import FIELDS
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict

SHA256 = "bd25bcba0ba56815d0d2b832120e2900f0714f769515f08fbfef632d6678288a"
BASEMENT = ["BsmtQual", "BsmtCond", "BsmtFinType1"]
GARAGE = ["GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"]


@pytest.fixture(scope="module")
def houses() -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(sample.csv_bytes()), keep_default_na=False, na_values=["NA"])


def test_same_seed_gives_the_same_bytes_everywhere() -> None:
    assert hashlib.sha256(sample.csv_bytes()).hexdigest() == SHA256


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "import hashlib; from regression_model import sample; print(hashlib.sha256(sample.csv_bytes()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == SHA256


def test_file_is_read_as_pandas_reads_it_and_known_to_be_synthetic(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(sample.csv_bytes())
    data = dataset.load(DEFINITION, path)
    assert (data.name, data.synthetic) == ("synthetic sample", True)
    frame = pd.read_csv(path, keep_default_na=False, na_values=["NA"])
    assert data.ids == tuple(frame["Id"].astype(str))
    assert data.target.tolist() == frame["SalePrice"].tolist()
    for field in FIELDS:
        column = [row[field.name] for row in data.rows]
        expected = [None if pd.isna(value) else value for value in frame[field.name]]
        if field.numeric_codes:
            expected = [str(value) for value in expected]
        assert column == expected, field.name


def test_another_seed_gives_other_houses() -> None:
    assert sample.csv_bytes(10, seed=1) != sample.csv_bytes(10, seed=2)


def test_columns_are_those_of_the_real_file(houses: pd.DataFrame) -> None:
    assert list(houses.columns) == ["Id", *(field.name for field in FIELDS), "SalePrice"]
    assert houses.shape == (1460, 81)


def test_identifiers_say_that_the_houses_are_made_up(houses: pd.DataFrame) -> None:
    assert houses["Id"].tolist() == list(range(9_000_001, 9_001_461))
    assert all(map(sample.is_synthetic, houses["Id"].astype(str)))
    assert not any(map(sample.is_synthetic, ["1", "524", "1299", "2919", "526301100", "9000000", "abcdefg", ""]))


def test_identities_hold(houses: pd.DataFrame) -> None:
    floors = houses["1stFlrSF"] + houses["2ndFlrSF"] + houses["LowQualFinSF"]
    basement = houses["BsmtFinSF1"] + houses["BsmtFinSF2"] + houses["BsmtUnfSF"]
    assert (houses["GrLivArea"] == floors).all()
    assert (houses["TotalBsmtSF"] == basement).all()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_value_is_documented_and_possible(houses: pd.DataFrame, field: object) -> None:
    assert isinstance(field, type(FIELDS[0]))
    values = houses[field.name].dropna()
    assert len(values)
    if field.kind == "category":
        assert set(values.astype(str)) <= {level.value for level in field.levels}
    else:
        assert field.minimum is None or values.min() >= field.minimum
        assert field.maximum is None or values.max() <= field.maximum
    if field.required:
        assert len(values) == len(houses)


def test_nulls_are_where_real_data_has_them(houses: pd.DataFrame) -> None:
    nulls = houses.isna()
    assert set(houses.columns[nulls.any()]) == {
        "LotFrontage", "Alley", "MasVnrType", "MasVnrArea", *BASEMENT, "BsmtExposure", "BsmtFinType2", "Electrical",
        "FireplaceQu", *GARAGE, "PoolQC", "Fence", "MiscFeature",
    }  # fmt: skip
    assert nulls["Electrical"].sum() == 1
    assert 0.15 < nulls["LotFrontage"].mean() < 0.21
    assert (nulls["MasVnrType"] == nulls["MasVnrArea"]).all()
    assert nulls["MasVnrType"].any()


def test_absence_is_null(houses: pd.DataFrame) -> None:
    nulls = houses.isna()
    for column in GARAGE:
        assert (nulls[column] == (houses["GarageCars"] == 0)).all()
    for column in BASEMENT:
        assert (nulls[column] == (houses["TotalBsmtSF"] == 0)).all()
    for column in ("BsmtExposure", "BsmtFinType2"):
        assert (nulls[column] & (houses["TotalBsmtSF"] > 0)).sum() == 1
    assert (nulls["FireplaceQu"] == (houses["Fireplaces"] == 0)).all()
    assert (nulls["PoolQC"] == (houses["PoolArea"] == 0)).all()
    assert (nulls["MiscFeature"] == (houses["MiscVal"] == 0)).all()


def test_none_is_a_level_of_masonry_veneer(houses: pd.DataFrame) -> None:
    without = houses["MasVnrType"] == "None"
    assert without.sum() > 500
    assert (houses.loc[without, "MasVnrArea"] == 0).all()


def test_price_follows_its_formula(houses: pd.DataFrame) -> None:
    typical = {
        "Neighborhood": "NWAmes", "OverallQual": 6, "OverallCond": 5, "GrLivArea": 1500, "TotalBsmtSF": 1000,
        "BsmtFinSF1": 0, "BsmtFinSF2": 0, "LotArea": 10_000, "GarageCars": 2, "Fireplaces": 0, "FullBath": 2,
        "HalfBath": 0, "BsmtFullBath": 0, "KitchenQual": "TA", "YrSold": 2008, "YearBuilt": 2008,
        "CentralAir": "N", "PavedDrive": "N", "PoolArea": 0, "Condition1": "Norm", "Functional": "Typ",
        "SaleCondition": "Normal", "MSZoning": "RL",
    }  # fmt: skip
    assert sample.price(typical) == 163_000  # exp(12)
    assert sample.price(typical | {"OverallQual": 7}) == 176_500  # exp(12.08)
    assert sample.price(typical | {"OverallQual": 8, "GrLivArea": 3000}) == 281_500  # .16 + (.4 + 2 * .08) * log 2
    assert sample.price(typical | {"SaleCondition": "Abnorml"}) == 144_500
    assert sample.price(typical, noise=0.1) == 180_000
    assert (houses["SalePrice"] % 500 == 0).all()
    assert houses["SalePrice"].between(30_000, 1_000_000).all()


def test_model_can_learn_the_price(houses: pd.DataFrame) -> None:
    features = pd.DataFrame(
        {
            field.name: houses[field.name].astype("category").cat.codes
            if field.kind == "category"
            else houses[field.name].fillna(-1)
            for field in FIELDS
        }
    )
    price = np.log(houses["SalePrice"])
    estimator = GradientBoostingRegressor(n_estimators=200, max_features=0.2, random_state=0)
    assert r2_score(price, cross_val_predict(estimator, features, price, cv=3)) >= 0.85


def test_docstring_says_that_it_is_synthetic() -> None:
    assert "synthetic" in (sample.__doc__ or "")
    assert sample.SAMPLE.name == "synthetic sample"
