"""What shadows predict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table; older code ignores it."""
    op.create_table(
        "shadow_predictions",
        sa.Column("prediction_id", sa.String(32), primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("prediction", sa.Float(53)),
        sa.Column("detail", sa.Text),
        sa.Column("errors", sa.Text),
        sa.ForeignKeyConstraint(
            ["prediction_id", "row"], ["predictions.prediction_id", "predictions.row"], ondelete="CASCADE"
        ),
    )
