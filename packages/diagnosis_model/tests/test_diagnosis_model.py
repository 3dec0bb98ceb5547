"""The package keeps what its definition promises, on its own sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnosis_model import DEFINITION
from model_kit.errors import FloorError
from model_kit.testing import check_definition
from model_kit.training import dataset
from model_kit.training.train import train


def test_definition_trains_exports_and_predicts(tmp_path: Path) -> None:
    check_definition(DEFINITION, tmp_path)


def test_real_samples_are_told_apart(tmp_path: Path) -> None:
    rows = dataset.synthetic(DEFINITION)
    assert (len(rows.rows), rows.synthetic, rows.name) == (569, False, "scikit-learn's breast cancer")
    card = train(DEFINITION, rows, tmp_path / "bundle")
    assert card["metrics"]["accuracy"] >= 0.965
    assert card["metrics"]["roc_auc"] >= 0.993
    assert card["graph"]["folded"]


def test_below_its_floor_nothing_is_written(tmp_path: Path) -> None:
    rows = dataset.synthetic(DEFINITION)
    shuffled = replace(rows, target=np.random.default_rng(1).permutation(rows.target))
    with pytest.raises(FloorError, match=r"accuracy is 0\.\d+, below the floor of 0.95"):
        train(DEFINITION, shuffled, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
