"""From a fitted estimator to an ONNX graph that is proven to give the same predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType

from model_kit.errors import ExportError
from model_kit.evaluation import Fitted
from model_kit.generation import generate_rows
from model_kit.model import CHUNK, Graph, to_target_unit
from model_kit.spec import Row

#: Largest relative difference between scikit-learn's and the graph's prediction, both finished in float64.
TOLERANCE = 5e-6
#: Rows generated from the spec that the two must agree on, beside every training row.
N_GENERATED = 5000
GENERATED_SEED = 20240
#: Newest operator set that skl2onnx 1.20 has converters for.
TARGET_OPSET = 21


def to_onnx(fitted: Fitted, rows: Sequence[Row]) -> tuple[bytes, dict[str, float]]:
    """Convert the estimator and check the graph against it.

    Args:
        fitted: the model.
        rows: every training row.

    Returns:
        The graph, and the largest relative difference seen on the training rows (``train``) and on rows
        generated from the spec with nulls, unseen levels and extremes (``generated``).

    Raises:
        ExportError: they differ by more than 5e-6 somewhere, or a prediction is not finite.
    """
    n_features = fitted.features(rows[:1]).shape[1]
    # Without a name the graph gets a random one, and each export another sha256.
    graph = convert_sklearn(
        fitted.estimator,
        name="m",
        initial_types=[("X", FloatTensorType([None, n_features]))],
        target_opset=TARGET_OPSET,
    )
    # skl2onnx lists the operator sets in the order of a set of strings, which is another in each process.
    graph.opset_import.sort(key=lambda opset: opset.domain)
    content = graph.SerializeToString(deterministic=True)
    generated = generate_rows(fitted.spec, N_GENERATED, seed=GENERATED_SEED, nulls=0.1, unseen=0.1, extremes=0.1)
    return content, {"train": agreement(fitted, content, rows), "generated": agreement(fitted, content, generated)}


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
