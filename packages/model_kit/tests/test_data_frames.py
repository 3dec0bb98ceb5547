"""Estimators that take a DataFrame, as a notebook has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_kit.errors import DefinitionError
from model_kit.scoring.decoding import MISSING_TEXT, UNSEEN_TEXT, FrameMaker
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Field, Row, Target, fit_spec
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.parts import takes_frame
from model_kit.training.evaluation import fit
from model_kit.training.train import train
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_selection import SelectPercentile, chi2
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler, TargetEncoder

MakeDefinition = Callable[..., ModelDefinition]
NUMBERS, TEXTS = ["area", "rooms"], ["town", "heating"]


def by_name(numbers: Any = None, texts: Any = None) -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", numbers or make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("texts", texts or OneHotEncoder(handle_unknown="ignore"), TEXTS),
        ]
    )


def by_dtype() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=np.number)),
            ("c", OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
        ]
    )


_FREQUENT = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
_CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
#: Folded, but for the two that have no rule.
PIPELINES: dict[str, Any] = {
    "most frequent text": make_pipeline(by_name(texts=_FREQUENT), Ridge()),
    "first level dropped": make_pipeline(by_name(texts=OneHotEncoder(drop="first", handle_unknown="ignore")), Ridge()),
    "codes": make_pipeline(by_name("passthrough", _CODES), HistGradientBoostingRegressor(max_iter=9, random_state=0)),
    "mean targets": make_pipeline(by_name(texts=TargetEncoder(target_type="continuous", cv=KFold(3))), Ridge()),
    "logarithm": TransformedTargetRegressor(make_pipeline(by_name(), Ridge()), func=np.log, inverse_func=np.exp),
    "by name": make_pipeline(by_name(), Ridge()),
    "by dtype": make_pipeline(by_dtype(), Lasso()),
    "network": make_pipeline(by_name(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0)),
    "powers": make_pipeline(by_name(numbers=make_pipeline(SimpleImputer(), PowerTransformer())), Ridge()),
    "search": GridSearchCV(make_pipeline(by_name(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=3),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_notebooks_pipeline_is_served_and_predicts_what_it_does_there(
    name: str, flats: Dataset, flats_frame: pd.DataFrame, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    definition = flat_definition(PIPELINES[name])
    frame, y = flats_frame.drop(columns="rent"), flats_frame["rent"]
    expected = clone(PIPELINES[name]).fit(frame, y).predict(frame)
    card = train(definition, flats, tmp_path / "bundle", cv=False)
    model = definition.load_bundle(tmp_path / "bundle")
    model.check()
    assert card["runtime"]["kind"] == "onnx"
    assert card["graph"]["folded"] is (name not in {"network", "powers"}), card["graph"]["reason"]
    assert card["runtime"]["input"] == "frame"
    found = Predictor(model)([*flats.rows, {"area": 70, "town": "Rom", "heating": None}, {}])
    assert np.array(found.predictions[:200], float) == pytest.approx(expected, rel=2e-5, abs=1e-4)
    assert found.predictions[200] is not None
    assert not found.errors


def test_encoder_that_would_refuse_a_new_level_scores_it_and_training_says_so(
    flats: Dataset, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    told: list[str] = []
    estimator = make_pipeline(by_name(texts=OneHotEncoder()), Ridge())
    train(flat_definition(estimator), flats, tmp_path / "bundle", cv=False, report=told.append)
    assert "OneHotEncoder scores levels that it never saw, instead of failing" in told
    assert estimator[0].transformers[1][1].handle_unknown == "error", "the declared one stays as it is"


def test_missing_numbers_get_medians_where_the_pipeline_has_no_imputation(
    flats: Dataset, flats_frame: pd.DataFrame, flat_definition: MakeDefinition, tmp_path: Path
) -> None:
    definition = flat_definition(make_pipeline(by_name(numbers=StandardScaler()), Ridge()))
    card = train(definition, flats, tmp_path / "bundle", cv=False)
    assert (card["imputation"], card["preprocessing"]) == ("kit", "package")
    typical = fit(definition, flats.rows, flats.target).spec.learned["area"].typical
    frame = flats_frame.drop(columns="rent").fillna({"area": typical})
    expected = clone(definition.estimator).fit(frame, flats.target).predict(frame)
    found = definition.load_bundle(tmp_path / "bundle").predict(flats.rows)
    assert found == pytest.approx(expected, rel=2e-5, abs=1e-4)


def test_trees_get_missing_values_as_they_are(flats: Dataset, flat_definition: MakeDefinition) -> None:
    fitted = fit(
        flat_definition(make_pipeline(by_name(numbers="passthrough"), HistGradientBoostingRegressor(max_iter=5))),
        flats.rows,
        flats.target,
    )
    assert fitted.imputation == "package"
    assert np.isnan(fitted.inputs(flats.rows)["area"]).sum() == 10


def test_target_is_not_centred_for_a_pipeline_that_takes_its_logarithm(
    flats: Dataset, flats_frame: pd.DataFrame, flat_definition: MakeDefinition
) -> None:
    estimator = TransformedTargetRegressor(make_pipeline(by_name(), Ridge()), func=np.log, inverse_func=np.exp)
    fitted = fit(flat_definition(estimator), flats.rows, flats.target)
    frame = flats_frame.drop(columns="rent")
    assert fitted.spec.target.offset == 0
    assert fitted.predict(flats.rows) == pytest.approx(
        clone(estimator).fit(frame, flats.target).predict(frame), rel=1e-6
    )


def test_columns_are_decoded_as_a_table_has_them() -> None:
    fields = (
        Field("size", "number", ""),
        Field("town", "category", ""),
        Field("lift", "boolean", ""),
        Field("garden", "boolean", ""),
        Field("day", "date", ""),
    )
    rows: list[Row] = [
        {"size": 1.1, "town": "Ulm", "lift": True, "garden": None, "day": "1970-01-03"},
        {"town": "Bonn", "lift": True, "garden": True},
    ]
    spec = fit_spec(fields, Target("rent"), rows, rare_below=1)
    given: list[Row] = [*rows, {"size": None, "town": None}, {"town": "Rom"}]
    frame = FrameMaker(spec, impute=(), single=False)
    found = frame.frame(frame.encode(given))
    assert found["size"][0] == 1.1
    assert found["size"].isna().tolist() == [False, True, True, True]
    assert found["town"].tolist()[:2] == ["Ulm", "Bonn"]
    assert pd.isna(found["town"][2])
    assert found["town"][3] == UNSEEN_TEXT
    assert found["lift"].tolist() == [True] * 4, "never missing in training"
    assert found["garden"].tolist()[1] == 1.0
    assert found["garden"].isna().tolist() == [True, False, True, True]
    assert found["day"][0] == 2.0
    rounded = FrameMaker(spec, impute=spec.names, single=True)
    columns = rounded.columns(rounded.encode(given), MISSING_TEXT)
    assert columns["size"].tolist() == [float(np.float32(1.1))] * 4
    assert columns["town"].tolist() == ["Ulm", "Bonn", "", UNSEEN_TEXT]
    assert columns["day"].tolist() == [2.0] * 4


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (Ridge(), False),
        (make_pipeline(StandardScaler(), Ridge()), False),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), [0])]), Ridge()), False),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), slice("area", "town"))]), Ridge()), True),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), pd.Index(["area"]))]), Ridge()), True),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), list)]), Ridge()), True),
        (TransformedTargetRegressor(make_pipeline(by_dtype(), Ridge())), True),
        (make_pipeline(OneHotEncoder(), Ridge()), True),
        (HistGradientBoostingRegressor(categorical_features=["town"]), True),
        (HistGradientBoostingRegressor(categorical_features=[0]), False),
    ],
)
def test_whether_an_estimator_takes_a_frame_is_told_by_how_it_chooses_columns(estimator: Any, expected: bool) -> None:
    assert takes_frame(estimator) is expected


def test_columns_by_name_and_derived_features_are_refused_together(
    flats: Dataset, flat_definition: MakeDefinition
) -> None:
    definition = flat_definition(make_pipeline(by_name(), Ridge()), derive=lambda encoded: encoded)
    with pytest.raises(DefinitionError, match="chooses columns by name, and derive makes features that have none"):
        fit(definition, flats.rows, flats.target)


def titanic() -> pd.DataFrame:
    """Passengers made up, with the columns that scikit-learn's example has."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "pclass": random.integers(1, 4, 400),
            "sex": random.choice(["female", "male"], 400),
            "age": random.uniform(1, 80, 400).round(),
            "fare": random.gamma(2, 20, 400).round(2),
            "embarked": random.choice(["C", "Q", "S"], 400),
        }
    )
    odds = 2.0 * (frame["sex"] == "female") - frame["pclass"] + 1
    frame["survived"] = (random.random(400) < 1 / (1 + np.exp(-odds))).astype(int)
    frame.loc[::9, "age"] = np.nan
    frame.loc[3::70, "embarked"] = np.nan
    return frame


def test_example_of_scikit_learns_documentation_is_served_unchanged(tmp_path: Path) -> None:
    """Column Transformer with Mixed Types, as of 1.9; its data are on OpenML, here they are made up."""
    numeric_features = ["age", "fare"]
    numeric_transformer = Pipeline(steps=[("imputer", SimpleImputer(strategy="median")), ("scaler", StandardScaler())])
    categorical_features = ["embarked", "sex", "pclass"]
    categorical_transformer = Pipeline(
        steps=[
            ("encoder", OneHotEncoder(handle_unknown="ignore")),
            ("selector", SelectPercentile(chi2, percentile=50)),
        ]
    )
    preprocessor = ColumnTransformer(
        transformers=[
            ("num", numeric_transformer, numeric_features),
            ("cat", categorical_transformer, categorical_features),
        ]
    )
    clf = Pipeline(steps=[("preprocessor", preprocessor), ("classifier", LogisticRegression())])

    frame = titanic()
    X, y = frame.drop(columns="survived"), frame["survived"]  # noqa: N806 - as the example has it
    fields = (
        Field("pclass", "integer", ""),
        Field("sex", "category", ""),
        Field("age", "number", ""),
        Field("fare", "number", ""),
        Field("embarked", "category", ""),
    )
    rows: list[Row] = [
        {str(name): None if pd.isna(value) else value for name, value in row.items()} for row in X.to_dict("records")
    ]
    target = Target("survived", kind="class", classes=(0, 1))
    definition = ModelDefinition("titanic", target, fields, clf, package="model_kit.testing")
    dataset = Dataset("titanic", "0" * 64, True, tuple(map(str, range(400))), tuple(rows), y.to_numpy())
    card = train(definition, dataset, tmp_path / "bundle", cv=False)
    found = definition.load_bundle(tmp_path / "bundle").predict(rows)
    assert card["graph"]["folded"]
    assert np.abs(found - clone(clf).fit(X, y).predict_proba(X)).max() < 1e-6
