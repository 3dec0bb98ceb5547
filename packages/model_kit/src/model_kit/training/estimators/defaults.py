"""Default estimators: a regularised linear model, boosted trees, and the mean of both. All of them fold.

They are for the features of a package without ``derive``, see :func:`model_kit.records.features.default_layout`.

Measured on the house prices as a CSV file has them (79 columns, nothing derived, no order of levels), RMSE of log price
over the core rows, 5 folds: linear .1168, trees .119, mean .115. R2 on diabetes (442 rows): .492, .467, .49.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler, TargetEncoder

from model_kit.records.features import default_layout
from model_kit.scoring.definition import EstimatorFactory, ModelDefinition
from model_kit.spec import InputSpec
from model_kit.training.dataset import Dataset
from model_kit.training.estimators.boosting import BoostedTrees
from model_kit.training.estimators.preprocessing import MedianImputer, RangeScaler
from model_kit.training.evaluation import cross_validate

SEED: Final = 20240
#: A nominal category of more levels has no column for each of them, only their mean target.
MOST_INDICATORS: Final = 50
#: A nominal category of more levels has their mean target as a column of the linear model.
MEANS_ABOVE: Final = 8
N_TARGET_FOLDS: Final = 5
#: Share of a number's values up to which the linear model follows them; beyond, it is level.
RANGE_QUANTILE: Final = 0.998
N_BINS: Final = 8
N_ALPHA_FOLDS: Final = 5
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


#: What a new package's estimator is chosen from.
CANDIDATES: Final[Mapping[str, EstimatorFactory]] = MappingProxyType({"linear": linear, "trees": trees, "mean": mean})


def rank(
    definition: ModelDefinition, dataset: Dataset, report: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, float]]:
    """Cross-validate every candidate on the same folds of at most 10,000 rows.

    Args:
        definition: of the fields and the target; whatever its estimator is, it is not used.
        dataset: training data.
        report: called with the scores, a line a candidate.

    Returns:
        Name -> metrics as :func:`model_kit.training.evaluation.score` gives them, the lowest RMSE first.
    """
    some = _sample(dataset, RANK_ROWS)
    scores = {}
    for name in CANDIDATES:
        candidate = replace(definition, estimator=f"{__name__}:{name}")
        evaluation = cross_validate(candidate, some, n_splits=RANK_FOLDS, n_repeats=1, what=f"Trying {name}")
        scores[name] = evaluation.metrics
        report(f"{name}: RMSE {evaluation.metrics['rmse']:.4g}, R2 {evaluation.metrics['r2']:.4f}")
    return dict(sorted(scores.items(), key=lambda entry: entry[1]["rmse"]))


def encode_categories(spec: InputSpec) -> ColumnTransformer | str:
    """Numbers as they are, indicators of nominal levels, mean targets of categories of many; ``"passthrough"`` if none.

    It takes features without NaN in nominal columns, see :class:`~.preprocessing.MedianImputer`.
    """
    layout = default_layout(spec)
    if not layout.nominal:
        return "passthrough"
    few, many = _by_levels(spec, MOST_INDICATORS)
    nominal = set(layout.nominal)
    others = [position for position in range(len(layout.names)) if position not in nominal]
    return _transform(("numbers", "passthrough", others), ("levels", _indicators(), few), ("means", _means(), many))


def _imputer(spec: InputSpec) -> MedianImputer:
    return MedianImputer(default_layout(spec).nominal, dtype="float64")


def _linear(spec: InputSpec) -> Pipeline:
    layout = default_layout(spec)
    numbers = [*layout.numeric, *layout.ordered]
    few, _ = _by_levels(spec, MOST_INDICATORS)
    _, many = _by_levels(spec, MEANS_ABOVE)
    bins = KBinsDiscretizer(N_BINS, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    columns = _transform(
        ("numbers", make_pipeline(RangeScaler(RANGE_QUANTILE, dtype="float64"), StandardScaler()), numbers),
        ("bins", bins, numbers),
        ("ordered", _indicators(), layout.ordered),
        ("levels", _indicators(), few),
        ("means", make_pipeline(_means(), StandardScaler()), many),
    )
    folds = KFold(N_ALPHA_FOLDS, shuffle=True, random_state=SEED)
    return make_pipeline(columns, LassoCV(cv=folds, precompute=True, max_iter=5000))


def _trees(spec: InputSpec) -> Pipeline:
    layout = default_layout(spec)
    columns = _transform(
        ("numbers", "passthrough", [*layout.numeric, *layout.ordered]), ("means", _means(), layout.nominal)
    )
    return make_pipeline(columns, BoostedTrees(SEED))


def _transform(*parts: tuple[str, Any, Sequence[int]]) -> ColumnTransformer:
    """The parts that have columns."""
    return ColumnTransformer([(name, part, list(columns)) for name, part, columns in parts if columns])


def _by_levels(spec: InputSpec, most: int) -> tuple[list[int], list[int]]:
    """Positions of nominal columns of at most ``most`` codes, and of those of more."""
    layout = default_layout(spec)
    few, many = [], []
    for position in layout.nominal:
        codes = spec.learned[layout.names[position]].codes or {}
        (few if len(set(codes.values())) <= most else many).append(position)
    return few, many


def _indicators() -> OneHotEncoder:
    """A level that training never saw has no indicator."""
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def _means() -> TargetEncoder:
    """Mean target of a level; in fitting, of the other folds' rows, so that no row sees its own target."""
    folds = KFold(N_TARGET_FOLDS, shuffle=True, random_state=SEED)
    return TargetEncoder(target_type="continuous", cv=folds)


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
