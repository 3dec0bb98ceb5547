"""What the kit puts in front of a declared estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.errors import DefinitionError, TrainingError
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import InputSpec, fit_spec
from model_kit.testing import ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.preparation import accepts_nan, imputed_by_kit
from model_kit.training.estimators.preprocessing import MISSING, MedianImputer
from model_kit.training.evaluation import fit
from model_kit.training.export import to_onnx
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import AdaBoostRegressor, HistGradientBoostingRegressor, RandomForestRegressor, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVR


def own_columns(final: Any) -> Any:
    """A pipeline that treats the raw columns itself."""
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(ColumnTransformer([("numbers", SimpleImputer(), [0, 1]), ("levels", levels, [2])]), final)


def test_estimator_is_cloned_and_stays_unfitted(rides: Dataset) -> None:
    declared = Ridge()
    first, second = (fit(ride_definition(estimator=declared, derive=None), rides.rows, rides.target) for _ in range(2))
    assert not hasattr(declared, "coef_")
    assert first.estimator is not second.estimator


def test_kit_encodes_categories_and_imputes_for_an_estimator(rides: Dataset) -> None:
    fitted = fit(ride_definition(estimator=LinearRegression(), derive=None), rides.rows, rides.target)
    assert (fitted.preprocessing, fitted.imputation) == ("kit", "kit")
    imputer, encoder, regression = (step for _, step in fitted.estimator.steps)  # type: ignore[attr-defined]
    assert imputer.medians_[2] == MISSING
    assert not np.isnan(imputer.medians_).any()
    # Three numbers, two zones.
    assert encoder.transform(np.zeros((1, 4))).shape == (1, 5)
    assert regression.coef_.shape == (5,)
    assert to_onnx(fitted, rides.rows).graph["folded"]


def test_no_number_is_imputed_for_an_estimator_that_accepts_nan(rides: Dataset) -> None:
    trees = HistGradientBoostingRegressor(max_iter=10)
    fitted = fit(ride_definition(estimator=trees, derive=None), rides.rows, rides.target)
    assert (fitted.preprocessing, fitted.imputation) == ("kit", "package")
    medians = fitted.estimator.steps[0][1].medians_  # type: ignore[attr-defined]
    assert np.isnan(medians).tolist() == [True, True, False, True]
    export = to_onnx(fitted, rides.rows)
    assert export.graph["folded"], export.graph["reason"]


def test_what_cannot_be_folded_is_exported_behind_the_kits_preprocessing(rides: Dataset) -> None:
    fitted = fit(
        ride_definition(estimator=AdaBoostRegressor(n_estimators=5, random_state=0), derive=None),
        rides.rows,
        rides.target,
    )
    export = to_onnx(fitted, rides.rows)
    assert (export.graph["folded"], export.graph["reason"]) == (False, "no rule for AdaBoostRegressor")
    assert export.agreement["generated"] <= 5e-6


def test_pipeline_that_begins_with_columns_of_its_own_is_taken_as_it_is(rides: Dataset) -> None:
    fitted = fit(ride_definition(estimator=own_columns(Ridge()), derive=None), rides.rows, rides.target)
    assert (fitted.preprocessing, fitted.imputation) == ("package", "package")
    assert type(fitted.estimator.steps[0][1]) is ColumnTransformer  # type: ignore[attr-defined]


def test_features_that_a_package_derives_are_not_encoded_again(rides: Dataset) -> None:
    fitted = fit(ride_definition(estimator=LinearRegression()), rides.rows, rides.target)
    assert (fitted.preprocessing, fitted.imputation) == ("package", "kit")
    assert [type(step) for _, step in fitted.estimator.steps] == [MedianImputer, LinearRegression]  # type: ignore[attr-defined]


def test_function_gets_the_spec_and_medians_where_its_estimator_has_none(rides: Dataset) -> None:
    asked: list[InputSpec] = []

    def make(spec: InputSpec) -> Any:
        asked.append(spec)
        return Ridge()

    fitted = fit(ride_definition(estimator=make, derive=None), rides.rows, rides.target)
    assert asked == [fitted.spec]
    assert (fitted.preprocessing, fitted.imputation) == ("package", "kit")


@pytest.mark.parametrize(
    ("estimator", "accepts"),
    [
        (Ridge(), False),
        (RandomForestRegressor(), True),
        (make_pipeline(StandardScaler(), Ridge()), False),
        (make_pipeline(StandardScaler(), HistGradientBoostingRegressor()), True),
        (make_pipeline("passthrough", SimpleImputer(), Ridge()), True),
        (make_pipeline(MedianImputer(), SVR()), True),
        (own_columns(Ridge()), True),
        (make_pipeline(ColumnTransformer([("n", StandardScaler(), [0])], remainder="passthrough"), Ridge()), False),
        (VotingRegressor([("a", HistGradientBoostingRegressor()), ("b", Ridge())]), False),
        (VotingRegressor([("a", HistGradientBoostingRegressor()), ("b", own_columns(Ridge()))]), True),
        (CalibratedClassifierCV(make_pipeline(SimpleImputer(), LogisticRegression())), True),
        (CalibratedClassifierCV(), False),
        (object(), True),
    ],
)
def test_whether_nan_is_accepted_is_told_by_the_parts(estimator: Any, accepts: bool) -> None:
    assert accepts_nan(estimator) is accepts


def of_area(numbers: Any, *others: Any, remainder: str = "drop") -> ColumnTransformer:
    """Columns in which the area has imputation of its own."""
    own = ("area", make_pipeline(SimpleImputer(), StandardScaler()), ["area"])
    return ColumnTransformer([own, ("numbers", *numbers), *others], remainder=remainder)


@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize(
    ("columns", "final", "imputed"),
    [
        (of_area(("passthrough", ["rooms", "garden"])), Ridge(), ("rooms", "garden")),
        (of_area((SimpleImputer(), ["rooms"]), ("flag", "passthrough", ["garden"])), Ridge(), ("garden",)),
        (of_area((SimpleImputer(), ["rooms"])), Ridge(), ()),
        (of_area(("drop", ["town", "heating"]), remainder="passthrough"), Ridge(), ("rooms", "garden")),
        (of_area((StandardScaler(), make_column_selector("rooms"))), Ridge(), ("rooms",)),
        (of_area((StandardScaler(), slice("rooms", "rooms"))), HistGradientBoostingRegressor(max_iter=2), ()),
        (of_area((StandardScaler(), ["area"])), Ridge(), ("area",)),
    ],
)
def test_of_a_frame_only_what_the_estimator_refuses_is_imputed(
    columns: ColumnTransformer,
    final: Any,
    imputed: tuple[str, ...],
    is_fitted: bool,
    flats: Dataset,
    flats_frame: pd.DataFrame,
    flat_definition: Callable[..., ModelDefinition],
) -> None:
    estimator = make_pipeline(columns, final)
    definition = flat_definition(estimator)
    spec = fit_spec(definition.fields, definition.target, flats.rows)
    if is_fitted:
        estimator = clone(estimator).fit(flats_frame.drop(columns="rent").fillna({"area": 80.0}), flats.target)
    assert imputed_by_kit(estimator, spec, is_fitted=is_fitted) == imputed


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (Ridge, r"^rides: estimator is the class Ridge; declare Ridge\(\.\.\.\)$"),
        (LogisticRegression(), "predicts classes, and the target is a number; declare a regressor"),
        (StandardScaler(), "the estimator, a StandardScaler, has no fit and predict"),
        (3.0, "estimator is a float; declare a scikit-learn regressor, or a function"),
        (lambda: None, "must take one argument, the fitted spec"),
    ],
)
def test_what_is_no_regressor_is_refused_and_says_what_to_declare(rides: Dataset, estimator: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        fit(ride_definition(estimator=estimator), rides.rows, rides.target)


def test_estimator_that_refuses_the_data_says_what_it_learns(rides: Dataset) -> None:
    logarithm = TransformedTargetRegressor(HistGradientBoostingRegressor(loss="poisson"))
    with pytest.raises(TrainingError, match="it learns the logarithm of fare less its mean") as raised:
        fit(ride_definition(estimator=logarithm), rides.rows, rides.target)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_imputer_gives_nominal_codes_a_level_of_their_own() -> None:
    data = np.array([[1.0, 3], [np.nan, np.nan], [5, 4]])
    assert MedianImputer([1], dtype="float64").fit_transform(data)[1].tolist() == [1, MISSING]
    found = MedianImputer([1], numbers=False, dtype="float64").fit_transform(data)[1]
    assert np.isnan(found[0])
    assert found[1] == MISSING
