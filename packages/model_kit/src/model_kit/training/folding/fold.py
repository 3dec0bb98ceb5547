"""Decomposes an estimator: its rules, and what it applies to its final prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn import ensemble, linear_model, model_selection, preprocessing
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from model_kit.errors import CannotFoldError
from model_kit.training.folding import boosters
from model_kit.training.folding.rules import (
    Columns,
    Folded,
    add_histogram_trees,
    add_linear,
    fold_classifier,
    fold_regressor,
    fold_transformer,
)
from model_kit.training.folding.terms import Number, Terms, Texts, Words

#: Inverse functions of a TransformedTargetRegressor, by the link that the graph applies at its end.
INVERSES: Final[Mapping[str, Callable[[Any], Any]]] = {"exp": np.exp, "expm1": np.expm1, "square": np.square}


def _always(_: Any) -> bool:
    return True


#: Regressors that predict the exponential of a sum, and whether they do.
LOG_LINKS: Final[Mapping[type, Callable[[Any], bool]]] = {
    linear_model.PoissonRegressor: _always,
    linear_model.GammaRegressor: _always,
    linear_model.TweedieRegressor: lambda one: one.link == "log" or (one.link == "auto" and one.power > 0),
    ensemble.HistGradientBoostingRegressor: lambda one: one.loss in ("poisson", "gamma"),
}


@dataclass(frozen=True)
class Raw:
    """A regressor without the exponential that it applies to its sum."""

    estimator: Any


def fold(estimator: Any, n_features: int, texts: Mapping[int, Texts | Words] | None = None) -> Folded:
    """Decompose a fitted regressor or classifier.

    Args:
        estimator: the fitted one.
        n_features: number of its columns.
        texts: position -> column, for those that the estimator sees as texts, levels or of many words.

    Raises:
        CannotFoldError: a part of it has no rule; the message says which.
    """
    boosters.register()
    columns: Columns = [(texts or {}).get(source) or Number(source) for source in range(n_features)]
    if is_classifier(estimator):
        return fold_classifier(estimator, columns)
    estimator, columns, link = _unlinked(estimator, columns)
    terms = Terms()
    fold_regressor(estimator, columns, 1.0, terms)
    return Folded((terms,), "value", link)


def _unlinked(estimator: Any, columns: Columns) -> tuple[Any, Columns, str]:
    """Take off what applies a function to the final prediction."""
    if isinstance(estimator, Pipeline):
        *transformers, (_, last) = estimator.steps
        for _, transformer in transformers:
            columns = fold_transformer(transformer, columns)
        return _unlinked(last, columns)
    if isinstance(estimator, model_selection.GridSearchCV | model_selection.RandomizedSearchCV):
        return _unlinked(estimator.best_estimator_, columns)
    if isinstance(estimator, TransformedTargetRegressor):
        transformer = estimator.transformer_
        if isinstance(transformer, preprocessing.FunctionTransformer):
            inverse = transformer.inverse_func
            if inverse is None:
                return _unlinked(estimator.regressor_, columns)
            link = next((name for name, function in INVERSES.items() if function is inverse), None)
            if link is None:
                raise CannotFoldError(
                    f"TransformedTargetRegressor(inverse_func={getattr(inverse, '__name__', inverse)})"
                )
            return estimator.regressor_, columns, link
    has_log_link = LOG_LINKS.get(type(estimator), boosters.predicts_exponential)
    if has_log_link(estimator):
        return Raw(estimator), columns, "exp"
    return estimator, columns, "identity"


@fold_regressor.register
def _raw(raw: Raw, columns: Columns, share: float, terms: Terms) -> None:
    if isinstance(raw.estimator, ensemble.HistGradientBoostingRegressor):
        add_histogram_trees(raw.estimator, columns, share, [terms])
    elif type(raw.estimator) in LOG_LINKS:
        add_linear(raw.estimator, columns, share, terms)
    else:
        boosters.add_raw(raw.estimator, columns, share, [terms])
