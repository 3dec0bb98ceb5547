"""What a model package declares so that the training harness can train, evaluate and export it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model_kit.encoding import Derive, Features
from model_kit.row_warnings import Contradiction
from model_kit.spec import Field, InputSpec, Row, Target


class Estimator(Protocol):
    """The part of a scikit-learn regressor that training uses."""

    def fit(self, X: Features, y: NDArray[np.float64]) -> Any:  # noqa: N803 - scikit-learn's name
        """Learn from features of shape (n_rows, n_features) and a target of shape (n_rows,)."""

    def predict(self, X: Features) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Scores on the estimator's scale, shape (n_rows,)."""


@dataclass(frozen=True)
class Dataset:
    """Training data that has been read and checked.

    Attributes:
        name: what it is called wherever a model trained on it shows ("train.csv").
        sha256: of the file's bytes.
        synthetic: made by a generator, so that predictions mean nothing for the real world.
        ids: one identifier a row, for alignment only; never a feature.
        rows: validated rows.
        target: shape (n_rows,), in the target's unit.
    """

    name: str
    sha256: str
    synthetic: bool
    ids: tuple[str, ...]
    rows: tuple[Row, ...]
    target: NDArray[np.float64]


@dataclass(frozen=True)
class Floors:
    """Absolute floors: a model that scores below either is not exported.

    Attributes:
        r2: lowest R2 on the estimator's scale.
        rmse: highest RMSE on the estimator's scale.
    """

    r2: float
    rmse: float


@dataclass(frozen=True)
class ModelDefinition:
    """A model package in one object.

    Attributes:
        name: entry-point name, the last part of the URL.
        version: release version of the package.
        fields, target: what goes in and what comes out.
        derive: stateless step from the encoded matrix to the features.
        make_estimator: fitted spec -> unfitted estimator; whatever it learns, it learns in ``fit``.
        keep_for_training: rows and target -> mask of the rows to fit on. Hold-out rows are never left out.
        repair: makes the identities between fields hold in a row of typical values.
        register_converters: registers ONNX converters of the package's own estimators.
        floors: below them nothing is exported.
        register_folding: teaches :mod:`model_kit.folding` the package's own estimators; what it does not know is
            exported node by node, which is slower to score.
        not_core: identifiers left out of the average of the core score, and of nothing else.
        rare_below: levels of a nominal category seen in fewer rows share a code.
        together: groups of fields that only make sense together, see :class:`~model_kit.spec.InputSpec`.
        contradictions: what cannot be true of one record at once; the row of typical values must have none.
    """

    name: str
    version: str
    fields: tuple[Field, ...]
    target: Target
    derive: Derive
    make_estimator: Callable[[InputSpec], Estimator]
    keep_for_training: Callable[[Sequence[Row], NDArray[np.float64]], NDArray[np.bool_]]
    repair: Callable[[Row], dict[str, Any]]
    register_converters: Callable[[], None]
    floors: Floors
    register_folding: Callable[[], None] = lambda: None
    not_core: frozenset[str] = frozenset()
    rare_below: int = 10
    together: tuple[tuple[str, ...], ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
