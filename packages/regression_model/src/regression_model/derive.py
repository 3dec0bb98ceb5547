"""From the encoded fields to the features: stateless, row by row, plain arithmetic.

The matrix has one column for each field, with what a null or unseen level *means* filled in where that is known,
and after these the derived columns. What has to be learned from data, such as a median, is the estimator's business:
an unknown number stays NaN here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
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


_NOMINAL: Final = [i for i, field in enumerate(FIELDS) if field.kind == "category" and not field.ordered]
_ORDERED: Final = [i for i, field in enumerate(FIELDS) if field.ordered]
_ORDERED_OR_ABSENT: Final = [i for i in _ORDERED if FIELDS[i].null_means is not None]


def _resolve(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """The fields' columns with what a null or an unseen level means; same shape."""
    fields = encoded.copy()
    nominal = fields[:, _NOMINAL]
    fields[:, _NOMINAL] = np.where(np.isnan(nominal), ABSENT, nominal)
    # What is not there ranks below the lowest level, which is 1.
    absent = fields[:, _ORDERED_OR_ABSENT]
    fields[:, _ORDERED_OR_ABSENT] = np.where(np.isnan(absent), 0.0, absent)
    # An unseen level has no place in the order.
    ordered = fields[:, _ORDERED]
    fields[:, _ORDERED] = np.where(ordered == UNSEEN, np.nan, ordered)
    return fields


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + x), with a negative x taken as 0."""
    return np.log1p(np.maximum(values, 0.0))


def _derived(fields: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Derived columns by name, in order; each has shape (n_rows,)."""

    def of(name: str) -> NDArray[np.float64]:
        return fields[:, _POSITION[name]]

    quality = of("OverallQual")
    condition = of("OverallCond")
    living = of("GrLivArea")
    basement = of("TotalBsmtSF")
    finished_basement = of("BsmtFinSF1") + of("BsmtFinSF2")
    total = living + basement
    finished = living + finished_basement
    porches = of("WoodDeckSF") + of("OpenPorchSF") + of("EnclosedPorch") + of("3SsnPorch") + of("ScreenPorch")
    baths = of("FullBath") + _HALF * of("HalfBath")
    all_baths = baths + of("BsmtFullBath") + _HALF * of("BsmtHalfBath")
    age = np.maximum(of("YrSold") - of("YearBuilt"), 0.0)
    since_remodelled = np.maximum(of("YrSold") - of("YearRemodAdd"), 0.0)
    log_age = _log(age)
    log_lot = _log(of("LotArea"))
    log_living = _log(living)
    log_total = _log(total)
    grades = of("ExterQual") + of("KitchenQual") + of("BsmtQual") + of("HeatingQC")
    comforts = of("FireplaceQu") + of("GarageFinish") + of("BsmtExposure")
    return {
        "LogLotArea": log_lot,
        "LogLotFrontage": _log(of("LotFrontage")),
        "LogLiving": log_living,
        "LogFirstFloor": _log(of("1stFlrSF")),
        "LogBasement": _log(basement),
        "LogGarage": _log(of("GarageArea")),
        "LogVeneer": _log(of("MasVnrArea")),
        "LogOpenPorch": _log(of("OpenPorchSF")),
        "LogDeck": _log(of("WoodDeckSF")),
        "TotalArea": total,
        "LogTotalArea": log_total,
        "FinishedArea": finished,
        "LogFinishedArea": _log(finished),
        "LogBasementFinished": _log(finished_basement),
        "UnfinishedShare": of("BsmtUnfSF") / np.maximum(basement, 1.0),
        "PorchArea": porches,
        "Baths": all_baths,
        "BathsPerBedroom": all_baths / np.maximum(of("BedroomAbvGr"), 1.0),
        "AreaPerRoom": living / np.maximum(of("TotRmsAbvGrd"), 1.0),
        "LotPerArea": log_lot - log_living,
        "Age": age,
        "LogAge": log_age,
        "SinceRemodelled": since_remodelled,
        "LogSinceRemodelled": _log(since_remodelled),
        "SoldAt": of("YrSold") + of("MoSold") / _MONTHS,
        "QualityCondition": quality * condition,
        "QualityArea": quality * log_total,
        "QualityTotalArea": quality * total,
        "ConditionAge": (condition - _TYPICAL_CONDITION) * log_age,
        "Grades": grades,
        "GradesArea": (grades - _TYPICAL_GRADES) * log_living,
        "Comforts": comforts,
    }


def derive(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features of encoded rows.

    Args:
        encoded: shape (n_rows, n_fields), float64, columns as in ``FIELDS``; NaN = missing, category = its code.

    Returns:
        Shape (n_rows, n_columns), float64, columns as in :func:`column_names`; NaN = to be imputed. A nominal
        category is never NaN. Rows do not depend on each other.
    """
    fields = _resolve(encoded)
    return np.column_stack([fields, *_derived(fields).values()])


def column_names() -> tuple[str, ...]:
    """Names of the feature columns: the fields, then the derived columns."""
    nothing = np.zeros((1, len(FIELDS)))
    return (*_POSITION, *_derived(nothing))
