"""Loads a bundle into ONNX Runtime and scores rows with it."""

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

#: Rows scored at a time: bounds memory without a loss of speed.
CHUNK = 1000
#: Difference from the golden row's recorded prediction that is tolerated, relative to its magnitude.
GOLDEN_TOLERANCE = 1e-5


def to_target_unit(scores: NDArray[np.floating[Any]], target: Target) -> NDArray[np.float64]:
    """Convert scores on the estimator's scale, shape (n_rows,), to the target's unit, in float64."""
    values = scores.astype(np.float64) + target.offset
    return np.exp(values) if target.scale == "log" else values


class Graph:
    """An ONNX graph with one float32 input (n_rows, n_features) and one output of n_rows scores, float32 or float64.

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
        self._outputs = [output.name for output in self._session.get_outputs()]

    def score(self, features: Features) -> NDArray[np.floating[Any]]:
        """Return scores on the estimator's scale, shape (n_rows,)."""
        scores: NDArray[np.floating[Any]] = self._session.run(self._outputs, {self._input: features})[0]
        return scores.reshape(-1)


class BundleModel:
    """The :class:`~model_kit.scoring.protocol.Model` of a bundle.

    Args:
        bundle: a bundle whose hashes have been checked.
        derive: the model package's step from the encoded matrix to features; ``None`` if it has none.
        version: version of the model package's distribution.
        contradictions: combinations of values that are impossible, for row warnings.
        imputes: the estimator replaces missing values by typical ones; the card of a model for which the kit does so
            says it too.

    Raises:
        BundleError: a file has invalid content; the message names it.
    """

    def __init__(
        self,
        bundle: Bundle,
        derive: Derive | None,
        version: str,
        contradictions: Iterable[Contradiction] = (),
        *,
        imputes: bool = False,
    ) -> None:
        self.version = version
        self.contradictions = tuple(contradictions)
        self.card: dict[str, Any] = bundle.json(CARD)
        self.imputes = imputes or self.card.get("imputation") == "kit"
        self.golden: dict[str, Any] = bundle.json(GOLDEN)
        try:
            self.spec = InputSpec.from_json(bundle.files[SPEC])
        except SpecError as error:
            raise BundleError(SPEC, str(error)) from error
        try:
            #: Provenance of the model, as in ``/version``.
            self.lineage = _lineage(bundle, self.card, version)
        except (KeyError, TypeError) as error:
            raise BundleError(CARD, f"not a card: {error!r}") from error
        if not {"row", "prediction"} <= set(self.golden):
            raise BundleError(GOLDEN, "it must hold row and prediction")
        self._features = FeatureMaker(self.spec, derive)
        self._graph = Graph(bundle.files[MODEL])

    @classmethod
    def load(
        cls, folder: Path, derive: Derive | None, version: str, contradictions: Iterable[Contradiction] = ()
    ) -> BundleModel:
        """Verify and load the bundle in ``folder``.

        Raises:
            BundleError: a file is missing or damaged; the message names it.
        """
        return cls(read_bundle(folder), derive, version, contradictions)

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Return predictions in the target's unit, shape (n_rows,), for encoded rows."""
        if len(encoded) <= CHUNK:
            return to_target_unit(self._graph.score(self._features.derive(encoded)), self.spec.target)
        scores = np.empty(len(encoded))
        for start in range(0, len(encoded), CHUNK):
            scores[start : start + CHUNK] = self._graph.score(self._features.derive(encoded[start : start + CHUNK]))
        return to_target_unit(scores, self.spec.target)

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return predictions in the target's unit, shape (n_rows,), for validated rows."""
        return self.score(self._features.encode(rows))

    def check(self) -> None:
        """Score the golden row.

        Raises:
            NotReadyError: the score differs from the recorded one by more than 1e-5 of its magnitude. On the identity
                scale, where it may be near 0, the magnitude is at least the spread of the training targets.
        """
        expected = self.golden["prediction"]
        found = float(self.predict([self.golden["row"]])[0])
        magnitude = abs(expected)
        if self.spec.target.scale == "identity":
            edges = (self.card.get("target_distribution") or {}).get("edges", [0.0])
            magnitude = max(magnitude, edges[-1] - edges[0])
        if not abs(found - expected) <= GOLDEN_TOLERANCE * magnitude:
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
