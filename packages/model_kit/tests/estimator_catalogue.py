"""What the table of estimators in docs/own-model.md is about: scikit-learn's own, and pipelines as notebooks have them."""

from __future__ import annotations

import inspect
from typing import Any, Final

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Row, Target
from model_kit.training.dataset import Dataset
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.feature_selection import SelectFromModel, SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVR, LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators
from xgboost import XGBRegressor

N_ROWS: Final = 150
NUMBERS, TEXTS = ["area", "rooms", "age"], ["town", "heating"]
FIELDS: Final = (
    *(Field(name, "number", "") for name in NUMBERS),
    *(Field(name, "category", "") for name in TEXTS),
    Field("garden", "boolean", ""),
)


def _table() -> tuple[list[Row], Any]:
    random = np.random.default_rng(5)
    numbers = np.column_stack(
        [random.normal(80, 20, N_ROWS).round(1), random.integers(1, 6, N_ROWS), random.integers(0, 100, N_ROWS)]
    )
    towns, heating = random.choice(["Bonn", "Köln", "Ulm"], N_ROWS), random.choice(["gas", "oil"], N_ROWS)
    rents = 300 + 10 * numbers[:, 0] + 50 * numbers[:, 1] - numbers[:, 2] + 100 * (towns == "Köln")
    rows: list[Row] = [
        {"area": area, "rooms": rooms, "age": age, "town": str(town), "heating": str(fuel), "garden": bool(garden)}
        for (area, rooms, age), town, fuel, garden in zip(
            numbers.tolist(), towns, heating, random.random(N_ROWS) < 0.4, strict=True
        )
    ]
    return rows, rents + random.normal(0, 20, N_ROWS)


ROWS, RENTS = _table()
#: Position of the class of each flat, about a third each of three.
CLASSES: Final = np.digitize(RENTS, np.quantile(RENTS, [1 / 3, 2 / 3]))


def data(kind: str) -> Dataset:
    """The table, with the rent or with its class as target."""
    ids = tuple(map(str, range(N_ROWS)))
    return Dataset("flats", "0" * 64, True, ids, tuple(ROWS), RENTS if kind == "regressor" else CLASSES)


def definition(estimator: Any, kind: str, runtime: Any = "onnx") -> ModelDefinition:
    """A model of that table."""
    target = Target("rent")
    if kind == "classifier":
        target = Target("level", kind="class", classes=("high", "low", "middle"))
    return ModelDefinition("flats", target, FIELDS, estimator, package="model_kit.testing", runtime=runtime)


def scikit_learns_own() -> dict[str, tuple[str, Any]]:
    """Name -> kind and an estimator of each class of regressors and classifiers, with its defaults."""
    found = {}
    for kind, inner in (("regressor", Ridge()), ("classifier", LogisticRegression())):
        for name, make in all_estimators(type_filter=kind):
            given = {
                "estimator": inner,
                "estimators": [("linear", inner), ("again", inner)],
            }
            needed = {
                key: given[key]
                for key, one in inspect.signature(make).parameters.items()
                if one.default is inspect.Parameter.empty
            }
            random = {"random_state": 0} if "random_state" in inspect.signature(make).parameters else {}
            found[name] = (kind, make(**needed, **random))
    return found


def columns(numbers: Any = None, texts: Any = None) -> ColumnTransformer:
    """Numbers imputed and scaled, texts as indicators, chosen by name."""
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    parts = [("numbers", numbers or scaled, NUMBERS), ("texts", texts or OneHotEncoder(handle_unknown="ignore"), TEXTS)]
    return ColumnTransformer(parts)


def _imputed(transformer: Any) -> Pipeline:
    return make_pipeline(SimpleImputer(), transformer)


_BY_DTYPE: Final = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include=np.number)),
        ("texts", OneHotEncoder(), make_column_selector(dtype_exclude=np.number)),
    ]
)
_CODES: Final = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
_FREQUENT: Final = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
_FOREST: Final = RandomForestRegressor(30, random_state=0)
_RIDGE_AND_TREE: Final = [("ridge", Ridge()), ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]

#: Name -> kind and pipeline; "columns" are :func:`columns`.
PIPELINES: Final[dict[str, tuple[str, Any]]] = {
    name: ("classifier" if "lassifi" in name or "LogisticRegression" in name else "regressor", estimator)
    for name, estimator in {
        "columns, Ridge": make_pipeline(columns(), Ridge()),
        "columns by dtype, Lasso": make_pipeline(_BY_DTYPE, Lasso()),
        "columns with the most frequent text imputed, Ridge": make_pipeline(columns(texts=_FREQUENT), Ridge()),
        "OrdinalEncoder in columns, RandomForestRegressor": make_pipeline(columns("passthrough", _CODES), _FOREST),
        "OrdinalEncoder in columns, HistGradientBoostingRegressor": make_pipeline(
            columns("passthrough", _CODES), HistGradientBoostingRegressor(random_state=0)
        ),
        "HistGradientBoostingRegressor, categories by name": HistGradientBoostingRegressor(
            categorical_features=TEXTS, random_state=0
        ),
        "columns, GradientBoostingRegressor": make_pipeline(columns(), GradientBoostingRegressor(random_state=0)),
        "columns, LGBMRegressor": make_pipeline(columns(), LGBMRegressor(verbose=-1, random_state=0)),
        "columns, XGBRegressor": make_pipeline(columns(), XGBRegressor(n_estimators=50, random_state=0)),
        "TransformedTargetRegressor(log1p) of columns, Ridge": TransformedTargetRegressor(
            make_pipeline(columns(), Ridge()), func=np.log1p, inverse_func=np.expm1
        ),
        "TransformedTargetRegressor(log) of columns, RandomForestRegressor": TransformedTargetRegressor(
            make_pipeline(columns("passthrough"), _FOREST), func=np.log, inverse_func=np.exp
        ),
        "TransformedTargetRegressor(QuantileTransformer) of columns, Ridge": TransformedTargetRegressor(
            make_pipeline(columns(), Ridge()), transformer=QuantileTransformer(n_quantiles=50)
        ),
        "columns, StackingRegressor": make_pipeline(columns(), StackingRegressor(_RIDGE_AND_TREE, RidgeCV(), cv=3)),
        "columns, VotingRegressor": make_pipeline(columns(), VotingRegressor(_RIDGE_AND_TREE)),
        "columns, BaggingRegressor": make_pipeline(columns(), BaggingRegressor(Ridge(), 5, random_state=0)),
        "columns, PCA, LinearRegression": make_pipeline(
            columns(texts=OneHotEncoder(handle_unknown="ignore", sparse_output=False)), PCA(4), LinearRegression()
        ),
        "columns, SelectKBest, Ridge": make_pipeline(columns(), SelectKBest(f_regression, k=4), Ridge()),
        "columns, SelectFromModel, Ridge": make_pipeline(columns(), SelectFromModel(Lasso()), Ridge()),
        "SplineTransformer in columns, Ridge": make_pipeline(
            columns(_imputed(SplineTransformer(extrapolation="linear"))), Ridge()
        ),
        "PolynomialFeatures in columns, Ridge": make_pipeline(
            columns(make_pipeline(SimpleImputer(), PolynomialFeatures(2), StandardScaler())), Ridge()
        ),
        "KBinsDiscretizer in columns, Ridge": make_pipeline(
            columns(_imputed(KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"))), Ridge()
        ),
        "TargetEncoder in columns, Ridge": make_pipeline(columns(texts=TargetEncoder(random_state=0)), Ridge()),
        "PowerTransformer in columns, ElasticNet": make_pipeline(columns(_imputed(PowerTransformer())), ElasticNet()),
        "FunctionTransformer(log1p) in columns, Ridge": make_pipeline(
            columns(_imputed(FunctionTransformer(np.log1p))), Ridge()
        ),
        "GridSearchCV of columns, Ridge": GridSearchCV(
            make_pipeline(columns(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=3
        ),
        "columns, MLPRegressor": make_pipeline(
            columns(), MLPRegressor(hidden_layer_sizes=(20,), max_iter=200, random_state=0)
        ),
        "columns, PoissonRegressor": make_pipeline(columns(), PoissonRegressor()),
        "columns, KNeighborsRegressor": make_pipeline(columns(), KNeighborsRegressor()),
        "columns, SVR": make_pipeline(columns(), SVR()),
        "columns, LogisticRegression": make_pipeline(columns(), LogisticRegression(max_iter=1000)),
        "columns, RandomForestClassifier": make_pipeline(columns(), RandomForestClassifier(30, random_state=0)),
        "OrdinalEncoder in columns, HistGradientBoostingClassifier": make_pipeline(
            columns("passthrough", _CODES), HistGradientBoostingClassifier(random_state=0)
        ),
        "columns, LGBMClassifier": make_pipeline(columns(), LGBMClassifier(verbose=-1, random_state=0)),
        "CalibratedClassifierCV of columns, LinearSVC": CalibratedClassifierCV(
            make_pipeline(columns(), LinearSVC(random_state=0)), cv=3
        ),
    }.items()
}
