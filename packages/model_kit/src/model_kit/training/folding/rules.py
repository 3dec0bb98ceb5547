"""Folds a fitted estimator: preprocessing, linear and quadratic functions and trees become a few large steps.

A plain export writes nodes for each scaler, encoder and blend, whose overhead takes most of the time for a single row.
Here the estimator is decomposed into :class:`~model_kit.training.folding.terms.Terms`, which
:mod:`model_kit.training.folding.graph` writes as about twenty nodes. An estimator without a rule is refused.

A model package adds rules for its own classes with ``fold_transformer.register`` and ``fold_regressor.register``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from sklearn import ensemble, linear_model, model_selection, preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeRegressor

from model_kit.errors import CannotFoldError
from model_kit.training.folding.terms import Column, Number, Terms, Tree

Columns = Sequence[Column]

#: Losses whose raw predictions are the predictions.
_IDENTITY_LOSSES = ("squared_error", "absolute_error", "quantile")
_LARGEST_THRESHOLD = float(np.finfo(np.float32).max)


def fold(estimator: Any, n_features: int) -> Terms:
    """Decompose a fitted regressor of ``n_features`` columns.

    Raises:
        CannotFoldError: a part of it has no rule; the message says which.
    """
    terms = Terms()
    fold_regressor(estimator, [Number(source) for source in range(n_features)], 1.0, terms)
    return terms


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


def _require(fact: bool, otherwise: str) -> None:
    if not fact:
        raise CannotFoldError(otherwise)


def _affine(columns: Columns, scales: Any, shifts: Any) -> list[Column]:
    n_columns = len(columns)
    pairs = (np.broadcast_to(values, n_columns).astype(np.float64).tolist() for values in (scales, shifts))
    return [column.affine(scale, shift) for column, scale, shift in zip(columns, *pairs, strict=True)]


@fold_transformer.register(str)
@fold_transformer.register(type(None))
def _passthrough(transformer: str | None, columns: Columns) -> list[Column]:
    _require(transformer in {None, "passthrough"}, f"no rule for {transformer!r}")
    return list(columns)


@fold_transformer.register
def _function(transformer: preprocessing.FunctionTransformer, columns: Columns) -> list[Column]:
    _require(transformer.func is None, "a function of its own")
    return list(columns)


@fold_transformer.register
def _pipeline_of_transformers(pipeline: Pipeline, columns: Columns) -> list[Column]:
    for _, step in pipeline.steps:
        columns = fold_transformer(step, columns)
    return list(columns)


@fold_transformer.register
def _column_transformer(transformer: ColumnTransformer, columns: Columns) -> list[Column]:
    _require(not transformer.transformer_weights, "weights of a ColumnTransformer")
    found: list[Column] = []
    for _, part, chosen in transformer.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        positions = np.arange(len(columns))[chosen]
        found += fold_transformer(part, [columns[position] for position in np.atleast_1d(positions)])
    return found


@fold_transformer.register
def _simple_imputer(imputer: SimpleImputer, columns: Columns) -> list[Column]:
    fills = np.asarray(imputer.statistics_, np.float64)
    _require(not imputer.add_indicator, "indicators of missing values")
    _require(bool(np.isnan(imputer.missing_values)), f"missing values written as {imputer.missing_values}")
    _require(not np.isnan(fills).any(), "a column without any value")
    return [column.impute(fill) for column, fill in zip(columns, fills.tolist(), strict=True)]


@fold_transformer.register
def _standard_scaler(scaler: preprocessing.StandardScaler, columns: Columns) -> list[Column]:
    scales = 1 / scaler.scale_ if scaler.with_std else 1.0
    return _affine(columns, scales, -scaler.mean_ * scales if scaler.with_mean else 0.0)


@fold_transformer.register
def _min_max_scaler(scaler: preprocessing.MinMaxScaler, columns: Columns) -> list[Column]:
    scaled = _affine(columns, scaler.scale_, scaler.min_)
    return [column.clip(*scaler.feature_range) for column in scaled] if scaler.clip else scaled


@fold_transformer.register
def _max_abs_scaler(scaler: preprocessing.MaxAbsScaler, columns: Columns) -> list[Column]:
    _require(not getattr(scaler, "clip", False), "a clipping MaxAbsScaler")
    return _affine(columns, 1 / scaler.scale_, 0.0)


@fold_transformer.register
def _one_hot_encoder(encoder: preprocessing.OneHotEncoder, columns: Columns) -> list[Column]:
    _require(encoder.handle_unknown == "ignore", f"OneHotEncoder(handle_unknown={encoder.handle_unknown!r})")
    _require(encoder.min_frequency is None and encoder.max_categories is None, "infrequent categories")
    _require(encoder.drop is None, "dropped categories")
    return [
        column.lookup({value: 1.0}, 0.0)
        for column, values in zip(columns, encoder.categories_, strict=True)
        for value in _numbers(values)
    ]


@fold_transformer.register
def _target_encoder(encoder: preprocessing.TargetEncoder, columns: Columns) -> list[Column]:
    _require(encoder.target_type_ == "continuous", "a TargetEncoder of classes")
    return [
        column.lookup(dict(zip(_numbers(values), means.tolist(), strict=True)), float(encoder.target_mean_))
        for column, values, means in zip(columns, encoder.categories_, encoder.encodings_, strict=True)
    ]


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


def _numbers(categories: Any) -> list[float]:
    _require(np.issubdtype(np.asarray(categories).dtype, np.number), "categories that are no numbers")
    return [float(value) for value in categories]


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


@fold_regressor.register(linear_model.LinearRegression)
@fold_regressor.register(linear_model.BayesianRidge)
@fold_regressor.register(linear_model.HuberRegressor)
@fold_regressor.register(LinearSVR)
@fold_regressor.register(linear_model.Ridge)
@fold_regressor.register(linear_model.RidgeCV)
@fold_regressor.register(linear_model.ElasticNet)
@fold_regressor.register(linear_model.ElasticNetCV)
@fold_regressor.register(linear_model.Lasso)
@fold_regressor.register(linear_model.LassoCV)
def _linear(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:
    coefficients = np.asarray(regressor.coef_, np.float64)
    _require(coefficients.shape == (len(columns),), "several targets")
    terms.add_linear(columns, share * coefficients, share * float(np.ravel(regressor.intercept_)[0]))


@fold_regressor.register
def _constant(regressor: DummyRegressor, _: Columns, share: float, terms: Terms) -> None:
    _require(regressor.n_outputs_ == 1, "several targets")
    terms.constant += share * float(np.ravel(regressor.constant_)[0])


@fold_regressor.register
def _decision_tree(regressor: DecisionTreeRegressor, columns: Columns, share: float, terms: Terms) -> None:
    _require(regressor.n_outputs_ == 1, "several targets")
    nodes = regressor.tree_
    features = nodes.feature.tolist()
    tree = Tree(
        columns=tuple(columns[feature] if feature >= 0 else None for feature in features),
        thresholds=nodes.threshold,
        left=nodes.children_left,
        right=nodes.children_right,
        missing_left=nodes.missing_go_to_left.astype(bool),
        values=share * nodes.value[:, 0, 0],
    )
    terms.add_tree(tree)


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
    _require(regressor.loss in _IDENTITY_LOSSES, f"HistGradientBoostingRegressor(loss={regressor.loss!r})")
    _require(regressor.is_categorical_ is None, "categorical features of a HistGradientBoostingRegressor")
    terms.constant += share * float(np.ravel(regressor._baseline_prediction)[0])  # noqa: SLF001 - scikit-learn has no other way
    # The leaves' values include the learning rate.
    for (predictor,) in regressor._predictors:  # noqa: SLF001 - likewise
        nodes = predictor.nodes
        is_leaf = nodes["is_leaf"].astype(bool)
        features = nodes["feature_idx"].tolist()
        tree = Tree(
            columns=tuple(
                None if leaf else columns[feature] for leaf, feature in zip(is_leaf.tolist(), features, strict=True)
            ),
            # An infinite threshold parts what is missing from all numbers.
            thresholds=np.where(is_leaf, 0.0, np.minimum(nodes["num_threshold"], _LARGEST_THRESHOLD)),
            left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
            right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
            missing_left=nodes["missing_go_to_left"].astype(bool),
            values=share * nodes["value"],
        )
        terms.add_tree(tree)
