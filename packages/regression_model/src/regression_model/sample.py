"""A synthetic sample of house sales: the columns of the real data, made up entirely.

No value in it is a real house's. Shares, ranges and prices are round numbers written by hand below, so that training,
tests and the running example work with no network and no account. **Predictions of a model trained on it mean nothing
for real houses.** Its identifiers start at ``FIRST_ID``, far from any real one, so that the sample is recognised
wherever it turns up.

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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from model_kit.scoring.definition import Sample

from regression_model.fields import FIELDS, IDENTIFIER, TARGET

if TYPE_CHECKING:
    import pandas as pd

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
#: Log price per step or unit, see :func:`price`.
WORTH: Final = {
    "quality": 0.08,
    "condition": 0.04,
    "area": 0.40,
    "quality x area": 0.08,
    "basement": 0.12,
    "finished basement": 0.10,
    "lot": 0.08,
    "car": 0.05,
    "fireplace": 0.03,
    "bath": 0.03,
    "kitchen grade": 0.02,
    "year of age": -0.002,
    "central air": 0.06,
    "paved drive": 0.02,
    "pool": 0.10,
}
#: Log price for a level of these columns; other levels 0.
WORTH_OF_LEVEL: Final[Mapping[str, Mapping[str, float]]] = {
    "Condition1": {"Artery": -0.08, "Feedr": -0.05, "RRAe": -0.05, "RRAn": -0.03, "PosA": 0.06, "PosN": 0.05},
    "Functional": {"Min1": -0.03, "Min2": -0.03, "Mod": -0.06, "Maj1": -0.10, "Maj2": -0.20},
    "SaleCondition": {"Abnorml": -0.12, "Family": -0.08, "Partial": 0.06},
    "MSZoning": {"C (all)": -0.20},
}

House: TypeAlias = dict[str, Any]
Shares: TypeAlias = Mapping[str, float]


class Neighborhood(NamedTuple):
    """What houses of a neighborhood have in common.

    Attributes:
        share: relative number of sales.
        premium: on the log price.
        first, last: years of construction.
        quality: mean of OverallQual.
        lot: typical lot of a detached house, square feet.
        townhouses: share of townhouses.
        zoning: the common zone.
    """

    share: float
    premium: float
    first: int
    last: int
    quality: float
    lot: int
    townhouses: float = 0.0
    zoning: str = "RL"


NEIGHBORHOODS: Final[Mapping[str, Neighborhood]] = {
    "NAmes": Neighborhood(15, -0.10, 1945, 1970, 5, 10_000),
    "CollgCr": Neighborhood(10, 0.05, 1970, 2009, 6.5, 9500, 0.05),
    "OldTown": Neighborhood(8, -0.20, 1880, 1950, 5.5, 8000, zoning="RM"),
    "Edwards": Neighborhood(7, -0.15, 1910, 2005, 5, 9500, 0.05),
    "Somerst": Neighborhood(6, 0.12, 1995, 2009, 7, 7500, 0.3, "FV"),
    "Gilbert": Neighborhood(5, 0.05, 1990, 2008, 6.5, 11_000),
    "NridgHt": Neighborhood(5, 0.30, 2000, 2010, 8, 11_000, 0.25),
    "Sawyer": Neighborhood(5, -0.10, 1950, 1980, 5, 10_500),
    "NWAmes": Neighborhood(5, 0.0, 1960, 1985, 6, 12_000),
    "SawyerW": Neighborhood(4, 0.0, 1970, 2005, 6, 10_000),
    "BrkSide": Neighborhood(4, -0.10, 1910, 1955, 5.5, 7000, zoning="RM"),
    "Crawfor": Neighborhood(4, 0.12, 1915, 1985, 6.5, 11_500),
    "Mitchel": Neighborhood(4, -0.05, 1955, 2005, 5.5, 11_500, 0.1),
    "NoRidge": Neighborhood(3, 0.28, 1985, 2005, 8, 14_500),
    "Timber": Neighborhood(3, 0.18, 1970, 2008, 7, 15_000),
    "IDOTRR": Neighborhood(3, -0.30, 1900, 1950, 5, 8500, zoning="RM"),
    "ClearCr": Neighborhood(2, 0.12, 1940, 1995, 6, 20_000),
    "SWISU": Neighborhood(2, -0.12, 1900, 1945, 5.5, 7000),
    "StoneBr": Neighborhood(2, 0.32, 1985, 2010, 8, 10_500, 0.4),
    "Blmngtn": Neighborhood(1, 0.08, 2000, 2008, 7, 8000, 0.9),
    "MeadowV": Neighborhood(1, -0.35, 1970, 1980, 4.5, 8000, 0.9, "RM"),
    "BrDale": Neighborhood(1, -0.30, 1968, 1976, 5.5, 8000, 1.0, "RM"),
    "Veenker": Neighborhood(1, 0.20, 1955, 1990, 6.5, 14_000),
    "NPkVill": Neighborhood(1, -0.10, 1974, 1980, 6, 8000, 0.9),
    "Blueste": Neighborhood(0.5, -0.10, 1978, 1982, 6, 8000, 1.0, "RM"),
}

#: End of the period when storeys, fuses and foundations were of the old kind.
WAR: Final = 1946
#: From here on vinyl, poured concrete and attached garages are usual.
MODERN: Final = 1985
#: From here on every house has circuit breakers.
BREAKERS: Final = 1965
FIRST_SALE, LAST_SALE = 2006, 2010
#: The earliest year that the data records for remodelling.
FIRST_REMODELLING: Final = 1950
CLASS_OF_DETACHED: Final = {
    # style: class before WAR, class since
    "1Story": ("30", "20"),
    "1.5Fin": ("50", "50"),
    "1.5Unf": ("45", "45"),
    "2Story": ("70", "60"),
    "2.5Fin": ("75", "75"),
    "2.5Unf": ("75", "75"),
    "SLvl": ("80", "80"),
    "SFoyer": ("85", "85"),
}
CLASS_OF_TOWNHOUSE: Final = {"1Story": "120", "2Story": "160", "SLvl": "180", "SFoyer": "180"}
TOWNHOUSES: Final = ("Twnhs", "TwnhsE")
#: Sales by month, as spring and summer are busy.
MONTHS: Final[Shares] = {
    "1": 4,
    "2": 4,
    "3": 7,
    "4": 10,
    "5": 14,
    "6": 17,
    "7": 16,
    "8": 8,
    "9": 4,
    "10": 6,
    "11": 5,
    "12": 4,
}
#: Second covering of the walls where the data spells the same material differently.
SECOND_SPELLING: Final = {"BrkComm": "Brk Cmn", "CemntBd": "CmentBd", "WdShing": "Wd Shng"}
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


def generate(n_rows: int = N_ROWS, seed: int = SEED) -> pd.DataFrame:
    """The synthetic sample as pandas reads it from its file: ``COLUMNS``, nulls as NaN; needs pandas.

    Args:
        n_rows: how many houses.
        seed: the same seed gives the same houses.
    """
    import pandas as pd  # noqa: PLC0415 - only here, so that the sample can be written without it

    return pd.read_csv(io.BytesIO(csv_bytes(n_rows, seed)), keep_default_na=False, na_values=["NA"])


def csv_bytes(n_rows: int = N_ROWS, seed: int = SEED) -> bytes:
    """The synthetic sample as a CSV file: header ``COLUMNS``, nulls as "NA"."""
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

    log price = base + the neighborhood's premium + ``WORTH`` of quality and condition (steps above typical), of the
    log of living area and lot over typical, of basement and finished basement (per 1,000 square feet), cars,
    fireplaces, baths, kitchen, age (up to 60 years), central air, paved drive and pool + ``WORTH_OF_LEVEL`` + noise,
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
    log_price = LOG_BASE_PRICE + NEIGHBORHOODS[house["Neighborhood"]].premium + noise
    log_price += math.fsum(WORTH[what] * amount for what, amount in amounts.items())
    log_price += math.fsum(worth.get(house[column], 0) for column, worth in WORTH_OF_LEVEL.items())
    return round(math.exp(log_price) / 500) * 500


def _house(dice: Dice, identifier: int) -> House:
    house: House = {IDENTIFIER: identifier}
    # Each step may use what the ones before it drew.
    for step in (_place, _building, _walls, _living, _basement, _services, _rooms, _garage, _outside, _sale):
        house |= step(dice, house)
    house[TARGET.name] = price(house, dice.bell(0, NOISE))
    return house


def _place(dice: Dice, _: House) -> House:
    name = dice.pick({name: facts.share for name, facts in NEIGHBORHOODS.items()})
    facts = NEIGHBORHOODS[name]
    townhouse = dice.happens(facts.townhouses)
    lot = _hundredth(facts.lot * dice.between(0.25, 0.45) if townhouse else facts.lot * _spread(dice, 0.25))
    frontage = round(math.sqrt(lot) * dice.between(0.55, 0.85))
    zoning = facts.zoning if dice.happens(0.95) else dice.pick({"RL": 4, "RM": 4, "RH": 1, "C (all)": 0.6})
    proximity = {"Norm": 86, "Feedr": 5.5, "Artery": 3.5, "RRAn": 2, "PosN": 1.5, "RRAe": 1, "PosA": 0.5, "RRNn": 0.4}
    near = dice.pick(proximity)
    return {
        "Neighborhood": name,
        "MSZoning": zoning,
        "BldgType": dice.pick({"TwnhsE": 7, "Twnhs": 3} if townhouse else {"1Fam": 93, "Duplex": 4, "2fmCon": 2.5}),
        "LotArea": lot,
        "LotFrontage": None if dice.happens(0.18) else frontage,
        "Street": "Pave" if dice.happens(0.995) else "Grvl",
        "Alley": dice.pick({"Grvl": 1, "Pave": 1}) if dice.happens(0.3 if zoning == "RM" else 0.02) else None,
        "LotShape": dice.pick({"Reg": 63, "IR1": 33, "IR2": 3, "IR3": 1}),
        "LandContour": dice.pick({"Lvl": 90, "Bnk": 4, "HLS": 4, "Low": 2}),
        "Utilities": "AllPub" if dice.happens(0.998) else "NoSeWa",
        "LotConfig": dice.pick({"Inside": 72, "Corner": 18, "CulDSac": 6, "FR2": 3, "FR3": 0.5}),
        "LandSlope": dice.pick({"Gtl": 95, "Mod": 4, "Sev": 1}),
        "Condition1": near,
        "Condition2": "Norm"
        if near == "Norm" or dice.happens(0.9)
        else dice.pick({"Feedr": 3, "Artery": 1, "PosN": 1}),
    }


def _building(dice: Dice, house: House) -> House:
    facts = NEIGHBORHOODS[house["Neighborhood"]]
    sold = dice.whole(FIRST_SALE, LAST_SALE)
    built = min(dice.whole(facts.first, facts.last), sold)
    remodelled = built
    if dice.happens(0.5 if built < MODERN else 0.15):
        remodelled = dice.whole(min(max(built, FIRST_REMODELLING), sold), sold)
    town = house["BldgType"] in TOWNHOUSES
    style = dice.pick(_styles(built, town=town))
    quality = _within(round(dice.bell(facts.quality, 0.9)), 2, 10)
    condition = TYPICAL_CONDITION if built >= MODERN and dice.happens(0.85) else round(dice.bell(5.7, 1.1))
    return {
        "MSSubClass": _class(house["BldgType"], style, built),
        "HouseStyle": style,
        "OverallQual": quality,
        "OverallCond": _within(condition, 2, 9),
        "YearBuilt": built,
        "YearRemodAdd": max(remodelled, FIRST_REMODELLING),
        "YrSold": sold,
        "MoSold": int(dice.pick(MONTHS)),
    }


def _styles(built: int, *, town: bool) -> Shares:
    if town:
        return {"1Story": 50, "2Story": 44, "SLvl": 3, "SFoyer": 3}
    if built < WAR:
        return {"1Story": 28, "1.5Fin": 38, "2Story": 26, "1.5Unf": 4, "2.5Unf": 3, "2.5Fin": 2}
    if built < MODERN:
        return {"1Story": 68, "2Story": 14, "SLvl": 8, "SFoyer": 4, "1.5Fin": 6}
    return {"1Story": 47, "2Story": 47, "SLvl": 3, "SFoyer": 2, "1.5Fin": 1}


def _class(building: str, style: str, built: int) -> str:
    if building in TOWNHOUSES:
        return CLASS_OF_TOWNHOUSE[style]
    if building == "Duplex":
        return "90"
    if building == "2fmCon":
        return "190"
    return CLASS_OF_DETACHED[style][built >= WAR]


def _walls(dice: Dice, house: House) -> House:
    built, quality = house["YearBuilt"], house["OverallQual"]
    first = dice.pick(_coverings(built))
    second = (
        SECOND_SPELLING.get(first, first)
        if dice.happens(0.85)
        else dice.pick({"Plywood": 2, "Wd Shng": 1, "Stone": 0.2})
    )
    veneer = dice.pick(
        {"None": 60, "BrkFace": 30, "Stone": 9, "BrkCmn": 1} if built >= WAR else {"None": 94, "BrkFace": 6}
    )
    area = _within(round(dice.bell(60 * quality - 130, 120)), 20, 1200) if veneer != "None" else 0
    unrecorded = dice.happens(0.005)
    return {
        "RoofStyle": dice.pick({"Gable": 78, "Hip": 19, "Flat": 1, "Gambrel": 1, "Mansard": 0.6, "Shed": 0.2}),
        "RoofMatl": dice.pick({"CompShg": 980, "Tar&Grv": 8, "WdShngl": 5, "WdShake": 4, "Metal": 1}),
        "Exterior1st": first,
        "Exterior2nd": second,
        "MasVnrType": None if unrecorded else veneer,
        "MasVnrArea": None if unrecorded else area,
        "ExterQual": dice.grade(TYPICAL_GRADE + (quality - 5.5) * 0.4),
        "ExterCond": dice.grade(TYPICAL_GRADE + (house["OverallCond"] - 5) * 0.15),
        "Foundation": dice.pick(_foundations(built)),
    }


def _coverings(built: int) -> Shares:
    if built < WAR:
        return {
            "Wd Sdng": 35,
            "MetalSd": 30,
            "VinylSd": 15,
            "Stucco": 5,
            "AsbShng": 5,
            "WdShing": 4,
            "BrkFace": 3,
            "BrkComm": 1,
        }
    if built < MODERN:
        return {
            "HdBoard": 30,
            "MetalSd": 20,
            "Wd Sdng": 15,
            "Plywood": 14,
            "BrkFace": 8,
            "VinylSd": 8,
            "WdShing": 3,
            "AsbShng": 2,
        }
    return {"VinylSd": 74, "HdBoard": 8, "CemntBd": 8, "MetalSd": 5, "Wd Sdng": 4, "BrkFace": 2, "Stucco": 1}


def _foundations(built: int) -> Shares:
    if built < WAR:
        return {"BrkTil": 62, "CBlock": 24, "PConc": 11, "Stone": 2}
    if built < MODERN:
        return {"CBlock": 88, "PConc": 6, "Slab": 5, "Wood": 0.4}
    return {"PConc": 94, "CBlock": 5, "Slab": 1}


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
    finish = {"Unf": 30, "GLQ": 40 if built >= MODERN else 10, "ALQ": 15, "BLQ": 10, "Rec": 9, "LwQ": 5}
    first_type = dice.pick(finish)
    second_type = "Unf"
    first = second = 0
    if first_type != "Unf":
        first = round(total * dice.between(0.2, 0.85))
        if dice.happens(0.15):
            second_type = dice.pick({"Rec": 4, "LwQ": 4, "BLQ": 3, "ALQ": 2, "GLQ": 1})
            second = round((total - first) * dice.between(0.2, 0.9))
    bath = first_type in ("GLQ", "ALQ", "BLQ") and dice.happens(0.7)
    return {
        "BsmtQual": dice.grade(TYPICAL_GRADE + (built - 1965) / 40),
        "BsmtCond": dice.pick({"TA": 92, "Gd": 4.5, "Fa": 3, "Po": 0.2}),
        "BsmtExposure": dice.pick({"No": 67, "Av": 16, "Gd": 9, "Mn": 8}),
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
    recent = house["YearRemodAdd"] >= MODERN
    fuses = {"SBrkr": 65, "FuseA": 24, "FuseF": 9, "FuseP": 1, "Mix": 0.2}
    return {
        "Heating": dice.pick(
            {"GasA": 95, "GasW": 3, "Grav": 1, "Wall": 0.6, "OthW": 0.2} if built < WAR else {"GasA": 1}
        ),
        "HeatingQC": dice.pick(
            {"Ex": 70, "Gd": 18, "TA": 12} if recent else {"TA": 50, "Ex": 20, "Gd": 20, "Fa": 9, "Po": 0.2}
        ),
        "CentralAir": "Y" if dice.happens(0.97 if built >= WAR else 0.75) else "N",
        "Electrical": dice.pick(fuses) if built < BREAKERS else "SBrkr",
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
        "Functional": dice.pick({"Typ": 93, "Min2": 2.3, "Min1": 2.2, "Mod": 1, "Maj1": 1, "Maj2": 0.4, "Sev": 0.1}),
        "Fireplaces": fireplaces,
        "FireplaceQu": dice.pick({"Gd": 49, "TA": 41, "Fa": 4, "Ex": 3, "Po": 3}) if fireplaces else None,
    }


def _garage(dice: Dice, house: House) -> House:
    built, quality, sold = house["YearBuilt"], house["OverallQual"], house["YrSold"]
    if dice.happens(0.12 if built < WAR else 0.03):
        absent = dict.fromkeys(("GarageType", "GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"))
        return {**absent, "GarageCars": 0, "GarageArea": 0}
    modern = built >= MODERN
    cars = _within(round(dice.bell(1.3 + (quality - 5) / 4 + modern / 3, 0.45)), 1, 4)
    detached = {"Detchd": 75, "Attchd": 18, "Basment": 3, "BuiltIn": 2, "CarPort": 1, "2Types": 1}
    attached = {"Attchd": 82, "BuiltIn": 9, "Detchd": 9}
    later = dice.happens(0.3 if built < WAR else 0.05)
    return {
        "GarageType": dice.pick(
            attached
            if modern
            else detached
            if built < WAR
            else {"Attchd": 65, "Detchd": 31, "Basment": 2, "CarPort": 1, "2Types": 1}
        ),
        "GarageYrBlt": dice.whole(built, sold) if later else built,
        "GarageFinish": dice.pick({"Fin": 40, "RFn": 40, "Unf": 20} if modern else {"Unf": 65, "RFn": 22, "Fin": 13}),
        "GarageCars": cars,
        "GarageArea": round(cars * dice.between(210, 290)),
        "GarageQual": dice.pick({"TA": 95, "Fa": 3.5, "Gd": 1, "Po": 0.3, "Ex": 0.2}),
        "GarageCond": dice.pick({"TA": 96, "Fa": 2.5, "Gd": 0.7, "Po": 0.5, "Ex": 0.2}),
    }


def _outside(dice: Dice, house: House) -> House:
    def area(share: float, low: int, high: int) -> int:
        return dice.whole(low, high) if dice.happens(share) else 0

    old = house["YearBuilt"] < WAR
    pool = area(0.006, 300, 800)
    feature = dice.pick({"Shed": 90, "Gar2": 4, "Othr": 4, "TenC": 2}) if dice.happens(0.035) else None
    return {
        "PavedDrive": dice.pick({"Y": 75, "N": 20, "P": 5} if old else {"Y": 97, "N": 2, "P": 1}),
        "WoodDeckSF": area(0.25 if old else 0.55, 40, 400),
        "OpenPorchSF": area(0.35 if old else 0.6, 15, 150),
        "EnclosedPorch": area(0.45 if old else 0.06, 40, 250),
        "3SsnPorch": area(0.016, 100, 300),
        "ScreenPorch": area(0.08, 90, 300),
        "PoolArea": pool,
        "PoolQC": dice.pick({"Gd": 4, "Ex": 2, "Fa": 2, "TA": 2}) if pool else None,
        "Fence": dice.pick({"MnPrv": 56, "GdPrv": 21, "GdWo": 19, "MnWw": 4}) if dice.happens(0.19) else None,
        "MiscFeature": feature,
        "MiscVal": 50 * dice.whole(6, 40) if feature else 0,
    }


def _sale(dice: Dice, house: House) -> House:
    if house["YrSold"] - house["YearBuilt"] <= 1 and dice.happens(0.8):
        return {"SaleType": "New", "SaleCondition": "Partial" if dice.happens(0.95) else "Normal"}
    kinds = {"WD": 950, "COD": 32, "ConLD": 7, "CWD": 4, "ConLI": 4, "ConLw": 4, "Oth": 2, "Con": 2}
    kind = dice.pick(kinds)
    usual = {"Normal": 92, "Abnorml": 5, "Family": 1.5, "Alloca": 0.8, "AdjLand": 0.3}
    return {"SaleType": kind, "SaleCondition": dice.pick({"Normal": 5, "Abnorml": 5} if kind == "COD" else usual)}


def _spread(dice: Dice, deviation: float) -> float:
    """A factor around 1, its log roughly normal."""
    return math.exp(dice.bell(0, deviation))


def _within(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _hundredth(value: float) -> int:
    return round(value / 100) * 100


SAMPLE: Final = Sample(
    csv=csv_bytes,
    is_synthetic=is_synthetic,
    notice="*** SYNTHETIC SAMPLE: made-up houses. These prices mean nothing for real ones. ***",
)
