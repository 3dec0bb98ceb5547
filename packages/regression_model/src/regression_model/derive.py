"""From the encoded fields to the features: stateless, row by row, plain arithmetic.

The matrix has one column for each field, with what a null or unseen level *means* filled in where that is known,
and after these the derived columns. What has to be learned from data, such as a median, is the estimator's business:
an unknown number stays NaN here.

A single row takes numpy ten times as long as the arithmetic needs. So the formulas are written for columns of either
kind, arrays or plain floats, which give the same bits: IEEE 754 rounds sums, products and quotients in one way only,
a comparison with NaN is false for both, and logarithms are numpy's for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from model_kit.records.encoding import Derivation
from model_kit.spec import UNSEEN
from numpy.typing import NDArray

from regression_model.fields import FIELDS

#: Code of a nominal category without a value; the levels' own codes start at -1 (``UNSEEN``).
ABSENT: Final = -2.0

_POSITION: Final = {field.name: position for position, field in enumerate(FIELDS)}

#: A bathroom without bath or shower counts as half of one.
_HALF: Final = 0.5
_MONTHS: Final = 12.0
#: Sum of the four grades, each from poor (1) to excellent (5), of a house that is average in all.
_TYPICAL_GRADES: Final = 12.0
_TYPICAL_CONDITION: Final = 5.0


_NOMINAL: Final = [position for position, field in enumerate(FIELDS) if field.kind == "category" and not field.ordered]
#: Positions of the ordered categories, and what a missing value stands for there: what is not there ranks below the
#: lowest level, which is 1.
_ORDERED: Final = [
    (position, math.nan if field.null_means is None else 0.0) for position, field in enumerate(FIELDS) if field.ordered
]
_NOMINAL_CODES: Final = itemgetter(*_NOMINAL)
_ORDERED_CODES: Final = itemgetter(*(position for position, _ in _ORDERED))
#: An unseen level has no place in an order.
_UNSEEN: Final = float(UNSEEN)


def _columns(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    picked: Callable[[Any], tuple[Any, ...]] = itemgetter(*(_POSITION[name] for name in names))
    return picked


_OVERALL: Final = _columns("OverallQual", "OverallCond")
_AREAS: Final = _columns("GrLivArea", "1stFlrSF", "LotArea", "LotFrontage", "GarageArea", "MasVnrArea")
_BASEMENT: Final = _columns("TotalBsmtSF", "BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF")
_PORCHES: Final = _columns("WoodDeckSF", "OpenPorchSF", "EnclosedPorch", "3SsnPorch", "ScreenPorch")
_BATHS: Final = _columns("FullBath", "HalfBath", "BsmtFullBath", "BsmtHalfBath")
_ROOMS: Final = _columns("BedroomAbvGr", "TotRmsAbvGrd")
_TIMES: Final = _columns("YrSold", "MoSold", "YearBuilt", "YearRemodAdd")
_GRADES: Final = _columns("ExterQual", "KitchenQual", "BsmtQual", "HeatingQC")
_COMFORTS: Final = _columns("FireplaceQu", "GarageFinish", "BsmtExposure")


def _derived(fields: Any, at_least: Callable[[Any, float], Any], log: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """Derived columns by name, in order.

    Args:
        fields: the fields' columns, each a number or an array of shape (n_rows,); so are the derived ones.
        at_least: column, limit -> the column with whatever is below the limit taken as the limit.
        log: columns -> log(1 + x) of each, with a negative x taken as 0.
    """
    quality, condition = _OVERALL(fields)
    living, first_floor, lot, frontage, garage, veneer = _AREAS(fields)
    basement, finished_1, finished_2, unfinished = _BASEMENT(fields)
    deck, open_porch, enclosed_porch, season_porch, screen_porch = _PORCHES(fields)
    full_baths, half_baths, basement_full_baths, basement_half_baths = _BATHS(fields)
    bedrooms, rooms = _ROOMS(fields)
    sold, month, built, remodelled = _TIMES(fields)
    exterior, kitchen, basement_quality, heating = _GRADES(fields)
    fireplace, garage_finish, exposure = _COMFORTS(fields)

    finished_basement = finished_1 + finished_2
    total = living + basement
    finished = living + finished_basement
    baths = full_baths + _HALF * half_baths + basement_full_baths + _HALF * basement_half_baths
    age = at_least(sold - built, 0.0)
    since_remodelled = at_least(sold - remodelled, 0.0)
    grades = exterior + kitchen + basement_quality + heating
    areas = [lot, frontage, living, first_floor, basement, garage, veneer, open_porch, deck]
    logs = log([*areas, total, finished, finished_basement, age, since_remodelled])
    log_lot, log_frontage, log_living, log_first_floor, log_basement, log_garage, log_veneer = logs[:7]
    log_open_porch, log_deck, log_total, log_finished, log_finished_basement, log_age, log_since_remodelled = logs[7:]
    return {
        "LogLotArea": log_lot,
        "LogLotFrontage": log_frontage,
        "LogLiving": log_living,
        "LogFirstFloor": log_first_floor,
        "LogBasement": log_basement,
        "LogGarage": log_garage,
        "LogVeneer": log_veneer,
        "LogOpenPorch": log_open_porch,
        "LogDeck": log_deck,
        "TotalArea": total,
        "LogTotalArea": log_total,
        "FinishedArea": finished,
        "LogFinishedArea": log_finished,
        "LogBasementFinished": log_finished_basement,
        "UnfinishedShare": unfinished / at_least(basement, 1.0),
        "PorchArea": deck + open_porch + enclosed_porch + season_porch + screen_porch,
        "Baths": baths,
        "BathsPerBedroom": baths / at_least(bedrooms, 1.0),
        "AreaPerRoom": living / at_least(rooms, 1.0),
        "LotPerArea": log_lot - log_living,
        "Age": age,
        "LogAge": log_age,
        "SinceRemodelled": since_remodelled,
        "LogSinceRemodelled": log_since_remodelled,
        "SoldAt": sold + month / _MONTHS,
        "QualityCondition": quality * condition,
        "QualityArea": quality * log_total,
        "QualityTotalArea": quality * total,
        "ConditionAge": (condition - _TYPICAL_CONDITION) * log_age,
        "Grades": grades,
        "GradesArea": (grades - _TYPICAL_GRADES) * log_living,
        "Comforts": fireplace + garage_finish + exposure,
    }


def _derive_rows(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    # One column after the other in memory.
    fields = encoded.T.copy()
    nominal = fields[_NOMINAL]
    fields[_NOMINAL] = np.where(np.isnan(nominal), ABSENT, nominal)
    positions, missing = (list(values) for values in zip(*_ORDERED, strict=True))
    ordered = fields[positions]
    ordered = np.where(np.isnan(ordered), np.array(missing)[:, np.newaxis], ordered)
    fields[positions] = np.where(ordered == _UNSEEN, np.nan, ordered)
    derived = _derived(fields, _at_least, lambda columns: [np.log1p(_at_least(column, 0.0)) for column in columns])
    return np.vstack([fields, *derived.values()]).T


def _at_least(column: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return np.where(column < limit, limit, column)


def _derive_row(encoded: Sequence[float]) -> list[float]:
    fields = list(encoded)
    # NaN alone differs from itself.
    for position, code in zip(_NOMINAL, _NOMINAL_CODES(encoded), strict=True):
        if code != code:  # noqa: PLR0124
            fields[position] = ABSENT
    for (position, missing), code in zip(_ORDERED, _ORDERED_CODES(encoded), strict=True):
        if code != code:  # noqa: PLR0124
            fields[position] = missing
        elif code == _UNSEEN:
            fields[position] = math.nan
    # max keeps its first argument unless the second is larger, so that NaN stays NaN.
    fields += _derived(fields, max, _log).values()
    return fields


def _log(values: list[float]) -> list[float]:
    # One call for all: each costs a microsecond. math.log1p may differ from numpy's in the last bit.
    logs: list[float] = np.log1p([0.0 if value < 0 else value for value in values]).tolist()
    return logs


#: Features of encoded rows.
#:
#: Args:
#:     encoded: shape (n_rows, n_fields), float64, columns as in ``FIELDS``; NaN = missing, category = its code.
#:
#: Returns:
#:     Shape (n_rows, n_columns), float64, columns as in :func:`column_names`; NaN = to be imputed. A nominal
#:     category is never NaN. Rows do not depend on each other.
derive: Final = Derivation(rows=_derive_rows, row=_derive_row)


def column_names() -> tuple[str, ...]:
    """Names of the feature columns: the fields, then the derived columns."""
    return (*_POSITION, *_derived([0.0] * len(FIELDS), max, _log))
