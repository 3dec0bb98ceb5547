"""Folding of what people bring: classifiers, boosted trees of other libraries, projections, stacks, links."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from model_kit.errors import CannotFoldError
from model_kit.scoring.classes import to_probabilities
from model_kit.scoring.decoding import MISSING_CODE, UNSEEN_TEXT
from model_kit.scoring.runtimes import Graph
from model_kit.training.folding.fold import fold
from model_kit.training.folding.graph import to_graph
from model_kit.training.folding.terms import Number, Texts
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    ElasticNetCV,
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, KFold, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

N_COLUMNS = 6
CATEGORY = 5
LARGEST = np.finfo(np.float32).max
Matrix = NDArray[np.float32]


def make_matrix(n_rows: int, seed: int, *, gaps: float, strange: bool) -> Matrix:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(n_rows, CATEGORY)) * [1, 10, 0.5, 5, 2] + [0, 20, 1, -3, 0]
    matrix = np.column_stack([numbers, random.integers(0, 9, n_rows)]).astype(np.float32)
    if strange:
        odd = np.asarray(random.random(matrix.shape) < 0.1)
        matrix[:, :CATEGORY] = np.where(odd[:, :CATEGORY], matrix[:, :CATEGORY] * 50, matrix[:, :CATEGORY])
        never = random.choice([-1, 9, 77], n_rows)
        matrix[:, CATEGORY] = np.where(odd[:, CATEGORY], never, matrix[:, CATEGORY])
    matrix[random.random(matrix.shape) < gaps] = np.nan
    return matrix


def make_target(matrix: Matrix) -> NDArray[np.float64]:
    number = np.nan_to_num(matrix.astype(np.float64))
    effect = np.isin(number[:, CATEGORY], [1, 4, 5]) * 1.5
    noise = np.random.default_rng(5).normal(size=len(matrix)) * 0.3
    return np.asarray(number[:, 0] + 0.05 * number[:, 1] * (number[:, 2] > 1) + effect + noise)


def run(estimator: Any, rows: Matrix) -> NDArray[Any]:
    folded = fold(estimator, N_COLUMNS)
    raw = Graph(to_graph(folded.outputs, N_COLUMNS, folded.link).SerializeToString()).raw(rows)
    if folded.output == "value":
        return raw[:, 0]
    return to_probabilities(raw, folded.output, len(estimator.classes_))


def codes_alone(estimator: Any) -> Any:
    """What takes no missing values and no negative ones."""
    return make_pipeline(MinMaxScaler(clip=True), estimator)


def parts(numbers: Any, category: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", numbers, list(range(CATEGORY))), ("category", category, [CATEGORY])])


def one_hot(handle_unknown: str = "ignore", **changes: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown=handle_unknown, sparse_output=False, **changes)


def ordinal(**changes: Any) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", **changes)


FOREST = RandomForestRegressor(10, random_state=0)
AVERAGED: dict[str, Any] = {"quantile_method": "averaged_inverted_cdf"}
REGRESSORS: list[tuple[Any, float]] = [
    *((HistGradientBoostingRegressor(max_iter=20, categorical_features=[CATEGORY]), gaps) for gaps in (0.0, 0.2)),
    (HistGradientBoostingRegressor(max_iter=20), 0.2),
    (lightgbm.LGBMRegressor(n_estimators=30, verbose=-1), 0.2),
    (lightgbm.LGBMRegressor(n_estimators=30, verbose=-1), 0.0),
    (lightgbm.LGBMRegressor(n_estimators=5, boosting_type="rf", subsample=0.5, subsample_freq=1, verbose=-1), 0.2),
    (xgboost.XGBRegressor(n_estimators=30), 0.2),
    (xgboost.XGBRegressor(n_estimators=30, objective="reg:absoluteerror"), 0.0),
    (make_pipeline(StandardScaler(), RandomForestRegressor(20, random_state=0)), 0.0),
    (make_pipeline(MinMaxScaler(clip=True), DecisionTreeRegressor(random_state=0)), 0.0),
    (make_pipeline(RobustScaler(), Ridge()), 0.0),
    (make_pipeline(StandardScaler(), PCA(3, whiten=True), LinearRegression()), 0.0),
    (make_pipeline(TruncatedSVD(3), StandardScaler(), Ridge()), 0.0),
    (make_pipeline(SelectKBest(f_regression, k=3), Ridge()), 0.0),
    (make_pipeline(VarianceThreshold(), DecisionTreeRegressor(max_depth=4)), 0.0),
    (make_pipeline(StandardScaler(), PLSRegression(2)), 0.0),
    (BaggingRegressor(DecisionTreeRegressor(max_depth=5), max_features=0.6, random_state=0), 0.0),
    (StackingRegressor([("r", Ridge()), ("f", RandomForestRegressor(10, random_state=0))], ElasticNetCV()), 0.0),
    (StackingRegressor([("r", Ridge())], LinearRegression(), passthrough=True), 0.0),
    (TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), 0.0),
    (
        StackingRegressor(
            [("p", make_pipeline(StandardScaler(), PolynomialFeatures(), Ridge())), ("t", DecisionTreeRegressor())],
            make_pipeline(StandardScaler(), Ridge()),
            passthrough=True,
        ),
        0.0,
    ),
    (GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}), 0.0),
    (make_pipeline(parts(StandardScaler(), ordinal(unknown_value=-1)), FOREST), 0.0),
    (make_pipeline(parts("passthrough", ordinal(unknown_value=-1, encoded_missing_value=-2)), FOREST), 0.2),
    (make_pipeline(parts("passthrough", ordinal(unknown_value=99)), FOREST), 0.2),
    (make_pipeline(parts("passthrough", ordinal(unknown_value=-1, min_frequency=60)), Ridge()), 0.0),
    (make_pipeline(parts("passthrough", ordinal(unknown_value=np.nan)), HistGradientBoostingRegressor()), 0.2),
    (make_pipeline(parts(SimpleImputer(), one_hot()), Ridge()), 0.2),
    (make_pipeline(parts("passthrough", one_hot()), FOREST), 0.2),
    (make_pipeline(parts("passthrough", one_hot("infrequent_if_exist", min_frequency=60)), Ridge()), 0.0),
    (make_pipeline(parts("passthrough", one_hot("warn", max_categories=3)), Ridge()), 0.0),
    (make_pipeline(parts("passthrough", one_hot(max_categories=4, drop="first")), FOREST), 0.0),
    (make_pipeline(parts("passthrough", one_hot()).set_params(transformer_weights={"numbers": 3.0}), FOREST), 0.0),
    (make_pipeline(SimpleImputer(add_indicator=True), Ridge()), 0.2),
    (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), FOREST), 0.2),
    (make_pipeline(FeatureUnion([("i", SimpleImputer()), ("m", MissingIndicator(features="all"))]), Ridge()), 0.2),
    (make_pipeline(StandardScaler(), SimpleImputer(strategy="median"), StandardScaler(), Ridge()), 0.2),
    (make_pipeline(StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.3), FOREST), 0.2),
    (make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True), PolynomialFeatures(), Ridge()), 0.2),
    (make_pipeline(PolynomialFeatures(), Ridge()), 0.0),
    (make_pipeline(parts(StandardScaler(), one_hot()), PolynomialFeatures(interaction_only=True), Ridge()), 0.0),
    (make_pipeline(StandardScaler(), PolynomialFeatures(include_bias=False), PCA(5), LinearRegression()), 0.0),
    (make_pipeline(MinMaxScaler(clip=True), FunctionTransformer(np.log1p), StandardScaler(), Ridge()), 0.0),
    (make_pipeline(MinMaxScaler(clip=True), FunctionTransformer(np.sqrt), PolynomialFeatures(), Ridge()), 0.0),
    (make_pipeline(MinMaxScaler(clip=True), FunctionTransformer(np.exp), Ridge()), 0.0),
    (make_pipeline(MinMaxScaler((1, 2), clip=True), FunctionTransformer(np.log10), Ridge()), 0.0),
    (make_pipeline(parts(StandardScaler(), one_hot()), FunctionTransformer(np.square), Ridge()), 0.0),
    (make_pipeline(SimpleImputer(), StandardScaler(), SplineTransformer(), Ridge()), 0.2),
    (make_pipeline(MinMaxScaler(clip=True), SplineTransformer(degree=1), Ridge()), 0.0),
    *(
        (make_pipeline(parts(StandardScaler(), one_hot()), SplineTransformer(extrapolation=outside), Ridge()), 0.0)
        for outside in ("constant", "linear", "continue")
    ),
    *(
        (make_pipeline(SplineTransformer(n_knots, degree=degree, extrapolation=outside, include_bias=bias), Ridge()), 0)
        for outside in ("constant", "linear", "continue")
        for n_knots, degree, bias in ((5, 3, True), (2, 2, False))
    ),
    (make_pipeline(KBinsDiscretizer(5, encode="ordinal", **AVERAGED), FOREST), 0.0),
    (make_pipeline(StandardScaler(), KBinsDiscretizer(5, encode="onehot-dense", **AVERAGED), Ridge()), 0.0),
    (TweedieRegressor(), 0.0),
]


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize(("estimator", "gaps"), REGRESSORS, ids=lambda value: str(value).replace("\n", "")[:60])
def test_regressors(estimator: Any, gaps: float) -> None:
    matrix = make_matrix(500, 1, gaps=gaps, strange=False)
    target = make_target(matrix)
    estimator.fit(matrix.astype(np.float64), target)
    for rows in (matrix, make_matrix(500, 2, gaps=gaps, strange=True)):
        expected = np.ravel(estimator.predict(rows.astype(np.float64)))
        np.testing.assert_allclose(run(estimator, rows), expected, rtol=5e-6, atol=5e-6 * float(np.std(target)))


@pytest.mark.parametrize(
    "before",
    [
        StandardScaler(),
        MinMaxScaler(clip=True),
        RobustScaler(),
        make_pipeline(MinMaxScaler((-3, 5)), StandardScaler()),
        make_pipeline(StandardScaler(), SimpleImputer(strategy="median")),
        KBinsDiscretizer(6, encode="ordinal", **AVERAGED),
        make_pipeline(StandardScaler(), KBinsDiscretizer(6, encode="ordinal", **AVERAGED)),
    ],
    ids=str,
)
@pytest.mark.parametrize("trees", [DecisionTreeRegressor(), HistGradientBoostingRegressor(max_iter=5)], ids=str)
def test_trees_behind_transformers_part_neighbours_of_float32_as_scikit_learn_does(before: Any, trees: Any) -> None:
    matrix = make_matrix(400, 1, gaps=0.0, strange=False)
    pipeline = make_pipeline(before, trees).fit(matrix.astype(np.float64), make_target(matrix))
    rows: list[Matrix] = []
    for tree in fold(pipeline, N_COLUMNS).outputs[0].trees:
        for column, threshold in zip(tree.columns, tree.thresholds.astype(np.float32), strict=True):
            for value in (np.nextafter(threshold, np.float32(-np.inf)), threshold, np.nextafter(threshold, LARGEST)):
                if isinstance(column, Number) and np.isfinite(value):
                    rows.append(matrix[len(rows) % len(matrix)].copy())
                    rows[-1][column.source] = value
    extremes = [1e-45, -1e-45, -0.0, 1e30, -1e30]
    for place, value in itertools.product(range(N_COLUMNS), extremes):
        rows.append(matrix[len(rows) % len(matrix)].copy())
        rows[-1][place] = value
    expected = pipeline.predict(np.array(rows, np.float64))
    np.testing.assert_allclose(run(pipeline, np.array(rows)), expected, rtol=5e-6, atol=5e-6)


#: Codes of texts, a missing one among them; all others are unknown.
LEVELS: dict[int, str | None] = {MISSING_CODE: None} | {code: f"level {code}" for code in range(9)}


def as_frame(rows: Matrix) -> pd.DataFrame:
    frame = pd.DataFrame(rows.astype(np.float64), columns=[*"abcde", "level"])
    texts = [LEVELS.get(int(code), UNSEEN_TEXT) for code in np.nan_to_num(rows[:, CATEGORY], nan=MISSING_CODE)]
    return frame.assign(level=pd.Series(texts, dtype="str"))


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("regressor", [Ridge(), FOREST], ids=str)
@pytest.mark.parametrize(
    "encoder",
    [
        one_hot(),
        one_hot("infrequent_if_exist", min_frequency=50),
        one_hot(drop="if_binary", max_categories=5),
        ordinal(unknown_value=-1, encoded_missing_value=-2),
        ordinal(unknown_value=-1, encoded_missing_value=-2, max_categories=4),
        TargetEncoder(cv=KFold(3)),
        make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot()),
        make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), ordinal(unknown_value=99)),
        FeatureUnion([("there", MissingIndicator(missing_values=np.nan, features="all")), ("level", one_hot())]),
    ],
    ids=lambda value: str(value).replace("\n", "")[:80],
)
def test_texts_of_a_frame(encoder: Any, regressor: Any, gaps: float) -> None:
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [("numbers", numbers, make_column_selector(dtype_include=np.number)), ("levels", encoder, ["level"])]
    )
    matrix = make_matrix(500, 1, gaps=gaps, strange=False)
    target = make_target(matrix)
    pipeline = make_pipeline(columns, regressor).fit(as_frame(matrix), target)
    folded = fold(pipeline, N_COLUMNS, {CATEGORY: Texts(CATEGORY, LEVELS, UNSEEN_TEXT)})
    graph = Graph(to_graph(folded.outputs, N_COLUMNS).SerializeToString())
    for rows in (matrix, make_matrix(500, 2, gaps=gaps, strange=True)):
        coded = np.where(np.isnan(rows) & (np.arange(N_COLUMNS) == CATEGORY), np.float32(MISSING_CODE), rows)
        expected = pipeline.predict(as_frame(rows))
        np.testing.assert_allclose(graph.raw(coded)[:, 0], expected, rtol=5e-6, atol=5e-6 * float(np.std(target)))


LINKED = [
    PoissonRegressor(),
    GammaRegressor(),
    HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
    HistGradientBoostingRegressor(max_iter=20, loss="gamma"),
    lightgbm.LGBMRegressor(n_estimators=20, objective="poisson", verbose=-1),
    lightgbm.LGBMRegressor(n_estimators=20, objective="tweedie", verbose=-1),
    xgboost.XGBRegressor(n_estimators=20, objective="count:poisson"),
    TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp),
    TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    TransformedTargetRegressor(RandomForestRegressor(10, random_state=0), func=np.sqrt, inverse_func=np.square),
]


@pytest.mark.parametrize("estimator", LINKED, ids=lambda value: str(value)[:60])
def test_functions_of_the_prediction_are_applied_in_the_graph(estimator: Any) -> None:
    matrix = make_matrix(500, 1, gaps=0.0, strange=False)
    target = np.exp(make_target(matrix) / 2)
    pipeline = make_pipeline(MinMaxScaler(clip=True), estimator).fit(matrix.astype(np.float64), target)
    for rows in (matrix, make_matrix(500, 2, gaps=0.0, strange=True)):
        expected = pipeline.predict(rows.astype(np.float64))
        np.testing.assert_allclose(run(pipeline, rows), expected, rtol=5e-6, atol=5e-6 * float(np.std(target)))


def _lightgbm(**changes: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, **changes)


#: Classifiers that give log-odds, probabilities and decision functions.
MIXED = [
    ("linear", codes_alone(LogisticRegression())),
    ("forest", RandomForestClassifier(5, random_state=0)),
    ("boosting", HistGradientBoostingClassifier(max_iter=5)),
    ("bayes", GaussianNB()),
]
CLASSIFIERS: list[tuple[Any, float]] = [
    (codes_alone(LogisticRegression()), 0.0),
    (codes_alone(SGDClassifier(loss="log_loss", random_state=0)), 0.0),
    (codes_alone(MultinomialNB()), 0.0),
    (codes_alone(LinearDiscriminantAnalysis()), 0.0),
    (codes_alone(ComplementNB()), 0.0),
    (NearestCentroid(), 0.0),
    (make_pipeline(StandardScaler(), BernoulliNB()), 0.0),
    (make_pipeline(parts(StandardScaler(), one_hot()), GaussianNB()), 0.0),
    (make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis()), 0.0),
    (codes_alone(make_pipeline(PolynomialFeatures(), LogisticRegression())), 0.0),
    (make_pipeline(parts(SplineTransformer(), one_hot()), LogisticRegression()), 0.0),
    (codes_alone(make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression())), 0.2),
    (OneVsRestClassifier(codes_alone(LogisticRegression())), 0.0),
    (OneVsRestClassifier(HistGradientBoostingClassifier(max_iter=5)), 0.2),
    (AdaBoostClassifier(n_estimators=10), 0.0),
    (AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=10), 0.0),
    (BaggingClassifier(codes_alone(LogisticRegression()), 4, random_state=0), 0.0),
    (DummyClassifier(), 0.0),
    (DecisionTreeClassifier(max_depth=5), 0.2),
    (RandomForestClassifier(20, random_state=0), 0.2),
    (ExtraTreesClassifier(20, random_state=0), 0.0),
    (BaggingClassifier(DecisionTreeClassifier(max_depth=4), max_features=0.7, random_state=0), 0.0),
    (GradientBoostingClassifier(n_estimators=10, random_state=0), 0.0),
    (HistGradientBoostingClassifier(max_iter=10, categorical_features=[CATEGORY]), 0.2),
    (_lightgbm(), 0.2),
    (_lightgbm(), 0.0),
    (xgboost.XGBClassifier(n_estimators=20), 0.2),
    (
        VotingClassifier(
            [("f", RandomForestClassifier(10, random_state=0)), ("t", DecisionTreeClassifier(max_depth=3))],
            voting="soft",
            weights=[2, 1],
        ),
        0.0,
    ),
    (VotingClassifier(MIXED, voting="soft", weights=[1, 2, 3, 1]), 0.0),
    (StackingClassifier(MIXED, LogisticRegression()), 0.0),
    (StackingClassifier(MIXED, make_pipeline(StandardScaler(), LogisticRegression()), passthrough=True), 0.0),
    (GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [2, 4]}), 0.0),
]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("estimator", "gaps"), CLASSIFIERS, ids=lambda value: str(value).replace("\n", "")[:60])
def test_classifiers(estimator: Any, gaps: float, n_classes: int) -> None:
    if n_classes == 3 and "SGD" in str(estimator):
        return  # refused, see below
    matrix = make_matrix(500, 1, gaps=gaps, strange=False)
    target = np.digitize(make_target(matrix), [0.5, 2.0][: n_classes - 1])
    estimator.fit(matrix.astype(np.float64), target)
    for rows in (matrix, make_matrix(500, 2, gaps=gaps, strange=True)):
        expected = estimator.predict_proba(rows.astype(np.float64))
        np.testing.assert_allclose(run(estimator, rows), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("make", [FixedThresholdClassifier, TunedThresholdClassifierCV])
def test_probabilities_do_not_depend_on_a_threshold(make: Any) -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False)
    classifier = make(codes_alone(LogisticRegression())).fit(matrix, make_target(matrix) > 1)
    np.testing.assert_allclose(run(classifier, matrix), classifier.predict_proba(matrix), atol=5e-6)


def test_a_classifier_that_labels_rows_itself() -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False)
    target = np.digitize(make_target(matrix), [0.5, 2.0])
    target[::3] = -1  # not labelled
    classifier = SelfTrainingClassifier(codes_alone(LogisticRegression())).fit(matrix, target)
    np.testing.assert_allclose(run(classifier, matrix), classifier.predict_proba(matrix), atol=5e-6)


def test_outputs_of_a_stack_share_the_nodes_of_their_trees() -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False)
    forest = RandomForestClassifier(5, random_state=0)
    target = np.digitize(make_target(matrix), [0.5, 2.0])
    stack = StackingClassifier([("forest", forest)], LogisticRegression()).fit(matrix, target)
    sizes = [
        len(next(a for a in node.attribute if a.name == "nodes_modes").strings)
        for one in (stack, stack.estimators_[0])
        for node in to_graph(fold(one, N_COLUMNS).outputs, N_COLUMNS).graph.node
        if node.op_type == "TreeEnsembleRegressor"
    ]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("classifier", [RidgeClassifier(), LinearSVC(), Perceptron()], ids=str)
def test_decision_functions_count_as_log_odds(classifier: Any, n_classes: int) -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False)
    target = np.digitize(make_target(matrix), [0.5, 2.0][: n_classes - 1])
    pipeline = codes_alone(classifier).fit(matrix.astype(np.float64), target)
    decision = pipeline.decision_function(matrix.astype(np.float64)).reshape(len(matrix), -1)
    np.testing.assert_allclose(run(pipeline, matrix), to_probabilities(decision, "log_odds", n_classes), atol=5e-6)


@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_categories_of_lightgbm(gaps: float) -> None:
    matrix = make_matrix(800, 1, gaps=gaps, strange=False)
    booster = lightgbm.LGBMRegressor(n_estimators=20, min_child_samples=5, verbose=-1)
    booster.fit(matrix.astype(np.float64), make_target(matrix), categorical_feature=[CATEGORY])
    assert "==" in str(booster.booster_.dump_model())
    for rows in (matrix, make_matrix(500, 2, gaps=0.2, strange=True)):
        np.testing.assert_allclose(run(booster, rows), booster.predict(rows.astype(np.float64)), rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize("most_for_one_hot", [2, 20])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_categories_of_xgboost(gaps: float, most_for_one_hot: int) -> None:
    matrix = make_matrix(800, 1, gaps=gaps, strange=False)
    booster = xgboost.XGBRegressor(
        n_estimators=20,
        enable_categorical=True,
        feature_types=["q"] * CATEGORY + ["c"],
        max_cat_to_onehot=most_for_one_hot,
    )
    booster.fit(matrix, make_target(matrix))
    trees = json.loads(booster.get_booster().save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    assert any(tree["categories_nodes"] for tree in trees)
    for rows in (matrix, make_matrix(500, 2, gaps=0.2, strange=True)):
        np.testing.assert_allclose(run(booster, rows), booster.predict(rows), rtol=5e-6, atol=5e-6)


def test_early_stopped_boosters_end_where_they_predict_best() -> None:
    matrix = make_matrix(500, 1, gaps=0.0, strange=False)
    target = make_target(matrix)
    booster = xgboost.XGBRegressor(n_estimators=300, learning_rate=0.5, early_stopping_rounds=3)
    booster.fit(matrix[:300], target[:300], eval_set=[(matrix[300:], target[300:])], verbose=False)
    assert booster.best_iteration < 290
    np.testing.assert_allclose(run(booster, matrix), booster.predict(matrix), rtol=5e-6, atol=5e-6)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (CalibratedClassifierCV(DummyClassifier()), "model_kit calibrates probabilities itself; declare Dummy"),
        (SGDClassifier(loss="log_loss"), "an SGDClassifier of more than two classes"),
        (VotingClassifier([("t", DecisionTreeClassifier())]), "counts votes"),
        (
            VotingClassifier(
                [("v", StackingClassifier([("l", codes_alone(LogisticRegression()))], LogisticRegression()))],
                voting="soft",
            ),
            "log-odds of a mean of probabilities",
        ),
        (StackingClassifier([("r", RidgeClassifier())], stack_method="predict"), "predicted classes"),
        (AdaBoostClassifier(LogisticRegression(max_iter=5000)), "AdaBoostClassifier(estimator=LogisticRegression)"),
        (make_pipeline(PCA(2), BernoulliNB()), "not linear behind a combination"),
        (
            make_pipeline(
                ColumnTransformer([("n", StandardScaler(), [0]), ("c", OneHotEncoder(handle_unknown="ignore"), [5])]),
                PolynomialFeatures(),
                LogisticRegression(),
            ),
            "products of numbers and levels in several outputs",
        ),
        (make_pipeline(OneHotEncoder(drop="first"), LogisticRegression()), "handle_unknown='error'"),
    ],
)
def test_what_is_refused_says_why(estimator: Any, said: str) -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False).round()
    target = np.digitize(make_target(matrix), [0.5, 2.0])
    estimator.fit(matrix, target)
    with pytest.raises(CannotFoldError, match=re.escape(said)):
        to_graph(fold(estimator, N_COLUMNS).outputs, N_COLUMNS)


SINH = TransformedTargetRegressor(Ridge(), func=np.arcsinh, inverse_func=np.sinh)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (SINH, "TransformedTargetRegressor(inverse_func=sinh)"),
        (
            StackingRegressor(
                [("t", TransformedTargetRegressor(Ridge(), func=np.arcsinh, inverse_func=np.sinh))], Ridge()
            ),
            "a TransformedTargetRegressor inside another estimator",
        ),
        (StackingRegressor([("r", Ridge())], RandomForestRegressor(3)), "trees of a combination of columns"),
        (VotingRegressor([("t", TweedieRegressor(link="log"))]), "a TweedieRegressor with a logarithmic link"),
        (xgboost.XGBRegressor(n_estimators=3, booster="gblinear"), "XGBoost's gblinear"),
        (lightgbm.LGBMRegressor(n_estimators=3, reg_sqrt=True, verbose=-1), "LGBMRegressor(reg_sqrt=True)"),
        (lightgbm.LGBMRegressor(n_estimators=3, linear_tree=True, verbose=-1), "linear trees of LightGBM"),
        (make_pipeline(PCA(2), StandardScaler(), RandomForestRegressor(3)), "trees of a projection"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*gblinear")  # which XGBoost 3.4 calls deprecated
def test_regressors_that_are_refused_say_why(estimator: Any, said: str) -> None:
    matrix = make_matrix(300, 1, gaps=0.0, strange=False)
    estimator.fit(matrix, make_target(matrix))
    with pytest.raises(CannotFoldError, match=re.escape(said)):
        fold(estimator, N_COLUMNS)
