"""Small transformers whose arithmetic is the same, bit for bit, in scikit-learn and in the exported graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import KBinsDiscretizer
from sklearn.utils.validation import check_is_fitted, validate_data

#: Code that stands for a missing level of a nominal category; no level has it, nor has what training never saw.
MISSING: Final = -2


class MedianImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fill NaN with the column's lower median.

    The lower median is a value that occurs, so that a column of whole numbers stays one; a mean of the two
    middle values would be no category of the one-hot encoders behind.

    Args:
        nominal: positions of columns of codes of nominal categories, whose medians mean nothing: NaN becomes
            :data:`MISSING` there, a level of its own.
        numbers: fill the other columns too; without it their NaN stay.
        dtype: of the result.

    Attributes:
        medians_: shape (n_columns,), what is filled in; 0 for a column without any value, NaN for nothing.
    """

    def __init__(self, nominal: Sequence[int] = (), *, numbers: bool = True, dtype: str = "float32") -> None:
        self.nominal = nominal
        self.numbers = numbers
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the medians of ``X``, shape (n_rows, n_columns)."""
        matrix = validate_data(self, X, dtype=self.dtype, ensure_all_finite="allow-nan")
        ordered = np.sort(matrix, axis=0)  # NaN goes last
        present = np.count_nonzero(~np.isnan(matrix), axis=0)
        middle = np.maximum(present - 1, 0) // 2
        medians = ordered[middle, np.arange(matrix.shape[1])]
        self.medians_ = np.where(present > 0, medians, 0).astype(self.dtype)
        if not self.numbers:
            self.medians_[:] = np.nan
        self.medians_[list(self.nominal)] = MISSING
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:  # noqa: N803 - scikit-learn's name
        """``X`` with its NaN filled; same shape, of type ``dtype``."""
        check_is_fitted(self)
        matrix = validate_data(self, X, dtype=self.dtype, ensure_all_finite="allow-nan", reset=False)
        return np.where(np.isnan(matrix), self.medians_, matrix)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


class RangeScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip each column to its training range, from the minimum to a high quantile, and scale that range to 0..1.

    A linear model extrapolates beyond the largest few values, where its slope rarely holds; here it is level.

    Args:
        quantile: share of the training rows that lie at or below the upper end. Where the lower end is reached
            already (a column that is nearly constant), the maximum is the upper end.
        dtype: of the result. float32 is too coarse where another scaler follows and the spread is small beside the
            range.

    Attributes:
        low_: shape (n_columns,), float32; lower ends.
        high_: shape (n_columns,), float32; upper ends.
        scale_: shape (n_columns,), ``dtype``; 1 / (high - low), 0 for a constant column.
    """

    def __init__(self, quantile: float = 1.0, *, dtype: str = "float32") -> None:
        self.quantile = quantile
        self.dtype = dtype

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the range of ``X``, shape (n_rows, n_columns)."""
        matrix = validate_data(self, X, dtype=np.float32)
        self.low_ = matrix.min(axis=0)
        # The value at the quantile is one that occurs: no interpolation, hence no rounding.
        high = np.quantile(matrix, self.quantile, axis=0, method="lower").astype(np.float32)
        self.high_ = np.where(high > self.low_, high, matrix.max(axis=0))
        width = (self.high_ - self.low_).astype(self.dtype)
        self.scale_ = np.where(width > 0, 1 / np.where(width > 0, width, 1), 0).astype(self.dtype)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.floating[Any]]:  # noqa: N803 - scikit-learn's name
        """``X`` clipped and scaled to 0..1; same shape, of type ``dtype``."""
        check_is_fitted(self)
        matrix: NDArray[np.floating[Any]] = validate_data(self, X, dtype=self.dtype, reset=False)
        scaled: NDArray[np.floating[Any]] = (np.clip(matrix, self.low_, self.high_) - self.low_) * self.scale_
        return scaled


class QuantileBins(KBinsDiscretizer):  # type: ignore[misc]
    """Bins between quantiles, fewer where values repeat, which is no reason for a warning."""

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Learn the edges of ``X``, shape (n_rows, n_columns)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Bins whose width are too small|Feature .* is constant")
            super().fit(X, y, sample_weight)
        return self
