"""Tables of the prediction log. Times are UTC without a time zone; columns with JSON are text, as it was sent or made.

Prediction ids begin with their time, so the primary key is in the order of time and no other index is needed for it.
"""

from __future__ import annotations

import time
from datetime import datetime
from random import getrandbits

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

#: Newest migration that this code knows.
REVISION = "0003"
#: Characters of an id that a caller makes.
MAX_ID = 128

metadata = MetaData()


def _row() -> list[Column[object]]:
    return [Column("prediction_id", String(32), primary_key=True), Column("row", Integer, primary_key=True)]


predictions = Table(
    "predictions",
    metadata,
    *_row(),
    Column("time", DateTime, nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("key", Text),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("artifact_sha256", String(64)),
    Column("inference_id", String(MAX_ID)),
    Column("inputs", Text),
    Column("prediction", Float(53)),
    Column("detail", Text),
    Column("errors", Text),
)
Index(
    "predictions_by_inference_id",
    predictions.c.inference_id,
    predictions.c.model,
    postgresql_where=predictions.c.inference_id.is_not(None),
    sqlite_where=predictions.c.inference_id.is_not(None),
)

outcomes = Table(
    "outcomes",
    metadata,
    *_row(),
    Column("time", DateTime, nullable=False),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["prediction_id", "row"], ["predictions.prediction_id", "predictions.row"], ondelete="CASCADE"
    ),
)
#: Outcomes that were replaced, each with the time at which it was.
replaced_outcomes = Table(
    "replaced_outcomes",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("prediction_id", String(32), nullable=False, index=True),
    Column("row", Integer, nullable=False),
    Column("time", DateTime, nullable=False),
    Column("value", Text, nullable=False),
    Column("replaced", DateTime, nullable=False),
    ForeignKeyConstraint(
        ["prediction_id", "row"], ["predictions.prediction_id", "predictions.row"], ondelete="CASCADE"
    ),
)
#: Rows that were scored in an hour, by cell of the reference of what scored them; see :mod:`ml_api.drift.store`.
drift_counts = Table(
    "drift_counts",
    metadata,
    Column("hour", DateTime, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("artifact_sha256", String(64), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
)
#: What a shadow predicts for the rows of ``predictions``.
shadow_predictions = Table(
    "shadow_predictions",
    metadata,
    *_row(),
    Column("version", Text, primary_key=True),
    Column("prediction", Float(53)),
    Column("detail", Text),
    Column("errors", Text),
    ForeignKeyConstraint(
        ["prediction_id", "row"], ["predictions.prediction_id", "predictions.row"], ondelete="CASCADE"
    ),
)
#: The oldest code that can use the schema, by the newest migration that it knows; one row.
compatibility = Table("compatibility", metadata, Column("minimum", String(32), primary_key=True))


def new_id() -> str:
    """Return a new prediction id: 12 hex digits of the time, 20 that are random."""
    return f"{time_of(time.time())}{getrandbits(80):020x}"


def time_of(seconds: float) -> str:
    """Return what the ids of a time begin with; as text, they are in its order."""
    return f"{int(seconds * 1000):012x}"


def id_at(moment: datetime) -> str:
    """Return the lowest id of a time (aware)."""
    return time_of(moment.timestamp())
