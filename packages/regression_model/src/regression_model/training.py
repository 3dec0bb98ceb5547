"""Train the house-price model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_kit import evaluation, training
from model_kit.definition import Dataset

from regression_model.definition import DEFINITION


def nested_coverage(dataset: Dataset) -> dict[str, Any]:
    """Coverage of the ranges on rows that neither trained nor calibrated them; takes ten times what training does.

    Raises:
        DataError: there are too few rows.
    """
    return evaluation.nested_coverage(DEFINITION, dataset)


def train(
    dataset: Dataset, *, cv: bool = True, bundle: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train on ``dataset`` and write ``bundle``; returns the card. See :func:`model_kit.training.train`."""
    return training.train(DEFINITION, dataset, bundle, source=Path(__file__).parent, cv=cv, say=say)
