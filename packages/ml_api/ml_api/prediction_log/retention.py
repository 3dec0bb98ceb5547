"""Deletes what is too old, and what is about a person; exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, select

from ml_api.prediction_log.database import Database, check_schema
from ml_api.prediction_log.schema import drift_counts, id_at, outcomes, predictions

#: Requests whose rows are deleted in one transaction, so that none of the writer's waits for long.
CHUNK = 500
#: Columns with JSON.
_JSON = ("inputs", "detail", "errors")


def purge_some(database: Database, days: int | None = None) -> bool:
    """Delete the oldest rows beyond the retention, up to ``CHUNK`` requests; returns whether there may be more."""
    return purge_chunk(database, database.settings.days if days is None else days)[0]


def purge(database: Database, days: int) -> int:
    """Delete all rows older than so many days, with their outcomes; returns how many predictions that were."""
    deleted, has_more = 0, True
    while has_more:
        has_more, n = purge_chunk(database, days)
        deleted += n
    return deleted


def purge_chunk(database: Database, days: int) -> tuple[bool, int]:
    """Delete up to ``CHUNK`` requests older than so many days; returns whether there may be more, and the rows."""
    if not days:
        return False, 0
    ids = predictions.c.prediction_id
    end = datetime.now(UTC) - timedelta(days=days)
    too_old = id_at(end)
    with database.begin() as connection:
        connection.execute(
            delete(drift_counts).where(drift_counts.c.hour < end.replace(tzinfo=None) - timedelta(hours=1))
        )
        oldest = select(ids).distinct().where(ids < too_old).order_by(ids).limit(CHUNK)
        found = connection.scalars(oldest).all()
        return len(found) == CHUNK, _delete(connection, ids.in_(found))


def delete_person(
    database: Database, *, prediction_id: str | None = None, inference_id: str | None = None, model: str | None = None
) -> int:
    """Delete the rows of ``<prediction id>``, ``<prediction id>/<row>`` or the caller's own id; returns how many."""
    conditions = []
    if prediction_id is not None:
        request, _, row = prediction_id.partition("/")
        conditions.append(predictions.c.prediction_id == request)
        if row:
            conditions.append(predictions.c.row == int(row))
    if inference_id is not None:
        conditions.append(predictions.c.inference_id == inference_id)
    if model is not None:
        conditions.append(predictions.c.model == model)
    with database.begin() as connection:
        return _delete(connection, *conditions)


def _delete(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    # Outcomes go with their predictions: ON DELETE CASCADE.
    return connection.execute(delete(predictions).where(*conditions)).rowcount


def since(query: Select[Any], start: datetime | None, model: str | None) -> Select[Any]:
    """Restrict ``query`` to the predictions of a model from a time on."""
    if start is not None:
        query = query.where(predictions.c.prediction_id >= id_at(start))
    return query if model is None else query.where(predictions.c.model == model)


def export(
    database: Database, start: datetime | None, model: str | None, *, is_known: bool = False
) -> Iterator[dict[str, Any]]:
    """Return predictions with their outcomes, oldest first; all, or only those whose outcome ``is_known``."""
    joined = predictions.join(outcomes, isouter=not is_known)
    columns = (*predictions.columns, outcomes.c.value.label("outcome"), outcomes.c.time.label("outcome_time"))
    query = since(select(*columns).select_from(joined), start, model).order_by(*predictions.primary_key.columns)
    for row in stream(database, query):
        found = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public name
        for name in (*_JSON, "outcome"):
            found[name] = found[name] and json.loads(found[name])
        for name in ("time", "outcome_time"):
            found[name] = found[name] and f"{found[name].isoformat()}Z"
        yield found


def stream(database: Database, query: Select[Any]) -> Iterator[Any]:
    """Return the rows of a query, a thousand in memory at a time, without keeping writers out."""
    options: dict[str, Any] = {"is_reader": True, "yield_per": 1000}
    with database.engine.connect().execution_options(**options) as connection:
        check_schema(connection)
        yield from connection.execute(query)
