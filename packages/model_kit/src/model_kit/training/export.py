"""From a fitted estimator to an ONNX graph that is proven to give the same predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from model_kit.errors import CannotFoldError, ExportError, first_line
from model_kit.records.generation import generate_rows
from model_kit.scoring.classes import Output
from model_kit.scoring.model import CHUNK, Finish
from model_kit.scoring.runtimes import Graph
from model_kit.spec import Row
from model_kit.training.estimators.converters import register_converters, register_folding
from model_kit.training.evaluation import Fitted
from model_kit.training.folding.fold import fold
from model_kit.training.folding.graph import to_graph

#: Largest difference between scikit-learn's and the graph's prediction, both finished in float64, relative to
#: the prediction or, on the identity scale, to the spread of the target where that is more.
TOLERANCE = 5e-6
#: Rows generated from the spec that the two must agree on, beside every training row.
N_GENERATED = 5000
GENERATED_SEED = 20240
#: Attributes in which fitted estimators keep training rows: of support vector machines, neighbours (an imputer's too),
#: Gaussian processes, kernel ridge regression and kernel PCA, and Nystroem's approximation of a kernel.
ROWS_KEPT_IN = ("support_vectors_", "_fit_X", "X_train_", "X_fit_", "component_indices_")
#: What to do about an estimator that cannot be exported.
ADVICE = "Use an estimator that docs/own-model.md lists as exported, or add a rule with register_converters"
#: Newest operator set that skl2onnx 1.20 has converters for.
TARGET_OPSET = 21


@dataclass(frozen=True)
class Export:
    """A graph that agrees with its estimator.

    Attributes:
        content: the bytes of ``model.onnx``.
        agreement: largest relative difference, see :func:`agreement`, on the training rows (``train``) and on rows
            generated from the spec with nulls, unseen levels and extremes (``generated``).
        runtime: the card's: ``kind``, ``input``, ``output`` and, of classes, ``classes``, the positions of those that
            the outputs are about; see :class:`~model_kit.scoring.model.Finish`.
        graph: ``folded``; ``nodes``, their number; ``reason``, why it is not folded, else ``None``.
    """

    content: bytes
    runtime: dict[str, Any]
    agreement: dict[str, float]
    graph: dict[str, Any]


def to_onnx(fitted: Fitted, rows: Sequence[Row]) -> Export:
    """Write the estimator as a graph, folded if that can be, and check the graph against it.

    Args:
        fitted: the model.
        rows: every training row.

    Raises:
        ExportError: neither form of the graph could be written and agrees; the message says why not, and what to do.
    """
    register_folding()
    register_converters()
    generated = generate_rows(fitted.spec, N_GENERATED, seed=GENERATED_SEED, nulls=0.1, unseen=0.1, extremes=0.1)
    n_features = fitted.features(rows[:1]).shape[1]

    def check(model: onnx.ModelProto, reason: str | None, output: Output) -> Export:
        content = model.SerializeToString(deterministic=True)
        runtime: dict[str, Any] = {"kind": "onnx", "input": "matrix", "output": output}
        if fitted.learned_classes:
            runtime["classes"] = fitted.learned_classes
        compared = (("train", rows), ("generated", generated))
        found = {name: agreement(fitted, content, some, runtime) for name, some in compared}
        return Export(
            content, runtime, found, {"folded": reason is None, "nodes": len(model.graph.node), "reason": reason}
        )

    try:
        # One thread in the linear algebra, so that the bytes do not depend on how many there are.
        with threadpool_limits(1):
            folded = fold(fitted.estimator, n_features)
            graph = to_graph(folded.outputs, n_features, folded.link)
        return check(graph, None, folded.output)
    except (CannotFoldError, ExportError) as error:
        reason = str(error)
    try:
        return check(_plain(fitted, n_features), reason, "probability" if fitted.spec.target.is_class else "value")
    except ExportError as error:
        raise ExportError(
            f"nothing was exported.\nFolded graph: {reason}\nGraph of skl2onnx: {error}\n{ADVICE}"
        ) from error


def _plain(fitted: Fitted, n_features: int) -> onnx.ModelProto:
    """The graph as skl2onnx writes it.

    Raises:
        ExportError: it cannot, or the graph would hold training rows.
    """
    if kept := _keeps_rows(fitted.estimator):
        raise ExportError(f"it would hold training rows, which {kept} keeps, and no bundle may")
    writable = _writable(fitted.estimator)
    try:
        # Without a name the graph gets a random one, and each export another sha256.
        model: onnx.ModelProto = convert_sklearn(
            writable,
            name="m",
            initial_types=[("X", FloatTensorType([None, n_features]))],
            target_opset=TARGET_OPSET,
            options={id(writable): {"zipmap": False}} if fitted.spec.target.is_class else None,
        )
    except Exception as error:  # converters raise whatever they like
        raise ExportError(first_line(error)) from error
    # skl2onnx lists the operator sets in the order of a set of strings, which is another in each process.
    model.opset_import.sort(key=lambda opset: opset.domain)
    return model


def _keeps_rows(value: Any) -> str | None:
    """The class that keeps training rows, of an estimator or any that is fitted inside it."""
    if isinstance(value, BaseEstimator):
        if any(hasattr(value, name) for name in ROWS_KEPT_IN):
            return type(value).__name__
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return next(filter(None, map(_keeps_rows, value)), None)
    return None


def _writable(estimator: Any) -> Any:
    """A fitted estimator that skl2onnx can write: it cannot take a ColumnTransformer behind another transformer."""
    if not isinstance(estimator, Pipeline):
        return estimator
    for number, (_, step) in enumerate(estimator.steps):
        if number and isinstance(step, ColumnTransformer):
            blend = VotingClassifier if is_classifier(estimator) else VotingRegressor
            rest = blend(
                [("rest", estimator[number:])],
                **({"voting": "soft", "flatten_transform": False} if is_classifier(estimator) else {}),
            )
            rest.estimators_ = [estimator[number:]]
            if is_classifier(estimator):
                rest.classes_ = estimator.classes_
            return Pipeline([*estimator.steps[:number], ("rest", rest)])
    return estimator


def agreement(fitted: Fitted, content: bytes, rows: Sequence[Row], runtime: Mapping[str, Any]) -> float:
    """Largest difference between the estimator's and the graph's predictions, relative to the prediction.

    Where the prediction is smaller than the spread of the target (on the identity scale), it is relative to that. Of
    probabilities it is the absolute difference.

    Raises:
        ExportError: it is above 5e-6, a prediction is not finite, or ONNX Runtime cannot run the graph; the message
            names the row.
    """
    expected = fitted.predict(rows)
    if not np.isfinite(expected).all():
        worst = int(np.argmin(np.isfinite(expected.reshape(len(rows), -1)).all(axis=1)))
        raise ExportError(
            f"the estimator's prediction of row {worst} is not finite; "
            "limit how far it extrapolates, with MinMaxScaler(clip=True) in front for instance"
        )
    try:
        graph = Graph(content)
        scores = [graph.raw(fitted.features(rows[start : start + CHUNK])) for start in range(0, len(rows), CHUNK)]
    except Exception as error:  # ONNX Runtime's own exceptions share no narrower public base
        raise ExportError(first_line(error)) from error
    found = Finish(fitted.spec.target, runtime)(np.concatenate(scores))
    if fitted.spec.target.is_class:
        scale = np.ones(len(rows))
        difference = np.abs(found - expected).max(axis=1)
    else:
        # Where all that is compared is 0, any difference is infinite.
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.maximum(np.abs(expected), fitted.spread)
            difference = np.where(found == expected, 0.0, np.abs(found - expected) / scale)
    worst = int(np.argmax(difference))
    # Written so that NaN is refused too.
    if not difference[worst] <= TOLERANCE:
        raise ExportError(
            f"row {worst}: the graph predicts {found[worst]}, scikit-learn {expected[worst]}, "
            f"and they may differ by {TOLERANCE * scale[worst]:.3g}"
        )
    return float(difference[worst])
