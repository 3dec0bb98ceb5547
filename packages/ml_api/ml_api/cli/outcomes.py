"""``ml-api outcomes``: record what came true from a file."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ml_api.prediction_log.opening import opened
from ml_api.settings import SettingsError

#: Outcomes in one transaction.
_BATCH = 1000


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("outcomes", help="record what came true, from a file")
    parser.add_argument(
        "file", help="CSV with the columns id (<Prediction-Id>/<row>), or inference_id and model, and value; or .jsonl"
    )
    parser.add_argument("--replace", action="store_true", help="replace other values, which are kept as history")
    parser.add_argument("--key", help="name of the key that the predictions were asked for with; for inference ids")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    with opened() as database:
        from ml_api.prediction_log.outcomes import STATUSES, Outcome, Result, record  # noqa: PLC0415  needs ml-api[log]
        from ml_api.views.outcomes import parse  # noqa: PLC0415

        counts: Counter[str] = Counter()
        for start, batch in _batches(options.file):
            items = [parse(item) for item in batch]
            given = [item for item in items if isinstance(item, Outcome)]
            recorded = iter(record(database, given, key=options.key, replace=options.replace))
            for line, item in enumerate(items, start=start):
                result = item if isinstance(item, Result) else next(recorded)
                counts[result.status] += 1
                if result.detail is not None:
                    print(f"{options.file}, line {line}: {result.status}: {result.detail}", file=sys.stderr)
        print(", ".join(f"{counts[status]} {status}" for status in STATUSES))
        if counts.total() > counts["recorded"] + counts["unchanged"]:
            raise SettingsError(f"not every outcome of {options.file} is recorded; the lines are above")


def _batches(name: str) -> Iterator[tuple[int, list[Any]]]:
    """Lines of a file, a thousand at a time, with the number of the first one.

    Raises:
        SettingsError: the file is neither CSV nor JSON Lines.
    """
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            is_csv = not name.endswith((".jsonl", ".ndjson"))
            rows: Iterator[Any] = csv.DictReader(file) if is_csv else _json_lines(name, file)
            # A CSV's first line has the names.
            first = 2 if is_csv else 1
            batch = []
            for row in rows:
                # An empty cell is no value.
                batch.append({key: value for key, value in row.items() if value != ""} if is_csv else row)
                if len(batch) == _BATCH:
                    yield first, batch
                    first, batch = first + _BATCH, []
            yield first, batch
    except ValueError as error:
        raise SettingsError(f"{name} is neither a CSV file in UTF-8 nor JSON Lines (.jsonl): {error}") from error


def _json_lines(name: str, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise SettingsError(f"{name}, line {number} is not JSON: {error}; earlier lines may be recorded") from error
