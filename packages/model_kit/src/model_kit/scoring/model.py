"""Loads a bundle and scores rows with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import BundleError, NotReadyError, SpecError
from model_kit.records.encoding import Derive, Encoded, Encoder
from model_kit.records.identities import Identity, contradictions_of
from model_kit.records.row_warnings import Contradiction
from model_kit.records.vectorizer import load_texts
from model_kit.scoring.bundle import CARD, GOLDEN, REFERENCE, RUN, SPEC, VOCABULARY, Bundle, read_bundle
from model_kit.scoring.calibration import UNCALIBRATED, Calibration
from model_kit.scoring.classes import Output, to_probabilities
from model_kit.scoring.decoding import imputed_fields
from model_kit.scoring.runtimes import load_runtime
from model_kit.spec import InputSpec, Row, Target

#: Rows scored at a time: bounds memory without a loss of speed.
CHUNK = 1000
#: Difference from the golden row's recorded prediction that is tolerated, relative to its magnitude.
GOLDEN_TOLERANCE = 1e-5


def to_target_unit(scores: NDArray[np.floating[Any]], target: Target) -> NDArray[np.float64]:
    """Convert scores on the estimator's scale, shape (n_rows,), to the target's unit, in float64."""
    values: NDArray[np.float64] = np.add(scores, target.offset, dtype=np.float64)
    return np.exp(values) if target.scale == "log" else values


class Finish:
    """From what a runtime gives to predictions, in float64.

    Args:
        target: what is predicted.
        runtime: the card's: ``output``, what the runtime gives, and ``classes``, which ones in which order, see
            :func:`~model_kit.scoring.classes.to_probabilities`.
        calibration: of the probabilities; by default there is none.
    """

    def __init__(self, target: Target, runtime: Mapping[str, Any], calibration: Calibration = UNCALIBRATED) -> None:
        self._target, self._calibration = target, calibration
        self._output: Output = runtime.get("output", "value")
        self._learned = runtime.get("classes")
        if self._learned == list(range(len(target.classes))):
            self._learned = None
        self._is_binary = len(target.classes) == 2 and self._learned is None and self._output == "log_odds"

    def __call__(self, raw: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,), or probabilities, shape (n_rows, n_classes)."""
        if not self._target.is_class:
            return to_target_unit(raw[:, 0], self._target)
        if self._is_binary and raw.shape[1] == 1:
            # To probabilities and back would take as long as the graph, for one row.
            return self._calibration.of_log_odds(raw[:, 0].astype(np.float64))
        return self._calibration(to_probabilities(raw, self._output, len(self._target.classes), self._learned))


class BundleModel:
    """The :class:`~model_kit.scoring.protocol.Model` of a bundle.

    Args:
        bundle: a bundle whose hashes have been checked.
        derive: the model package's step from the encoded matrix to features; ``None`` if it has none.
        version: version of the model package's distribution.
        contradictions: combinations of values that are impossible, for row warnings.
        identities: what holds between the fields, for row warnings and sample records.
        imputes: the estimator replaces missing values by typical ones; the card of a model for which the kit does so
            says it too, and of which fields.

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
        identities: Iterable[Identity] = (),
        imputes: bool = False,
    ) -> None:
        self.version = version
        #: Further addresses of its predictions.
        self.aliases: tuple[str, ...] = ()
        self.identities = tuple(identities)
        self.contradictions = (*contradictions_of(self.identities), *contradictions)
        self.card: dict[str, Any] = bundle.json(CARD)
        self.golden: dict[str, Any] = bundle.json(GOLDEN)
        try:
            self.spec = InputSpec.from_json(bundle.files[SPEC])
        except SpecError as error:
            raise BundleError(SPEC, str(error)) from error
        self.imputes = imputes or imputed_fields(self.card, self.spec)
        if VOCABULARY in bundle.files:
            try:
                self.spec = self.spec.with_texts(load_texts(bundle.files[VOCABULARY]))
            except SpecError as error:
                raise BundleError(VOCABULARY, str(error)) from error
        try:
            #: Provenance of the model, as in ``/version``.
            self.lineage = _lineage(bundle, self.card, version)
        except (KeyError, TypeError) as error:
            raise BundleError(CARD, f"not a card: {error!r}") from error
        if not {"row", "prediction"} <= set(self.golden):
            raise BundleError(GOLDEN, "it must hold row and prediction")
        # Parsed when something asks: a hundred kilobytes of numbers that predictions do not need.
        self._reference = bundle.files[REFERENCE]
        self._encode = Encoder(self.spec)
        self._runtime = load_runtime(self.card, bundle.model, self.spec, derive)
        self._finish = Finish(self.spec.target, self.card.get("runtime", {}), Calibration.from_card(self.card))

    @classmethod
    def load(
        cls, folder: Path, derive: Derive | None, version: str, contradictions: Iterable[Contradiction] = ()
    ) -> BundleModel:
        """Verify and load the bundle in ``folder``.

        Raises:
            BundleError: a file is missing or damaged; the message names it.
        """
        return cls(read_bundle(folder), derive, version, contradictions)

    @cached_property
    def reference(self) -> dict[str, Any]:
        """The content of ``reference.json``.

        Raises:
            BundleError: it is no JSON object.
        """
        try:
            return dict(json.loads(self._reference))
        except (ValueError, TypeError) as error:
            raise BundleError(REFERENCE, f"not JSON: {error}") from error

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Return predictions of encoded rows: shape (n_rows,), in the target's unit; of a class, its probabilities.

        Probabilities are calibrated, shape (n_rows, n_classes).
        """
        if len(encoded) <= CHUNK:
            return self._finish(self._runtime.raw(encoded))
        chunks = [self._runtime.raw(encoded[start : start + CHUNK]) for start in range(0, len(encoded), CHUNK)]
        return self._finish(np.concatenate(chunks))

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """:meth:`score` of validated rows."""
        return self.score(self._encode(rows))

    def check(self) -> None:
        """Score the golden row.

        Raises:
            NotReadyError: the score differs from the recorded one by more than 1e-5 of its magnitude. On the identity
                scale, where it may be near 0, the magnitude is at least the spread of the training targets.
        """
        expected, found = self.golden["prediction"], self.predict([self.golden["row"]])[0]
        if self.spec.target.is_class:
            _check_probabilities(self.golden, found.tolist(), self.spec.target)
            return
        found = float(found)
        magnitude = abs(expected)
        if self.spec.target.scale == "identity":
            edges = (self.card.get("target_distribution") or {}).get("edges", [0.0])
            magnitude = max(magnitude, edges[-1] - edges[0])
        if not abs(found - expected) <= GOLDEN_TOLERANCE * magnitude:
            raise NotReadyError(f"the golden row scores {found!r} where {expected!r} was recorded")


def _check_probabilities(golden: Mapping[str, Any], found: list[float], target: Target) -> None:
    expected = [golden["probabilities"][key] for key in target.keys]
    if not max(abs(one - other) for one, other in zip(found, expected, strict=True)) <= GOLDEN_TOLERANCE:
        raise NotReadyError(f"the golden row has the probabilities {found} where {expected} were recorded")


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
        **({"runtime": {"kind": "scikit-learn", **cost}} if (cost := card[RUN].get("serving_cost")) else {}),
    }
