"""What an estimator is made of, and whether its input is a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import _CalibratedClassifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

#: Encoders of categories: before them the kit has nothing to encode.
_ENCODERS: Final = (OneHotEncoder, OrdinalEncoder, TargetEncoder)
#: Losses and objectives of a positive target.
_POSITIVE: Final = ("poisson", "gamma", "tweedie")


def parts(estimator: Any) -> Iterator[BaseEstimator]:
    """Yield an estimator and all that are in it, whether they are parameters or fitted."""
    stack, seen = [estimator], set()
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, BaseEstimator):
            yield value
            stack += vars(value).values()
        elif isinstance(value, _CalibratedClassifier):  # what a fitted CalibratedClassifierCV has a list of
            stack.append(value.estimator)
        elif isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
            stack += list(value)


def first_step(estimator: Any) -> Any:
    """What sees the input first: the first step of a pipeline."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[0][1]
    return estimator


def takes_frame(estimator: Any) -> bool:
    """Whether an estimator's input is a DataFrame with the fields as columns, as a notebook has it.

    It is if a part chooses columns by name or by a function, or if it begins with an encoder of categories.
    """
    if isinstance(first_step(estimator), _ENCODERS):
        return True
    return any(chooses_by_name(part) for part in parts(estimator))


def chooses_by_name(part: BaseEstimator) -> bool:
    """Whether a part names the columns that it takes."""
    if isinstance(part, ColumnTransformer):
        return any(_is_by_name(columns) for _, _, columns in part.transformers)
    named = getattr(part, "categorical_features", None)
    return isinstance(named, list | tuple | np.ndarray) and _is_by_name(named)


def _is_by_name(columns: Any) -> bool:
    if isinstance(columns, slice):
        columns = [columns.start, columns.stop]
    if isinstance(columns, str) or callable(columns):
        return True
    # Columns of a DataFrame are an Index.
    return hasattr(columns, "__iter__") and any(isinstance(one, str) for one in columns)


def name_columns(estimator: Any) -> None:
    """Replace an Index of columns in ColumnTransformers by a list, which needs no pandas to be read."""

    def listed(columns: Any) -> Any:
        return columns.tolist() if type(columns).__module__.startswith("pandas.") else columns

    for part in parts(estimator):
        if isinstance(part, ColumnTransformer):
            for attribute in ("transformers", "transformers_"):
                if hasattr(part, attribute):
                    named = [(name, one, listed(columns)) for name, one, columns in getattr(part, attribute)]
                    setattr(part, attribute, named)
            if hasattr(part, "_columns"):
                part._columns = [listed(columns) for columns in part._columns]  # noqa: SLF001 - it has no other name


def accept_unseen(estimator: Any) -> list[str]:
    """Make encoders score levels that they never saw, instead of failing; returns the names of those changed."""
    changed = []
    for part in parts(estimator):
        if getattr(part, "handle_unknown", None) != "error":
            continue
        if isinstance(part, OneHotEncoder):
            part.handle_unknown = "ignore"
        elif isinstance(part, OrdinalEncoder):
            part.handle_unknown, part.unknown_value = "use_encoded_value", -1
        else:
            continue
        changed.append(type(part).__name__)
    return changed


def needs_the_target_itself(estimator: Any) -> bool:
    """Whether an estimator gives something else where a constant is taken from the target: of a positive one's log."""
    for part in parts(estimator):
        if isinstance(part, TransformedTargetRegressor) or getattr(part, "fit_intercept", True) is False:
            return True
        if type(part).__name__ in {"PoissonRegressor", "GammaRegressor", "TweedieRegressor"}:
            return True
        if any(
            str(getattr(part, name, "")).removeprefix("count:").startswith(_POSITIVE)
            for name in ("loss", "objective", "criterion")
        ):
            return True
    return False
