"""Rows of the prediction log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ml_api.prediction_log.database import Database
from ml_api.prediction_log.outcomes import Outcome, record
from ml_api.prediction_log.schema import time_of

NOW = datetime.now(UTC)


def add(
    database: Database, number: int, prediction: float | None, outcome: Any = None, days: float = 0, **changes: Any
) -> None:
    """Add a prediction of so many days ago, and its outcome."""
    at = NOW - timedelta(days=days)
    identity = f"{time_of(at.timestamp())}{number:020x}"
    names = ("key", "artifact_sha256", "inference_id", "inputs", "detail", "errors")
    row = dict.fromkeys(names) | {"row": 0, "request_id": "r", "model": "m", "version": "1", "prediction": prediction}
    row |= {"prediction_id": identity, "time": at.replace(tzinfo=None)} | changes
    with database.begin() as connection:
        database.insert(connection.connection.dbapi_connection, [row])
    if outcome is not None:
        (result,) = record(database, [Outcome(outcome, identity)], key=None, replace=False)
        assert result.status == "recorded"
