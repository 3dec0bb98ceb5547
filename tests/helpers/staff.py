"""A model of classes, by dice: who leaves, and in which grade they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Target
from model_kit.training.dataset import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FIELDS = (
    Field("hours", "number", "hours a month"),
    Field("site", "category", "where"),
    Field("day", "date", "when"),
)
SITES = ("north", "south", "west")


def make_rows(n: int, seed: int = 3) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "hours": round(float(hours), 2),
            "site": SITES[site],
            "day": f"2024-{1 + number * 12 // n:02}-{1 + number % 28:02}",
        }
        for number, (hours, site) in enumerate(zip(random.normal(150, 20, n), random.integers(3, size=n), strict=True))
    ]


def odds(row: dict[str, Any]) -> float:
    return float((row["hours"] - 150) / 10 + (row["site"] == "south") * 2 - 1)


def make_dataset(n: int = 1200, classes: int = 2, seed: int = 3) -> Dataset:
    random = np.random.default_rng(seed + 1)
    rows = make_rows(n, seed)
    if classes == 2:
        target = np.array([int(random.random() < 1 / (1 + np.exp(-odds(row)))) for row in rows])
    else:
        shift = np.array([odds(row) for row in rows]) + random.logistic(size=n)
        target = np.digitize(shift, [-2, 1]).astype(np.int64)
    return Dataset("made up", "0" * 64, True, tuple(map(str, range(n))), tuple(rows), target)


def definition(target: Target, **changes: Any) -> ModelDefinition:
    facts: dict[str, Any] = {
        "estimator": make_pipeline(StandardScaler(), LogisticRegression()),
        "package": "model_kit.testing",
    }
    return ModelDefinition("staff", target, FIELDS, **(facts | changes))


TWO = Target("left", kind="class", classes=("stays", "leaves"))
THREE = Target("grade", kind="class", classes=(1, 2, 3))
