"""Scores the released model and a candidate on the hold-out: rows with a known target that neither was trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model_kit.comparison.run import Holdout
from model_kit.errors import DataError
from model_kit.retraining.screening import Numbers
from model_kit.scoring import assessment, class_assessment
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Target
from model_kit.training.dataset import Dataset

#: Resamples of the hold-out, and their seed.
RESAMPLES: Final = 200
SEED: Final = 20240


def require_classes(holdout: Dataset, target: Target) -> None:
    """Make sure that a hold-out has rows of each class.

    Raises:
        DataError: a class has none.
    """
    missing = [key for place, key in enumerate(target.keys) if target.is_class and not (holdout.target == place).any()]
    if missing:
        raise DataError(f"{holdout.name}: the hold-out has no row of the class {', '.join(missing)}")


def judge(
    definition: ModelDefinition, holdout: Dataset, predicted: tuple[Numbers, Numbers], served: tuple[Target, Target]
) -> Holdout:
    """Score two models on the rows that both predict, and how much of the difference may be chance.

    Args:
        definition: names the rows that are not core.
        holdout: the rows.
        predicted: by the released model and the candidate, see :func:`~model_kit.retraining.screening.predict`.
        served: their own targets, which have their thresholds.
    """
    known = ~np.isnan(np.hstack([one.reshape(len(holdout.rows), -1) for one in predicted])).any(axis=1)
    rows = np.flatnonzero(known)

    def scores(sample: NDArray[np.int64]) -> tuple[dict[str, float], dict[str, float]]:
        old, new = (
            _score(definition, holdout, sample, one[sample], own) for one, own in zip(predicted, served, strict=True)
        )
        return old, new

    if not len(rows):
        return Holdout(holdout.name, 0, {}, {}, {})
    old, new = scores(rows)
    random = np.random.default_rng(SEED)
    changes: dict[str, list[float]] = {name: [] for name in new}
    for _ in range(RESAMPLES):
        before, after = scores(random.choice(rows, len(rows)))
        for name in changes.keys() & before.keys() & after.keys():
            changes[name].append(after[name] - before[name])
    errors = {name: float(np.std(values)) if values else 0.0 for name, values in changes.items()}
    return Holdout(holdout.name, len(rows), old, new, errors)


def _score(
    definition: ModelDefinition, holdout: Dataset, rows: NDArray[np.int64], predicted: Numbers, served: Target
) -> dict[str, float]:
    """A model's metrics on some rows, as its card calls them; without those that cannot be told of these rows."""
    truth, target = holdout.target[rows], definition.target
    if target.is_class:
        found = asdict(class_assessment.score(truth, predicted, replace(target, threshold=served.threshold)))
        return {name: float(value) for name, value in found.items() if value is not None and name != "n"}
    scores = assessment.score(truth, predicted, target)
    metrics = {"rmse": scores.rmse, "r2": scores.r2, "mae": scores.mae}
    core = np.array([holdout.ids[row] not in definition.not_core for row in rows.tolist()])
    if definition.not_core and core.any():
        metrics["rmse_core"] = assessment.score(truth[core], predicted[core], target).rmse
    return {name: value for name, value in metrics.items() if value is not None}
