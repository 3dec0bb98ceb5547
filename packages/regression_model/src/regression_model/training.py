"""Train the house-price model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_kit import training
from model_kit.definition import Dataset

from regression_model.definition import DEFINITION


def train(
    dataset: Dataset, *, cv: bool = True, bundle: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train on ``dataset`` and write ``bundle``; returns the card. See :func:`model_kit.training.train`."""
    return training.train(DEFINITION, dataset, bundle, source=Path(__file__).parent, cv=cv, say=say)
