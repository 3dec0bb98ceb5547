"""Folding: the graph computes what scikit-learn does, and what has no rule is refused."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import onnx
import pytest
from model_kit.errors import CannotFoldError
from model_kit.scoring.runtimes import Graph
from model_kit.training.folding.fold import fold
from model_kit.training.folding.graph import to_graph
from model_kit.training.folding.rules import fold_regressor, fold_transformer
from model_kit.training.folding.tables import LARGEST, TABLE_SIZE, cover
from model_kit.training.folding.terms import Number, Terms
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeRegressor

#: Columns: four numbers, then three categories with their codes.
NUMBERS, CATEGORIES = [0, 1, 2, 3], [4, 5, 6]
CODES = ([0, 1, 2, 3, 4], [-2, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7])
N_COLUMNS = 7

Matrix = NDArray[np.float32]


def _data(n_rows: int = 400, seed: int = 1, *, gaps: float = 0.0) -> tuple[Matrix, NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(n_rows, len(NUMBERS))) * [1, 10, 0.5, 5] + [0, 20, 1, -3]
    codes = np.column_stack([random.choice(known, n_rows) for known in CODES])
    matrix = np.column_stack([numbers, codes]).astype(np.float32)
    target = 0.5 * numbers[:, 0] + 0.02 * numbers[:, 1] * (codes[:, 0] == 2) + 0.3 * (codes[:, 1] == 1)
    target += 0.2 * codes[:, 2] + 0.1 * random.normal(size=n_rows)
    matrix[random.random(matrix.shape) < gaps] = np.nan
    return matrix, target


def _strange(gaps: float) -> Matrix:
    """Rows like the others, with codes that nobody saw and numbers far out."""
    matrix, _ = _data(500, seed=2, gaps=gaps)
    random = np.random.default_rng(3)
    odd = random.random(matrix.shape) < 0.1
    matrix[:, NUMBERS] = np.where(odd[:, NUMBERS], matrix[:, NUMBERS] * 50, matrix[:, NUMBERS])
    never = random.choice([-1e12, -7, -1, 8, 99, 1e12], (len(matrix), len(CATEGORIES)))
    matrix[:, CATEGORIES] = np.where(odd[:, CATEGORIES], never, matrix[:, CATEGORIES])
    return matrix


def _folded(estimator: Any) -> onnx.ModelProto:
    folded = fold(estimator, N_COLUMNS)
    return to_graph(folded.outputs, N_COLUMNS, folded.link)


def _check(estimator: Any, *, gaps: float = 0.0, tolerance: float = 2e-6) -> onnx.ModelProto:
    """Fit, fold and compare, one row at a time too; returns the graph."""
    matrix, target = _data(gaps=gaps)
    estimator.fit(matrix, target)
    model = _folded(estimator)
    graph = Graph(model.SerializeToString())
    for rows in (matrix, _strange(gaps)):
        expected = estimator.predict(rows)
        found = graph.score(rows)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=float(tolerance * np.std(target)))
        np.testing.assert_allclose([graph.score(row[np.newaxis])[0] for row in rows[:50]], found[:50], rtol=1e-12)
    assert graph.score(matrix[:0]).shape == (0,)
    return model


def _one_hot(**changes: Any) -> OneHotEncoder:
    return OneHotEncoder(**({"handle_unknown": "ignore", "sparse_output": False} | changes))


def _columns(numbers: Any, categories: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("categories", categories, CATEGORIES)])


@pytest.mark.parametrize(
    "numbers",
    [
        "passthrough",
        FunctionTransformer(),
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-1, 2), clip=True),
        MaxAbsScaler(),
        KBinsDiscretizer(6, encode="onehot-dense"),
        KBinsDiscretizer(6, encode="ordinal"),
        make_pipeline(MinMaxScaler(clip=True), "passthrough", StandardScaler()),
        make_pipeline(KBinsDiscretizer(5, encode="ordinal"), MinMaxScaler(clip=True)),
        make_pipeline(StandardScaler(), MinMaxScaler((0.2, 0.8), clip=True), MinMaxScaler((0.3, 0.5), clip=True)),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "categories",
    [_one_hot(), make_pipeline(TargetEncoder(cv=KFold(3)), StandardScaler()), "drop"],
    ids=repr,
)
def test_preprocessing_before_a_linear_model(numbers: Any, categories: Any) -> None:
    _check(make_pipeline(_columns(numbers, categories), Ridge(0.1)))


@pytest.mark.parametrize(
    "categories",
    [
        make_pipeline(_one_hot(), StandardScaler()),
        make_pipeline(_one_hot(), MinMaxScaler((0, 3), clip=True)),
        make_pipeline(_one_hot(), _one_hot()),
        KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
        make_pipeline(_one_hot(), SimpleImputer()),
        make_pipeline(TargetEncoder(cv=KFold(3)), KBinsDiscretizer(3, encode="ordinal")),
    ],
    ids=repr,
)
def test_whatever_follows_an_encoder_is_seen_through(categories: Any) -> None:
    _check(make_pipeline(_columns(StandardScaler(), categories), LinearRegression()), tolerance=5e-6)


@pytest.mark.parametrize(
    "regressor",
    [
        LinearRegression(),
        Ridge(),
        RidgeCV(),
        Lasso(0.01),
        LassoCV(cv=3),
        ElasticNet(0.01),
        DecisionTreeRegressor(max_depth=6, random_state=0),
        RandomForestRegressor(20, random_state=0),
        ExtraTreesRegressor(20, random_state=0),
        GradientBoostingRegressor(n_estimators=40, loss="huber", random_state=0),
        GradientBoostingRegressor(n_estimators=40, init="zero", random_state=0),
        GradientBoostingRegressor(n_estimators=40, init=Ridge(), random_state=0),
        HistGradientBoostingRegressor(max_iter=40, random_state=0),
        HistGradientBoostingRegressor(max_iter=40, loss="absolute_error", max_features=0.5, random_state=0),
        BayesianRidge(),
        HuberRegressor(max_iter=1000),
        VotingRegressor([("one", Ridge()), ("two", DecisionTreeRegressor(max_depth=4))]),
        VotingRegressor([("one", Ridge()), ("gone", "drop"), ("two", DummyRegressor())], weights=[3, 9, 1]),
    ],
    ids=repr,
)
def test_regressors_behind_encoders(regressor: Any) -> None:
    _check(make_pipeline(_columns("passthrough", TargetEncoder(cv=KFold(3))), regressor))


def test_a_category_may_be_a_number_and_indicators_at_once() -> None:
    encoders = [("numbers", StandardScaler(), [0, 1, 6]), ("levels", _one_hot(), [6, 4]), ("rest", "passthrough", [3])]
    _check(make_pipeline(ColumnTransformer(encoders, remainder=MinMaxScaler()), Lasso(1e-3)))


def test_a_category_may_be_bins_and_indicators_at_once() -> None:
    """The edges of bins may be the very numbers of the levels."""
    bins = KBinsDiscretizer(3, encode="onehot-dense", strategy="quantile", quantile_method="averaged_inverted_cdf")
    _check(make_pipeline(ColumnTransformer([("bins", bins, [6]), ("levels", _one_hot(), [6])]), Lasso(1e-3)))


@pytest.mark.parametrize("chosen", [slice(0, 3), [True, False, True, False, False, True, False], [-1, 2]])
def test_columns_are_chosen_as_scikit_learn_does(chosen: Any) -> None:
    _check(make_pipeline(ColumnTransformer([("some", "passthrough", chosen)]), LinearRegression()))


@pytest.mark.parametrize("strategy", ["median", "most_frequent", "constant"])
def test_missing_values_are_imputed_in_front_or_in_a_part(strategy: str) -> None:
    blend = VotingRegressor(
        [
            ("linear", make_pipeline(_columns(StandardScaler(), _one_hot()), Ridge())),
            (
                "trees",
                make_pipeline(
                    _columns("passthrough", TargetEncoder(cv=KFold(3))), RandomForestRegressor(10, random_state=0)
                ),
            ),
        ]
    )
    model = _check(make_pipeline(SimpleImputer(strategy="most_frequent"), blend), gaps=0.1)
    assert Counter(node.op_type for node in model.graph.node)["Imputer"] == 1
    parts = _columns(
        make_pipeline(SimpleImputer(strategy=strategy), StandardScaler()),
        make_pipeline(SimpleImputer(strategy="most_frequent"), _one_hot()),
    )
    _check(make_pipeline(parts, LinearRegression()), gaps=0.1, tolerance=5e-6)


def test_a_missing_code_that_nobody_imputes_is_an_unknown_one() -> None:
    encoder = make_pipeline(_columns("drop", _one_hot()), Ridge())
    matrix, target = _data()
    encoder.fit(matrix, target)
    matrix[::3, CATEGORIES[0]] = np.nan
    np.testing.assert_allclose(
        Graph(_folded(encoder).SerializeToString()).score(matrix), encoder.predict(matrix), rtol=2e-6
    )


@pytest.mark.parametrize(
    "trees", [RandomForestRegressor(20, random_state=0), HistGradientBoostingRegressor()], ids=repr
)
def test_trees_send_missing_values_where_scikit_learn_does(trees: Any) -> None:
    _check(trees, gaps=0.3)


def test_histogram_trees_part_missing_values_from_all_numbers() -> None:
    matrix, _ = _data(gaps=0.3)
    # Whether a value is there is all that there is to learn.
    trees = HistGradientBoostingRegressor(max_iter=5).fit(matrix, np.isnan(matrix[:, 0]).astype(np.float64))
    rows = np.zeros((3, N_COLUMNS), np.float32)
    rows[:, 0] = [np.nan, 1e30, -1e30]
    np.testing.assert_allclose(Graph(_folded(trees).SerializeToString()).score(rows), trees.predict(rows), atol=1e-6)


def test_histogram_trees_send_values_missing_for_the_first_time_where_scikit_learn_does() -> None:
    matrix, target = _data()
    trees = HistGradientBoostingRegressor(max_iter=20).fit(matrix, target)
    rows, _ = _data(300, seed=4, gaps=0.5)
    found = Graph(_folded(trees).SerializeToString()).score(rows)
    np.testing.assert_allclose(found, trees.predict(rows), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("constant", [Lasso(1e6), DummyRegressor()], ids=repr)
def test_a_constant_is_predicted_for_each_row(constant: Any) -> None:
    model = _check(constant)
    assert [node.op_type for node in model.graph.node] == ["Gather", "IsNaN", "Cast", "Gemm"]
    nothing = np.full((2, N_COLUMNS), np.nan, np.float32)
    np.testing.assert_allclose(Graph(model.SerializeToString()).score(nothing), constant.predict(np.zeros((2, 7))))


def test_thresholds_between_two_float32_are_kept_exactly() -> None:
    # The next value above the threshold must not slip below it when that is rounded.
    values = np.float32(16_777_216) + np.arange(0, 64, 2, dtype=np.float32)
    matrix = np.zeros((len(values), N_COLUMNS), np.float32)
    matrix[:, 0] = values
    tree = DecisionTreeRegressor().fit(matrix, np.arange(len(values)))
    found = Graph(_folded(tree).SerializeToString()).score(matrix)
    assert found.tolist() == list(range(len(values)))


def test_bins_are_closed_at_their_lower_edge() -> None:
    matrix, target = _data()
    pipeline = make_pipeline(_columns(KBinsDiscretizer(4, encode="onehot-dense"), "drop"), LinearRegression())
    pipeline.fit(matrix, target)
    edges = pipeline[0].transformers_[0][1].bin_edges_
    rows = np.zeros((9, N_COLUMNS), np.float32)
    for column in NUMBERS:
        for number, edge in enumerate(edges[column][1:-1]):
            nearest = np.float32(edge)
            around = [np.nextafter(nearest, np.float32(-np.inf)), nearest, np.nextafter(nearest, np.float32(np.inf))]
            rows[3 * number : 3 * number + 3, column] = around
    found = Graph(_folded(pipeline).SerializeToString()).score(rows)
    np.testing.assert_allclose(found, pipeline.predict(rows), rtol=1e-6)
    assert len(set(found.round(6))) >= 4


class Quadratic:
    """x'Ax + v'x + b of fixed coefficients, as a model package may bring it."""

    def __init__(self, n_columns: int) -> None:
        random = np.random.default_rng(5)
        self.matrix = random.normal(size=(n_columns, n_columns))
        self.linear = random.normal(size=n_columns)

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        products: NDArray[np.float64] = np.einsum("ij,jk,ik->i", rows, self.matrix, rows) + rows @ self.linear + 0.25
        return products


@fold_regressor.register
def _fold_quadratic(regressor: Quadratic, columns: Any, share: float, terms: Terms) -> None:
    terms.add_quadratic(columns, share * regressor.matrix)
    terms.add_linear(columns, share * regressor.linear, share * 0.25)


@pytest.mark.parametrize(
    "preprocessing",
    [
        _columns(StandardScaler(), _one_hot()),
        make_pipeline(_columns(MinMaxScaler(clip=True), _one_hot()), StandardScaler()),
        ColumnTransformer(
            [
                ("n", StandardScaler(), NUMBERS),
                ("h", _one_hot(), CATEGORIES),
                ("m", TargetEncoder(cv=KFold(3)), CATEGORIES),
            ]
        ),
        _columns("drop", _one_hot()),
        _columns(StandardScaler(), "drop"),
        _columns(KBinsDiscretizer(3, encode="onehot-dense"), _one_hot()),
    ],
    ids=repr,
)
def test_a_rule_of_a_model_package_makes_products_of_all_kinds_of_columns(preprocessing: Any) -> None:
    matrix, target = _data()
    preprocessing.fit(matrix, target)
    rows = np.vstack([matrix, _strange(0)])
    columns = fold_transformer(preprocessing, [Number(source) for source in range(N_COLUMNS)])
    quadratic, terms = Quadratic(len(columns)), Terms()
    fold_regressor(quadratic, columns, 0.5, terms)
    graph = Graph(to_graph([terms], N_COLUMNS).SerializeToString())
    expected = 0.5 * quadratic.predict(preprocessing.transform(rows.astype(np.float64)))
    np.testing.assert_allclose(graph.score(rows), expected, rtol=3e-6, atol=3e-6)


def test_products_of_numbers_and_levels_alone_need_no_table() -> None:
    columns = [Number(0), Number(4).lookup({2: 1.0}, 0.0)]
    terms = Terms()
    terms.add_quadratic(columns, np.array([[0, 3.0], [0, 0]]))
    model = to_graph([terms], N_COLUMNS)
    assert "Gather" in {node.op_type for node in model.graph.node}
    rows, _ = _data(50)
    expected = np.where(rows[:, 4] == 2, 3.0 * rows[:, 0].astype(np.float64), 0)
    np.testing.assert_allclose(Graph(model.SerializeToString()).score(rows), expected, rtol=1e-12)


def test_a_column_of_no_width_is_its_clipped_constant() -> None:
    bases, constant = Number(0).affine(0.0, 5.0).clip(-1.0, 1.0).combination()
    assert set(bases.values()) == {0.0}
    assert constant == 1


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (
            VotingRegressor([("h", HistGradientBoostingRegressor(max_iter=2, loss="poisson"))]),
            "HistGradientBoostingRegressor(loss='poisson'",
        ),
        (make_pipeline(PolynomialFeatures(3), LinearRegression()), "PolynomialFeatures(degree=3)"),
        (
            make_pipeline(PolynomialFeatures(), PolynomialFeatures(), LinearRegression()),
            "products of more than two columns",
        ),
        (make_pipeline(SplineTransformer(extrapolation="periodic"), Ridge()), "extrapolation='periodic'"),
        (make_pipeline(SplineTransformer(degree=5), Ridge()), "SplineTransformer(degree=5)"),
        (
            make_pipeline(SplineTransformer(degree=1, extrapolation="linear"), Ridge()),
            "degree=1, extrapolation='linear'",
        ),
        (make_pipeline(PowerTransformer(), Ridge()), "no rule for PowerTransformer"),
        (make_pipeline(_columns("drop", OrdinalEncoder()), Ridge()), "OrdinalEncoder(handle_unknown='error')"),
        (make_pipeline(FunctionTransformer(np.cos), Ridge()), "FunctionTransformer(cos)"),
        (make_pipeline(PCA(2), FunctionTransformer(np.square), Ridge()), "a function of a combination of columns"),
        (make_pipeline(SimpleImputer(missing_values=0), Ridge()), "missing values written as 0"),
        (make_pipeline(PCA(2), SimpleImputer(), Ridge()), "not linear behind a combination of columns"),
        (make_pipeline(PCA(2), DecisionTreeRegressor()), "trees of a projection"),
        (make_pipeline(PolynomialFeatures(), DecisionTreeRegressor()), "trees of a combination of columns"),
        (make_pipeline(KBinsDiscretizer(3, encode="onehot-dense"), DecisionTreeRegressor()), "trees of single bins"),
        (
            make_pipeline(StandardScaler(), SimpleImputer(), KBinsDiscretizer(3, encode="ordinal"), Ridge()),
            "imputation between a scaler and a transformer that is not linear",
        ),
        (make_pipeline(StandardScaler(), _columns("drop", _one_hot()), Ridge()), "categories of a column that was"),
        (make_pipeline(ColumnTransformer([("c", _one_hot(), [0])]), Ridge()), "categories that are no whole numbers"),
        (make_pipeline(_columns("drop", _one_hot(handle_unknown="error")), Ridge()), "handle_unknown='error'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_rule_is_refused_and_named(estimator: Any, said: str) -> None:
    matrix, target = _data()
    if isinstance(estimator, VotingRegressor):
        # Counts are not negative.
        target = (target > 0).astype(np.float64)
    estimator.fit(matrix, target)
    with pytest.raises(CannotFoldError, match=re.escape(said)):
        _folded(estimator)


def test_several_targets_are_refused() -> None:
    matrix, target = _data()
    both = np.column_stack([target, target])
    for estimator in (LinearRegression(), DummyRegressor(), DecisionTreeRegressor(), RandomForestRegressor(2)):
        with pytest.raises(CannotFoldError, match="several targets"):
            _folded(estimator.fit(matrix, both))


def test_a_column_may_be_imputed_in_several_ways_and_not_at_all() -> None:
    encoded = _columns(SimpleImputer(), make_pipeline(SimpleImputer(strategy="most_frequent"), _one_hot()))
    parts = [
        ("median", make_pipeline(SimpleImputer(strategy="median"), Ridge())),
        ("mean", make_pipeline(SimpleImputer(), RandomForestRegressor(5, random_state=0))),
        ("levels", make_pipeline(encoded, Ridge())),
        ("missing", HistGradientBoostingRegressor(max_iter=10, categorical_features=[4, 6])),
    ]
    model = _check(VotingRegressor(parts), gaps=0.1)
    assert Counter(node.op_type for node in model.graph.node)["Imputer"] == 1


def test_a_fraction_imputed_for_codes_is_refused() -> None:
    matrix, target = _data(gaps=0.1)
    codes = make_pipeline(SimpleImputer(strategy="constant", fill_value=1.5), _one_hot())
    with pytest.raises(CannotFoldError, match=r"imputed with 1\.5"):
        _folded(make_pipeline(_columns("drop", codes), Ridge()).fit(matrix, target))


def test_a_column_without_any_value_is_refused() -> None:
    matrix, target = _data()
    matrix[:, 0] = np.nan
    with pytest.warns(UserWarning, match="without any observed values"):
        pipeline = make_pipeline(SimpleImputer(), Ridge()).fit(matrix, target)
    with pytest.raises(CannotFoldError, match="a column without any value"):
        _folded(pipeline)


@pytest.mark.parametrize("gaps", [0.0, 0.2])
def test_a_column_that_trees_may_find_missing_can_be_a_category_too(gaps: float) -> None:
    parts = ColumnTransformer([("number", "passthrough", [4]), ("levels", _one_hot(), [4])])
    _check(make_pipeline(parts, ExtraTreesRegressor(20, max_features=1, random_state=0)), gaps=gaps)


def test_codes_far_apart_are_refused() -> None:
    matrix, target = _data()
    matrix[0, 4] = 2 * LARGEST
    with pytest.raises(CannotFoldError, match="entries"):
        _folded(make_pipeline(_columns("drop", _one_hot()), Ridge()).fit(matrix, target))


def test_no_code_whatever_leads_outside_a_table() -> None:
    pipeline = make_pipeline(_columns(StandardScaler(), _one_hot()), Ridge()).fit(*_data())
    graph = Graph(_folded(pipeline).SerializeToString())
    rows = np.zeros((7, N_COLUMNS), np.float32)
    rows[:, CATEGORIES] = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 2.5, 0])[:, np.newaxis]
    assert np.isfinite(graph.score(rows)).all()
    unseen = pipeline.predict(np.array([[0, 0, 0, 0, -9, -9, -9]], np.float32))
    np.testing.assert_allclose(graph.score(rows)[:5], np.repeat(unseen, 5), rtol=2e-6)


def test_unused_columns_and_coefficients_of_zero_are_left_out() -> None:
    matrix, _ = _data()
    model = _folded(make_pipeline(_columns("passthrough", _one_hot()), Lasso(0.5)).fit(matrix, 3 * matrix[:, 0]))
    assert [node.op_type for node in model.graph.node] == ["Gather", "Cast", "Gemm"]
    assert [math.prod(constant.dims) for constant in model.graph.initializer] == [1, 1, 1]


def test_groups_cover_each_pair_and_each_single_category_in_tables_of_limited_size() -> None:
    size = dict(enumerate([3, 4, 4, 5, 6, 7, 9, 12, 16, 25, 40, 40, 4, 5, 6]))
    pairs = list(combinations(range(12), 2))
    groups = cover(pairs, range(15), size)
    assert set(pairs) <= {pair for group in groups for pair in combinations(group, 2)}
    assert {source for group in groups for source in group} == set(range(15))
    assert len(groups) < len(pairs) / 1.5
    # Only two categories that are large by themselves make a larger table.
    entries = {group: math.prod(size[source] for source in group) for group in groups}
    assert all(count <= TABLE_SIZE or len(group) == 2 for group, count in entries.items())


def test_the_same_estimator_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); import test_folding as t;"
        "print(hashlib.sha256(t.blend().SerializeToString(deterministic=True)).hexdigest())"
    )
    command = [sys.executable, "-c", code, os.path.dirname(__file__)]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()
    assert found == hashlib.sha256(blend().SerializeToString(deterministic=True)).hexdigest()


def blend() -> onnx.ModelProto:
    """A graph of all kinds of parts."""
    matrix, target = _data(gaps=0.1)
    linear = make_pipeline(_columns(StandardScaler(), _one_hot()), Ridge())
    trees = make_pipeline(
        _columns("passthrough", TargetEncoder(cv=KFold(3))), GradientBoostingRegressor(n_estimators=9, random_state=0)
    )
    estimator = Pipeline(
        [
            ("imputer", SimpleImputer(strategy="most_frequent")),
            ("blend", VotingRegressor([("linear", linear), ("trees", trees)])),
        ]
    )
    return _folded(estimator.fit(matrix, target))
