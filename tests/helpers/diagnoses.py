"""The diagnosis model, and a service that was asked about records whose outcome it has been told."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
from diagnosis_model import DEFINITION
from model_kit.records.encoding import Encoder
from model_kit.scoring.reference import load_reference

from ml_api.app import create_app
from ml_api.drift.store import Artifact, add
from ml_api.prediction_log.database import Database
from ml_api.settings import LogSettings, Settings

TARGET, MODEL = DEFINITION.target.name, DEFINITION.name


def sample() -> pd.DataFrame:
    """The sample of the model, 569 rows in a fixed order."""
    rows = pd.read_csv(io.BytesIO(DEFINITION.resolve("sample").csv()))
    return rows.sample(frac=1, random_state=7, ignore_index=True)


def ask(log: str, bundle: Path, frame: pd.DataFrame, version: str | None = None) -> None:
    """Ask the service about records, tell it what came true, and count them as drifted in one field.

    Args:
        log: path of an SQLite file, which is made.
        bundle: of the model that answers.
        frame: the records, with their outcomes.
        version: under which it answers, if not that of a bundle from outside.
    """
    model = DEFINITION.load_bundle(bundle)
    model.version = version or model.version
    settings = LogSettings(f"sqlite:///{log}")
    database = Database(settings)
    database.migrate()
    client = create_app(Settings(prediction_log=settings), {MODEL: lambda: model}).test_client()
    records: list[dict[str, Any]] = json.loads(
        frame.drop(columns=TARGET).to_json(orient="records", double_precision=15)
    )
    identity = client.post(f"/v1/predict/{MODEL}", json=records).headers["Prediction-Id"]
    outcomes = [{"id": f"{identity}/{row}", "value": value} for row, value in enumerate(frame[TARGET])]
    assert client.post("/v1/outcomes", json=outcomes).get_json()["counts"]["recorded"] == len(frame)
    reference = load_reference(model)
    assert reference is not None
    encoded = Encoder(model.spec)(records)
    encoded[:, 0] = encoded[:, 0].max()
    counts = {name: found.tolist() for name, found in reference.count(encoded, model.score(encoded)).items()}
    add(database, Artifact.of(MODEL, model), len(frame), counts)
    database.engine.dispose()
