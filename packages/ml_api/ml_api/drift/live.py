"""Publishes drift for ``/metrics``: one worker at a time computes it, and all of them show it.

The file has its time. Whichever worker finds it old takes the lock and computes; a lock ends with its process.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from model_kit.scoring.reference import Reference

from ml_api.drift.statistics import DRIFTED, STEADY, judge
from ml_api.drift.store import Artifact, windows
from ml_api.metrics.drift import FILE
from ml_api.prediction_log.database import Database

#: Seconds between two computations.
INTERVAL: Final = 60.0
#: Rows of a window: of each model the latest hours that have so many, of the last days.
ROWS, DAYS = 1_000, 7


def refresh(database: Database, folder: Path, references: Mapping[Artifact, Reference]) -> bool:
    """Compute and publish the drift of the models that are served, if it is time and no other worker does.

    Returns:
        Whether it was published.

    Raises:
        SQLAlchemyError, SchemaError: the database does not answer.
    """
    path = folder / FILE
    if _age(path) < INTERVAL:
        return False
    descriptor = os.open(folder / "drift.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _age(path) < INTERVAL:
            return False
        if not (found := _computed(database, references)):
            return False  # the first rows are told as soon as they are counted
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(found), "utf-8")
        temporary.rename(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _age(path: Path) -> float:
    try:
        return abs(time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")


def _computed(database: Database, references: Mapping[Artifact, Reference]) -> list[dict[str, Any]]:
    start = datetime.now(UTC) - timedelta(days=DAYS)
    found = []
    for window in windows(database, start=start, rows=ROWS):
        if (reference := references.get(window.artifact)) is None:
            continue
        fields = []
        for finding in judge(window.counts, reference):
            check = finding.distribution
            fields.append(
                {
                    "field": finding.name,
                    "drifted": {DRIFTED: 1, STEADY: 0}.get(finding.verdict),
                    "psi": check and check.psi,
                    "threshold": check and check.threshold,
                    "missing": finding.missing,
                    "unknown": finding.unknown,
                }
            )
        found.append({"model": window.artifact.model, "rows": window.rows, "fields": fields})
    return found
