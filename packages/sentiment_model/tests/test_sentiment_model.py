"""The package keeps what its definition promises, on its own sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_kit.scoring.model import BundleModel
from model_kit.scoring.predictor import Predictor
from model_kit.testing import check_definition
from model_kit.training import dataset
from model_kit.training.train import train
from sentiment_model import DEFINITION


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> BundleModel:
    folder = tmp_path_factory.mktemp("sentiment") / "bundle"
    train(DEFINITION, dataset.synthetic(DEFINITION), folder)
    return DEFINITION.load_bundle(folder)


def test_definition_trains_exports_and_predicts(tmp_path: Path) -> None:
    check_definition(DEFINITION, tmp_path)


def test_sample_is_learned_and_the_graph_is_folded(model: BundleModel) -> None:
    rows = dataset.synthetic(DEFINITION)
    assert rows.synthetic
    assert model.card["graph"]["folded"], model.card["graph"]["reason"]
    answer = Predictor(model)(rows.rows)
    expected = [DEFINITION.target.classes[position] for position in rows.target]
    assert np.mean(np.array(answer.predictions) == np.array(expected)) > 0.95


def test_no_sentence_of_training_is_in_the_bundle(model: BundleModel, tmp_path: Path) -> None:
    rows = dataset.synthetic(DEFINITION)
    train(DEFINITION, rows, tmp_path / "bundle", cv=False)
    written = b"".join(path.read_bytes() for path in (tmp_path / "bundle").iterdir()).decode(errors="replace").lower()
    for row in rows.rows:
        text = str(row["text"]).lower()
        if len(text.split()) > 4:
            assert json.dumps(text)[1:-1] not in written
