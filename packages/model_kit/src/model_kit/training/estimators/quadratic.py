"""Support vector regression with a kernel of degree 2, kept as the quadratic function that it is."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.svm import SVR
from sklearn.utils.validation import check_is_fitted, validate_data


class QuadraticSVR(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """SVR with the kernel (gamma x's + 1)^2, collapsed after fitting into x'Ax + v'x + b.

    An SVR keeps its support vectors, which are training rows. Of degree 2 the sum over them,
    ``sum_i alpha_i (gamma s_i'x + 1)^2 + b``, is a quadratic function of x, and its coefficients are all that is kept.

    Args:
        gamma: scale of the inner product.
        C: cost of an error beyond ``epsilon``.
        epsilon: error that costs nothing.
        tol: tolerance of the solver.

    Attributes:
        quadratic_: A, shape (n_columns, n_columns), symmetric.
        linear_: v, shape (n_columns,).
        intercept_: b.
    """

    def __init__(
        self,
        gamma: float = 4e-4,
        C: float = 10.0,  # noqa: N803 - scikit-learn's name
        epsilon: float = 0.03,
        tol: float = 1e-3,
    ) -> None:
        self.gamma = gamma
        self.C = C
        self.epsilon = epsilon
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit to ``X``, shape (n_rows, n_columns), and ``y``, shape (n_rows,)."""
        matrix, target = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        svr = SVR(
            kernel="poly", degree=2, coef0=1.0, gamma=self.gamma, C=self.C, epsilon=self.epsilon, tol=self.tol
        ).fit(matrix, target)
        alphas, vectors = svr.dual_coef_[0], svr.support_vectors_
        self.quadratic_ = self.gamma**2 * (vectors.T * alphas) @ vectors
        self.linear_ = 2 * self.gamma * alphas @ vectors
        self.intercept_ = float(alphas.sum() + svr.intercept_[0])
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Predictions, shape (n_rows,)."""
        check_is_fitted(self)
        matrix: NDArray[np.float64] = validate_data(self, X, dtype=np.float64, reset=False)
        products: NDArray[np.float64] = np.einsum("ij,ij->i", matrix @ self.quadratic_ + self.linear_, matrix)
        return products + self.intercept_
