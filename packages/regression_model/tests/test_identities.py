"""Repaired rows: identities hold, and what need not change does not."""

from __future__ import annotations

from typing import Any

import pytest
from regression_model.identities import repair

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
    "MiscFeature": "Shed",
    "MiscVal": 400.0,
    "MasVnrType": "Stone",
    "MasVnrArea": 100.0,
    "Neighborhood": "NAmes",
}


def test_a_consistent_house_stays_as_it_is_and_the_input_is_not_changed() -> None:
    before = dict(HOUSE)
    repaired = repair(HOUSE)
    assert repaired == before == HOUSE
    assert repaired is not HOUSE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"1stFlrSF": 800.0}, {"1stFlrSF": 1000.0, "2ndFlrSF": 500.0, "GrLivArea": 1500.0}),
        ({"2ndFlrSF": 1800.0, "LowQualFinSF": 9.0}, {"1stFlrSF": 0.0, "2ndFlrSF": 1500.0, "LowQualFinSF": 0.0}),
        ({"BsmtUnfSF": None}, {"BsmtUnfSF": 400.0, "TotalBsmtSF": 900.0}),
        ({"BsmtFinSF1": 2000.0}, {"BsmtFinSF1": 900.0, "BsmtFinSF2": 0.0, "BsmtUnfSF": 0.0, "BsmtFinType2": "Unf"}),
        (
            {"TotalBsmtSF": 0.0},
            {"BsmtFinSF1": 0.0, "BsmtUnfSF": 0.0, "BsmtQual": None, "BsmtFinType1": None, "BsmtFullBath": 0},
        ),
        ({"YearBuilt": 2000}, {"YearRemodAdd": 2000, "GarageYrBlt": 2000, "YrSold": 2008}),
        ({"GarageYrBlt": 2207}, {"GarageYrBlt": 2008}),
        ({"YrSold": 1980}, {"YrSold": 1990, "YearRemodAdd": 1990, "GarageYrBlt": 1990}),
        ({"GarageType": None}, {"GarageYrBlt": None, "GarageCars": 0, "GarageArea": 0, "GarageQual": None}),
        ({"GarageCars": 0}, {"GarageType": None, "GarageFinish": None, "GarageArea": 0}),
        ({"FireplaceQu": None}, {"Fireplaces": 0}),
        ({"PoolArea": 0.0}, {"PoolQC": None}),
        ({"MiscFeature": None}, {"MiscVal": 0}),
        ({"MasVnrType": "None"}, {"MasVnrArea": 0}),
        ({"MasVnrArea": 0.0}, {"MasVnrType": "None"}),
    ],
)
def test_what_contradicts_is_repaired(change: dict[str, Any], expected: dict[str, Any]) -> None:
    repaired = repair(HOUSE | change)
    assert {name: repaired[name] for name in expected} == expected


def test_repairing_twice_changes_nothing_more() -> None:
    once = repair(HOUSE | {"TotalBsmtSF": 100.0, "GarageArea": None, "YrSold": 1950, "2ndFlrSF": 5000.0})
    assert repair(once) == once


def test_a_row_of_required_fields_gets_no_invented_basement_or_year() -> None:
    repaired = repair({"OverallQual": 6, "GrLivArea": 1464.0, "YearBuilt": 1973, "Neighborhood": "NAmes"})
    assert repaired["1stFlrSF"] == 1464.0
    assert "TotalBsmtSF" not in repaired
    assert "YrSold" not in repaired
