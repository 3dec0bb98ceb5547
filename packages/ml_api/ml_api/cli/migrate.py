"""``ml-api migrate``: bring the prediction log's schema to what this code needs."""

from __future__ import annotations

import argparse
from typing import Any

from ml_api.prediction_log.opening import opened


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("migrate", help="create or update the tables of the prediction log")
    parser.add_argument(
        "--keep-newer", action="store_true", help="leave a newer schema that this version can use, as after a rollback"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    with opened() as database:
        print(f"The prediction log has schema {database.migrate(keep_newer=options.keep_newer)}.")
