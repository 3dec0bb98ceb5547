"""What cannot be true of one house at once, beside what :mod:`regression_model.identities` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from model_kit.records.row_warnings import Contradiction, number
from model_kit.spec import Row

#: Square feet of a garage for each of its cars: 100 to 924 in the real data.
LEAST_PER_CAR: Final = 90
MOST_PER_CAR: Final = 1000
#: Square feet of living area for each room above ground: 120 to 560 in the real data.
LEAST_PER_ROOM: Final = 100
MOST_PER_ROOM: Final = 700
#: Of a basement, times the first floor's: three of the 2,919 real houses have more.
LARGEST_BASEMENT: Final = 1.5
TWO_STOREYS: Final = ("2Story", "2.5Fin", "2.5Unf")
#: Class of dwelling -> the styles that it has; of others nothing is said. Twelve of the 2,919 real houses differ.
STYLES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("20", "30", "40", "120"), ("1Story",)),
    "45": ("1.5Unf", "1.5Fin"),
    "50": ("1.5Fin", "1.5Unf", "2Story"),
    **dict.fromkeys(("60", "70", "75", "160"), TWO_STOREYS),
    "80": ("SLvl",),
    "85": ("SFoyer",),
    "180": ("SFoyer", "SLvl"),
}


def _value_without_feature(row: Row) -> str | None:
    value: Any = row.get("MiscVal")
    if not value or row.get("MiscFeature") is not None:
        return None
    return f"MiscVal is {number(value)}, but MiscFeature was not given, which means that there is none"


def _cars_that_do_not_fit(row: Row) -> str | None:
    cars: Any = row.get("GarageCars")
    area: Any = row.get("GarageArea")
    if not cars or not area or LEAST_PER_CAR <= area / cars <= MOST_PER_CAR:
        return None
    return f"A garage of {number(area)} square feet (GarageArea) for {number(cars)} cars (GarageCars)"


def _rooms_that_do_not_fit(row: Row) -> str | None:
    rooms: Any = row.get("TotRmsAbvGrd")
    area: Any = row.get("GrLivArea")
    if not rooms or not area or LEAST_PER_ROOM <= area / rooms <= MOST_PER_ROOM:
        return None
    return f"{number(rooms)} rooms (TotRmsAbvGrd) in {number(area)} square feet (GrLivArea)"


def _basement_beyond_the_house(row: Row) -> str | None:
    basement: Any = row.get("TotalBsmtSF")
    floor: Any = row.get("1stFlrSF")
    if not basement or not floor or basement <= LARGEST_BASEMENT * floor:
        return None
    return (
        f"A basement of {number(basement)} square feet (TotalBsmtSF) below a first floor of {number(floor)} (1stFlrSF)"
    )


def _second_floor(row: Row) -> str | None:
    style, area = row.get("HouseStyle"), row.get("2ndFlrSF")
    if style == "1Story" and area:
        return f"HouseStyle is 1Story, but 2ndFlrSF is {number(float(area))}"
    if style in TWO_STOREYS and area == 0:
        return f"HouseStyle is {style}, but 2ndFlrSF is 0"
    return None


def _class_of_another_style(row: Row) -> str | None:
    kind, style = str(row.get("MSSubClass")), row.get("HouseStyle")
    if style is None or style in STYLES.get(kind, (style,)):
        return None
    return f"HouseStyle is {style}, but houses of MSSubClass {kind} are {' or '.join(STYLES[kind])}"


CONTRADICTIONS: Final[tuple[Contradiction, ...]] = (
    Contradiction("value_without_feature", ("MiscFeature", "MiscVal"), _value_without_feature),
    Contradiction("cars_do_not_fit", ("GarageCars", "GarageArea"), _cars_that_do_not_fit),
    Contradiction("rooms_do_not_fit", ("TotRmsAbvGrd", "GrLivArea"), _rooms_that_do_not_fit),
    Contradiction("basement_beyond_house", ("TotalBsmtSF", "1stFlrSF"), _basement_beyond_the_house),
    Contradiction("style_not_its_floors", ("HouseStyle", "2ndFlrSF"), _second_floor),
    Contradiction("class_not_its_style", ("MSSubClass", "HouseStyle"), _class_of_another_style),
)
