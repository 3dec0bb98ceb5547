"""What ``ml_api`` may ask of a model package.

A model package announces a callable ``load() -> Model`` under the entry-point group ``ml_api.models``;
the entry point's name is the last part of the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded
from model_kit.spec import InputSpec

#: Entry-point group under which model packages announce themselves.
ENTRY_POINT_GROUP = "ml_api.models"


@runtime_checkable
class Model(Protocol):
    """A loaded model.

    It may have ``contradictions``, a sequence of :class:`~model_kit.records.row_warnings.Contradiction`; without, row
    warnings come from the spec alone.
    """

    @property
    def version(self) -> str:
        """Version of the model package's distribution."""

    @property
    def spec(self) -> InputSpec:
        """The fitted table of fields."""

    @property
    def card(self) -> Mapping[str, Any]:
        """The content of ``card.json``."""

    @property
    def golden(self) -> Mapping[str, Any]:
        """The content of ``golden.json``: ``row``, a valid record, and the ``prediction`` recorded for it."""

    @property
    def lineage(self) -> Mapping[str, Any]:
        """What ``/version`` tells: version, data, git commit, artefact sha256, metrics, libraries."""

    def score(self, encoded: Encoded) -> NDArray[np.float64]:
        """Predictions in the target's unit, shape (n_rows,).

        Args:
            encoded: shape (n_rows, n_fields), made by :class:`~model_kit.records.encoding.Encoder`.
        """

    def check(self) -> None:
        """Score the golden row.

        Raises:
            NotReadyError: the score is not the recorded one.
        """
