"""The derived features: their values, and that nothing breaks them."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.exports.numpy_source import numpy_source
from model_kit.records.encoding import FEW, FeatureMaker
from model_kit.records.generation import generate_rows
from model_kit.spec import UNSEEN, InputSpec, fit_spec
from model_kit.training import dataset
from numpy.typing import NDArray
from regression_model import DEFINITION
from regression_model.derive import ABSENT, column_names, derive
from regression_model.fields import FIELDS, TARGET

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))
NAMES = column_names()
N_DERIVED = 32


def _encoded(**values: float) -> NDArray[np.float64]:
    """One row: every number 0, every category its first level, but for ``values``."""
    row = np.array([1.0 if field.kind == "category" else 0.0 for field in FIELDS])
    for name, value in values.items():
        row[NAMES.index(name)] = value
    return row[np.newaxis]


def _feature(name: str, **values: float) -> float:
    return float(derive(_encoded(**values))[0, NAMES.index(name)])


def test_fields_come_first_and_32_columns_are_derived() -> None:
    assert NAMES[: len(FIELDS)] == tuple(field.name for field in FIELDS)
    assert len(NAMES) == len(set(NAMES)) == len(FIELDS) + N_DERIVED
    assert derive(_encoded()).shape == (1, len(NAMES))


def test_a_known_row_passes_unchanged() -> None:
    row = _encoded(GrLivArea=1464.0, LotArea=9478.5, KitchenQual=3.0, Neighborhood=7.0)
    before = row.copy()
    assert derive(row)[0, : len(FIELDS)].tolist() == before[0].tolist()
    assert row.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("LogLotArea", {"LotArea": 9000.0}, math.log1p(9000)),
        ("TotalArea", {"GrLivArea": 1500.0, "TotalBsmtSF": 1000.0}, 2500.0),
        ("LogTotalArea", {"GrLivArea": 1500.0, "TotalBsmtSF": 1000.0}, math.log1p(2500)),
        ("FinishedArea", {"GrLivArea": 1500.0, "BsmtFinSF1": 300.0, "BsmtFinSF2": 100.0}, 1900.0),
        ("UnfinishedShare", {"TotalBsmtSF": 1000.0, "BsmtUnfSF": 250.0}, 0.25),
        ("PorchArea", {"WoodDeckSF": 1.0, "OpenPorchSF": 2.0, "EnclosedPorch": 4.0, "ScreenPorch": 8.0}, 15.0),
        ("Baths", {"FullBath": 2.0, "HalfBath": 1.0, "BsmtFullBath": 1.0, "BsmtHalfBath": 1.0}, 4.0),
        ("BathsPerBedroom", {"FullBath": 3.0, "BedroomAbvGr": 2.0}, 1.5),
        ("AreaPerRoom", {"GrLivArea": 1500.0, "TotRmsAbvGrd": 6.0}, 250.0),
        ("Age", {"YrSold": 2008.0, "YearBuilt": 1973.0}, 35.0),
        ("SinceRemodelled", {"YrSold": 2008.0, "YearRemodAdd": 1994.0}, 14.0),
        ("SoldAt", {"YrSold": 2008.0, "MoSold": 6.0}, 2008.5),
        ("QualityCondition", {"OverallQual": 6.0, "OverallCond": 5.0}, 30.0),
        ("QualityTotalArea", {"OverallQual": 6.0, "GrLivArea": 1500.0}, 9000.0),
        ("ConditionAge", {"OverallCond": 7.0, "YrSold": 2008.0, "YearBuilt": 1973.0}, 2 * math.log1p(35)),
        ("Grades", {"ExterQual": 3.0, "KitchenQual": 4.0, "BsmtQual": 5.0, "HeatingQC": 2.0}, 14.0),
        ("Comforts", {"FireplaceQu": 4.0, "GarageFinish": 2.0, "BsmtExposure": 1.0}, 7.0),
    ],
)
def test_derived_value(name: str, values: dict[str, float], expected: float) -> None:
    assert _feature(name, **values) == pytest.approx(expected, rel=1e-14)


def test_absence_is_a_level_of_its_own_for_a_nominal_category_and_below_the_lowest_for_an_ordered_one() -> None:
    assert _feature("Alley", Alley=math.nan) == ABSENT
    assert _feature("PoolQC", PoolQC=math.nan) == 0
    assert _feature("Comforts", FireplaceQu=math.nan, GarageFinish=2.0, BsmtExposure=1.0) == 3


def test_unknown_is_left_to_imputation_but_never_for_a_nominal_category() -> None:
    assert math.isnan(_feature("KitchenQual", KitchenQual=math.nan))
    assert math.isnan(_feature("KitchenQual", KitchenQual=UNSEEN))
    assert math.isnan(_feature("PoolQC", PoolQC=UNSEEN))
    assert math.isnan(_feature("LotFrontage", LotFrontage=math.nan))
    assert math.isnan(_feature("TotalArea", TotalBsmtSF=math.nan))
    assert _feature("MSZoning", MSZoning=math.nan) == ABSENT
    assert _feature("MSZoning", MSZoning=UNSEEN) == UNSEEN


def test_a_sale_before_construction_has_age_zero() -> None:
    assert _feature("Age", YrSold=2007.0, YearBuilt=2008.0) == 0
    assert _feature("LogAge", YrSold=2007.0, YearBuilt=2008.0) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, 1.0, 2207.0, 1e12, -1e12])
def test_extremes_give_no_warning_and_no_infinity(value: float) -> None:
    for row in (np.full((1, len(FIELDS)), value), *(_encoded(**{field.name: value}) for field in FIELDS)):
        assert not np.isinf(derive(row).astype(np.float32)).any()


def _same_bits(encoded: NDArray[np.float64]) -> None:
    """Whatever way a row takes, it becomes the same features."""
    together = derive.rows(encoded)
    one_by_one = np.array([derive.row(row) for row in encoded.tolist()])
    # NaN has many spellings, all of which mean the same.
    missing = np.isnan(together)
    np.testing.assert_array_equal(np.isnan(one_by_one), missing)
    assert np.where(missing, 0, one_by_one).tobytes() == np.where(missing, 0, together).tobytes()
    features = FeatureMaker(_spec(), derive)
    few = [features.derive(encoded[start : start + FEW]) for start in range(0, len(encoded), FEW)]
    np.testing.assert_array_equal(np.concatenate(few), features.derive(encoded))


@cache
def _spec() -> InputSpec:
    return fit_spec(FIELDS, TARGET, dataset.synthetic(DEFINITION).rows)


def test_a_single_row_gives_the_same_bits_as_a_batch_of_houses_with_nulls_unseen_levels_and_extremes() -> None:
    spec = _spec()
    encode = FeatureMaker(spec, derive).encode
    _same_bits(encode(dataset.synthetic(DEFINITION).rows))
    _same_bits(encode(generate_rows(spec, 5000, seed=4, nulls=0.3, unseen=0.3, extremes=0.3)))


def test_a_single_row_gives_the_same_bits_as_a_batch_of_any_numbers() -> None:
    random = np.random.default_rng(2)
    size = (4000, len(FIELDS))
    numbers = random.normal(size=size) * 10.0 ** random.integers(-12, 12, size)
    odd = random.choice([np.nan, -0.0, 0.0, -1.0, 1.0, 1e12, -1e12, 5e-324], size)
    _same_bits(np.where(random.random(size) < 0.3, odd, numbers))


@pytest.mark.skipif(not AMES.is_dir(), reason=f"the real data is not in {AMES}; set AMES_DATA")
def test_a_single_row_gives_the_same_bits_as_a_batch_of_the_real_houses() -> None:
    _same_bits(FeatureMaker(_spec(), derive).encode(dataset.load(DEFINITION, AMES / "train.csv").rows))


def test_a_row_does_not_depend_on_the_others() -> None:
    random = np.random.default_rng(1)
    rows = random.integers(-1, 3000, (50, len(FIELDS))).astype(np.float64)
    rows[random.random(rows.shape) < 0.2] = np.nan
    together = derive(rows)
    for position in range(len(rows)):
        np.testing.assert_array_equal(derive(rows[position : position + 1])[0], together[position])
    assert derive(rows[:0]).shape == (0, len(NAMES))


def test_it_can_be_written_as_numpy_source_for_export() -> None:
    random = np.random.default_rng(5)
    rows = np.vstack([_encoded()] * 50)
    rows *= random.integers(-1, 4, rows.shape)
    rows[random.random(rows.shape) < 0.2] = np.nan
    names: dict[str, Any] = {"np": np}
    exec(numpy_source(derive, rows[:3]), names)
    np.testing.assert_array_equal(names["derive"](rows), derive(rows))
