"""The 79 fields of a house, in the order of the data file, each written down once; ``levels.toml`` has the levels.

Meanings follow the data dictionary of the Ames housing data (De Cock, *Journal of Statistics Education* 19:3, 2011);
levels are spelled as the file spells them, which is not always how the dictionary does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from model_kit.scoring.definition import Floors
from model_kit.spec import Field, Level, Target

#: Column that names a row; never a feature.
IDENTIFIER: Final = "Id"
#: Prices span a factor of twenty and errors are judged in per cent, hence the log.
TARGET: Final = Target(name="SalePrice", unit="USD", scale="log", subject="house")
#: Identifiers of the real file's two huge, cheap "Partial" sales, which carry 22 % of the squared error. They are left
#: out of the core score's average and of nothing else.
NOT_CORE: Final = frozenset({"524", "1299"})
#: Absolute floors of the cross-validated scores, on log price. Measured on the real data: R2 .914, RMSE .117; the
#: tutorial's Lasso has RMSE .154. A model worse than this is broken or was given too little data.
FLOORS: Final = Floors(r2=0.80, rmse=0.17)

#: What only makes sense together: a sum and its parts, a thing and its details. Explanations switch a group as one.
TOGETHER: Final[tuple[tuple[str, ...], ...]] = (
    ("GrLivArea", "1stFlrSF", "2ndFlrSF", "LowQualFinSF"),
    ("TotalBsmtSF", "BsmtFinSF1", "BsmtFinType1", "BsmtFinSF2", "BsmtFinType2", "BsmtUnfSF"),
    ("GarageCars", "GarageArea", "GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"),
    ("Fireplaces", "FireplaceQu"),
    ("PoolArea", "PoolQC"),
    ("MasVnrArea", "MasVnrType"),
    ("MiscFeature", "MiscVal"),
    ("Exterior1st", "Exterior2nd"),
    ("YrSold", "MoSold"),
)

#: No house of this kind is older; there is no upper bound, because later than today is a slip, not an impossibility.
EARLIEST_YEAR: Final = 1600

#: Category, or what several categories have in common -> level -> meaning.
LEVELS: Final[Mapping[str, Mapping[str, str]]] = tomllib.loads(
    (files("regression_model") / "levels.toml").read_text("utf-8")
)

_LOT: Final = "Location and lot"
_BUILDING: Final = "Building"
_QUALITY: Final = "Quality and age"
_BASEMENT: Final = "Basement"
_LIVING: Final = "Living area"
_SERVICES: Final = "Heating and services"
_ROOMS: Final = "Kitchen and rooms"
_GARAGE: Final = "Garage"
_OUTSIDE: Final = "Outside"
_SALE: Final = "Sale"


def _category(name: str, description: str, group: str, *, codebook: str = "", **more: Any) -> Field:
    """A category with the levels that the codebook has under its name, or under that of ``codebook``."""
    levels = tuple(Level(value, meaning) for value, meaning in LEVELS[codebook or name].items())
    return Field(name, "category", description, group=group, levels=levels, **more)


def _ordered(name: str, description: str, group: str, **more: Any) -> Field:
    return _category(name, description, group, ordered=True, **more)


def _area(name: str, description: str, group: str, **more: Any) -> Field:
    return Field(name, "number", description, group=group, unit="square feet", minimum=0, **more)


def _count(name: str, description: str, group: str) -> Field:
    return Field(name, "integer", description, group=group, minimum=0)


def _rating(name: str, description: str, group: str, **more: Any) -> Field:
    scale = "from 1 (very poor) to 10 (very excellent)"
    return Field(name, "integer", f"{description}, {scale}", group=group, minimum=1, maximum=10, **more)


def _year(name: str, description: str, group: str, **more: Any) -> Field:
    return Field(name, "integer", description, group=group, unit="year", minimum=EARLIEST_YEAR, **more)


FIELDS: Final[tuple[Field, ...]] = (
    _category("MSSubClass", "Class of dwelling, by storeys and age", _BUILDING, numeric_codes=True),
    _category("MSZoning", "Zoning of the sale", _LOT),
    Field("LotFrontage", "number", "Length of street along the property", group=_LOT, unit="feet", minimum=0),
    _area("LotArea", "Size of the lot", _LOT),
    _category("Street", "Road that leads to the property", _LOT),
    _category("Alley", "Alley that leads to the property", _LOT, null_means="no alley access"),
    _ordered("LotShape", "Regularity of the lot", _LOT),
    _category("LandContour", "Flatness of the property", _LOT),
    _ordered("Utilities", "Utilities connected", _SERVICES),
    _category("LotConfig", "Position of the lot", _LOT),
    _ordered("LandSlope", "Slope of the property", _LOT),
    _category("Neighborhood", "Neighborhood within the city limits of Ames", _LOT, required=True),
    _category("Condition1", "Nearness to a main road, railroad or amenity", _LOT, codebook="Proximity"),
    _category("Condition2", "Nearness to a second main road, railroad or amenity", _LOT, codebook="Proximity"),
    _category("BldgType", "Type of dwelling", _BUILDING),
    _category("HouseStyle", "Style of dwelling, by storeys", _BUILDING),
    _rating("OverallQual", "Material and finish of the house", _QUALITY, required=True),
    _rating("OverallCond", "Condition of the house", _QUALITY),
    _year("YearBuilt", "Year of construction", _QUALITY, required=True),
    _year("YearRemodAdd", "Year of the last remodelling or addition; that of construction if none", _QUALITY),
    _category("RoofStyle", "Shape of the roof", _BUILDING),
    _category("RoofMatl", "Material of the roof", _BUILDING),
    _category("Exterior1st", "Covering of the outer walls", _BUILDING),
    _category("Exterior2nd", "Second covering of the outer walls; the first again if there is one only", _BUILDING),
    _category("MasVnrType", "Masonry veneer", _BUILDING, null_means="no masonry veneer on record"),
    _area("MasVnrArea", "Area of masonry veneer", _BUILDING),
    _ordered("ExterQual", "Quality of the material outside", _QUALITY, codebook="Grades"),
    _ordered("ExterCond", "Present condition of the material outside", _QUALITY, codebook="Grades"),
    _category("Foundation", "Type of foundation", _BUILDING),
    _ordered("BsmtQual", "Height of the basement", _BASEMENT, null_means="no basement"),
    _ordered("BsmtCond", "Condition of the basement", _BASEMENT, null_means="no basement"),
    _ordered(
        "BsmtExposure", "Walls of the basement at garden level or with a walkout", _BASEMENT, null_means="no basement"
    ),
    _ordered(
        "BsmtFinType1",
        "Finish of the basement's first area",
        _BASEMENT,
        codebook="BasementFinish",
        null_means="no basement",
    ),
    _area("BsmtFinSF1", "Finished area of the first kind in the basement", _BASEMENT),
    _ordered(
        "BsmtFinType2",
        "Finish of the basement's second area",
        _BASEMENT,
        codebook="BasementFinish",
        null_means="no basement",
    ),
    _area("BsmtFinSF2", "Finished area of the second kind in the basement", _BASEMENT),
    _area("BsmtUnfSF", "Unfinished area of the basement", _BASEMENT),
    _area("TotalBsmtSF", "Total area of the basement", _BASEMENT),
    _category("Heating", "Type of heating", _SERVICES),
    _ordered("HeatingQC", "Quality and condition of the heating", _SERVICES, codebook="Grades"),
    _ordered("CentralAir", "Central air conditioning", _SERVICES),
    _category("Electrical", "Electrical system", _SERVICES),
    _area("1stFlrSF", "Area of the first floor", _LIVING),
    _area("2ndFlrSF", "Area of the second floor", _LIVING),
    _area("LowQualFinSF", "Finished area of low quality, all floors", _LIVING),
    _area("GrLivArea", "Living area above ground", _LIVING, required=True),
    _count("BsmtFullBath", "Full bathrooms in the basement", _BASEMENT),
    _count("BsmtHalfBath", "Half bathrooms in the basement", _BASEMENT),
    _count("FullBath", "Full bathrooms above ground", _ROOMS),
    _count("HalfBath", "Half bathrooms above ground", _ROOMS),
    _count("BedroomAbvGr", "Bedrooms above ground", _ROOMS),
    _count("KitchenAbvGr", "Kitchens above ground", _ROOMS),
    _ordered("KitchenQual", "Quality of the kitchen", _ROOMS, codebook="Grades"),
    _count("TotRmsAbvGrd", "Rooms above ground, without bathrooms", _ROOMS),
    _ordered("Functional", "Functionality of the home", _QUALITY),
    _count("Fireplaces", "Fireplaces", _ROOMS),
    _ordered("FireplaceQu", "Quality of the fireplace", _ROOMS, null_means="no fireplace"),
    _category("GarageType", "Location of the garage", _GARAGE, null_means="no garage"),
    _year("GarageYrBlt", "Year the garage was built", _GARAGE, null_means="no garage"),
    _ordered("GarageFinish", "Finish of the garage inside", _GARAGE, null_means="no garage"),
    _count("GarageCars", "Cars that fit in the garage", _GARAGE),
    _area("GarageArea", "Size of the garage", _GARAGE),
    _ordered("GarageQual", "Quality of the garage", _GARAGE, codebook="Grades", null_means="no garage"),
    _ordered("GarageCond", "Condition of the garage", _GARAGE, codebook="Grades", null_means="no garage"),
    _ordered("PavedDrive", "Paving of the driveway", _OUTSIDE),
    _area("WoodDeckSF", "Area of wooden decks", _OUTSIDE),
    _area("OpenPorchSF", "Area of open porches", _OUTSIDE),
    _area("EnclosedPorch", "Area of enclosed porches", _OUTSIDE),
    _area("3SsnPorch", "Area of three-season porches", _OUTSIDE),
    _area("ScreenPorch", "Area of screened porches", _OUTSIDE),
    _area("PoolArea", "Area of the pool", _OUTSIDE),
    _ordered("PoolQC", "Quality of the pool", _OUTSIDE, codebook="Grades", null_means="no pool"),
    _category("Fence", "Quality of the fence, by privacy or by wood", _OUTSIDE, null_means="no fence"),
    _category("MiscFeature", "Feature that no other field covers", _OUTSIDE, null_means="none"),
    Field(
        "MiscVal", "number", "Value of the feature that no other field covers", group=_OUTSIDE, unit="USD", minimum=0
    ),
    Field("MoSold", "integer", "Month of the sale", group=_SALE, unit="month", minimum=1, maximum=12),
    _year("YrSold", "Year of the sale", _SALE),
    _category("SaleType", "Type of sale", _SALE),
    _category("SaleCondition", "Condition of the sale", _SALE),
)
