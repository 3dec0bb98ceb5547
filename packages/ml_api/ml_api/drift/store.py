"""Counts of cells in the prediction log's database: one row for each hour and artefact, which workers add to.

A row has no record and no id. Counts of several fields cannot be put together again, and fewer than ``FEWEST`` records
are never written alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from ml_api.prediction_log.database import Database
from ml_api.prediction_log.schema import drift_counts

#: Records that are written together at least, as in the cells of the reference.
FEWEST: Final = 10
#: Name of a distribution -> its counts, as :meth:`model_kit.scoring.reference.Reference.count` has them.
Counts: TypeAlias = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What scored: a model, its version, and the sha256 of its artefact (empty if it has none)."""

    model: str
    version: str
    sha256: str

    @classmethod
    def of(cls, name: str, model: Any) -> Artifact:
        """The one of a model that is loaded."""
        return cls(name, model.version, model.lineage.get("artifact_sha256") or "")


@dataclass(frozen=True, slots=True)
class Window:
    """What one artefact scored in the hours of a window.

    Attributes:
        artifact: what scored.
        start, end: begin of the first hour and end of the last one (UTC, without a time zone).
        rows: that it scored.
        counts: of these rows.
    """

    artifact: Artifact
    start: datetime
    end: datetime
    rows: int
    counts: Counts


def total(parts: Iterable[Counts]) -> dict[str, list[int]]:
    """The sum of counts, name by name; of counts of another length the later ones are kept."""
    found: dict[str, list[int]] = {}
    for counts in parts:
        for name, values in counts.items():
            before = found.get(name)
            if before is None or len(before) != len(values):
                found[name] = list(values)
            else:
                found[name] = [one + other for one, other in zip(before, values, strict=True)]
    return found


def add(database: Database, artifact: Artifact, rows: int, counts: Counts, now: datetime | None = None) -> None:
    """Add counts to those of the hour.

    Raises:
        SQLAlchemyError, SchemaError: they were not added, or it is not known whether they were.
    """
    hour = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    key = {"hour": hour, "model": artifact.model, "version": artifact.version, "artifact_sha256": artifact.sha256}
    insert = postgresql.insert if database.is_postgres else sqlite.insert
    is_row = [drift_counts.c[name] == value for name, value in key.items()]
    with database.turn(), database.begin() as connection:
        connection.execute(insert(drift_counts).values(**key, rows=0, counts="{}").on_conflict_do_nothing())
        # Locks the row until the transaction ends.
        found = connection.execute(select(drift_counts).where(*is_row).with_for_update()).one()
        summed = total([json.loads(found.counts), counts])
        values = {"rows": found.rows + rows, "counts": json.dumps(summed, separators=(",", ":"))}
        connection.execute(update(drift_counts).where(*is_row).values(values))


def models(database: Database) -> list[str]:
    """Return the names of the models that have counts."""
    with database.begin() as connection:
        return sorted(connection.scalars(select(drift_counts.c.model).distinct()))


def windows(
    database: Database, *, start: datetime | None = None, rows: int | None = None, model: str | None = None
) -> list[Window]:
    """What each artefact scored lately, by model, the latest version first.

    Args:
        database: of the log.
        start: the hour from which on (aware); ``None``: all.
        rows: of each artefact no more than the latest hours that have so many; ``None``: all.
        model: of this model only.
    """
    columns = drift_counts.c
    query = select(drift_counts).order_by(columns.hour.desc())
    if start is not None:
        query = query.where(columns.hour > start.astimezone(UTC).replace(tzinfo=None) - timedelta(hours=1))
    if model is not None:
        query = query.where(columns.model == model)
    found: dict[Artifact, list[Any]] = {}
    with database.begin() as connection:
        for row in connection.execute(query):
            hours = found.setdefault(Artifact(row.model, row.version, row.artifact_sha256), [])
            if rows is None or sum(one.rows for one in hours) < rows:
                hours.append(row)
    made = [
        Window(
            artifact,
            hours[-1].hour,
            hours[0].hour + timedelta(hours=1),
            sum(one.rows for one in hours),
            # The oldest first: if the cells of an artefact have changed with the code, the newest are kept.
            total(json.loads(one.counts) for one in reversed(hours)),
        )
        for artifact, hours in found.items()
    ]
    return sorted(made, key=lambda window: (window.artifact.model, -window.end.timestamp()))
