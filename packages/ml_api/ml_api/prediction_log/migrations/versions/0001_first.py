"""The first schema: predictions, outcomes, those that were replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.String(32), primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("time", sa.DateTime, nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("artifact_sha256", sa.String(64)),
        sa.Column("inference_id", sa.String(128)),
        sa.Column("inputs", sa.Text),
        sa.Column("prediction", sa.Float(53)),
        sa.Column("detail", sa.Text),
        sa.Column("errors", sa.Text),
    )
    has_id = sa.text("inference_id IS NOT NULL")
    op.create_index(
        "predictions_by_inference_id",
        "predictions",
        ["inference_id", "model"],
        postgresql_where=has_id,
        sqlite_where=has_id,
    )
    op.create_table(
        "outcomes",
        sa.Column("prediction_id", sa.String(32), primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("time", sa.DateTime, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        _of_a_prediction(),
    )
    op.create_table(
        "replaced_outcomes",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("prediction_id", sa.String(32), nullable=False, index=True),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("time", sa.DateTime, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("replaced", sa.DateTime, nullable=False),
        _of_a_prediction(),
    )
    compatibility = op.create_table("compatibility", sa.Column("minimum", sa.String(32), primary_key=True))
    op.bulk_insert(compatibility, [{"minimum": revision}])


def _of_a_prediction() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["prediction_id", "row"], ["predictions.prediction_id", "predictions.row"], ondelete="CASCADE"
    )
