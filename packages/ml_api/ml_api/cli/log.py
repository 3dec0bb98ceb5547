"""``ml-api log``: purge, export and delete what the prediction log holds."""

from __future__ import annotations

import argparse
import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ml_api.moments import moment
from ml_api.prediction_log.opening import check_model, opened
from ml_api.settings import LogSettings, SettingsError


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("log", help="purge, export or delete predictions that were logged")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    purge = commands.add_parser("purge", help="delete what is older than the retention; the server does so every hour")
    purge.add_argument("--days", type=int, help="delete what is older than so many days (default: PREDICTION_LOG_DAYS)")
    purge.set_defaults(run=_purge)

    export = commands.add_parser("export", help="write predictions with their outcomes as JSON Lines")
    export.add_argument("--since", type=moment, metavar="WHEN", help="7d, 12h, or a date (default: everything)")
    export.add_argument("--model", help="of this model only")
    export.add_argument(
        "--outcomes",
        action="store_true",
        help="only those of --model whose outcome is known, as model-kit retrain reads them; refused if fields of the "
        "model are not logged",
    )
    export.add_argument("-o", "--output", help="file (default: stdout)")
    export.set_defaults(run=_export)

    delete = commands.add_parser("delete", help="delete the rows of an id, with their outcomes")
    meant = delete.add_mutually_exclusive_group(required=True)
    meant.add_argument("--prediction-id", metavar="ID[/ROW]", help="as the header Prediction-Id has it")
    meant.add_argument("--inference-id", metavar="ID", help="the caller's own, of any model and key")
    delete.add_argument("--model", help="of this model only")
    delete.set_defaults(run=_delete)


def _purge(options: argparse.Namespace) -> None:
    with opened() as database:
        from ml_api.prediction_log import retention  # noqa: PLC0415  needs ml-api[log]

        days = database.settings.days if options.days is None else options.days
        if days <= 0:
            raise SettingsError(
                f"nothing is purged: {days} days; give --days of at least 1, or set PREDICTION_LOG_DAYS to more than 0"
            )
        print(f"Deleted {retention.purge(database, days)} predictions older than {days} days.")


def _export(options: argparse.Namespace) -> None:
    with opened() as database:
        from ml_api.prediction_log import retention  # noqa: PLC0415  needs ml-api[log]

        if options.outcomes:
            _require_inputs(database.settings, options.model)
            check_model(database, options.model)
        with Path(options.output).open("w", encoding="utf-8") if options.output else nullcontext(sys.stdout) as output:
            for row in retention.export(database, options.since, options.model, is_known=options.outcomes):
                output.write(f"{json.dumps(row)}\n")


def _require_inputs(settings: LogSettings, model: str | None) -> None:
    """Check that the log has whole records of a model: others cannot be trained on.

    Raises:
        SettingsError: no model is named or installed, or the settings keep fields of it from being logged.
    """
    if model is None:
        raise SettingsError("--outcomes are of one model: --model NAME")
    if not settings.inputs:
        raise SettingsError("PREDICTION_LOG_INPUTS is false: outcomes without their records cannot be trained on")
    if not settings.redact:
        return
    from ml_api.models.registry import installed_models  # noqa: PLC0415  other commands load no model

    load = installed_models().get(model)
    if load is None:
        raise SettingsError(f"--model {model}: it is not installed here, and its fields may be redacted")
    if hidden := [name for name in settings.redact if name in load().spec.names]:
        raise SettingsError(
            f"PREDICTION_LOG_REDACT keeps {', '.join(hidden)} out of the log: records without a field of {model} "
            "cannot be trained on"
        )


def _delete(options: argparse.Namespace) -> int:
    if options.prediction_id and not re.fullmatch(r"[0-9a-f]{32}(/[0-9]{1,9})?", options.prediction_id):
        raise SettingsError(f"{options.prediction_id!r} is no prediction id: 32 hex digits, and /ROW for one row")
    with opened() as database:
        from ml_api.prediction_log import retention  # noqa: PLC0415  needs ml-api[log]

        found = retention.delete_person(
            database, prediction_id=options.prediction_id, inference_id=options.inference_id, model=options.model
        )
        print(f"Deleted {found} predictions.")
    # An id that is spelt wrong must not pass for a person whose rows are gone.
    return 0 if found else 1
