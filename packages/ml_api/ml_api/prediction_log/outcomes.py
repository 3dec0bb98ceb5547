"""Records what came true, for predictions that are in the log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from ml_api.prediction_log.database import Database
from ml_api.prediction_log.schema import outcomes, predictions, replaced_outcomes

#: What became of an outcome: new; there already, with this value; there with another one; of no prediction in the log;
#: no value that the prediction can be compared with.
RECORDED, UNCHANGED, CONFLICT, UNKNOWN, INVALID = STATUSES = (
    "recorded",
    "unchanged",
    "conflict",
    "unknown",
    "invalid",
)
#: Parameters of one statement.
_CHUNK = 500
#: A prediction id and a row.
_Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came true for one record.

    Attributes:
        value: a number, or a class.
        prediction_id: of the prediction.
        row: of the prediction.
        model: whose prediction has the caller's id.
        inference_id: the caller's own id, which wins; of several predictions with it, the latest is meant.
    """

    value: Any
    prediction_id: str | None = None
    row: int = 0
    model: str | None = None
    inference_id: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an outcome: one of ``STATUSES``, and why if it is not recorded."""

    status: str
    detail: str | None = None


def record(database: Database, given: Sequence[Outcome], *, key: str | None, replace: bool) -> list[Result]:
    """Record outcomes, each as if it came alone; returns what became of each.

    Args:
        database: of the log.
        given: in this order, so that of two for one prediction the first is recorded.
        key: name of the caller's key; its inference ids are its own.
        replace: whether another value replaces the one that is there, which is kept in ``replaced_outcomes``.

    Raises:
        SQLAlchemyError, SchemaError: the database does not answer; nothing is recorded.
    """
    for _ in range(2):
        try:
            return _record(database, given, key, replace=replace)
        except IntegrityError:
            # Another request has recorded one of them at this moment, or its prediction was purged.
            continue
    return _record(database, given, key, replace=replace)


def _record(database: Database, given: Sequence[Outcome], key: str | None, *, replace: bool) -> list[Result]:
    now = datetime.now(UTC).replace(tzinfo=None)
    with database.begin() as connection:
        found = dict(_by_prediction_id(connection, given))
        by_inference_id = _by_inference_id(connection, given, key)
        own = dict(_recorded(connection, [*found, *((row.prediction_id, row.row) for row in by_inference_id.values())]))
        before = dict(own)
        results = []
        replaced = []
        for outcome in given:
            if outcome.inference_id is not None:
                row = by_inference_id.get((outcome.model, outcome.inference_id))
            else:
                row = found.get((outcome.prediction_id or "", outcome.row))
            if row is None:
                results.append(Result(UNKNOWN, "no prediction in the log has this id"))
                continue
            value = comparable(outcome.value, row)
            if value is None:
                results.append(Result(INVALID, _wanted(row)))
                continue
            place = (row.prediction_id, row.row)
            if place not in own:
                results.append(Result(RECORDED))
            elif own[place] == value:
                results.append(Result(UNCHANGED))
                continue
            elif not replace:
                results.append(Result(CONFLICT, "another value is recorded; replace=true replaces it"))
                continue
            else:
                replaced.append((place, own[place]))
                results.append(Result(RECORDED))
            own[place] = value
        _write(connection, before, own, replaced, now)
    return results


def _write(
    connection: Connection,
    before: Mapping[_Key, str],
    after: Mapping[_Key, str],
    replaced: Sequence[tuple[_Key, str]],
    now: datetime,
) -> None:
    """Write what has changed."""
    for (prediction_id, row), value in replaced:
        if (prediction_id, row) in before:
            old = outcomes.c.prediction_id == prediction_id, outcomes.c.row == row
            time = connection.scalar(select(outcomes.c.time).where(*old))
            connection.execute(update(outcomes).where(*old).values(value=after[prediction_id, row], time=now))
        else:
            time = now
        columns = {"prediction_id": prediction_id, "row": row, "time": time, "value": value, "replaced": now}
        connection.execute(insert(replaced_outcomes), columns)
    new = [
        {"prediction_id": prediction_id, "row": row, "time": now, "value": value}
        for (prediction_id, row), value in after.items()
        if (prediction_id, row) not in before
    ]
    if new:
        connection.execute(insert(outcomes), new)


def comparable(value: Any, row: Any) -> str | None:
    """Return ``value`` as JSON, as the prediction of ``row`` has it; ``None`` if it cannot be compared with it.

    A class may be given as it is or as text, as CSV files have it.
    """
    if row.prediction is None and row.detail is not None:
        detail = json.loads(row.detail)
        text = value if isinstance(value, str) else json.dumps(value)
        if text not in detail["probabilities"]:
            return None
        return json.dumps(text if isinstance(detail["class"], str) else json.loads(text))
    if row.prediction is None and isinstance(value, str | bool):
        return json.dumps(value)  # the record was in error: there is nothing to compare with
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return json.dumps(number) if math.isfinite(number) else None


def _wanted(row: Any) -> str:
    if row.prediction is None and row.detail is not None:
        return f"the value must be one of {', '.join(json.loads(row.detail)['probabilities'])}"
    return "the value must be a number"


def _by_prediction_id(connection: Connection, given: Sequence[Outcome]) -> Iterator[tuple[_Key, Any]]:
    ids = {one.prediction_id for one in given if one.inference_id is None and one.prediction_id is not None}
    for chunk in _chunks(sorted(ids)):
        for row in connection.execute(_SELECT.where(predictions.c.prediction_id.in_(chunk))):
            yield (row.prediction_id, row.row), row


def _by_inference_id(
    connection: Connection, given: Sequence[Outcome], key: str | None
) -> dict[tuple[str | None, str], Any]:
    """Model and inference id -> the latest prediction with them."""
    ids = {one.inference_id for one in given if one.inference_id is not None}
    found: dict[tuple[str | None, str], Any] = {}
    for chunk in _chunks(sorted(ids)):
        query = _SELECT.where(predictions.c.inference_id.in_(chunk), predictions.c.key.is_not_distinct_from(key))
        for row in connection.execute(query.order_by(predictions.c.prediction_id)):
            found[row.model, row.inference_id] = row
    return found


def _recorded(connection: Connection, keys: Sequence[_Key]) -> Iterator[tuple[_Key, str]]:
    wanted = set(keys)
    for chunk in _chunks(sorted({prediction_id for prediction_id, _ in keys})):
        for row in connection.execute(select(outcomes).where(outcomes.c.prediction_id.in_(chunk))):
            if (row.prediction_id, row.row) in wanted:
                yield (row.prediction_id, row.row), row.value


_SELECT = select(
    predictions.c.prediction_id,
    predictions.c.row,
    predictions.c.model,
    predictions.c.inference_id,
    predictions.c.prediction,
    predictions.c.detail,
)


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    remaining = iter(values)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk
