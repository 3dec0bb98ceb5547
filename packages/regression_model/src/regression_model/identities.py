"""What holds between the fields of one house: years in order, areas that add up, things and their details.

Each is said only of what was given: an area that is missing breaks nothing. Where absence is information (a null
``PoolQC`` says that there is no pool) it counts. They hold in the order in which made-up houses are mended.
"""

from __future__ import annotations

from typing import Final

from model_kit.records.identities import Identity, Order, Presence, Sum

#: Square feet by which parts may miss their sum: areas are written in whole ones.
TOLERANCE: Final = 1.0

IDENTITIES: Final[tuple[Identity, ...]] = (
    Order("remodelled_before_built", "YearRemodAdd", "YearBuilt", "Remodelled in {}, before it was built in {}"),
    Order("garage_before_house", "GarageYrBlt", "YearBuilt", "Garage built in {}, before the house in {}"),
    Order("sold_before_built", "YrSold", "YearBuilt", "Sold in {}, before it was built in {}"),
    Order("sold_before_remodelled", "YrSold", "YearRemodAdd", "Sold in {}, before it was remodelled in {}"),
    Order("sold_before_garage", "YrSold", "GarageYrBlt", "Sold in {}, before its garage was built in {}"),
    Order("more_bedrooms_than_rooms", "TotRmsAbvGrd", "BedroomAbvGr", "{} rooms above ground, but {} of them bedrooms"),
    Presence(
        "basement",
        "basement",
        amounts=("TotalBsmtSF",),
        details=("BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinType2"),
        parts=("BsmtFullBath", "BsmtHalfBath"),
    ),
    Presence("first_finish", "first finished area", amounts=("BsmtFinSF1",), details=("BsmtFinType1",), absent="Unf"),
    Presence("second_finish", "second finished area", amounts=("BsmtFinSF2",), details=("BsmtFinType2",), absent="Unf"),
    Sum(
        "basement_not_its_parts",
        "TotalBsmtSF",
        ("BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF"),
        noun="Basement area",
        tolerance=TOLERANCE,
    ),
    Sum(
        "living_area_not_its_floors",
        "GrLivArea",
        ("1stFlrSF", "2ndFlrSF", "LowQualFinSF"),
        noun="Living area",
        tolerance=TOLERANCE,
    ),
    Presence(
        "garage",
        "garage",
        amounts=("GarageArea", "GarageCars"),
        details=("GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"),
    ),
    Presence("fireplace", "fireplace", amounts=("Fireplaces",), details=("FireplaceQu",)),
    Presence("pool", "pool", amounts=("PoolArea",), details=("PoolQC",)),
    Presence("veneer", "masonry veneer", amounts=("MasVnrArea",), details=("MasVnrType",), absent="None"),
)
