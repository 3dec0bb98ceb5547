"""The interface between ``ml_api`` and model packages.

A model package registers a callable ``load() -> Model`` in the entry-point group ``ml_api.models``; the entry point's
name is the last part of the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded
from model_kit.spec import InputSpec

#: Entry-point group of model packages.
ENTRY_POINT_GROUP = "ml_api.models"


class Explainable(Protocol):
    """The part of a :class:`Model` that explanations need."""

    @property
    def spec(self) -> InputSpec:
        """The fitted spec."""

    @property
    def golden(self) -> Mapping[str, Any]:
        """The content of ``golden.json``: ``row``, a valid record, and the ``prediction`` recorded for it."""

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Return predictions in the target's unit, shape (n_rows,); of classes, probabilities (n_rows, n_classes).

        Args:
            encoded: shape (n_rows, n_fields), made by :class:`~model_kit.records.encoding.Encoder`.
        """


@runtime_checkable
class Model(Explainable, Protocol):
    """A loaded model.

    Its optional attribute ``contradictions`` is a sequence of :class:`~model_kit.records.row_warnings.Contradiction`;
    without it, row warnings come from the spec only. Sample records hold ``identities``, of
    :mod:`model_kit.records.identities`. ``imputes``, a boolean or names of fields, says whether, or of which,
    it replaces missing values by typical ones. ``reference`` is the content of ``reference.json``, from which
    drift is told.
    """

    @property
    def version(self) -> str:
        """Version of the model package's distribution."""

    @property
    def card(self) -> Mapping[str, Any]:
        """The content of ``card.json``."""

    @property
    def lineage(self) -> Mapping[str, Any]:
        """The provenance in ``/version``: version, data, git commit, artefact sha256, metrics, libraries."""

    def check(self) -> None:
        """Score the golden row.

        Raises:
            NotReadyError: the score differs from the recorded one.
        """
