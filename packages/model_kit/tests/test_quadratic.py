"""The collapsed support vector regression."""

from __future__ import annotations

import numpy as np
import pytest
from model_kit.training.estimators.quadratic import QuadraticSVR
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.svm import SVR

N_ROWS = 151
GAMMA, COST, EPSILON, TOLERANCE = 0.05, 2.0, 0.01, 1e-8


@pytest.fixture(scope="module")
def data() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(1)
    x = random.normal(size=(N_ROWS, 6))
    return x, x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + 0.1 * random.normal(size=N_ROWS)


def test_it_predicts_what_the_kernel_machine_predicts(data: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    x, y = data
    kernel = SVR(kernel="poly", degree=2, coef0=1, gamma=GAMMA, C=COST, epsilon=EPSILON, tol=TOLERANCE).fit(x, y)
    collapsed = QuadraticSVR(gamma=GAMMA, C=COST, epsilon=EPSILON, tol=TOLERANCE).fit(x, y)
    new = np.random.default_rng(2).normal(size=(40, 6)) * 3
    np.testing.assert_allclose(collapsed.predict(new), kernel.predict(new), rtol=0, atol=1e-10)
    # Products are what it is for: a linear function explains less than half.
    assert collapsed.score(x, y) > 0.95


def test_it_keeps_coefficients_only(data: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    x, y = data
    fitted = QuadraticSVR(gamma=GAMMA, C=COST, epsilon=EPSILON, tol=TOLERANCE).fit(x, y)
    shapes = {name: np.shape(value) for name, value in vars(fitted).items() if name.endswith("_")}
    assert shapes == {"quadratic_": (6, 6), "linear_": (6,), "intercept_": (), "n_features_in_": ()}
    np.testing.assert_allclose(fitted.quadratic_, fitted.quadratic_.T, rtol=0, atol=1e-12)


def test_a_clone_has_the_same_parameters() -> None:
    assert clone(QuadraticSVR(gamma=1.0, C=3.0)).get_params() == {"gamma": 1.0, "C": 3.0, "epsilon": 0.03, "tol": 1e-3}
