"""What computes a model's scores: ONNX Runtime today, with the matrix of features."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_kit.errors import BundleError
from model_kit.records.encoding import Encoded, FeatureMaker, Features
from model_kit.scoring.bundle import MODEL


class Runtime(Protocol):
    """Computes the scores of encoded rows."""

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""


class Graph:
    """An ONNX graph with one float32 input (n_rows, n_features) and one output (n_rows, n_outputs), float32 or float64.

    It uses one thread, because parallelism comes from worker processes.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena would keep the memory of the largest batch (4 MB after 1,000 rows) and is no faster here.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no narrower public base
            raise BundleError(MODEL, f"ONNX Runtime cannot load it: {error}") from error
        self._input = self._session.get_inputs()[0].name
        # Of a classifier that skl2onnx wrote, the last output is the probabilities.
        self._outputs = [self._session.get_outputs()[-1].name]

    def raw(self, features: Features) -> NDArray[np.floating[Any]]:
        """Return the output, shape (n_rows, n_outputs)."""
        scores: NDArray[np.floating[Any]] = self._session.run(self._outputs, {self._input: features})[0]
        return scores if scores.ndim == 2 else scores.reshape(len(features), -1)

    def score(self, features: Features) -> NDArray[np.floating[Any]]:
        """Return the first output column, shape (n_rows,)."""
        return self.raw(features)[:, 0]


class OnnxMatrix:
    """A graph of the matrix of features."""

    def __init__(self, content: bytes, features: FeatureMaker) -> None:
        self._graph, self._features = Graph(content), features

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""
        return self._graph.raw(self._features.derive(encoded))
