"""Tells what will serve an estimator, on a few rows, before the time for training it is spent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from model_kit.errors import DataError, DisagreementError, ExportError, TrainingError, first_line
from model_kit.scoring.definition import Estimator, ModelDefinition
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import adopt, fit
from model_kit.training.export import Export, export
from model_kit.training.threshold import with_threshold

#: Rows that an estimator is tried on.
N_ROWS: Final = 50
SEED: Final = 20240


@dataclass(frozen=True)
class Verdict:
    """What serves an estimator.

    Attributes:
        served: ``folded``, a graph of about twenty nodes; ``ONNX``, one of skl2onnx; ``scikit-learn``, the estimator
            itself; or ``unknown``.
        reason: one sentence; of a folded one empty.
    """

    served: Literal["folded", "ONNX", "scikit-learn", "unknown"]
    reason: str

    def __str__(self) -> str:
        return f"{self.served}: {self.reason}" if self.reason else self.served


def try_estimator(definition: ModelDefinition, dataset: Dataset, estimator: Estimator | None = None) -> Verdict:
    """Fit a model's estimator on 50 rows and try to export it.

    Args:
        definition: the model package.
        dataset: its training data.
        estimator: a fitted one, which is exported as it is.

    Returns:
        The verdict, ``unknown`` where 50 rows are too few to fit it on, or where the graph differs from scikit-learn on
        them: whether it does after training is decided on all rows.

    Raises:
        DefinitionError: the declared estimator cannot be used.
        ExportError: it cannot be served, however many rows there are.
    """
    chosen = _sample(dataset)
    rows = [dataset.rows[position] for position in chosen]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same ones come from training
        try:
            if estimator is None:
                fitted = fit(definition, rows, dataset.target[chosen])
            else:
                fitted = adopt(definition, dataset.rows, dataset.target, estimator)
            with_threshold(fitted)
            return judge(export(fitted, rows, definition.runtime, keeps_rows=definition.keeps_rows))
        except (DataError, TrainingError) as error:
            return Verdict("unknown", f"it takes more rows: {first_line(error)}")
        except DisagreementError as error:
            return Verdict("unknown", sentence(error))


def judge(exported: Export) -> Verdict:
    """The verdict on what was exported."""
    if exported.runtime["kind"] == "scikit-learn":
        return Verdict("scikit-learn", "the estimator itself computes predictions")
    if exported.runtime["folded"]:
        return Verdict("folded", "")
    return Verdict("ONNX", f"it is not folded: {exported.graph['reason']}")


def sentence(error: ExportError) -> str:
    """Why nothing was exported, in one sentence."""
    lines = str(error).splitlines()
    return lines[2].removeprefix("Graph of skl2onnx: ") if len(lines) > 2 else lines[0]


def _sample(dataset: Dataset) -> list[int]:
    """Positions of 50 rows at random, in their order, with some of each class."""
    random = np.random.default_rng(SEED)
    order = random.permutation(len(dataset.rows))
    if len(np.unique(dataset.target)) <= N_ROWS // 5:
        # Of each value in turn.
        turn = np.empty(len(order), np.intp)
        for value in np.unique(dataset.target):
            places = np.flatnonzero(dataset.target[order] == value)
            turn[places] = np.arange(len(places))
        order = order[np.argsort(turn, kind="stable")]
    return sorted(order[:N_ROWS].tolist())
