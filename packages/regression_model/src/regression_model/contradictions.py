"""What cannot be true of one house at once: years out of order, sums that do not add up, details of what is not there.

Each is said only of what was given: an area that is missing contradicts nothing. Where absence is information (a null
``PoolQC`` says that there is no pool) it counts.
"""

from __future__ import annotations

from typing import Final, cast

from model_kit.records.row_warnings import Contradiction, number
from model_kit.spec import Row

#: Square feet by which parts may miss their sum: areas are written in whole ones.
TOLERANCE: Final = 1.0


def _order(code: str, later: str, earlier: str, words: str) -> Contradiction:
    """``later`` must not come before ``earlier``; ``words`` has places for both."""

    def find(row: Row) -> str | None:
        second, first = _amount(row, later), _amount(row, earlier)
        if second is None or first is None or second >= first:
            return None
        return f"{words.format(number(second), number(first))} ({later}, {earlier})"

    return Contradiction(code, (later, earlier), find)


def _sum(code: str, total: str, parts: tuple[str, ...], noun: str) -> Contradiction:
    def find(row: Row) -> str | None:
        whole = _amount(row, total)
        given = [amount for part in parts if (amount := _amount(row, part)) is not None]
        if whole is None or len(given) < len(parts) or abs(whole - sum(given)) <= TOLERANCE:
            return None
        return f"{noun} {total} is {number(whole)}, but {' + '.join(parts)} is {number(sum(given))}"

    return Contradiction(code, (total, *parts), find)


def _with_details(
    code: str, amount: str, detail: str, noun: str, absent: tuple[str | None, ...] = (None,)
) -> tuple[Contradiction, Contradiction]:
    """Two contradictions: an amount without its detail, and the reverse."""

    def there(row: Row) -> bool:
        return row.get(detail) not in absent

    def without_detail(row: Row) -> str | None:
        found = _amount(row, amount)
        if not found or there(row):
            return None
        level = row.get(detail)
        said = f"{detail} was not given, which means" if level is None else f"{detail} {level} means"
        return f"{amount} is {number(found)}, but {said} that there is no {noun}"

    def without_amount(row: Row) -> str | None:
        if _amount(row, amount) != 0 or not there(row):
            return None
        return f"{detail} is {row[detail]}, but {amount} 0 means that there is no {noun}"

    return (
        Contradiction(f"{code}_without_details", (detail, amount), without_detail),
        Contradiction(f"details_without_{code}", (amount, detail), without_amount),
    )


def _misc(row: Row) -> str | None:
    value = _amount(row, "MiscVal")
    if not value or row.get("MiscFeature") is not None:
        return None
    return f"MiscVal is {number(value)}, but MiscFeature was not given, which means that there is none"


def _amount(row: Row, name: str) -> float | None:
    # The field of a number, whose valid values are no text.
    return cast("float | None", row.get(name))


CONTRADICTIONS: Final[tuple[Contradiction, ...]] = (
    _order("sold_before_built", "YrSold", "YearBuilt", "Sold in {}, before it was built in {}"),
    _order("sold_before_remodelled", "YrSold", "YearRemodAdd", "Sold in {}, before it was remodelled in {}"),
    _order("sold_before_garage", "YrSold", "GarageYrBlt", "Sold in {}, before its garage was built in {}"),
    _order("remodelled_before_built", "YearRemodAdd", "YearBuilt", "Remodelled in {}, before it was built in {}"),
    _order(
        "more_bedrooms_than_rooms", "TotRmsAbvGrd", "BedroomAbvGr", "{} rooms above ground, but {} of them bedrooms"
    ),
    _sum("living_area_not_its_floors", "GrLivArea", ("1stFlrSF", "2ndFlrSF", "LowQualFinSF"), "Living area"),
    _sum("basement_not_its_parts", "TotalBsmtSF", ("BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF"), "Basement area"),
    *_with_details("basement", "TotalBsmtSF", "BsmtQual", "basement"),
    *_with_details("garage", "GarageArea", "GarageType", "garage"),
    *_with_details("fireplace", "Fireplaces", "FireplaceQu", "fireplace"),
    *_with_details("pool", "PoolArea", "PoolQC", "pool"),
    *_with_details("veneer", "MasVnrArea", "MasVnrType", "masonry veneer", (None, "None")),
    Contradiction("value_without_feature", ("MiscFeature", "MiscVal"), _misc),
)
