"""Houses that are made to hold what holds between their fields."""

from __future__ import annotations

from typing import Any

import pytest
from model_kit.records.identities import check_identities
from model_kit.records.validation import Validator
from model_kit.scoring.sampling import sample_records
from model_kit.spec import fit_spec
from model_kit.training import dataset
from model_kit.training.reference import reference
from model_kit.training.train import typical_row
from regression_model import DEFINITION
from regression_model.fields import FIELDS, TARGET, TOGETHER
from regression_model.identities import IDENTITIES

HOUSE: dict[str, Any] = {
    "GrLivArea": 1500.0,
    "1stFlrSF": 1000.0,
    "2ndFlrSF": 500.0,
    "LowQualFinSF": 0.0,
    "TotalBsmtSF": 900.0,
    "BsmtFinSF1": 400.0,
    "BsmtFinSF2": 100.0,
    "BsmtUnfSF": 400.0,
    "BsmtQual": "Gd",
    "BsmtCond": "TA",
    "BsmtExposure": "No",
    "BsmtFinType1": "GLQ",
    "BsmtFinType2": "Rec",
    "BsmtFullBath": 1,
    "YearBuilt": 1990,
    "YearRemodAdd": 1995,
    "GarageYrBlt": 1991,
    "YrSold": 2008,
    "GarageType": "Attchd",
    "GarageCars": 2,
    "GarageArea": 480.0,
    "GarageFinish": "Fin",
    "GarageQual": "TA",
    "GarageCond": "TA",
    "Fireplaces": 1,
    "FireplaceQu": "Gd",
    "PoolArea": 500.0,
    "PoolQC": "Gd",
    "MasVnrType": "Stone",
    "MasVnrArea": 100.0,
    "Neighborhood": "NAmes",
}


def held(house: dict[str, Any]) -> dict[str, Any]:
    row = dict(house)
    for identity in IDENTITIES:
        identity.hold(row, HOUSE)
    return row


def test_they_are_about_fields_of_the_right_kinds() -> None:
    check_identities(IDENTITIES, FIELDS)


def test_a_consistent_house_stays_as_it_is() -> None:
    assert held(HOUSE) == HOUSE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"1stFlrSF": 2500.0}, {"1stFlrSF": 1250.0, "2ndFlrSF": 250.0, "GrLivArea": 1500.0}),
        ({"BsmtUnfSF": None}, {"BsmtFinSF1": 720.0, "BsmtFinSF2": 180.0, "BsmtUnfSF": 0.0, "TotalBsmtSF": 900.0}),
        ({"BsmtFinType1": "Unf"}, {"BsmtFinSF1": 0.0, "BsmtFinSF2": 180.0, "BsmtUnfSF": 720.0}),
        (
            {"TotalBsmtSF": 0.0},
            {"BsmtFinSF1": 0.0, "BsmtUnfSF": 0.0, "BsmtQual": None, "BsmtFinType1": None, "BsmtFullBath": 0},
        ),
        ({"BsmtCond": None}, {"BsmtCond": "TA", "TotalBsmtSF": 900.0}),
        ({"YearBuilt": 2000}, {"YearRemodAdd": 2000, "GarageYrBlt": 2000, "YrSold": 2008}),
        ({"YrSold": 1980}, {"YrSold": 1995, "YearRemodAdd": 1995, "GarageYrBlt": 1991}),
        ({"GarageType": None}, {"GarageYrBlt": None, "GarageCars": 0, "GarageArea": 0, "GarageQual": None}),
        ({"GarageCars": 0}, {"GarageType": None, "GarageFinish": None, "GarageArea": 0}),
        ({"FireplaceQu": None}, {"Fireplaces": 0}),
        ({"PoolArea": 0.0}, {"PoolQC": None}),
        ({"MasVnrType": "None"}, {"MasVnrArea": 0}),
        ({"MasVnrArea": 0.0}, {"MasVnrType": "None"}),
    ],
)
def test_what_contradicts_is_mended(change: dict[str, Any], expected: dict[str, Any]) -> None:
    mended = held(HOUSE | change)
    assert {name: mended[name] for name in expected} == expected


def test_mending_twice_changes_nothing_more() -> None:
    once = held(HOUSE | {"TotalBsmtSF": 100.0, "GarageArea": None, "YrSold": 1950, "2ndFlrSF": 5000.0})
    assert held(once) == once


class Houses:
    """What sample records need of a model, without training one."""

    def __init__(self) -> None:
        self.rows = rows = dataset.synthetic(DEFINITION).rows
        self.spec = fit_spec(FIELDS, TARGET, rows, together=TOGETHER)
        self.reference = reference(self.spec, rows)
        self.golden: dict[str, Any] = {"row": typical_row(DEFINITION, self.spec), "prediction": 0.0}
        self.identities = IDENTITIES
        self.contradictions = DEFINITION.all_contradictions

    def score(self, encoded: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def houses() -> Houses:
    return Houses()


def contradictions(row: dict[str, Any]) -> list[str]:
    return [message for one in DEFINITION.all_contradictions if (message := one.find(row)) is not None]


def test_typical_house_contradicts_nothing(houses: Houses) -> None:
    typical = houses.golden["row"]
    assert contradictions(typical) == []
    assert typical["BsmtFinSF1"] + typical["BsmtFinSF2"] + typical["BsmtUnfSF"] == typical["TotalBsmtSF"] > 0
    assert (typical["BsmtFinSF1"] > 0) == (typical["BsmtFinType1"] != "Unf")


def test_sample_houses_are_valid_and_contradict_nothing(houses: Houses) -> None:
    rows = sample_records(houses, 100, seed=1)
    assert rows == sample_records(houses, 100, seed=1) != sample_records(houses, 100, seed=2)
    assert [message for row in rows for message in contradictions(row)] == []
    assert not Validator(houses.spec)(rows).errors
    assert all(row["GrLivArea"] == row["1stFlrSF"] + row["2ndFlrSF"] + row["LowQualFinSF"] for row in rows)
    assert {row["GarageCars"] == 0 for row in rows if row["GarageArea"] == 0} == {True}


def test_sample_houses_are_spread_as_those_of_training(houses: Houses) -> None:
    rows = sample_records(houses, 200, seed=3)
    assert sum(row["PoolArea"] > 0 for row in rows) < 10
    assert 0.85 < sum(row["CentralAir"] == "Y" for row in rows) / len(rows) < 1
    areas = sorted(row["GrLivArea"] for row in rows)
    truth = sorted(float(row["GrLivArea"] or 0) for row in houses.rows)
    assert abs(areas[100] / truth[730] - 1) < 0.08
    assert areas[190] < truth[-1]
