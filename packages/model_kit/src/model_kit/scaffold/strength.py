"""How much of the target each field gives alone: what makes a field required, and what looks like a leak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from sklearn.tree import DecisionTreeRegressor

from model_kit.records.encoding import FeatureMaker
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Row, fit_spec
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import to_estimator_scale

#: A field that gives more of the target's variance than this alone all but is the target.
LEAK: Final = 0.98
#: A required field gives at least this much, and there are at most so many of them; where none does, the strongest is
#: required if it gives anything.
REQUIRED: Final = 0.1
MOST_REQUIRED: Final = 2
ANYTHING: Final = 0.01
#: Rows that are looked at, evenly spaced, and the seed of their folds.
N_ROWS: Final = 10_000
SEED: Final = 20240
#: Words of a text, and levels of a category beside a class, that are looked at.
MOST_WORDS: Final = 5000
MOST_LEVELS: Final = 50
#: Rows of a tree's leaf. Few find a field that all but is the target; but the mean of so few of a class is mostly noise
#: (of n rows, 1/n of the variance). Many find what a field only hints at: 50, and no more than a tenth of all.
SMALL_LEAF: Final = 5
LARGE_LEAF: Final = 50
MOST_OF_ALL: Final = 0.1


def strengths(definition: ModelDefinition, dataset: Dataset) -> dict[str, float]:
    """Out-of-fold R2 of a decision tree on each field alone, on the estimator's scale; 0 where that is below 0.

    Of two trees, with small leaves and with large ones, the better one counts.

    Of classes it is that of their indicators; of a text, that of a linear model of its words.
    """
    positions = np.linspace(0, len(dataset.rows) - 1, min(N_ROWS, len(dataset.rows))).astype(int)
    rows: list[Row] = [dataset.rows[position] for position in positions]
    target = dataset.target[positions]
    if definition.target.is_class:
        target = np.eye(len(definition.target.classes))[target]
    else:
        target = to_estimator_scale(target, definition.target)
    return {field.name: _alone(field, rows, target, definition) for field in definition.fields}


def _alone(field: Field, rows: list[Row], target: NDArray[np.float64], definition: ModelDefinition) -> float:
    spec = fit_spec((field,), definition.target, rows, rare_below=definition.rare_below)
    folds = KFold(5, shuffle=True, random_state=SEED)
    if field.kind == "text":
        texts = [str(row.get(field.name) or "") for row in rows]
        words = make_pipeline(TfidfVectorizer(max_features=MOST_WORDS), Ridge())
        return _skill(target, cross_val_predict(words, texts, target, cv=folds))
    features = FeatureMaker(spec)(rows)
    encoder: Any = "passthrough"
    if field.kind == "category" and not field.ordered:
        # A target of several columns has no mean of each level.
        levels = OneHotEncoder(handle_unknown="ignore", max_categories=MOST_LEVELS)
        encoder = levels if target.ndim > 1 else TargetEncoder(target_type="continuous", cv=folds)
        features = np.nan_to_num(features, nan=-2.0)
    skills = []
    for leaf in (SMALL_LEAF, max(SMALL_LEAF, min(LARGE_LEAF, round(MOST_OF_ALL * len(rows))))):
        tree = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=SEED)
        model = Pipeline([("encoder", encoder), ("tree", tree)])
        skills.append(_skill(target, cross_val_predict(model, features, target, cv=folds)))
    return max(skills)


def _skill(target: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    return max(0.0, float(r2_score(target, predicted, multioutput="variance_weighted")))


def required_fields(found: Mapping[str, float], complete: set[str]) -> set[str]:
    """The strongest fields that have a value in every row: a record without them says too little to predict from."""
    strongest = sorted(complete, key=lambda name: -found[name])
    enough = {name for name in strongest[:MOST_REQUIRED] if found[name] >= REQUIRED}
    return enough or {name for name in strongest[:1] if found[name] >= ANYTHING}
