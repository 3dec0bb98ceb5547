"""A bundle brought to life: verified, loaded into ONNX Runtime, scoring rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_kit.errors import BundleError, NotReadyError, SpecError
from model_kit.records.encoding import Derive, Encoded, FeatureMaker, Features
from model_kit.records.row_warnings import Contradiction
from model_kit.scoring.bundle import CARD, GOLDEN, MODEL, RUN, SPEC, Bundle, read_bundle
from model_kit.spec import InputSpec, Row, Target

#: Rows scored at a time: memory stays flat and nothing is slower.
CHUNK = 1000
#: Difference beyond which the golden row counts as wrong, relative to its prediction or the spread of the target.
GOLDEN_TOLERANCE = 1e-5


def to_target_unit(scores: NDArray[np.floating[Any]], target: Target) -> NDArray[np.float64]:
    """Scores on the estimator's scale, shape (n_rows,), in the target's unit; computed in float64."""
    values = scores.astype(np.float64) + target.offset
    return np.exp(values) if target.scale == "log" else values


class Graph:
    """An ONNX graph with one float32 input (n_rows, n_features) and one output of n_rows scores, float32 or float64.

    One thread: a worker process is the unit of parallelism.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena keeps what the largest batch ever took (4 MB after 1,000 rows) and makes nothing faster here.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no narrower public base
            raise BundleError(MODEL, f"ONNX Runtime cannot load it: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def score(self, features: Features) -> NDArray[np.floating[Any]]:
        """Scores on the estimator's scale, shape (n_rows,)."""
        scores: NDArray[np.floating[Any]] = self._session.run(self._outputs, {self._input: features})[0]
        return scores.reshape(-1)


class BundleModel:
    """The :class:`~model_kit.scoring.protocol.Model` that every bundle can be.

    Args:
        bundle: a bundle whose hashes have been checked.
        derive: the model package's stateless step; ``None`` if it has none.
        version: version of the model package's distribution.
        contradictions: what cannot be true of one record at once, for its warnings.

    Raises:
        BundleError: a file's content is not what it should be; the error names it.
    """

    def __init__(
        self, bundle: Bundle, derive: Derive | None, version: str, contradictions: Iterable[Contradiction] = ()
    ) -> None:
        self.version = version
        self.contradictions = tuple(contradictions)
        self.card: dict[str, Any] = bundle.json(CARD)
        self.golden: dict[str, Any] = bundle.json(GOLDEN)
        try:
            self.spec = InputSpec.from_json(bundle.files[SPEC])
        except SpecError as error:
            raise BundleError(SPEC, str(error)) from error
        try:
            #: Where this model comes from, as ``/version`` tells it.
            self.lineage = _lineage(bundle, self.card, version)
        except (KeyError, TypeError) as error:
            raise BundleError(CARD, f"not a card: {error!r}") from error
        if not {"row", "prediction"} <= set(self.golden):
            raise BundleError(GOLDEN, "it must hold row and prediction")
        # Older files, and those of targets on the log scale, have no spread.
        self._spread: float = self.golden.pop("spread", 0.0)
        self._features = FeatureMaker(self.spec, derive)
        self._graph = Graph(bundle.files[MODEL])

    @classmethod
    def load(
        cls, folder: Path, derive: Derive | None, version: str, contradictions: Iterable[Contradiction] = ()
    ) -> BundleModel:
        """Verify and load the bundle in ``folder``.

        Raises:
            BundleError: a file is missing or damaged; the error names it.
        """
        return cls(read_bundle(folder), derive, version, contradictions)

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,), for encoded rows."""
        if len(encoded) <= CHUNK:
            return to_target_unit(self._graph.score(self._features.derive(encoded)), self.spec.target)
        scores = np.empty(len(encoded))
        for start in range(0, len(encoded), CHUNK):
            scores[start : start + CHUNK] = self._graph.score(self._features.derive(encoded[start : start + CHUNK]))
        return to_target_unit(scores, self.spec.target)

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,), for validated rows."""
        return self.score(self._features.encode(rows))

    def check(self) -> None:
        """Score the golden row.

        Raises:
            NotReadyError: the score differs from the recorded one by more than 1e-5 of it, or of the spread of
                an identity-scale target where that is more.
        """
        expected = self.golden["prediction"]
        found = float(self.predict([self.golden["row"]])[0])
        if not abs(found - expected) <= GOLDEN_TOLERANCE * max(abs(expected), self._spread):
            raise NotReadyError(f"the golden row scores {found!r} where {expected!r} was recorded")


def _lineage(bundle: Bundle, card: dict[str, Any], version: str) -> dict[str, Any]:
    return {
        "version": version,
        "artifact_sha256": bundle.artifact_sha256,
        "files": dict(bundle.hashes),
        "data": card["data"],
        "evaluated": card["evaluated"],
        "metrics": card["metrics"],
        "libraries": card["libraries"],
        "git_commit": card[RUN]["git_commit"],
        "trained_at": card[RUN]["trained_at"],
    }
