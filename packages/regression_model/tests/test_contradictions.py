"""What cannot be true of one house."""

from __future__ import annotations

from typing import Any

import pytest
from model_kit.records.row_warnings import RowWarnings, check_contradictions
from model_kit.spec import InputSpec, Learned
from model_kit.training import dataset
from regression_model import DEFINITION
from regression_model.fields import FIELDS, TARGET

CONTRADICTIONS = DEFINITION.all_contradictions

HOUSE: dict[str, Any] = {
    "MSSubClass": "60",
    "HouseStyle": "2Story",
    "YearBuilt": 1990,
    "YearRemodAdd": 1995,
    "GarageYrBlt": 1991,
    "YrSold": 2008,
    "TotRmsAbvGrd": 6,
    "BedroomAbvGr": 3,
    "GrLivArea": 1500,
    "1stFlrSF": 900,
    "2ndFlrSF": 600,
    "LowQualFinSF": 0,
    "TotalBsmtSF": 900,
    "BsmtFinSF1": 500,
    "BsmtFinSF2": 0,
    "BsmtUnfSF": 400,
    "BsmtQual": "Gd",
    "BsmtFinType1": "GLQ",
    "BsmtFinType2": "Unf",
    "BsmtFullBath": 0,
    "GarageArea": 480,
    "GarageCars": 2,
    "GarageType": "Attchd",
    "Fireplaces": 1,
    "FireplaceQu": "TA",
    "PoolArea": 0,
    "PoolQC": None,
    "MasVnrArea": 100,
    "MasVnrType": "Stone",
    "MiscVal": 400,
    "MiscFeature": "Shed",
}


def found(**changes: Any) -> dict[str, str]:
    house = HOUSE | changes
    told = ((one.code, one.find(house)) for one in CONTRADICTIONS)
    return {code: message for code, message in told if message is not None}


def test_they_are_about_fields_and_have_codes_of_their_own() -> None:
    check_contradictions(CONTRADICTIONS, FIELDS)


def test_house_that_is_right_has_none() -> None:
    assert found() == {}


def test_nothing_is_said_of_what_was_not_given() -> None:
    assert [one.code for one in CONTRADICTIONS if one.find({}) is not None] == []
    assert found(YearBuilt=None, YrSold=None, **{"1stFlrSF": None}, BsmtUnfSF=None, PoolArea=None, PoolQC="Gd") == {}


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"YrSold": 1990, "YearBuilt": 1991, "YearRemodAdd": None, "GarageYrBlt": None}, "sold_before_built",
         "Sold in 1990, before it was built in 1991 (YrSold, YearBuilt)"),
        ({"YearRemodAdd": 2009}, "sold_before_remodelled",
         "Sold in 2008, before it was remodelled in 2009 (YrSold, YearRemodAdd)"),
        ({"GarageYrBlt": 2207}, "sold_before_garage",
         "Sold in 2008, before its garage was built in 2207 (YrSold, GarageYrBlt)"),
        ({"YearRemodAdd": 1980}, "remodelled_before_built",
         "Remodelled in 1980, before it was built in 1990 (YearRemodAdd, YearBuilt)"),
        ({"BedroomAbvGr": 7}, "more_bedrooms_than_rooms",
         "6 rooms above ground, but 7 of them bedrooms (TotRmsAbvGrd, BedroomAbvGr)"),
        ({"GrLivArea": 1700.0}, "living_area_not_its_floors",
         "Living area GrLivArea is 1700, but 1stFlrSF + 2ndFlrSF + LowQualFinSF is 1500"),
        ({"TotalBsmtSF": 700}, "basement_not_its_parts",
         "Basement area TotalBsmtSF is 700, but BsmtFinSF1 + BsmtFinSF2 + BsmtUnfSF is 900"),
        ({"BsmtQual": None}, "basement_without_details",
         "TotalBsmtSF is 900, but BsmtQual was not given, which means that there is no basement"),
        ({"TotalBsmtSF": 0, "BsmtFinSF1": 0, "BsmtUnfSF": 0, "BsmtFinType1": "Unf"}, "details_without_basement",
         "BsmtQual is Gd, but TotalBsmtSF 0 means that there is no basement"),
        ({"GarageType": None}, "garage_without_details",
         "GarageArea is 480, but GarageType was not given, which means that there is no garage"),
        ({"GarageCars": 0}, "garage_amounts_disagree",
         "GarageArea is 480, but GarageCars 0 means that there is no garage"),
        ({"GarageArea": 0}, "garage_amounts_disagree",
         "GarageCars is 2, but GarageArea 0 means that there is no garage"),
        ({"GarageArea": 0, "GarageCars": 0, "GarageType": None}, "garage_details_disagree",
         "GarageYrBlt is 1991, but GarageType was not given, which means that there is no garage"),
        ({"GarageCars": 5, "GarageArea": 200}, "cars_do_not_fit",
         "A garage of 200 square feet (GarageArea) for 5 cars (GarageCars)"),
        ({"TotRmsAbvGrd": 16}, "rooms_do_not_fit", "16 rooms (TotRmsAbvGrd) in 1500 square feet (GrLivArea)"),
        ({"1stFlrSF": 500, "2ndFlrSF": 1000}, "basement_beyond_house",
         "A basement of 900 square feet (TotalBsmtSF) below a first floor of 500 (1stFlrSF)"),
        ({"GarageYrBlt": 1930}, "garage_before_house",
         "Garage built in 1930, before the house in 1990 (GarageYrBlt, YearBuilt)"),
        ({"BsmtFinType1": "Unf"}, "first_finish_without_details",
         "BsmtFinSF1 is 500, but BsmtFinType1 Unf means that there is no first finished area"),
        ({"BsmtFinType2": "Rec"}, "details_without_second_finish",
         "BsmtFinType2 is Rec, but BsmtFinSF2 0 means that there is no second finished area"),
        ({"TotalBsmtSF": 0, "BsmtFinSF1": 0, "BsmtUnfSF": 0, "BsmtQual": None, "BsmtFinType1": None,
          "BsmtFinType2": None, "BsmtFullBath": 1}, "parts_without_basement",
         "BsmtFullBath is 1, but TotalBsmtSF 0 means that there is no basement"),
        ({"HouseStyle": "1Story", "MSSubClass": "20"}, "style_not_its_floors",
         "HouseStyle is 1Story, but 2ndFlrSF is 600"),
        ({"2ndFlrSF": 0, "1stFlrSF": 1500}, "style_not_its_floors", "HouseStyle is 2Story, but 2ndFlrSF is 0"),
        ({"MSSubClass": "20"}, "class_not_its_style", "HouseStyle is 2Story, but houses of MSSubClass 20 are 1Story"),
        ({"GarageArea": 0, "GarageCars": 0}, "details_without_garage",
         "GarageType is Attchd, but GarageArea 0 means that there is no garage"),
        ({"FireplaceQu": None}, "fireplace_without_details",
         "Fireplaces is 1, but FireplaceQu was not given, which means that there is no fireplace"),
        ({"PoolQC": "Gd"}, "details_without_pool", "PoolQC is Gd, but PoolArea 0 means that there is no pool"),
        ({"PoolArea": 500}, "pool_without_details",
         "PoolArea is 500, but PoolQC was not given, which means that there is no pool"),
        ({"MasVnrType": "None"}, "veneer_without_details",
         "MasVnrArea is 100, but MasVnrType None means that there is no masonry veneer"),
        ({"MasVnrArea": 0}, "details_without_veneer",
         "MasVnrType is Stone, but MasVnrArea 0 means that there is no masonry veneer"),
        ({"MiscFeature": None}, "value_without_feature",
         "MiscVal is 400, but MiscFeature was not given, which means that there is none"),
    ],
)  # fmt: skip
def test_contradiction_is_named_and_told_with_its_values(changes: dict[str, Any], code: str, message: str) -> None:
    assert found(**changes) == {code: message}


def test_areas_may_miss_their_sum_by_a_foot() -> None:
    assert found(GrLivArea=1501) == {}


def test_made_up_houses_do_not_contradict_themselves() -> None:
    found = {
        one.code for row in dataset.synthetic(DEFINITION).rows for one in CONTRADICTIONS if one.find(row) is not None
    }
    assert found == set()


def test_they_are_part_of_what_the_model_warns_of() -> None:
    spec = InputSpec(FIELDS, {field.name: Learned(0.0, None) for field in FIELDS}, TARGET)
    codes = [warning["code"] for warning in RowWarnings(spec, CONTRADICTIONS)({**HOUSE, "PoolQC": "Gd"})]
    assert "details_without_pool" in codes
