"""Default estimators: a regularised linear model, boosted trees, and the mean of both. All of them fold.

They are for the features of a package without ``derive``, see :func:`model_kit.records.features.default_layout`.

Measured on the house prices as a CSV file has them (79 columns, nothing derived, no order of levels), RMSE of log price
over the core rows, 5 folds: linear .1168, trees .119, mean .115. R2 on diabetes (442 rows): .492, .467, .49.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LassoCV, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from model_kit.records.features import default_layout
from model_kit.scoring.definition import EstimatorFactory, ModelDefinition
from model_kit.spec import InputSpec
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.boosting import BoostedTrees
from model_kit.training.estimators.encoding import (
    MOST_INDICATORS,
    SEED,
    encode_categories,
    join_columns,
    level_indicators,
    level_means,
    split_by_levels,
)
from model_kit.training.estimators.preprocessing import MedianImputer, QuantileBins, RangeScaler
from model_kit.training.estimators.text import TextVectorizer
from model_kit.training.evaluation import cross_validate

#: A nominal category of more levels has their mean target as a column of the linear model.
MEANS_ABOVE: Final = 8
#: Share of a number's values up to which the linear model follows them; beyond, it is level.
RANGE_QUANTILE: Final = 0.998
N_BINS: Final = 8
N_ALPHA_FOLDS: Final = 5
#: Inverse strengths of regularisation, of the logistic regressions of columns and of words.
LOGISTIC_C: Final = 0.3
WORDS_C: Final = 5.0
#: Rows that :func:`rank` looks at, and its folds.
RANK_ROWS: Final = 10_000
RANK_FOLDS: Final = 5


def linear(spec: InputSpec) -> Pipeline:
    """A Lasso of scaled numbers, bins of them, indicators of levels and mean targets of many levels."""
    return make_pipeline(_imputer(spec), _linear(spec))


def trees(spec: InputSpec) -> Pipeline:
    """Boosted trees of numbers and of the mean targets of levels."""
    return make_pipeline(_imputer(spec), _trees(spec))


def mean(spec: InputSpec) -> Pipeline:
    """The mean of :func:`linear` and :func:`trees`."""
    blend = VotingRegressor([("linear", _linear(spec)), ("trees", _trees(spec))])
    return make_pipeline(_imputer(spec), blend)


def logistic(spec: InputSpec) -> Pipeline:
    """A logistic regression of the columns of :func:`linear`."""
    return make_pipeline(_imputer(spec), _linear_columns(spec), LogisticRegression(C=LOGISTIC_C, max_iter=1000))


def class_trees(spec: InputSpec) -> Pipeline:
    """Boosted trees of numbers and of the indicators and class shares of levels."""
    trees = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=200, max_leaf_nodes=15, min_samples_leaf=10, random_state=SEED
    )
    return make_pipeline(_imputer(spec), encode_categories(spec), trees)


def words(spec: InputSpec) -> Pipeline:
    """A linear model of the words of texts, of scaled numbers and of indicators of levels."""
    texts = [field.name for field in spec.fields if field.kind == "text"]
    levels = [field.name for field in spec.fields if field.kind == "category"]
    numbers = [name for name in spec.names if name not in texts and name not in levels]
    parts: list[tuple[str, Any, Any]] = [
        (f"words of {name}", TextVectorizer(ngram_range=(1, 2), sublinear_tf=True), name) for name in texts
    ]
    if numbers:
        parts.append(("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers))
    if levels:
        parts.append(("levels", OneHotEncoder(handle_unknown="ignore"), levels))
    final = LogisticRegression(C=WORDS_C, max_iter=1000) if spec.target.is_class else Ridge()
    return make_pipeline(ColumnTransformer(parts), final)


#: What a new package's estimator is chosen from: of a number, of a class, of either with texts.
CANDIDATES: Final[Mapping[str, EstimatorFactory]] = MappingProxyType({"linear": linear, "trees": trees, "mean": mean})
CLASS_CANDIDATES: Final[Mapping[str, EstimatorFactory]] = MappingProxyType(
    {"logistic": logistic, "class_trees": class_trees}
)
TEXT_CANDIDATES: Final[Mapping[str, EstimatorFactory]] = MappingProxyType({"words": words})


def candidates(definition: ModelDefinition) -> Mapping[str, EstimatorFactory]:
    """The estimators that a model's may be chosen from."""
    if any(field.kind == "text" for field in definition.fields):
        return TEXT_CANDIDATES
    return CLASS_CANDIDATES if definition.target.is_class else CANDIDATES


def rank(
    definition: ModelDefinition, dataset: Dataset, report: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, float]]:
    """Cross-validate every candidate on the same folds of at most 10,000 rows.

    Args:
        definition: of the fields and the target; whatever its estimator is, it is not used.
        dataset: training data.
        report: called with the scores, a line a candidate.

    Returns:
        Name -> metrics as :func:`model_kit.training.evaluation.score` gives them, the lowest RMSE, or log loss of a
        class, first.
    """
    some = _sample(dataset, RANK_ROWS)
    scores = {}
    metric, label = ("log_loss", "log loss") if definition.target.is_class else ("rmse", "RMSE")
    other, other_label = ("accuracy", "accuracy") if definition.target.is_class else ("r2", "R2")
    for name in candidates(definition):
        candidate = replace(definition, estimator=f"{__name__}:{name}")
        evaluation = cross_validate(candidate, some, n_splits=RANK_FOLDS, n_repeats=1, what=f"Trying {name}")
        scores[name] = evaluation.metrics
        found = evaluation.metrics
        report(f"{name}: {label} {found[metric]:.4g}, {other_label} {found[other]:.4f}")
    return dict(sorted(scores.items(), key=lambda entry: entry[1][metric]))


def _imputer(spec: InputSpec) -> MedianImputer:
    return MedianImputer(default_layout(spec).nominal, dtype="float64")


def _linear(spec: InputSpec) -> Pipeline:
    folds = KFold(N_ALPHA_FOLDS, shuffle=True, random_state=SEED)
    return make_pipeline(_linear_columns(spec), LassoCV(cv=folds, precompute=True, max_iter=5000))


def _linear_columns(spec: InputSpec) -> ColumnTransformer:
    layout = default_layout(spec)
    numbers = [*layout.numeric, *layout.ordered]
    few, _ = split_by_levels(spec, MOST_INDICATORS)
    _, many = split_by_levels(spec, MEANS_ABOVE)
    bins = QuantileBins(N_BINS, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    return join_columns(
        ("numbers", make_pipeline(RangeScaler(RANGE_QUANTILE, dtype="float64"), StandardScaler()), numbers),
        ("bins", bins, numbers),
        ("ordered", level_indicators(), layout.ordered),
        ("levels", level_indicators(), few),
        ("means", make_pipeline(level_means(len(spec.target.classes)), StandardScaler()), many),
    )


def _trees(spec: InputSpec) -> Pipeline:
    layout = default_layout(spec)
    columns = join_columns(
        ("numbers", "passthrough", [*layout.numeric, *layout.ordered]),
        ("means", level_means(len(spec.target.classes)), layout.nominal),
    )
    return make_pipeline(columns, BoostedTrees(SEED))


def _sample(dataset: Dataset, n_rows: int) -> Dataset:
    """As many rows at random, in their order; all if there are no more."""
    if len(dataset.rows) <= n_rows:
        return dataset
    chosen = np.sort(np.random.default_rng(SEED).choice(len(dataset.rows), n_rows, replace=False))
    return replace(
        dataset,
        ids=tuple(dataset.ids[position] for position in chosen),
        rows=tuple(dataset.rows[position] for position in chosen),
        target=dataset.target[chosen],
    )
