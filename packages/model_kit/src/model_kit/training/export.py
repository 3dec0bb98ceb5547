"""From a fitted estimator to an ONNX graph that is proven to give the same predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from threadpoolctl import threadpool_limits

from model_kit.errors import CannotFoldError, ExportError
from model_kit.records.generation import generate_rows
from model_kit.scoring.model import CHUNK, Graph, to_target_unit
from model_kit.spec import Row
from model_kit.training.estimators.converters import register_converters, register_folding
from model_kit.training.evaluation import Fitted
from model_kit.training.folding.graph import to_graph
from model_kit.training.folding.rules import fold

#: Largest relative difference between scikit-learn's and the graph's prediction, both finished in float64.
TOLERANCE = 5e-6
#: Rows generated from the spec that the two must agree on, beside every training row.
N_GENERATED = 5000
GENERATED_SEED = 20240
#: Newest operator set that skl2onnx 1.20 has converters for.
TARGET_OPSET = 21


@dataclass(frozen=True)
class Export:
    """A graph that agrees with its estimator.

    Attributes:
        content: the bytes of ``model.onnx``.
        agreement: largest relative difference seen on the training rows (``train``) and on rows generated from the
            spec with nulls, unseen levels and extremes (``generated``).
        graph: ``folded``; ``nodes``, their number; ``reason``, why it is not folded, else ``None``.
    """

    content: bytes
    agreement: dict[str, float]
    graph: dict[str, Any]


def to_onnx(fitted: Fitted, rows: Sequence[Row]) -> Export:
    """Write the estimator as a graph, folded if that can be, and check the graph against it.

    Args:
        fitted: the model.
        rows: every training row.

    Raises:
        ExportError: they differ by more than 5e-6 somewhere, or a prediction is not finite.
    """
    register_folding()
    register_converters()
    generated = generate_rows(fitted.spec, N_GENERATED, seed=GENERATED_SEED, nulls=0.1, unseen=0.1, extremes=0.1)
    n_features = fitted.features(rows[:1]).shape[1]

    def check(model: onnx.ModelProto, reason: str | None) -> Export:
        content = model.SerializeToString(deterministic=True)
        found = {name: agreement(fitted, content, some) for name, some in (("train", rows), ("generated", generated))}
        return Export(content, found, {"folded": reason is None, "nodes": len(model.graph.node), "reason": reason})

    try:
        # One thread in the linear algebra, so that the bytes do not depend on how many there are.
        with threadpool_limits(1):
            folded = to_graph(fold(fitted.estimator, n_features), n_features)
        return check(folded, None)
    except (CannotFoldError, ExportError) as error:
        return check(_plain(fitted, n_features), str(error))


def _plain(fitted: Fitted, n_features: int) -> onnx.ModelProto:
    """The graph as skl2onnx writes it."""
    # Without a name the graph gets a random one, and each export another sha256.
    model: onnx.ModelProto = convert_sklearn(
        fitted.estimator,
        name="m",
        initial_types=[("X", FloatTensorType([None, n_features]))],
        target_opset=TARGET_OPSET,
    )
    # skl2onnx lists the operator sets in the order of a set of strings, which is another in each process.
    model.opset_import.sort(key=lambda opset: opset.domain)
    return model


def agreement(fitted: Fitted, content: bytes, rows: Sequence[Row]) -> float:
    """Largest relative difference between the estimator's predictions and the graph's.

    Raises:
        ExportError: it is above 5e-6, or a prediction is not finite; the message names the row.
    """
    graph = Graph(content)
    expected = fitted.predict(rows)
    scores = [graph.score(fitted.features(rows[start : start + CHUNK])) for start in range(0, len(rows), CHUNK)]
    found = to_target_unit(np.concatenate(scores), fitted.spec.target)
    if not np.isfinite(expected).all():
        raise ExportError(f"the estimator's prediction of row {int(np.argmin(np.isfinite(expected)))} is not finite")
    difference = np.abs(found - expected) / np.abs(expected)
    worst = int(np.argmax(difference))
    # Written so that NaN is refused too.
    if not difference[worst] <= TOLERANCE:
        raise ExportError(
            f"row {worst}: the graph predicts {found[worst]!r}, scikit-learn {expected[worst]!r}; "
            f"they may differ by {TOLERANCE} of it. Nothing was exported"
        )
    return float(difference[worst])
