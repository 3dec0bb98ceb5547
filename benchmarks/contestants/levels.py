"""The first step of the naive servers' pipeline, in a module of its own so that a pickle can name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin


class Codes(dict[Any, int]):
    """Level -> code; -1 for a level that training never saw."""

    def __missing__(self, level: Any) -> int:
        return -1


class Levels(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A DataFrame of records -> numbers, shape (n_rows, n_fields): each level becomes its code, null becomes NaN.

    Args:
        codes: column -> codes of its levels.
    """

    def __init__(self, codes: Mapping[str, Codes]) -> None:
        self.codes = codes

    def fit(self, X: pd.DataFrame, y: Any = None) -> Levels:  # noqa: N803 - scikit-learn's name
        """Nothing to learn."""
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:  # noqa: N803
        """Columns in the order of the DataFrame."""
        # Of five ways to write this, the fastest for one row: 4 ms; OrdinalEncoder takes 13.
        X = X.copy()  # noqa: N806
        for column, codes in self.codes.items():
            X[column] = X[column].map(codes, na_action="ignore")
        return X.to_numpy(dtype="float64", na_value=np.nan)
