"""The table of fields: what it declares, and that it covers the real files."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from regression_model.fields import EARLIEST_YEAR, FIELDS, IDENTIFIER, TARGET

BY_NAME = {field.name: field for field in FIELDS}
AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))

real_data = pytest.mark.skipif(not AMES.is_dir(), reason=f"the real data is not in {AMES}; set AMES_DATA")


def _columns(name: str) -> dict[str, set[str]]:
    with (AMES / name).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {column: set(values) - {"NA"} for column, values in zip(header, zip(*rows, strict=True), strict=True)}


def test_there_are_79_fields_and_the_identifier_and_the_target_are_none_of_them() -> None:
    assert len(FIELDS) == 79
    assert (IDENTIFIER, TARGET.name, TARGET.scale) == ("Id", "SalePrice", "log")
    assert not {IDENTIFIER, TARGET.name} & set(BY_NAME)


def test_exactly_four_fields_are_required() -> None:
    assert {field.name for field in FIELDS if field.required} == {
        "OverallQual",
        "GrLivArea",
        "YearBuilt",
        "Neighborhood",
    }


def test_class_of_dwelling_is_a_category_of_codes_and_knows_the_level_that_training_lacks() -> None:
    field = BY_NAME["MSSubClass"]
    assert (field.kind, field.numeric_codes, field.ordered) == ("category", True, False)
    assert "150" in {level.value for level in field.levels}
    assert [name for name, other in BY_NAME.items() if other.numeric_codes] == ["MSSubClass"]


@pytest.mark.parametrize("name", ["ExterQual", "BsmtCond", "HeatingQC", "KitchenQual", "FireplaceQu", "PoolQC"])
def test_grades_rise_from_poor_to_excellent(name: str) -> None:
    field = BY_NAME[name]
    assert field.ordered
    assert [level.value for level in field.levels] == ["Po", "Fa", "TA", "Gd", "Ex"]


@pytest.mark.parametrize(
    ("name", "worst", "best"),
    [
        ("BsmtExposure", "No", "Gd"),
        ("BsmtFinType1", "Unf", "GLQ"),
        ("CentralAir", "N", "Y"),
        ("Functional", "Sal", "Typ"),
        ("GarageFinish", "Unf", "Fin"),
        ("LandSlope", "Sev", "Gtl"),
        ("LotShape", "IR3", "Reg"),
        ("PavedDrive", "N", "Y"),
        ("Utilities", "ELO", "AllPub"),
    ],
)
def test_ordered_levels_are_given_lowest_first(name: str, worst: str, best: str) -> None:
    field = BY_NAME[name]
    assert field.ordered
    assert (field.levels[0].value, field.levels[-1].value) == (worst, best)


def test_years_have_no_upper_bound() -> None:
    years = [BY_NAME[name] for name in ("YearBuilt", "YearRemodAdd", "GarageYrBlt", "YrSold")]
    assert [(field.minimum, field.maximum) for field in years] == [(EARLIEST_YEAR, None)] * 4


def test_areas_take_fractions_and_counts_do_not() -> None:
    assert {field.kind for field in FIELDS if field.unit in ("square feet", "feet", "USD")} == {"number"}
    counts = ("FullBath", "Fireplaces", "GarageCars", "TotRmsAbvGrd", "OverallQual", "MoSold", "YrSold")
    assert {BY_NAME[name].kind for name in counts} == {"integer"}


def test_only_months_and_ratings_have_an_upper_bound_and_no_number_may_be_negative() -> None:
    bounded = {field.name: (field.minimum, field.maximum) for field in FIELDS if field.maximum is not None}
    assert bounded == {"OverallQual": (1, 10), "OverallCond": (1, 10), "MoSold": (1, 12)}
    assert all(field.minimum is not None and field.minimum >= 0 for field in FIELDS if field.kind != "category")


def test_absence_is_told_apart_from_not_known() -> None:
    assert BY_NAME["PoolQC"].null_means == "no pool"
    assert BY_NAME["GarageYrBlt"].null_means == "no garage"
    assert BY_NAME["KitchenQual"].null_means is None
    assert BY_NAME["LotFrontage"].null_means is None
    # Its null and its level "None" are not the same thing.
    veneer = BY_NAME["MasVnrType"]
    assert veneer.null_means is not None
    assert "None" in {level.value for level in veneer.levels}


def test_every_field_is_described_and_every_category_documented() -> None:
    assert all(field.description and field.group != "Fields" for field in FIELDS)
    assert all(field.levels for field in FIELDS if field.kind == "category")
    assert all(level.meaning for field in FIELDS for level in field.levels)


@real_data
def test_fields_are_the_real_file_s_columns_in_its_order() -> None:
    assert list(_columns("train.csv")) == [IDENTIFIER, *BY_NAME, TARGET.name]
    assert list(_columns("test.csv")) == [IDENTIFIER, *BY_NAME]


@real_data
@pytest.mark.parametrize("file", ["train.csv", "test.csv"])
def test_every_level_of_the_real_files_is_documented_and_every_number_within_bounds(file: str) -> None:
    columns = _columns(file)
    for field in FIELDS:
        if field.kind == "category":
            assert columns[field.name] <= {level.value for level in field.levels}, field.name
        else:
            numbers = [float(value) for value in columns[field.name]]
            assert field.minimum is not None
            assert field.minimum <= min(numbers), field.name
            assert field.maximum is None or max(numbers) <= field.maximum, field.name
