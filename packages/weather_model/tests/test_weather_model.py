"""The package keeps what its definition promises, on its own sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from model_kit.scoring.predictor import Predictor
from model_kit.testing import check_definition
from model_kit.training import dataset
from model_kit.training.train import train
from weather_model import DEFINITION


def test_definition_trains_exports_and_predicts(tmp_path: Path) -> None:
    check_definition(DEFINITION, tmp_path)


def test_sample_is_learned_in_the_order_of_time_and_the_graph_is_folded(tmp_path: Path) -> None:
    rows = dataset.synthetic(DEFINITION)
    assert rows.synthetic
    card = train(DEFINITION, rows, tmp_path / "bundle")
    assert card["graph"]["folded"], card["graph"]["reason"]
    assert card["cross_validation"]["time_order"] == "Timestamp"
    answer = Predictor(DEFINITION.load_bundle(tmp_path / "bundle"))(rows.rows)
    assert np.mean(np.array(answer.predictions) == rows.target) > 0.9
