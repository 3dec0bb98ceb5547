"""Folds a fitted estimator: preprocessing, linear and quadratic functions and trees become a few large steps.

What libraries of boosted trees make of a model is in :mod:`model_kit.training.folding.boosters`.

A plain export writes nodes for each scaler, encoder and blend, whose overhead takes most of the time for a single row.
Here the estimator is decomposed into :class:`~model_kit.training.folding.terms.Terms`, which
:mod:`model_kit.training.folding.graph` writes as about twenty nodes. An estimator without a rule is refused.

A model package adds rules for its own classes with ``fold_transformer.register`` and ``fold_regressor.register``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import (
    decomposition,
    ensemble,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    preprocessing,
    semi_supervised,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from model_kit.errors import CannotFoldError
from model_kit.scoring.classes import Output
from model_kit.training.folding.terms import (
    LARGEST,
    Column,
    Composite,
    Discrete,
    Mixture,
    Number,
    Probability,
    Shape,
    Sum,
    Terms,
    Texts,
    Tree,
    product,
)

Columns = Sequence[Column]

#: Losses whose raw predictions are the predictions.
_IDENTITY_LOSSES = ("squared_error", "absolute_error", "quantile")

#: Functions of a FunctionTransformer: the shape of the column plus a number, times another.
FUNCTIONS: Final[Mapping[Any, tuple[Shape, float, float]]] = {
    np.log: ("log", 0.0, 1.0),
    np.log1p: ("log", 1.0, 1.0),
    np.log2: ("log", 0.0, 1 / math.log(2)),
    np.log10: ("log", 0.0, 1 / math.log(10)),
    np.sqrt: ("sqrt", 0.0, 1.0),
    np.square: ("square", 0.0, 1.0),
    np.exp: ("exp", 0.0, 1.0),
}


@dataclass(frozen=True)
class Folded:
    """A decomposed estimator.

    Attributes:
        outputs: the terms of each output: one of a regressor; of a classifier one about the second of two classes, else
            one for each class.
        output: what they are.
        link: function of the output of a regressor, see :data:`~model_kit.training.folding.graph.LINKS`.
    """

    outputs: tuple[Terms, ...]
    output: Output
    link: str = "identity"


@singledispatch
def fold_transformer(transformer: Any, columns: Columns) -> list[Column]:  # noqa: ARG001 - what a rule takes
    """Return the output columns of a fitted transformer for these input columns.

    Raises:
        CannotFoldError: its class, or one of its parameters, is not supported.
    """
    raise CannotFoldError(f"no rule for {type(transformer).__name__}")


@singledispatch
def fold_regressor(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:  # noqa: ARG001 - a rule's
    """Add ``share`` times the prediction of a fitted regressor of ``columns`` to ``terms``.

    Raises:
        CannotFoldError: its class, or one of its parameters, is not supported.
    """
    raise CannotFoldError(f"no rule for {type(regressor).__name__}")


@singledispatch
def fold_classifier(classifier: Any, columns: Columns) -> Folded:  # noqa: ARG001 - what a rule takes
    """Decompose a fitted classifier of ``columns``.

    Raises:
        CannotFoldError: its class, or one of its parameters, is not supported.
    """
    raise CannotFoldError(f"no rule for {type(classifier).__name__}")


def require(fact: bool, otherwise: str) -> None:
    """Refuse an estimator unless something holds.

    Raises:
        CannotFoldError: it does not; the text is ``otherwise``.
    """
    if not fact:
        raise CannotFoldError(otherwise)


def _standardize(columns: Columns, centers: Any, scales: Any) -> list[Column]:
    """``(column - center) / scale`` of each column."""
    both = (np.broadcast_to(values, len(columns)).astype(np.float64).tolist() for values in (centers, scales))
    return [
        column.affine(1 / scale, -center / scale, ("standardize", center, scale))
        for column, center, scale in zip(columns, *both, strict=True)
    ]


@fold_transformer.register(str)
@fold_transformer.register(type(None))
def _passthrough(transformer: str | None, columns: Columns) -> list[Column]:
    require(transformer in {None, "passthrough"}, f"no rule for {transformer!r}")
    return list(columns)


@fold_transformer.register
def _function(transformer: preprocessing.FunctionTransformer, columns: Columns) -> list[Column]:
    function = transformer.func
    if function is None:
        return list(columns)
    named = getattr(function, "__name__", function)
    require(function in FUNCTIONS and not transformer.kw_args, f"FunctionTransformer({named})")
    shape, shift, scale = FUNCTIONS[function]
    return [
        column.shaped(shape, shift).affine(scale, 0.0) if isinstance(column, Number) else _applied(column, function)
        for column in columns
    ]


def _applied(column: Column, function: Callable[[float], float]) -> Column:
    if not isinstance(column, Discrete):
        raise CannotFoldError("a function of a combination of columns")
    with np.errstate(all="ignore"):
        return column.map(lambda value: float(function(value)))


@fold_transformer.register
def _pipeline_of_transformers(pipeline: Pipeline, columns: Columns) -> list[Column]:
    for _, step in pipeline.steps:
        columns = fold_transformer(step, columns)
    return list(columns)


@fold_transformer.register
def _union(union: FeatureUnion, columns: Columns) -> list[Column]:
    found: list[Column] = []
    for name, part in union.transformer_list:
        if part != "drop":
            found += _weighted(union, name, fold_transformer(part, columns))
    return found


def _weighted(union: Any, name: str, columns: list[Column]) -> list[Column]:
    """The columns of one part, multiplied by its weight."""
    weight = float((union.transformer_weights or {}).get(name, 1.0))
    return columns if weight == 1 else [column.affine(weight, 0.0) for column in columns]


@fold_transformer.register
def _column_transformer(transformer: ColumnTransformer, columns: Columns) -> list[Column]:
    found: list[Column] = []
    for name, part, chosen in transformer.transformers_:
        if (isinstance(part, str) and part == "drop") or np.size(chosen) == 0:
            continue
        taken = [columns[position] for position in _positions(transformer, columns, chosen)]
        found += _weighted(transformer, name, fold_transformer(part, taken))
    return found


def _positions(transformer: ColumnTransformer, columns: Columns, chosen: Any) -> list[int]:
    """Positions of the columns that one part of a ColumnTransformer takes, by name or however it chooses them."""
    every: list[Any] = list(range(len(columns)))
    named = chosen if isinstance(chosen, str | slice) else next(iter(chosen), None)
    if isinstance(named, str) or (isinstance(named, slice) and isinstance(named.start or named.stop, str)):
        names = transformer.feature_names_in_.tolist()
        if isinstance(chosen, slice):
            first = 0 if chosen.start is None else names.index(chosen.start)
            return every[first : None if chosen.stop is None else names.index(chosen.stop) + 1]
        return [names.index(name) for name in ([chosen] if isinstance(chosen, str) else chosen)]
    return [int(position) for position in np.atleast_1d(np.array(every)[chosen])]


@fold_transformer.register
def _simple_imputer(imputer: SimpleImputer, columns: Columns) -> list[Column]:
    indicators = fold_transformer(imputer.indicator_, columns) if imputer.add_indicator else []
    fills: list[Any] = list(imputer.statistics_)
    if any(isinstance(column, Texts) for column in columns):
        require(all(isinstance(fill, str) for fill in fills), "texts imputed with something else")
    else:
        fills = np.asarray(fills, np.float64).tolist()
        require(bool(np.isnan(imputer.missing_values)), f"missing values written as {imputer.missing_values}")
        require(not np.isnan(fills).any(), "a column without any value")
    return [*(column.impute(fill) for column, fill in zip(columns, fills, strict=True)), *indicators]


@fold_transformer.register
def _indicator(indicator: MissingIndicator, columns: Columns) -> list[Column]:
    return [columns[place].is_missing() for place in indicator.features_.tolist()]


@fold_transformer.register
def _standard_scaler(scaler: preprocessing.StandardScaler, columns: Columns) -> list[Column]:
    return _standardize(columns, scaler.mean_ if scaler.with_mean else 0.0, scaler.scale_ if scaler.with_std else 1.0)


@fold_transformer.register
def _min_max_scaler(scaler: preprocessing.MinMaxScaler, columns: Columns) -> list[Column]:
    factors = zip(columns, scaler.scale_.tolist(), scaler.min_.tolist(), strict=True)
    scaled = [column.affine(scale, shift) for column, scale, shift in factors]
    return [column.clip(*scaler.feature_range) for column in scaled] if scaler.clip else scaled


@fold_transformer.register
def _max_abs_scaler(scaler: preprocessing.MaxAbsScaler, columns: Columns) -> list[Column]:
    require(not getattr(scaler, "clip", False), "a clipping MaxAbsScaler")
    return _standardize(columns, 0.0, scaler.scale_)


@fold_transformer.register
def _one_hot_encoder(encoder: preprocessing.OneHotEncoder, columns: Columns) -> list[Column]:
    require(encoder.handle_unknown != "error", "OneHotEncoder(handle_unknown='error')")
    found: list[Column] = []
    for position, (column, values) in enumerate(zip(columns, encoder.categories_, strict=True)):
        groups, infrequent = _groups(encoder, position)
        dropped = encoder._drop_idx_after_grouping  # noqa: SLF001 - as its transform
        left_out = None if dropped is None else dropped[position]
        categories = _categories(column, values)
        for group in range(max(groups) + 1):
            if group != left_out:
                is_unknown = group == infrequent and encoder.handle_unknown != "ignore"
                members = {
                    value: float(one == group)
                    for value, one in zip(categories, groups, strict=True)
                    if one == group or is_unknown
                }
                found.append(column.lookup(members, float(is_unknown)))
    return found


def _groups(encoder: Any, position: int) -> tuple[list[int], int | None]:
    """The place of each category of a column in what the encoder makes of it, and that of the infrequent ones."""
    groups = encoder._default_to_infrequent_mappings[position] if encoder._infrequent_enabled else None  # noqa: SLF001
    if groups is None:
        return list(range(len(encoder.categories_[position]))), None
    return groups.tolist(), int(groups.max())


@fold_transformer.register
def _target_encoder(encoder: preprocessing.TargetEncoder, columns: Columns) -> list[Column]:
    # Of more than two classes there is a column for each, class by class.
    overall = np.atleast_1d(encoder.target_mean_).astype(np.float64).tolist()
    found: list[Column] = []
    for place, means in enumerate(encoder.encodings_):
        field, one = divmod(place, len(overall))
        values = _categories(columns[field], encoder.categories_[field])
        found.append(columns[field].lookup(dict(zip(values, means.tolist(), strict=True)), overall[one]))
    return found


@fold_transformer.register
def _bins(discretizer: preprocessing.KBinsDiscretizer, columns: Columns) -> list[Column]:
    binned = [column.cut(edges[1:-1].tolist()) for column, edges in zip(columns, discretizer.bin_edges_, strict=True)]
    if discretizer.encode == "ordinal":
        return list(binned)
    return [
        column.lookup({float(number): 1.0}, 0.0)
        for column, n_bins in zip(binned, discretizer.n_bins_, strict=True)
        for number in range(n_bins)
    ]


def is_among(column: Column, codes: Sequence[int], known: Sequence[int], *, missing: bool) -> Column:
    """0 where the column has one of ``codes``, else 1; what is missing or not ``known`` is 0 if ``missing``."""
    values = {float(code): 1.0 for code in known} | {float(code): 0.0 for code in codes}
    return column.lookup(values, 0.0 if missing else 1.0)


def _categories(column: Column, categories: Any) -> list[Any]:
    """Categories that an encoder learned of a column: texts, and ``None`` for a missing one, or numbers."""
    if isinstance(column, Texts):
        return [value if isinstance(value, str) else None for value in categories]
    kind = np.asarray(categories).dtype
    require(np.issubdtype(kind, np.number) or np.issubdtype(kind, np.bool_), "categories that are no numbers")
    return [float(value) for value in categories]


@fold_transformer.register
def _robust_scaler(scaler: preprocessing.RobustScaler, columns: Columns) -> list[Column]:
    centers = scaler.center_ if scaler.with_centering else 0.0
    return _standardize(columns, centers, scaler.scale_ if scaler.with_scaling else 1.0)


@fold_transformer.register
def _ordinal_encoder(encoder: preprocessing.OrdinalEncoder, columns: Columns) -> list[Column]:
    require(encoder.handle_unknown == "use_encoded_value", f"OrdinalEncoder(handle_unknown={encoder.handle_unknown!r})")
    found: list[Column] = []
    for position, (column, values) in enumerate(zip(columns, encoder.categories_, strict=True)):
        groups, _ = _groups(encoder, position)
        # A missing one is the last, and may have no group.
        places: dict[Any, float] = {
            value: float(encoder.encoded_missing_value if _is_absent(value) else groups[place])
            for place, value in enumerate(_categories(column, values))
        }
        found.append(column.lookup(places, float(encoder.unknown_value)))
    return found


def _is_absent(value: Any) -> bool:
    return value is None or bool(value != value)  # noqa: PLR0124 - NaN is not


@fold_transformer.register
def _polynomials(transformer: preprocessing.PolynomialFeatures, columns: Columns) -> list[Column]:
    powers = transformer.powers_
    require(int(powers.sum(axis=1).max()) <= 2, f"PolynomialFeatures(degree={transformer.degree!r})")
    found: list[Column] = []
    for row in powers:
        factors = [columns[place] for place in np.repeat(np.arange(len(columns)), row).tolist()]
        if len(factors) == 2:
            found.append(product(*factors))
        else:
            found.append(factors[0] if factors else Composite({}, 1.0))
    return found


@fold_transformer.register
def _splines(transformer: preprocessing.SplineTransformer, columns: Columns) -> list[Column]:
    outside = transformer.extrapolation
    require(outside in ("constant", "linear", "continue"), f"SplineTransformer(extrapolation={outside!r})")
    require(1 <= transformer.degree <= 3, f"SplineTransformer(degree={transformer.degree})")
    # From the second column on scikit-learn takes inner knots for the ends there.
    require(transformer.degree > 1 or outside != "linear", "SplineTransformer(degree=1, extrapolation='linear')")
    require(getattr(transformer, "handle_missing", "error") == "error", "SplineTransformer(handle_missing=...)")
    found: list[Column] = []
    for column, spline in zip(columns, transformer.bsplines_, strict=True):
        knots, pieces = _pieces(spline, outside)
        if not transformer.include_bias:
            pieces = pieces[:-1]
        if isinstance(column, Number):
            found += column.piecewise(knots, pieces)
        else:
            found += [_applied(column, partial(_value, knots, coefficients)) for coefficients in pieces]
    return found


def _value(knots: NDArray[np.float64], coefficients: NDArray[np.float64], at: float) -> float:
    """The value of one function of :func:`_pieces`."""
    number = min(max(int(np.searchsorted(knots, at, "right")) - 1, 0), len(coefficients) - 1)
    origin = knots[number] if np.isfinite(knots[number]) else knots[number + 1]
    constant, *rest = coefficients[number]
    beyond = min(max(at, knots[0]), knots[-1]) - origin
    return float(constant + sum(factor * beyond**power for power, factor in enumerate(rest, start=1)))


def _pieces(spline: Any, outside: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots and polynomials of splines, as :meth:`Number.piecewise` takes them."""
    knots = spline.t[spline.k : -spline.k]
    # The derivatives at a knot are those of the piece that begins there, or of the last piece at its end.
    taylor = [spline(knots, nu=power) / math.factorial(power) for power in range(4)]
    pieces = np.stack(taylor, axis=-1).swapaxes(0, 1)
    if outside == "constant":
        return knots, pieces[:, :-1]
    beyond = pieces * [1, 1, 0, 0] if outside == "linear" else pieces
    return np.array([-np.inf, *knots, np.inf]), np.concatenate([beyond[:, :1], pieces[:, :-1], beyond[:, -1:]], axis=1)


@fold_transformer.register
def _selection(selector: SelectorMixin, columns: Columns) -> list[Column]:
    return [columns[position] for position in np.flatnonzero(selector.get_support()).tolist()]


@fold_transformer.register
def _projection(transformer: decomposition.PCA, columns: Columns) -> list[Column]:
    rows = np.asarray(transformer.components_, np.float64)
    if transformer.whiten:
        rows = rows / np.sqrt(transformer.explained_variance_)[:, np.newaxis]
    return [Mixture(tuple(columns), tuple(row.tolist()), -float(row @ transformer.mean_)) for row in rows]


@fold_transformer.register
def _truncated(transformer: decomposition.TruncatedSVD, columns: Columns) -> list[Column]:
    return [Mixture(tuple(columns), tuple(row), 0.0) for row in transformer.components_.tolist()]


@fold_regressor.register
def _transformed_target(regressor: TransformedTargetRegressor, columns: Columns, share: float, terms: Terms) -> None:
    transformer = regressor.transformer_
    if isinstance(transformer, preprocessing.FunctionTransformer):
        require(transformer.inverse_func is None, "a TransformedTargetRegressor inside another estimator")
        scale, shift = 1.0, 0.0
    else:
        # Whatever inverts an affine transformer of one column is affine.
        require(
            isinstance(
                transformer, preprocessing.StandardScaler | preprocessing.MinMaxScaler | preprocessing.RobustScaler
            ),
            f"TransformedTargetRegressor(transformer={type(transformer).__name__})",
        )
        shift, end = transformer.inverse_transform(np.array([[0.0], [1.0]])).ravel().tolist()
        scale = end - shift
    fold_regressor(regressor.regressor_, columns, share * scale, terms)
    terms.constant += share * shift


@fold_regressor.register
def _stack(stack: ensemble.StackingRegressor, columns: Columns, share: float, terms: Terms) -> None:
    found: list[Column] = []
    for regressor in stack.estimators_:
        part = Terms()
        fold_regressor(regressor, columns, 1.0, part)
        found.append(Composite({Sum(part): 1.0}))
    fold_regressor(stack.final_estimator_, [*found, *(columns if stack.passthrough else ())], share, terms)


@fold_regressor.register
def _bagging(bag: ensemble.BaggingRegressor, columns: Columns, share: float, terms: Terms) -> None:
    for regressor, chosen in zip(bag.estimators_, bag.estimators_features_, strict=True):
        fold_regressor(regressor, [columns[place] for place in chosen], share / len(bag.estimators_), terms)


@fold_regressor.register
def _least_squares(regressor: PLSRegression, columns: Columns, share: float, terms: Terms) -> None:
    coefficients = np.asarray(regressor.coef_, np.float64)
    require(coefficients.shape[0] == 1, "several targets")
    shift = float(np.ravel(regressor.intercept_)[0]) - float(coefficients[0] @ regressor._x_mean)  # noqa: SLF001 - as its predict
    terms.add_linear(columns, share * coefficients[0], share * shift)


@fold_regressor.register
def _pipeline(pipeline: Pipeline, columns: Columns, share: float, terms: Terms) -> None:
    *transformers, (_, regressor) = pipeline.steps
    for _, transformer in transformers:
        columns = fold_transformer(transformer, columns)
    fold_regressor(regressor, columns, share, terms)


@fold_regressor.register(model_selection.GridSearchCV)
@fold_regressor.register(model_selection.RandomizedSearchCV)
def _search(search: Any, columns: Columns, share: float, terms: Terms) -> None:
    fold_regressor(search.best_estimator_, columns, share, terms)


@fold_regressor.register
def _blend(blend: ensemble.VotingRegressor, columns: Columns, share: float, terms: Terms) -> None:
    kept = [regressor != "drop" for _, regressor in blend.estimators]
    weights = np.ones(len(kept)) if blend.weights is None else np.asarray(blend.weights, np.float64)
    shares = weights[kept] / weights[kept].sum()
    for regressor, part in zip(blend.estimators_, shares.tolist(), strict=True):
        fold_regressor(regressor, columns, share * part, terms)


LINEAR_REGRESSORS: Final = (
    linear_model.LinearRegression,
    linear_model.BayesianRidge,
    linear_model.ARDRegression,
    linear_model.HuberRegressor,
    linear_model.QuantileRegressor,
    linear_model.SGDRegressor,
    linear_model.PassiveAggressiveRegressor,
    linear_model.TheilSenRegressor,
    linear_model.Lars,
    linear_model.LarsCV,
    linear_model.LassoLarsIC,
    linear_model.OrthogonalMatchingPursuit,
    linear_model.OrthogonalMatchingPursuitCV,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.LassoCV,
    LinearSVR,
)


def add_linear(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:
    """Add ``share`` times the linear function of a regressor with ``coef_`` and ``intercept_``."""
    coefficients = np.asarray(regressor.coef_, np.float64)
    require(coefficients.shape == (len(columns),), "several targets")
    terms.add_linear(columns, share * coefficients, share * float(np.ravel(regressor.intercept_)[0]))


for _class in LINEAR_REGRESSORS:
    fold_regressor.register(_class, add_linear)


@fold_regressor.register
def _tweedie(regressor: linear_model.TweedieRegressor, columns: Columns, share: float, terms: Terms) -> None:
    require(
        regressor.link == "identity" or (regressor.link == "auto" and regressor.power <= 0),
        "a TweedieRegressor with a logarithmic link inside another estimator",
    )
    add_linear(regressor, columns, share, terms)


@fold_regressor.register
def _consensus(regressor: linear_model.RANSACRegressor, columns: Columns, share: float, terms: Terms) -> None:
    fold_regressor(regressor.estimator_, columns, share, terms)


@fold_regressor.register
def _constant(regressor: DummyRegressor, _: Columns, share: float, terms: Terms) -> None:
    require(regressor.n_outputs_ == 1, "several targets")
    terms.constant += share * float(np.ravel(regressor.constant_)[0])


@fold_regressor.register
def _decision_tree(regressor: DecisionTreeRegressor, columns: Columns, share: float, terms: Terms) -> None:
    require(regressor.n_outputs_ == 1, "several targets")
    terms.add_tree(_tree(regressor, columns, share * regressor.tree_.value[:, 0, 0]))


def _tree(estimator: Any, columns: Columns, values: NDArray[np.float64]) -> Tree:
    """The nodes of a scikit-learn tree, with ``values`` of its leaves."""
    nodes = estimator.tree_
    return Tree(
        columns=tuple(columns[feature] if feature >= 0 else None for feature in nodes.feature.tolist()),
        thresholds=nodes.threshold,
        left=nodes.children_left,
        right=nodes.children_right,
        missing_left=nodes.missing_go_to_left.astype(bool),
        values=values,
    )


@fold_regressor.register(ensemble.RandomForestRegressor)
@fold_regressor.register(ensemble.ExtraTreesRegressor)
def _forest(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:
    for tree in regressor.estimators_:
        fold_regressor(tree, columns, share / len(regressor.estimators_), terms)


@fold_regressor.register
def _boosting(regressor: ensemble.GradientBoostingRegressor, columns: Columns, share: float, terms: Terms) -> None:
    if regressor.init_ != "zero":
        fold_regressor(regressor.init_, columns, share, terms)
    for tree in regressor.estimators_[:, 0]:
        fold_regressor(tree, columns, share * regressor.learning_rate, terms)


@fold_regressor.register
def _histogram_boosting(
    regressor: ensemble.HistGradientBoostingRegressor, columns: Columns, share: float, terms: Terms
) -> None:
    require(regressor.loss in _IDENTITY_LOSSES, f"HistGradientBoostingRegressor(loss={regressor.loss!r})")
    add_histogram_trees(regressor, columns, share, [terms])


def add_histogram_trees(estimator: Any, columns: Columns, share: float, outputs: Sequence[Terms]) -> None:
    """Add the raw predictions of a HistGradientBoosting estimator, an output for each tree of an iteration."""
    if (preprocessor := estimator._preprocessor) is not None:  # noqa: SLF001 - scikit-learn has no other way to these
        # Categories come first, as ordinals; numbers are only checked.
        (_, encoder, chosen), (_, _, others), *_ = preprocessor.transformers_
        every = np.arange(len(columns))
        categories = fold_transformer(encoder, [columns[place] for place in every[chosen]])
        columns = [*categories, *(columns[place] for place in every[others])]
    for terms, constant in zip(outputs, np.ravel(estimator._baseline_prediction).tolist(), strict=True):  # noqa: SLF001
        terms.constant += share * constant
    # The leaves' values include the learning rate.
    for iteration in estimator._predictors:  # noqa: SLF001
        for terms, predictor in zip(outputs, iteration, strict=True):
            terms.add_tree(_histogram_tree(predictor, columns, share))


def _histogram_tree(predictor: Any, columns: Columns, share: float) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    # An infinite threshold parts what is missing from all numbers.
    thresholds = np.where(is_leaf, 0.0, np.minimum(nodes["num_threshold"], LARGEST))
    chosen: list[Column | None] = []
    for node in range(len(nodes)):
        column = None if is_leaf[node] else columns[nodes["feature_idx"][node]]
        if column is not None and nodes["is_categorical"][node]:
            bitset = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
            to_left = [code for code in range(256) if bitset[code // 32] >> np.uint32(code % 32) & np.uint32(1)]
            column = is_among(column, to_left, range(256), missing=bool(nodes["missing_go_to_left"][node]))
            thresholds[node] = 0.5
        chosen.append(column)
    return Tree(
        columns=tuple(chosen),
        thresholds=thresholds,
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=share * nodes["value"],
        single=False,
    )


@fold_classifier.register
def _pipeline_of_classifier(pipeline: Pipeline, columns: Columns) -> Folded:
    *transformers, (_, classifier) = pipeline.steps
    for _, transformer in transformers:
        columns = fold_transformer(transformer, columns)
    return fold_classifier(classifier, columns)


@fold_classifier.register(model_selection.GridSearchCV)
@fold_classifier.register(model_selection.RandomizedSearchCV)
def _classifier_search(search: Any, columns: Columns) -> Folded:
    return fold_classifier(search.best_estimator_, columns)


@fold_classifier.register(model_selection.FixedThresholdClassifier)
@fold_classifier.register(model_selection.TunedThresholdClassifierCV)
@fold_classifier.register(semi_supervised.SelfTrainingClassifier)
def _wrapped(classifier: Any, columns: Columns) -> Folded:
    return fold_classifier(classifier.estimator_, columns)


@fold_classifier.register
def _one_against_the_rest(classifier: multiclass.OneVsRestClassifier, columns: Columns) -> Folded:
    require(not classifier.multilabel_, "several targets")
    parts = [fold_classifier(one, columns) for one in classifier.estimators_]
    # Of more than two classes the probabilities need not sum to 1 before they are used.
    return Folded(tuple(terms for part in parts for terms in as_probabilities(part)), "probability")


@fold_classifier.register
def _calibrated(classifier: CalibratedClassifierCV, *_: Any) -> Folded:
    raise CannotFoldError(
        "CalibratedClassifierCV: model_kit calibrates probabilities itself; declare "
        f"{type(classifier.calibrated_classifiers_[0].estimator).__name__} alone"
    )


@fold_classifier.register(linear_model.LogisticRegression)
@fold_classifier.register(linear_model.SGDClassifier)
@fold_classifier.register(linear_model.RidgeClassifier)
@fold_classifier.register(linear_model.RidgeClassifierCV)
@fold_classifier.register(linear_model.Perceptron)
@fold_classifier.register(linear_model.PassiveAggressiveClassifier)
@fold_classifier.register(LinearSVC)
@fold_classifier.register(LinearDiscriminantAnalysis)
def _linear_classifier(classifier: Any, columns: Columns) -> Folded:
    coefficients = np.atleast_2d(np.asarray(classifier.coef_, np.float64))
    shifts = np.broadcast_to(classifier.intercept_, len(coefficients)).astype(np.float64).tolist()
    if isinstance(classifier, linear_model.SGDClassifier) and hasattr(classifier, "predict_proba"):
        require(classifier.loss == "log_loss", f"SGDClassifier(loss={classifier.loss!r})")
        require(len(coefficients) == 1, "an SGDClassifier of more than two classes")
    return _linear_log_odds(columns, coefficients, shifts)


def _linear_log_odds(columns: Columns, coefficients: NDArray[np.float64], shifts: Sequence[float]) -> Folded:
    outputs = tuple(Terms() for _ in coefficients)
    for terms, row, shift in zip(outputs, coefficients, shifts, strict=True):
        terms.add_linear(columns, row, shift)
    return Folded(outputs, "log_odds")


@fold_classifier.register(naive_bayes.MultinomialNB)
@fold_classifier.register(naive_bayes.ComplementNB)
@fold_classifier.register(naive_bayes.BernoulliNB)
def _naive_bayes(classifier: Any, columns: Columns) -> Folded:
    coefficients, shifts = classifier.feature_log_prob_, classifier.class_log_prior_
    if isinstance(classifier, naive_bayes.ComplementNB):
        shifts = np.zeros(len(coefficients))
    elif isinstance(classifier, naive_bayes.BernoulliNB):
        absent = np.log(1 - np.exp(coefficients))
        coefficients, shifts = coefficients - absent, shifts + absent.sum(axis=1)
        if classifier.binarize is not None:
            # 1 above the threshold, not at it.
            edge = math.nextafter(classifier.binarize, math.inf)
            columns = [column.cut([edge]) for column in columns]
    if len(coefficients) == 2:
        coefficients, shifts = np.diff(coefficients, axis=0), np.diff(shifts)
    return _linear_log_odds(columns, coefficients, shifts.tolist())


@fold_classifier.register
def _gaussian_naive_bayes(classifier: naive_bayes.GaussianNB, columns: Columns) -> Folded:
    # log p(x | class) is -sum((x - mean)^2 / (2 variance)), less what does not depend on x.
    precision = 1 / np.asarray(classifier.var_, np.float64)
    matrices = np.stack([np.diag(row) for row in -precision / 2])
    shifts = np.log(classifier.class_prior_) + np.log(precision).sum(axis=1) / 2
    return _quadratic_log_odds(columns, matrices, classifier.theta_, shifts)


@fold_classifier.register
def _quadratic_discriminant(classifier: QuadraticDiscriminantAnalysis, columns: Columns) -> Folded:
    parts = list(zip(classifier.rotations_, classifier.scalings_, strict=True))
    matrices = np.stack([-(rotation / scaling) @ rotation.T / 2 for rotation, scaling in parts])
    shifts = np.log(classifier.priors_) - np.array([np.log(scaling).sum() for _, scaling in parts]) / 2
    return _quadratic_log_odds(columns, matrices, np.asarray(classifier.means_), shifts)


def _quadratic_log_odds(
    columns: Columns, matrices: NDArray[np.float64], means: NDArray[np.float64], shifts: NDArray[np.float64]
) -> Folded:
    """Outputs ``(x - mean)' A (x - mean) + shift`` of each class, shapes (n_classes, ...), or the second's lead."""
    products = np.einsum("kij,kj->ki", matrices, means)
    linear, shifts = -2 * products, shifts + (products * means).sum(axis=1)
    if len(matrices) == 2:
        matrices, linear, shifts = (np.diff(values, axis=0) for values in (matrices, linear, shifts))
    folded = _linear_log_odds(columns, linear, shifts.tolist())
    for terms, matrix in zip(folded.outputs, matrices, strict=True):
        terms.add_quadratic(columns, matrix)
    return folded


@fold_classifier.register
def _nearest_centroid(classifier: NearestCentroid, columns: Columns) -> Folded:
    require(classifier.metric == "euclidean", f"NearestCentroid(metric={classifier.metric!r})")
    spread = np.where(classifier.within_class_std_dev_ == 0, 1, classifier.within_class_std_dev_)
    # Minus the squared distance, without the square of x, which all classes have in common.
    linear = 2 * classifier.centroids_ / spread**2
    shifts = 2 * np.log(classifier.class_prior_) - (linear * classifier.centroids_).sum(axis=1) / 2
    if len(linear) == 2:
        linear, shifts = np.diff(linear, axis=0), np.diff(shifts)
    return _linear_log_odds(columns, linear, shifts.tolist())


@fold_classifier.register
def _constant_classifier(classifier: DummyClassifier, _: Columns) -> Folded:
    require(classifier.strategy in ("prior", "most_frequent"), f"DummyClassifier(strategy={classifier.strategy!r})")
    return _probabilities(classifier.predict_proba([[0.0]])[0].tolist())


def _probabilities(constants: Sequence[float]) -> Folded:
    """Outputs of probabilities with these constants: of the second of two classes, else of each."""
    kept = constants[1:] if len(constants) == 2 else constants
    return Folded(tuple(Terms(constant=constant) for constant in kept), "probability")


@fold_classifier.register
def _tree_classifier(classifier: DecisionTreeClassifier, columns: Columns) -> Folded:
    require(classifier.n_outputs_ == 1, "several targets")
    folded = _probabilities([0.0] * len(classifier.classes_))
    values = classifier.tree_.value[:, 0, :]
    folded.outputs[0].add_tree(_tree(classifier, columns, values[:, 1] if len(folded.outputs) == 1 else values))
    return folded


@fold_classifier.register(ensemble.RandomForestClassifier)
@fold_classifier.register(ensemble.ExtraTreesClassifier)
def _forest_classifier(classifier: Any, columns: Columns) -> Folded:
    return _mean([fold_classifier(tree, columns) for tree in classifier.estimators_])


@fold_classifier.register
def _bagging_classifier(bag: ensemble.BaggingClassifier, columns: Columns) -> Folded:
    parts = []
    for classifier, chosen in zip(bag.estimators_, bag.estimators_features_, strict=True):
        require(len(classifier.classes_) == len(bag.classes_), "a bagged classifier that does not know all classes")
        parts.append(fold_classifier(classifier, [columns[place] for place in chosen]))
    return _mean(parts)


@fold_classifier.register
def _vote(blend: ensemble.VotingClassifier, columns: Columns) -> Folded:
    require(blend.voting == "soft", "a VotingClassifier that counts votes")
    kept = [classifier != "drop" for _, classifier in blend.estimators]
    weights = None if blend.weights is None else np.asarray(blend.weights, np.float64)[kept]
    return _mean([fold_classifier(one, columns) for one in blend.estimators_], weights)


def _mean(parts: Sequence[Folded], weights: NDArray[np.float64] | None = None) -> Folded:
    """The mean of probabilities, by default with equal weights."""
    outputs = tuple(Terms() for _ in parts[0].outputs)
    shares = np.full(len(parts), 1 / len(parts)) if weights is None else weights / weights.sum()
    for part, share in zip(parts, shares.tolist(), strict=True):
        for terms, more in zip(outputs, as_probabilities(part), strict=True):
            terms.add(more, share)
    return Folded(outputs, "probability")


def as_probabilities(folded: Folded) -> tuple[Terms, ...]:
    """The outputs of a classifier as probabilities: of the second of two classes, else of each."""
    if folded.output == "probability":
        return folded.outputs
    return tuple(Terms(linear={Probability(folded.outputs, place): 1.0}) for place in range(len(folded.outputs)))


@fold_classifier.register
def _stack_of_classifiers(stack: ensemble.StackingClassifier, columns: Columns) -> Folded:
    found: list[Column] = []
    for classifier, method in zip(stack.estimators_, stack.stack_method_, strict=True):
        require(method != "predict", "a StackingClassifier of predicted classes")
        folded = fold_classifier(classifier, columns)
        require(method != "decision_function" or folded.output == "log_odds", "decision functions of probabilities")
        outputs = as_probabilities(folded) if method == "predict_proba" else folded.outputs
        # Each output with its part of the trees that give all of them.
        shared = [tree for tree in outputs[0].trees if tree.values.ndim > 1]
        for place, terms in enumerate(outputs):
            own = [tree for tree in terms.trees if tree.values.ndim == 1]
            own += [replace(tree, values=tree.values[:, place]) for tree in shared]
            found.append(Composite({Sum(replace(terms, trees=own)): 1.0}))
    return fold_classifier(stack.final_estimator_, [*found, *(columns if stack.passthrough else ())])


@fold_classifier.register
def _adaptive_boosting(classifier: ensemble.AdaBoostClassifier, columns: Columns) -> Folded:
    n_classes = len(classifier.classes_)
    weights = classifier.estimator_weights_[: len(classifier.estimators_)]
    outputs = tuple(Terms() for _ in range(1 if n_classes == 2 else n_classes))
    for tree, weight in zip(classifier.estimators_, (weights / weights.sum()).tolist(), strict=True):
        require(isinstance(tree, DecisionTreeClassifier), f"AdaBoostClassifier(estimator={type(tree).__name__})")
        require(len(tree.classes_) == n_classes, "a boosted tree that does not know all classes")
        # A tree votes for the class of a leaf and against the others.
        votes = np.eye(n_classes)[tree.tree_.value[:, 0, :].argmax(axis=1)]
        votes = 2 * (2 * votes[:, 1] - 1) if n_classes == 2 else (votes * n_classes - 1) / (n_classes - 1) ** 2
        outputs[0].add_tree(_tree(tree, columns, weight * votes))
    return Folded(outputs, "log_odds")


@fold_classifier.register
def _boosting_classifier(classifier: ensemble.GradientBoostingClassifier, columns: Columns) -> Folded:
    require(classifier.loss == "log_loss", f"GradientBoostingClassifier(loss={classifier.loss!r})")
    require(classifier.init is None or classifier.init == "zero", "GradientBoostingClassifier(init=...)")
    start = classifier._raw_predict_init(np.zeros((1, len(columns)), np.float32))  # noqa: SLF001 - there is no other way
    outputs = [Terms(constant=constant) for constant in np.ravel(start).tolist()]
    for iteration in classifier.estimators_:
        for terms, tree in zip(outputs, iteration, strict=True):
            fold_regressor(tree, columns, classifier.learning_rate, terms)
    return Folded(tuple(outputs), "log_odds")


@fold_classifier.register
def _histogram_classifier(classifier: ensemble.HistGradientBoostingClassifier, columns: Columns) -> Folded:
    outputs = tuple(Terms() for _ in range(classifier.n_trees_per_iteration_))
    add_histogram_trees(classifier, columns, 1.0, outputs)
    return Folded(outputs, "log_odds")
