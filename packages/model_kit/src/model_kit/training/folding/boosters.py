"""Trees of LightGBM and XGBoost, read from the models as these libraries write them out.

Neither library is imported here: whoever has an estimator of one has imported it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from model_kit.training.folding.rules import (
    Columns,
    Folded,
    fold_classifier,
    fold_regressor,
    is_among,
    require,
)
from model_kit.training.folding.terms import Column, Terms, Tree

#: Objectives of LightGBM whose raw predictions are the predictions, and those of which the exponential is.
_LIGHTGBM_IDENTITY: Final = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})
_LIGHTGBM_LOG: Final = frozenset({"poisson", "gamma", "tweedie"})
_XGBOOST_IDENTITY: Final = frozenset(
    {"reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "reg:squaredlogerror"}
)
_XGBOOST_LOG: Final = frozenset({"count:poisson", "reg:gamma", "reg:tweedie"})


def register() -> None:
    """Register the rules for the estimators of those libraries that are imported."""
    if "lightgbm" in sys.modules:
        lightgbm = sys.modules["lightgbm"]
        fold_regressor.register(lightgbm.LGBMRegressor, _lightgbm_regressor)
        fold_classifier.register(lightgbm.LGBMClassifier, _lightgbm_classifier)
    if "xgboost" in sys.modules:
        xgboost = sys.modules["xgboost"]
        fold_regressor.register(xgboost.XGBRegressor, _xgboost_regressor)
        fold_classifier.register(xgboost.XGBClassifier, _xgboost_classifier)


def predicts_exponential(estimator: Any) -> bool:
    """Whether a booster's prediction is the exponential of its sum."""
    library = type(estimator).__module__.partition(".")[0]
    if library == "lightgbm" and hasattr(estimator, "booster_"):
        return _objective(estimator.booster_.dump_model()) in _LIGHTGBM_LOG
    return library == "xgboost" and hasattr(estimator, "get_booster") and estimator.objective in _XGBOOST_LOG


def add_raw(estimator: Any, columns: Columns, share: float, outputs: Sequence[Terms]) -> None:
    """Add the raw predictions of a booster, an output for each tree of an iteration."""
    library = type(estimator).__module__.partition(".")[0]
    (_add_lightgbm if library == "lightgbm" else _add_xgboost)(estimator, columns, share, outputs)


def _lightgbm_regressor(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:
    document = regressor.booster_.dump_model()
    require(_objective(document) in _LIGHTGBM_IDENTITY, f"LGBMRegressor(objective={_objective(document)!r})")
    require("sqrt" not in document["objective"].split(), "LGBMRegressor(reg_sqrt=True)")
    _add_lightgbm(regressor, columns, share, [terms])


def _lightgbm_classifier(classifier: Any, columns: Columns) -> Folded:
    text = classifier.booster_.dump_model()["objective"].split()
    require(text[0] in ("binary", "multiclass"), f"LGBMClassifier(objective={text[0]!r})")
    require("sigmoid:1" in text or text[0] != "binary", "LGBMClassifier(sigmoid=...)")
    outputs = tuple(Terms() for _ in range(classifier.booster_.num_model_per_iteration()))
    _add_lightgbm(classifier, columns, 1.0, outputs)
    return Folded(outputs, "log_odds")


def _objective(document: Mapping[str, Any]) -> str:
    name: str = document.get("objective", "").partition(" ")[0]
    return name


def _add_lightgbm(estimator: Any, columns: Columns, share: float, outputs: Sequence[Terms]) -> None:
    document = estimator.booster_.dump_model()
    trees = document["tree_info"]
    if document["average_output"]:
        share /= len(trees) // len(outputs)
    for number, tree in enumerate(trees):
        outputs[number % len(outputs)].add_tree(_LightGbmTree(columns, share).read(tree["tree_structure"]))


class _LightGbmTree:
    """Reads a tree of LightGBM, node by node."""

    def __init__(self, columns: Columns, share: float) -> None:
        self._columns, self._share = columns, share
        self._nodes: list[list[Any]] = []

    def read(self, root: Mapping[str, Any]) -> Tree:
        """The tree; nodes are taken from a stack, as a chain of them may be longer than Python recurses."""
        stack: list[tuple[Mapping[str, Any], int, int]] = [(root, -1, 0)]
        while stack:
            node, parent, side = stack.pop()
            place = len(self._nodes)
            if parent >= 0:
                self._nodes[parent][side] = place
            if "split_index" not in node:
                require("leaf_const" not in node, "linear trees of LightGBM")
                self._nodes.append([None, 0.0, -1, -1, False, self._share * node["leaf_value"]])
                continue
            column, threshold, missing_left = self._split(node)
            self._nodes.append([column, threshold, -1, -1, missing_left, 0.0])
            stack += [(node["right_child"], place, 3), (node["left_child"], place, 2)]
        return _to_tree(self._nodes, single=False)

    def _split(self, node: Mapping[str, Any]) -> tuple[Column, float, bool]:
        column, missing = self._columns[node["split_feature"]], node["missing_type"]
        require(missing != "Zero", "LightGBM with zero_as_missing")
        if node["decision_type"] == "==":
            to_left = [int(code) for code in node["threshold"].split("||")]
            # What is missing or unknown goes right.
            return is_among(column, to_left, [], missing=False), 0.5, False
        threshold = float(node["threshold"])
        return column, threshold, bool(node["default_left"]) if missing == "NaN" else threshold >= 0


def _xgboost_regressor(regressor: Any, columns: Columns, share: float, terms: Terms) -> None:
    require(regressor.objective in _XGBOOST_IDENTITY, f"XGBRegressor(objective={regressor.objective!r})")
    _add_xgboost(regressor, columns, share, [terms])


def _xgboost_classifier(classifier: Any, columns: Columns) -> Folded:
    require(
        classifier.objective in ("binary:logistic", "multi:softprob"),
        f"XGBClassifier(objective={classifier.objective!r})",
    )
    outputs = tuple(Terms() for _ in range(1 if classifier.n_classes_ == 2 else classifier.n_classes_))
    _add_xgboost(classifier, columns, 1.0, outputs)
    return Folded(outputs, "log_odds")


def _add_xgboost(estimator: Any, columns: Columns, share: float, outputs: Sequence[Terms]) -> None:
    booster = estimator.get_booster()
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    require(learner["gradient_booster"]["name"] == "gbtree", f"XGBoost's {learner['gradient_booster']['name']}")
    model = learner["gradient_booster"]["model"]
    until = len(model["trees"])
    if (best := getattr(estimator, "best_iteration", None)) is not None and estimator.early_stopping_rounds:
        until = model["iteration_indptr"][best + 1]
    probe = np.full((1, len(columns)), np.nan, np.float32)
    start = np.ravel(estimator.predict(probe, output_margin=True)).astype(np.float64)
    for tree, output in zip(model["trees"][:until], model["tree_info"][:until], strict=True):
        start[output] -= _where_all_is_missing(tree)
        outputs[output].add_tree(_xgboost_tree(tree, columns, share))
    for terms, constant in zip(outputs, start.tolist(), strict=True):
        # What training took from the data, or 0.5 as log-odds; sums of float32 have no more digits.
        terms.constant += share * constant


def _where_all_is_missing(tree: Mapping[str, Any]) -> float:
    node = 0
    while tree["left_children"][node] >= 0:
        node = tree["left_children" if tree["default_left"][node] else "right_children"][node]
    return float(tree["split_conditions"][node])


def _xgboost_tree(tree: Mapping[str, Any], columns: Columns, share: float) -> Tree:
    require(int(tree["tree_param"]["size_leaf_vector"]) <= 1, "leaves with several values of XGBoost")
    segments = zip(tree["categories_segments"], tree["categories_sizes"], strict=True)
    chosen = [tree["categories"][start : start + size] for start, size in segments]
    to_right = dict(zip(tree["categories_nodes"], chosen, strict=True))
    nodes = []
    for node, left in enumerate(tree["left_children"]):
        condition, missing_left = tree["split_conditions"][node], bool(tree["default_left"][node])
        if left < 0:
            nodes.append([None, 0.0, -1, -1, False, share * condition])
            continue
        column = columns[tree["split_indices"][node]]
        if node in to_right:
            # What is unknown goes left.
            codes = {float(code): 1.0 for code in to_right[node]} | {math.nan: float(not missing_left)}
            nodes.append([column.lookup(codes, 0.0), 0.5, left, tree["right_children"][node], missing_left, 0.0])
            continue
        # Left is what is less, in float32.
        threshold = float(np.nextafter(np.float32(condition), np.float32(-np.inf)))
        nodes.append([column, threshold, left, tree["right_children"][node], missing_left, 0.0])
    return _to_tree(nodes, single=True)


def _to_tree(nodes: Sequence[Sequence[Any]], *, single: bool) -> Tree:
    columns, thresholds, left, right, missing_left, values = zip(*nodes, strict=True)
    return Tree(
        columns=columns,
        thresholds=np.clip(np.array(thresholds, np.float64), -3.4e38, 3.4e38),
        left=np.array(left, np.int64),
        right=np.array(right, np.int64),
        missing_left=np.array(missing_left, np.bool_),
        values=np.array(values, np.float64),
        single=single,
    )
