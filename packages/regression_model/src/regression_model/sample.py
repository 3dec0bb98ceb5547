"""A synthetic sample of house sales: the columns of the real data, made up entirely.

No value in it is a real house's. Shares, ranges and prices are round numbers written by hand, here and in
``sample.toml``, so that training, tests and the running example work with no network and no account. **Predictions of a
model trained on it mean nothing for real houses.** Its identifiers start at ``FIRST_ID``, far from any real one, so
that the sample is recognised wherever it turns up.

Each house is drawn from general to particular: neighborhood, year, quality, size, then everything that depends on
these. What holds in real data holds here: ``GrLivArea = 1stFlrSF + 2ndFlrSF + LowQualFinSF``, ``TotalBsmtSF =
BsmtFinSF1 + BsmtFinSF2 + BsmtUnfSF``, absence is null, and ``MasVnrType`` has a level "None". The price is hedonic;
:func:`price` has the formula.

The same seed gives the same bytes on every machine: of Python's generator only ``random()`` is used, whose sequence
is guaranteed, and every number is rounded well above the last digit of a float.
"""

from __future__ import annotations

import csv
import io
import math
import random
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, TypeAlias

from model_kit.scoring.definition import Sample

from regression_model.fields import FIELDS, IDENTIFIER, TARGET

N_ROWS: Final = 1460
SEED: Final = 20240
#: Identifiers of made-up houses; the real data's are below 10,000.
FIRST_ID: Final = 9_000_001
LAST_ID: Final = 9_999_999
COLUMNS: Final = (IDENTIFIER, *(field.name for field in FIELDS), TARGET.name)

#: Standard deviation of the price around the formula, on the log scale: about 10 %.
NOISE: Final = 0.1
#: What the formula compares with.
TYPICAL_AREA: Final = 1500
TYPICAL_LOT: Final = 10_000
TYPICAL_QUALITY: Final = 6
TYPICAL_CONDITION: Final = 5
LOG_BASE_PRICE: Final = 12.0
#: The numbers, by what they are about.
FACTS: Final[Mapping[str, Any]] = tomllib.loads((files("regression_model") / "sample.toml").read_text("utf-8"))
#: Column -> share of each level, or such shares by era.
SHARES: Final[Mapping[str, Any]] = FACTS["shares"]

House: TypeAlias = dict[str, Any]
Shares: TypeAlias = Mapping[str, float]


#: End of the period when storeys, fuses and foundations were of the old kind.
WAR: Final = 1946
#: From here on vinyl, poured concrete and attached garages are usual.
MODERN: Final = 1985
#: From here on every house has circuit breakers.
BREAKERS: Final = 1965
FIRST_SALE, LAST_SALE = 2006, 2010
#: The earliest year that the data records for remodelling.
FIRST_REMODELLING: Final = 1950
TOWNHOUSES: Final = ("Twnhs", "TwnhsE")
GRADES: Final = ("Po", "Fa", "TA", "Gd", "Ex")
TYPICAL_GRADE: Final = GRADES.index("TA")


class Dice:
    """Draws made of ``random()`` alone."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # noqa: S311 - no secret

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self._random()

    def whole(self, low: int, high: int) -> int:
        """Uniform over the whole numbers from ``low`` to ``high``, both included."""
        return low + int(self._random() * (high - low + 1))

    def happens(self, share: float) -> bool:
        """True in ``share`` of the draws."""
        return self._random() < share

    def pick(self, shares: Shares) -> str:
        """A key, with its relative share."""
        left = self._random() * math.fsum(shares.values())
        for key, share in shares.items():
            left -= share
            if left < 0:
                return key
        return key

    def bell(self, mean: float, deviation: float) -> float:
        """Roughly normal, never further than six deviations from the mean: a sum of twelve uniform draws."""
        return mean + deviation * (math.fsum(self._random() for _ in range(12)) - 6)

    def grade(self, mean: float) -> str:
        """A level of ``GRADES`` around position ``mean``."""
        return GRADES[_within(round(self.bell(mean, 0.5)), 0, len(GRADES) - 1)]


def csv_bytes(n_rows: int = N_ROWS, seed: int = SEED) -> bytes:
    """The synthetic sample as a CSV file: header ``COLUMNS``, nulls as "NA".

    Args:
        n_rows: how many houses.
        seed: the same seed gives the same houses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for house in houses(n_rows, seed):
        writer.writerow("NA" if house[column] is None else house[column] for column in COLUMNS)
    return text.getvalue().encode()


def is_synthetic(identifier: str) -> bool:
    """Whether an identifier is one of a made-up house."""
    return (
        identifier.isdecimal() and len(identifier) == len(str(FIRST_ID)) and str(FIRST_ID) <= identifier <= str(LAST_ID)
    )


def houses(n_rows: int, seed: int) -> list[House]:
    """Made-up sales, column -> value, ``None`` for null."""
    dice = Dice(seed)
    sales = [_house(dice, FIRST_ID + number) for number in range(n_rows)]
    # Real data lacks a few values that every house has; so does this.
    for column, position in (("Electrical", n_rows // 2), ("BsmtExposure", n_rows // 3), ("BsmtFinType2", n_rows // 4)):
        if sales:
            sales[position][column] = None
    return sales


def price(house: House, noise: float = 0.0) -> int:
    """USD, rounded to 500, by a hedonic formula: log-linear, with one interaction.

    log price = base + the neighborhood's premium + the worth of quality and condition (steps above typical), of the
    log of living area and lot over typical, of basement and finished basement (per 1,000 square feet), cars,
    fireplaces, baths, kitchen, age (up to 60 years), central air, paved drive and pool + the worth of levels + noise,
    and quality times log area: a large house of poor quality is worth less than the sum of both.

    Args:
        house: every column but the price.
        noise: added to the log price.
    """
    quality = house["OverallQual"] - TYPICAL_QUALITY
    area = math.log(house["GrLivArea"] / TYPICAL_AREA)
    amounts = {
        "quality": quality,
        "condition": house["OverallCond"] - TYPICAL_CONDITION,
        "area": area,
        "quality x area": quality * area,
        "basement": house["TotalBsmtSF"] / 1000 - 1,
        "finished basement": (house["BsmtFinSF1"] + house["BsmtFinSF2"]) / 1000,
        "lot": math.log(house["LotArea"] / TYPICAL_LOT),
        "car": house["GarageCars"] - 2,
        "fireplace": house["Fireplaces"],
        "bath": house["FullBath"] + house["HalfBath"] / 2 + house["BsmtFullBath"] - 2,
        "kitchen grade": GRADES.index(house["KitchenQual"]) - TYPICAL_GRADE,
        "year of age": min(max(house["YrSold"] - house["YearBuilt"], 0), 60),
        "central air": house["CentralAir"] == "Y",
        "paved drive": house["PavedDrive"] == "Y",
        "pool": house["PoolArea"] > 0,
    }
    log_price = LOG_BASE_PRICE + FACTS["neighborhoods"][house["Neighborhood"]]["premium"] + noise
    log_price += math.fsum(FACTS["worth"][what] * amount for what, amount in amounts.items())
    log_price += math.fsum(worth.get(house[column], 0) for column, worth in FACTS["worth_of_level"].items())
    return round(math.exp(log_price) / 500) * 500


def _house(dice: Dice, identifier: int) -> House:
    house: House = {IDENTIFIER: identifier}
    # Each step may use what the ones before it drew.
    for step in (_place, _building, _walls, _living, _basement, _services, _rooms, _garage, _outside, _sale):
        house |= step(dice, house)
    house[TARGET.name] = price(house, dice.bell(0, NOISE))
    return house


def _place(dice: Dice, _: House) -> House:
    name = dice.pick({name: facts["share"] for name, facts in FACTS["neighborhoods"].items()})
    facts = FACTS["neighborhoods"][name]
    is_town = dice.happens(facts.get("townhouses", 0.0))
    lot = 100 * round(facts["lot"] * (dice.between(0.25, 0.45) if is_town else _spread(dice, 0.25)) / 100)
    frontage = round(math.sqrt(lot) * dice.between(0.55, 0.85))
    zoning = facts.get("zoning", "RL") if dice.happens(0.95) else dice.pick(SHARES["MSZoning"])
    near = dice.pick(SHARES["Condition1"])
    return {
        "Neighborhood": name,
        "MSZoning": zoning,
        "BldgType": dice.pick(SHARES["BldgType"]["town" if is_town else "detached"]),
        "LotArea": lot,
        "LotFrontage": None if dice.happens(0.18) else frontage,
        "Street": "Pave" if dice.happens(0.995) else "Grvl",
        "Alley": dice.pick(SHARES["Alley"]) if dice.happens(0.3 if zoning == "RM" else 0.02) else None,
        "LotShape": dice.pick(SHARES["LotShape"]),
        "LandContour": dice.pick(SHARES["LandContour"]),
        "Utilities": "AllPub" if dice.happens(0.998) else "NoSeWa",
        "LotConfig": dice.pick(SHARES["LotConfig"]),
        "LandSlope": dice.pick(SHARES["LandSlope"]),
        "Condition1": near,
        "Condition2": "Norm" if near == "Norm" or dice.happens(0.9) else dice.pick(SHARES["Condition2"]),
    }


def _building(dice: Dice, house: House) -> House:
    facts = FACTS["neighborhoods"][house["Neighborhood"]]
    sold = dice.whole(FIRST_SALE, LAST_SALE)
    built = min(dice.whole(facts["first"], facts["last"]), sold)
    remodelled = built
    if dice.happens(0.5 if built < MODERN else 0.15):
        remodelled = dice.whole(min(max(built, FIRST_REMODELLING), sold), sold)
    is_town = house["BldgType"] in TOWNHOUSES
    style = dice.pick(SHARES["HouseStyle"]["town"] if is_town else _of_era("HouseStyle", built))
    quality = _within(round(dice.bell(facts["quality"], 0.9)), 2, 10)
    condition = TYPICAL_CONDITION if built >= MODERN and dice.happens(0.85) else round(dice.bell(5.7, 1.1))
    classes = FACTS["classes"]["town" if is_town else "old" if built < WAR else "new"]
    return {
        "MSSubClass": FACTS["classes"]["other"].get(house["BldgType"], classes[style]),
        "HouseStyle": style,
        "OverallQual": quality,
        "OverallCond": _within(condition, 2, 9),
        "YearBuilt": built,
        "YearRemodAdd": max(remodelled, FIRST_REMODELLING),
        "YrSold": sold,
        "MoSold": int(dice.pick(SHARES["MoSold"])),
    }


def _of_era(column: str, year: int) -> Shares:
    """Shares of a column's levels in the era of a year."""
    shares: Shares = SHARES[column]["old" if year < WAR else "middle" if year < MODERN else "modern"]
    return shares


def _walls(dice: Dice, house: House) -> House:
    built, quality = house["YearBuilt"], house["OverallQual"]
    first = dice.pick(_of_era("Exterior1st", built))
    same = FACTS["second_spelling"].get(first, first)
    second = same if dice.happens(0.85) else dice.pick(SHARES["Exterior2nd"])
    veneer = dice.pick(_of_era("MasVnrType", built))
    area = _within(round(dice.bell(60 * quality - 130, 120)), 20, 1200) if veneer != "None" else 0
    unrecorded = dice.happens(0.005)
    return {
        "RoofStyle": dice.pick(SHARES["RoofStyle"]),
        "RoofMatl": dice.pick(SHARES["RoofMatl"]),
        "Exterior1st": first,
        "Exterior2nd": second,
        "MasVnrType": None if unrecorded else veneer,
        "MasVnrArea": None if unrecorded else area,
        "ExterQual": dice.grade(TYPICAL_GRADE + (quality - 5.5) * 0.4),
        "ExterCond": dice.grade(TYPICAL_GRADE + (house["OverallCond"] - 5) * 0.15),
        "Foundation": dice.pick(_of_era("Foundation", built)),
    }


def _living(dice: Dice, house: House) -> House:
    style = house["HouseStyle"]
    total = 1420 * math.exp(0.10 * (house["OverallQual"] - TYPICAL_QUALITY)) * _spread(dice, 0.22)
    if style in ("2Story", "2.5Fin", "2.5Unf"):
        total *= 1.2
    total = _within(round(total), 500, 4500)
    upstairs = {"2Story": 0.47, "2.5Fin": 0.52, "2.5Unf": 0.5, "1.5Fin": 0.36, "SLvl": 0.15}.get(style, 0.0)
    second = round(total * upstairs * dice.between(0.85, 1.1))
    low = dice.whole(50, 250) if dice.happens(0.05 if house["YearBuilt"] < WAR else 0.005) else 0
    return {"1stFlrSF": total - second - low, "2ndFlrSF": second, "LowQualFinSF": low, "GrLivArea": total}


def _basement(dice: Dice, house: House) -> House:
    if dice.happens(0.5 if house["Foundation"] == "Slab" else 0.02):
        absent = dict.fromkeys(("BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinType2"))
        areas = dict.fromkeys(("BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF", "TotalBsmtSF"), 0)
        return {**absent, **areas, "BsmtFullBath": 0, "BsmtHalfBath": 0}
    built = house["YearBuilt"]
    total = round(house["1stFlrSF"] * dice.between(0.8, 1.0))
    first_type = dice.pick(_of_era("BsmtFinType1", built))
    second_type = "Unf"
    first = second = 0
    if first_type != "Unf":
        first = round(total * dice.between(0.2, 0.85))
        if dice.happens(0.15):
            second_type = dice.pick(SHARES["BsmtFinType2"])
            second = round((total - first) * dice.between(0.2, 0.9))
    bath = first_type in ("GLQ", "ALQ", "BLQ") and dice.happens(0.7)
    return {
        "BsmtQual": dice.grade(TYPICAL_GRADE + (built - 1965) / 40),
        "BsmtCond": dice.pick(SHARES["BsmtCond"]),
        "BsmtExposure": dice.pick(SHARES["BsmtExposure"]),
        "BsmtFinType1": first_type,
        "BsmtFinSF1": first,
        "BsmtFinType2": second_type,
        "BsmtFinSF2": second,
        "BsmtUnfSF": total - first - second,
        "TotalBsmtSF": total,
        "BsmtFullBath": int(bath),
        "BsmtHalfBath": int(not bath and dice.happens(0.08)),
    }


def _services(dice: Dice, house: House) -> House:
    built = house["YearBuilt"]
    return {
        "Heating": dice.pick(_of_era("Heating", built)),
        "HeatingQC": dice.pick(_of_era("HeatingQC", house["YearRemodAdd"])),
        "CentralAir": "Y" if dice.happens(0.97 if built >= WAR else 0.75) else "N",
        "Electrical": dice.pick(SHARES["Electrical"]) if built < BREAKERS else "SBrkr",
    }


def _rooms(dice: Dice, house: House) -> House:
    area, quality = house["GrLivArea"], house["OverallQual"]
    two_families = house["BldgType"] in ("Duplex", "2fmCon")
    bedrooms = _within(round(dice.bell(1.1 + area / 850, 0.5)), 1, 6)
    fireplaces = _within(round(dice.bell((area - 1300) / 1000 + (quality - 5) / 6, 0.5)), 0, 3)
    return {
        "FullBath": _within(round(dice.bell(0.5 + area / 1300 + (house["YearBuilt"] >= MODERN) / 3, 0.35)), 1, 3),
        "HalfBath": int(dice.happens(0.65 if house["2ndFlrSF"] else 0.18)),
        "BedroomAbvGr": bedrooms,
        "KitchenAbvGr": 2 if two_families and dice.happens(0.8) else 1,
        "KitchenQual": dice.grade(TYPICAL_GRADE + (quality - 5.3) * 0.4),
        "TotRmsAbvGrd": bedrooms + _within(round(dice.bell(1.8 + area / 900, 0.7)), 1, 8),
        "Functional": dice.pick(SHARES["Functional"]),
        "Fireplaces": fireplaces,
        "FireplaceQu": dice.pick(SHARES["FireplaceQu"]) if fireplaces else None,
    }


def _garage(dice: Dice, house: House) -> House:
    built, quality, sold = house["YearBuilt"], house["OverallQual"], house["YrSold"]
    if dice.happens(0.12 if built < WAR else 0.03):
        absent = dict.fromkeys(("GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"))
        return {**absent, "GarageCars": 0, "GarageArea": 0}
    cars = _within(round(dice.bell(1.3 + (quality - 5) / 4 + (built >= MODERN) / 3, 0.45)), 1, 4)
    later = dice.happens(0.3 if built < WAR else 0.05)
    return {
        "GarageType": dice.pick(_of_era("GarageType", built)),
        "GarageYrBlt": dice.whole(built, sold) if later else built,
        "GarageFinish": dice.pick(_of_era("GarageFinish", built)),
        "GarageCars": cars,
        "GarageArea": round(cars * dice.between(210, 290)),
        "GarageQual": dice.pick(SHARES["GarageQual"]),
        "GarageCond": dice.pick(SHARES["GarageCond"]),
    }


def _outside(dice: Dice, house: House) -> House:
    def area(share: float, low: int, high: int) -> int:
        return dice.whole(low, high) if dice.happens(share) else 0

    old = house["YearBuilt"] < WAR
    pool = area(0.006, 300, 800)
    feature = dice.pick(SHARES["MiscFeature"]) if dice.happens(0.035) else None
    return {
        "PavedDrive": dice.pick(_of_era("PavedDrive", house["YearBuilt"])),
        "WoodDeckSF": area(0.25 if old else 0.55, 40, 400),
        "OpenPorchSF": area(0.35 if old else 0.6, 15, 150),
        "EnclosedPorch": area(0.45 if old else 0.06, 40, 250),
        "3SsnPorch": area(0.016, 100, 300),
        "ScreenPorch": area(0.08, 90, 300),
        "PoolArea": pool,
        "PoolQC": dice.pick(SHARES["PoolQC"]) if pool else None,
        "Fence": dice.pick(SHARES["Fence"]) if dice.happens(0.19) else None,
        "MiscFeature": feature,
        "MiscVal": 50 * dice.whole(6, 40) if feature else 0,
    }


def _sale(dice: Dice, house: House) -> House:
    if house["YrSold"] - house["YearBuilt"] <= 1 and dice.happens(0.8):
        return {"SaleType": "New", "SaleCondition": "Partial" if dice.happens(0.95) else "Normal"}
    kind = dice.pick(SHARES["SaleType"])
    return {"SaleType": kind, "SaleCondition": dice.pick(SHARES["SaleCondition"]["COD" if kind == "COD" else "usual"])}


def _spread(dice: Dice, deviation: float) -> float:
    """A factor around 1, its log roughly normal."""
    return math.exp(dice.bell(0, deviation))


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


SAMPLE: Final = Sample(
    csv=csv_bytes,
    is_synthetic=is_synthetic,
    notice="*** SYNTHETIC SAMPLE: made-up houses. These prices mean nothing for real ones. ***",
)
