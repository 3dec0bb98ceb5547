"""Runs migrations on the connection that :func:`ml_api.prediction_log.database.migrate` has opened."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
