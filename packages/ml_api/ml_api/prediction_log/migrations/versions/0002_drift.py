"""Counts of what was scored, for drift. Older code does not need them: the minimum stays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "drift_counts",
        sa.Column("hour", sa.DateTime, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("artifact_sha256", sa.String(64), primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
    )
