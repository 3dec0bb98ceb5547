"""What holds between the fields of one house, and how to make it hold in a row made of typical values."""

from __future__ import annotations

from typing import Any, Final

from model_kit.spec import Row

#: Level of MasVnrType that says there is none; the field's null says that it is not on record.
_NO_VENEER: Final = "None"
_UNFINISHED: Final = "Unf"

_BASEMENT_WORDS: Final = ("BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinType2")
_BASEMENT_BATHS: Final = ("BsmtFullBath", "BsmtHalfBath")
_GARAGE_WORDS: Final = ("GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond")
#: Detail and amount of what a house may lack, and the detail that says so.
_EXTRAS: Final = (
    ("FireplaceQu", "Fireplaces", None),
    ("PoolQC", "PoolArea", None),
    ("MiscFeature", "MiscVal", None),
    ("MasVnrType", "MasVnrArea", _NO_VENEER),
)


def repair(row: Row) -> dict[str, Any]:
    """Make the identities between fields hold in a row whose fields were chosen one by one, such as medians and modes.

    Totals win over their parts, and nothing becomes negative:
    ``GrLivArea = 1stFlrSF + 2ndFlrSF + LowQualFinSF`` and ``TotalBsmtSF = BsmtFinSF1 + BsmtFinSF2 + BsmtUnfSF``.
    ``YearBuilt <= YearRemodAdd, GarageYrBlt <= YrSold``. Details of what is not there (basement, garage, fireplace,
    veneer, pool, other features) are null, or 0 for numbers and "None" for the veneer's type.

    Args:
        row: any row; a field that is absent counts as null.

    Returns:
        A new row. A field that ``row`` lacks is in it only where an identity gives its value.
    """
    house = dict(row)
    _split(house, "GrLivArea", "2ndFlrSF", "LowQualFinSF", "1stFlrSF")
    _basement(house)
    _years(house)
    _garage(house)
    _extras(house)
    return house


def _split(house: dict[str, Any], total: str, *parts: str) -> float | None:
    """Make the parts of a total add up to it: each is at most what the parts before it leave, the last is the rest."""
    amount: float | None = house.get(total)
    if amount is None:
        return None
    left, (*first, last) = amount, parts
    for name in first:
        house[name] = min(_amount(house, name), left)
        left -= house[name]
    house[last] = left
    return amount


def _basement(house: dict[str, Any]) -> None:
    total = _split(house, "TotalBsmtSF", "BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF")
    if total is None:
        return
    if not total:
        house |= dict.fromkeys(_BASEMENT_WORDS) | dict.fromkeys(_BASEMENT_BATHS, 0)
        return
    for area, finish in (("BsmtFinSF1", "BsmtFinType1"), ("BsmtFinSF2", "BsmtFinType2")):
        if not house[area]:
            house[finish] = _UNFINISHED


def _years(house: dict[str, Any]) -> None:
    built = house.get("YearBuilt")
    if built is None:
        return
    sold = house.get("YrSold")
    if sold is not None:
        sold = house["YrSold"] = max(sold, built)
    for name in ("YearRemodAdd", "GarageYrBlt"):
        year = house.get(name)
        if year is not None:
            house[name] = max(year, built) if sold is None else min(max(year, built), sold)


def _garage(house: dict[str, Any]) -> None:
    if house.get("GarageType") is None or not (_amount(house, "GarageCars") and _amount(house, "GarageArea")):
        house |= dict.fromkeys(_GARAGE_WORDS) | {"GarageCars": 0, "GarageArea": 0}


def _extras(house: dict[str, Any]) -> None:
    """What is not there in one field is not there in its partner."""
    for detail, amount, absent in _EXTRAS:
        if house.get(detail) in (None, absent) or not _amount(house, amount):
            house |= {detail: absent, amount: 0}


def _amount(house: dict[str, Any], name: str) -> float:
    value: float | None = house.get(name)
    return 0 if value is None else value
