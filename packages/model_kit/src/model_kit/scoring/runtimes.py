"""What computes a model's scores: ONNX Runtime, or scikit-learn where a model package asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_kit.errors import BundleError, MissingLibraryError
from model_kit.records.encoding import Derive, Encoded, FeatureMaker, Features
from model_kit.scoring.bundle import MODEL
from model_kit.scoring.decoding import MISSING_TEXT, FrameMaker, imputed_fields
from model_kit.spec import InputSpec

#: Rows of one run of a graph. What 1,000 need at a time, 5 MB, is more than a processor's cache: 11 µs a row, not 9.
ROWS_OF_A_RUN = 100


class Runtime(Protocol):
    """Computes the scores of encoded rows."""

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""


def load_runtime(card: Mapping[str, Any], content: bytes, spec: InputSpec, derive: Derive | None) -> Runtime:
    """The runtime that a card asks for; older cards ask for none, and have a graph of the matrix.

    Args:
        card: of the bundle, its ``runtime`` above all.
        content: the model's file, whose hash has been checked.
        spec: the fitted table of fields.
        derive: the model package's step from the encoded matrix to features.

    Raises:
        BundleError: the file cannot be loaded, or its runtime is not the one that is installed.
        MissingLibraryError: the runtime is not installed.
    """
    served = card.get("runtime") or {}
    features = make_features(card, spec, derive)
    if served.get("kind") == "scikit-learn":
        _scikit_learn().require_version(card)
    return make_runtime(served, content, features)


def make_features(card: Mapping[str, Any], spec: InputSpec, derive: Derive | None) -> FeatureMaker | FrameMaker:
    """The way from rows to the estimator's input; arguments are those of :func:`load_runtime`."""
    served = card.get("runtime") or {}
    if served.get("input") == "frame":
        single = served.get("kind") != "scikit-learn"
        return FrameMaker(spec, impute=imputed_fields(card, spec), single=single)
    return FeatureMaker(spec, derive)


def make_runtime(served: Mapping[str, Any], content: bytes, features: FeatureMaker | FrameMaker) -> Runtime:
    """The runtime of a model's file.

    Args:
        served: the card's ``runtime``.
        content: the file.
        features: the way from rows to the estimator's input.

    Raises:
        BundleError: the file cannot be loaded.
        MissingLibraryError: what it needs is not installed.
    """
    if served.get("kind") == "scikit-learn":
        found: Runtime = _scikit_learn().ScikitLearn(content, features)
        return found
    if isinstance(features, FrameMaker) and not served.get("folded"):
        return OnnxFrame(content, features)
    return OnnxMatrix(content, features)


def _scikit_learn() -> Any:
    """The module that serves by scikit-learn; imported for such models alone, as it takes a second, and 140 MB.

    Raises:
        MissingLibraryError: it needs a library that is not installed.
    """
    try:
        return import_module("model_kit.scoring.scikit_learn")
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f'scikit-learn serves this model, and {error.name} is not installed: pip install "model-kit[scikit-learn]"'
        ) from error


class Graph:
    """An ONNX graph whose last output is (n_rows, n_outputs), float32 or float64.

    It uses one thread, because parallelism comes from worker processes.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Keeps the memory of the largest run, 1 MB, which the system would otherwise give and take each time.
        options.enable_cpu_mem_arena = True
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no narrower public base
            raise BundleError(MODEL, f"ONNX Runtime cannot load it: {error}") from error
        #: Names of the inputs.
        self.inputs = [one.name for one in self._session.get_inputs()]
        # Of a classifier that skl2onnx wrote, the last output is the probabilities.
        self._outputs = [self._session.get_outputs()[-1].name]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.floating[Any]]:
        """Return the output for a tensor of each input, shape (n_rows, n_outputs)."""
        n_rows = len(inputs[self.inputs[0]])
        scores: NDArray[np.floating[Any]]
        if n_rows <= ROWS_OF_A_RUN:
            scores = self._session.run(self._outputs, inputs)[0]
        else:
            slices = (slice(start, start + ROWS_OF_A_RUN) for start in range(0, n_rows, ROWS_OF_A_RUN))
            runs = ({name: tensor[rows] for name, tensor in inputs.items()} for rows in slices)
            scores = np.concatenate([self._session.run(self._outputs, run)[0] for run in runs])
        return scores if scores.ndim == 2 else scores.reshape(len(scores), -1)

    def raw(self, features: Features) -> NDArray[np.floating[Any]]:
        """Return the output of a graph with one input (n_rows, n_features), float32; shape (n_rows, n_outputs)."""
        return self.run({self.inputs[0]: features})

    def score(self, features: Features) -> NDArray[np.floating[Any]]:
        """Return the first output column, shape (n_rows,)."""
        return self.raw(features)[:, 0]


class OnnxMatrix:
    """A graph of the matrix of features, or of the encoded matrix."""

    def __init__(self, content: bytes, features: FeatureMaker | FrameMaker) -> None:
        self._graph, self._features = Graph(content), features

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""
        return self._graph.raw(self._features.derive(encoded))


class OnnxFrame:
    """A graph with an input (n_rows, 1) for each field that it uses: float32, or strings."""

    def __init__(self, content: bytes, frames: FrameMaker) -> None:
        self._graph, self._frames = Graph(content), frames
        self._inputs = dict(zip(frames.spec.names, frames.texts.tolist(), strict=True))

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""
        columns = self._frames.columns(encoded, MISSING_TEXT)
        return self._graph.run(
            {
                name: columns[name].astype(object if self._inputs[name] else np.float32).reshape(-1, 1)
                for name in self._graph.inputs
            }
        )
