"""The 79 fields of a house, in the order of the data file, each written down once.

Meanings follow the data dictionary of the Ames housing data (De Cock, *Journal of Statistics Education* 19:3, 2011);
levels are spelled as the file spells them, which is not always how the dictionary does.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def _category(name: str, description: str, group: str, meanings: Mapping[str, str], **more: Any) -> Field:
    levels = tuple(Level(value, meaning) for value, meaning in meanings.items())
    return Field(name, "category", description, group=group, levels=levels, **more)


def _ordered(name: str, description: str, group: str, meanings: Mapping[str, str], **more: Any) -> Field:
    """A category whose levels are given lowest first."""
    return _category(name, description, group, meanings, ordered=True, **more)


def _area(name: str, description: str, group: str, **more: Any) -> Field:
    return Field(name, "number", description, group=group, unit="square feet", minimum=0, **more)


def _count(name: str, description: str, group: str) -> Field:
    return Field(name, "integer", description, group=group, minimum=0)


def _rating(name: str, description: str, group: str, **more: Any) -> Field:
    scale = "from 1 (very poor) to 10 (very excellent)"
    return Field(name, "integer", f"{description}, {scale}", group=group, minimum=1, maximum=10, **more)


def _year(name: str, description: str, group: str, **more: Any) -> Field:
    return Field(name, "integer", description, group=group, unit="year", minimum=EARLIEST_YEAR, **more)


_GRADES: Final = {
    "Po": "poor",
    "Fa": "fair",
    "TA": "typical or average",
    "Gd": "good",
    "Ex": "excellent",
}

_BASEMENT_FINISH: Final = {
    "Unf": "unfinished",
    "LwQ": "low quality",
    "Rec": "average recreation room",
    "BLQ": "below average living quarters",
    "ALQ": "average living quarters",
    "GLQ": "good living quarters",
}

_PROXIMITY: Final = {
    "Artery": "next to an arterial street",
    "Feedr": "next to a feeder street",
    "Norm": "nothing of the kind nearby",
    "RRNn": "within 200 feet of the north-south railroad",
    "RRAn": "next to the north-south railroad",
    "PosN": "near a positive feature such as a park or greenbelt",
    "PosA": "next to a positive feature",
    "RRNe": "within 200 feet of the east-west railroad",
    "RRAe": "next to the east-west railroad",
}

_COVERINGS: Final = {
    "AsbShng": "asbestos shingles",
    "AsphShn": "asphalt shingles",
    "BrkComm": "common brick",
    "BrkFace": "face brick",
    "CBlock": "cinder block",
    "CemntBd": "cement board",
    "HdBoard": "hardboard",
    "ImStucc": "imitation stucco",
    "MetalSd": "metal siding",
    "Other": "other",
    "Plywood": "plywood",
    "PreCast": "precast concrete",
    "Stone": "stone",
    "Stucco": "stucco",
    "VinylSd": "vinyl siding",
    "Wd Sdng": "wood siding",
    "WdShing": "wood shingles",
}
#: Materials that the second column spells otherwise.
_SECOND_SPELLING: Final = {"BrkComm": "Brk Cmn", "CemntBd": "CmentBd", "WdShing": "Wd Shng"}

FIELDS: Final[tuple[Field, ...]] = (
    _category(
        "MSSubClass",
        "Class of dwelling, by storeys and age",
        _BUILDING,
        {
            "20": "one storey, 1946 and newer, all styles",
            "30": "one storey, 1945 and older",
            "40": "one storey with finished attic, all ages",
            "45": "one and a half storeys, upper unfinished, all ages",
            "50": "one and a half storeys, upper finished, all ages",
            "60": "two storeys, 1946 and newer",
            "70": "two storeys, 1945 and older",
            "75": "two and a half storeys, all ages",
            "80": "split or multi-level",
            "85": "split foyer",
            "90": "duplex, all styles and ages",
            "120": "one storey in a planned unit development, 1946 and newer",
            "150": "one and a half storeys in a planned unit development, all ages",
            "160": "two storeys in a planned unit development, 1946 and newer",
            "180": "multi-level in a planned unit development, with split level or foyer",
            "190": "conversion to two families, all styles and ages",
        },
        numeric_codes=True,
    ),
    _category(
        "MSZoning",
        "Zoning of the sale",
        _LOT,
        {
            "A (agr)": "agriculture",
            "C (all)": "commercial",
            "FV": "floating village, residential",
            "I (all)": "industrial",
            "RH": "residential, high density",
            "RL": "residential, low density",
            "RP": "residential, low density, park",
            "RM": "residential, medium density",
        },
    ),
    Field("LotFrontage", "number", "Length of street along the property", group=_LOT, unit="feet", minimum=0),
    _area("LotArea", "Size of the lot", _LOT),
    _category("Street", "Road that leads to the property", _LOT, {"Grvl": "gravel", "Pave": "paved"}),
    _category(
        "Alley",
        "Alley that leads to the property",
        _LOT,
        {"Grvl": "gravel", "Pave": "paved"},
        null_means="no alley access",
    ),
    _ordered(
        "LotShape",
        "Regularity of the lot",
        _LOT,
        {"IR3": "irregular", "IR2": "moderately irregular", "IR1": "slightly irregular", "Reg": "regular"},
    ),
    _category(
        "LandContour",
        "Flatness of the property",
        _LOT,
        {
            "Lvl": "near flat",
            "Bnk": "banked: quick rise from street to building",
            "HLS": "hillside: slope from side to side",
            "Low": "depression",
        },
    ),
    _ordered(
        "Utilities",
        "Utilities connected",
        _SERVICES,
        {
            "ELO": "electricity only",
            "NoSeWa": "electricity and gas",
            "NoSewr": "electricity, gas and water, with a septic tank",
            "AllPub": "all public utilities",
        },
    ),
    _category(
        "LotConfig",
        "Position of the lot",
        _LOT,
        {
            "Inside": "inside lot",
            "Corner": "corner lot",
            "CulDSac": "cul-de-sac",
            "FR2": "frontage on two sides",
            "FR3": "frontage on three sides",
        },
    ),
    _ordered(
        "LandSlope",
        "Slope of the property",
        _LOT,
        {"Sev": "severe slope", "Mod": "moderate slope", "Gtl": "gentle slope"},
    ),
    _category(
        "Neighborhood",
        "Neighborhood within the city limits of Ames",
        _LOT,
        {
            "Blmngtn": "Bloomington Heights",
            "Blueste": "Bluestem",
            "BrDale": "Briardale",
            "BrkSide": "Brookside",
            "ClearCr": "Clear Creek",
            "CollgCr": "College Creek",
            "Crawfor": "Crawford",
            "Edwards": "Edwards",
            "Gilbert": "Gilbert",
            "Greens": "Greens",
            "GrnHill": "Green Hills",
            "IDOTRR": "Iowa DOT and railroad",
            "Landmrk": "Landmark",
            "MeadowV": "Meadow Village",
            "Mitchel": "Mitchell",
            "NAmes": "North Ames",
            "NoRidge": "Northridge",
            "NPkVill": "Northpark Villa",
            "NridgHt": "Northridge Heights",
            "NWAmes": "Northwest Ames",
            "OldTown": "Old Town",
            "SWISU": "south and west of Iowa State University",
            "Sawyer": "Sawyer",
            "SawyerW": "Sawyer West",
            "Somerst": "Somerset",
            "StoneBr": "Stone Brook",
            "Timber": "Timberland",
            "Veenker": "Veenker",
        },
        required=True,
    ),
    _category("Condition1", "Nearness to a main road, railroad or amenity", _LOT, _PROXIMITY),
    _category("Condition2", "Nearness to a second main road, railroad or amenity", _LOT, _PROXIMITY),
    _category(
        "BldgType",
        "Type of dwelling",
        _BUILDING,
        {
            "1Fam": "detached, one family",
            "2fmCon": "built for one family, converted to two",
            "Duplex": "duplex",
            "TwnhsE": "townhouse, end unit",
            "Twnhs": "townhouse, inside unit",
        },
    ),
    _category(
        "HouseStyle",
        "Style of dwelling, by storeys",
        _BUILDING,
        {
            "1Story": "one storey",
            "1.5Fin": "one and a half storeys, upper finished",
            "1.5Unf": "one and a half storeys, upper unfinished",
            "2Story": "two storeys",
            "2.5Fin": "two and a half storeys, upper finished",
            "2.5Unf": "two and a half storeys, upper unfinished",
            "SFoyer": "split foyer",
            "SLvl": "split level",
        },
    ),
    _rating("OverallQual", "Material and finish of the house", _QUALITY, required=True),
    _rating("OverallCond", "Condition of the house", _QUALITY),
    _year("YearBuilt", "Year of construction", _QUALITY, required=True),
    _year("YearRemodAdd", "Year of the last remodelling or addition; that of construction if none", _QUALITY),
    _category(
        "RoofStyle",
        "Shape of the roof",
        _BUILDING,
        {
            "Flat": "flat",
            "Gable": "gable",
            "Gambrel": "gambrel (barn)",
            "Hip": "hip",
            "Mansard": "mansard",
            "Shed": "shed",
        },
    ),
    _category(
        "RoofMatl",
        "Material of the roof",
        _BUILDING,
        {
            "ClyTile": "clay or tile",
            "CompShg": "composite shingle",
            "Membran": "membrane",
            "Metal": "metal",
            "Roll": "roll",
            "Tar&Grv": "gravel and tar",
            "WdShake": "wood shakes",
            "WdShngl": "wood shingles",
        },
    ),
    _category("Exterior1st", "Covering of the outer walls", _BUILDING, _COVERINGS),
    _category(
        "Exterior2nd",
        "Second covering of the outer walls; the first again if there is one only",
        _BUILDING,
        {_SECOND_SPELLING.get(level, level): meaning for level, meaning in _COVERINGS.items()},
    ),
    _category(
        "MasVnrType",
        "Masonry veneer",
        _BUILDING,
        {
            "BrkCmn": "common brick",
            "BrkFace": "face brick",
            "CBlock": "cinder block",
            "None": "none",
            "Stone": "stone",
        },
        null_means="no masonry veneer on record",
    ),
    _area("MasVnrArea", "Area of masonry veneer", _BUILDING),
    _ordered("ExterQual", "Quality of the material outside", _QUALITY, _GRADES),
    _ordered("ExterCond", "Present condition of the material outside", _QUALITY, _GRADES),
    _category(
        "Foundation",
        "Type of foundation",
        _BUILDING,
        {
            "BrkTil": "brick and tile",
            "CBlock": "cinder block",
            "PConc": "poured concrete",
            "Slab": "slab",
            "Stone": "stone",
            "Wood": "wood",
        },
    ),
    _ordered(
        "BsmtQual",
        "Height of the basement",
        _BASEMENT,
        {
            "Po": "poor, under 70 inches",
            "Fa": "fair, 70 to 79 inches",
            "TA": "typical, 80 to 89 inches",
            "Gd": "good, 90 to 99 inches",
            "Ex": "excellent, 100 inches and more",
        },
        null_means="no basement",
    ),
    _ordered(
        "BsmtCond",
        "Condition of the basement",
        _BASEMENT,
        {
            "Po": "poor: severe cracks, settling or wetness",
            "Fa": "fair: dampness, some cracks or settling",
            "TA": "typical: slight dampness",
            "Gd": "good",
            "Ex": "excellent",
        },
        null_means="no basement",
    ),
    _ordered(
        "BsmtExposure",
        "Walls of the basement at garden level or with a walkout",
        _BASEMENT,
        {"No": "no exposure", "Mn": "minimum exposure", "Av": "average exposure", "Gd": "good exposure"},
        null_means="no basement",
    ),
    _ordered(
        "BsmtFinType1", "Finish of the basement's first area", _BASEMENT, _BASEMENT_FINISH, null_means="no basement"
    ),
    _area("BsmtFinSF1", "Finished area of the first kind in the basement", _BASEMENT),
    _ordered(
        "BsmtFinType2", "Finish of the basement's second area", _BASEMENT, _BASEMENT_FINISH, null_means="no basement"
    ),
    _area("BsmtFinSF2", "Finished area of the second kind in the basement", _BASEMENT),
    _area("BsmtUnfSF", "Unfinished area of the basement", _BASEMENT),
    _area("TotalBsmtSF", "Total area of the basement", _BASEMENT),
    _category(
        "Heating",
        "Type of heating",
        _SERVICES,
        {
            "Floor": "floor furnace",
            "GasA": "gas, forced warm air",
            "GasW": "gas, hot water or steam",
            "Grav": "gravity furnace",
            "OthW": "hot water or steam, other than gas",
            "Wall": "wall furnace",
        },
    ),
    _ordered("HeatingQC", "Quality and condition of the heating", _SERVICES, _GRADES),
    _ordered("CentralAir", "Central air conditioning", _SERVICES, {"N": "no", "Y": "yes"}),
    _category(
        "Electrical",
        "Electrical system",
        _SERVICES,
        {
            "SBrkr": "standard circuit breakers and Romex",
            "FuseA": "fuse box over 60 amperes, all Romex (average)",
            "FuseF": "fuse box of 60 amperes, mostly Romex (fair)",
            "FuseP": "fuse box of 60 amperes, mostly knob and tube (poor)",
            "Mix": "mixed",
        },
    ),
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
    _ordered("KitchenQual", "Quality of the kitchen", _ROOMS, _GRADES),
    _count("TotRmsAbvGrd", "Rooms above ground, without bathrooms", _ROOMS),
    _ordered(
        "Functional",
        "Functionality of the home",
        _QUALITY,
        {
            "Sal": "salvage only",
            "Sev": "severely damaged",
            "Maj2": "major deductions 2",
            "Maj1": "major deductions 1",
            "Mod": "moderate deductions",
            "Min2": "minor deductions 2",
            "Min1": "minor deductions 1",
            "Typ": "typical",
        },
    ),
    _count("Fireplaces", "Fireplaces", _ROOMS),
    _ordered(
        "FireplaceQu",
        "Quality of the fireplace",
        _ROOMS,
        {
            "Po": "poor: Ben Franklin stove",
            "Fa": "fair: prefabricated, in the basement",
            "TA": "average: prefabricated on the main floor, or masonry in the basement",
            "Gd": "good: masonry on the main floor",
            "Ex": "excellent: exceptional masonry",
        },
        null_means="no fireplace",
    ),
    _category(
        "GarageType",
        "Location of the garage",
        _GARAGE,
        {
            "2Types": "more than one type",
            "Attchd": "attached to the house",
            "Basment": "in the basement",
            "BuiltIn": "part of the house, often with a room above",
            "CarPort": "car port",
            "Detchd": "detached from the house",
        },
        null_means="no garage",
    ),
    _year("GarageYrBlt", "Year the garage was built", _GARAGE, null_means="no garage"),
    _ordered(
        "GarageFinish",
        "Finish of the garage inside",
        _GARAGE,
        {"Unf": "unfinished", "RFn": "roughly finished", "Fin": "finished"},
        null_means="no garage",
    ),
    _count("GarageCars", "Cars that fit in the garage", _GARAGE),
    _area("GarageArea", "Size of the garage", _GARAGE),
    _ordered("GarageQual", "Quality of the garage", _GARAGE, _GRADES, null_means="no garage"),
    _ordered("GarageCond", "Condition of the garage", _GARAGE, _GRADES, null_means="no garage"),
    _ordered(
        "PavedDrive",
        "Paving of the driveway",
        _OUTSIDE,
        {"N": "dirt or gravel", "P": "partly paved", "Y": "paved"},
    ),
    _area("WoodDeckSF", "Area of wooden decks", _OUTSIDE),
    _area("OpenPorchSF", "Area of open porches", _OUTSIDE),
    _area("EnclosedPorch", "Area of enclosed porches", _OUTSIDE),
    _area("3SsnPorch", "Area of three-season porches", _OUTSIDE),
    _area("ScreenPorch", "Area of screened porches", _OUTSIDE),
    _area("PoolArea", "Area of the pool", _OUTSIDE),
    _ordered("PoolQC", "Quality of the pool", _OUTSIDE, _GRADES, null_means="no pool"),
    _category(
        "Fence",
        "Quality of the fence, by privacy or by wood",
        _OUTSIDE,
        {
            "MnWw": "minimum wood and wire",
            "GdWo": "good wood",
            "MnPrv": "minimum privacy",
            "GdPrv": "good privacy",
        },
        null_means="no fence",
    ),
    _category(
        "MiscFeature",
        "Feature that no other field covers",
        _OUTSIDE,
        {
            "Elev": "elevator",
            "Gar2": "second garage, if not under the garage's fields",
            "Othr": "other",
            "Shed": "shed over 100 square feet",
            "TenC": "tennis court",
        },
        null_means="none",
    ),
    Field(
        "MiscVal", "number", "Value of the feature that no other field covers", group=_OUTSIDE, unit="USD", minimum=0
    ),
    Field("MoSold", "integer", "Month of the sale", group=_SALE, unit="month", minimum=1, maximum=12),
    _year("YrSold", "Year of the sale", _SALE),
    _category(
        "SaleType",
        "Type of sale",
        _SALE,
        {
            "WD": "warranty deed, conventional",
            "CWD": "warranty deed, cash",
            "VWD": "warranty deed, loan of the Veterans Administration",
            "New": "home just built and sold",
            "COD": "court officer's deed or estate",
            "Con": "contract with 15 % down payment, regular terms",
            "ConLw": "contract with low down payment and low interest",
            "ConLI": "contract with low interest",
            "ConLD": "contract with low down payment",
            "Oth": "other",
        },
    ),
    _category(
        "SaleCondition",
        "Condition of the sale",
        _SALE,
        {
            "Normal": "normal sale",
            "Abnorml": "abnormal: trade, foreclosure or short sale",
            "AdjLand": "purchase of the land next door",
            "Alloca": "two linked properties with separate deeds, such as a condominium with a garage",
            "Family": "between members of a family",
            "Partial": "home not finished when last assessed, as new homes are",
        },
    ),
)
