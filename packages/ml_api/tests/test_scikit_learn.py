"""A model that scikit-learn itself serves, over HTTP."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from model_kit.records.generation import generate_rows
from model_kit.testing import SPEC_OF_RIDES, load_rides, ride_definition
from model_kit.training.dataset import Dataset
from model_kit.training.train import train
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from ml_api.app import create_app
from ml_api.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    rows = generate_rows(SPEC_OF_RIDES, 200, seed=1)
    fares = np.exp([2 + row["distance"] / 8 - (row["zone"] == "B") / 4 for row in rows])
    dataset = Dataset("rides", "0" * 64, True, tuple(map(str, range(200))), tuple(rows), fares)
    estimator = make_pipeline(SplineTransformer(extrapolation="constant"), Ridge())
    definition = ride_definition(estimator=estimator, derive=None, runtime="scikit-learn")
    folder = tmp_path_factory.mktemp("bundles") / "rides"
    train(definition, dataset, folder, cv=False)
    return create_app(Settings(), {"rides": lambda: definition.load_bundle(folder)}).test_client()


def test_it_is_ready_and_predicts_with_every_detail(client: FlaskClient) -> None:
    assert client.get("/health/ready").status_code == 200
    records = [{"distance": 8.0, "zone": "A"}, {"distance": 8.0, "zone": "Z"}, {"distance": -1, "zone": "A"}]
    answer = client.post("/v1/predict/rides?warnings=true&explain=2", json=records).get_json()
    fare, unknown, wrong = answer["predictions"]
    assert fare == pytest.approx(np.exp(2 + 8 / 8), rel=0.1)
    assert unknown > 0
    assert wrong is None
    assert "zone" in [warning["field"] for warning in answer["warnings"][1]]
    assert answer["explanations"][0]["contributions"][0]["field"] == "distance"


def test_version_and_card_say_what_it_costs(client: FlaskClient) -> None:
    runtime = client.get("/version").get_json()["models"]["rides"]["runtime"]
    assert runtime["kind"] == "scikit-learn"
    page = html.unescape(re.sub(r"<[^>]+>|\s+", " ", client.get("/card/rides").get_data(as_text=True)))
    words = " ".join(page.split())
    assert f"Served by scikit-learn: {runtime['row_us']:,} µs for one row; each worker imports it in" in words


def test_version_of_other_models_says_nothing_of_it(bundle: Path) -> None:
    app = create_app(Settings(), {"rides": lambda: load_rides(bundle)})
    assert "runtime" not in app.test_client().get("/version").get_json()["models"]["rides"]
