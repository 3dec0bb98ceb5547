"""``ml-api drift``: whether what is asked and answered has moved away from training."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ml_api.moments import moment
from ml_api.prediction_log.opening import add_report_options, opened, write_report
from ml_api.settings import SettingsError

if TYPE_CHECKING:
    from model_kit.scoring.reference import Reference

    from ml_api.drift.store import Artifact

#: Exit status if something has drifted.
DRIFTED = 3
_DESCRIPTION = """\
Compare what the models scored with what they were trained on: each field, the predictions, and the shares of missing
and unknown values. Each version is compared with its own reference, which is read from the models that are installed
here, as the server finds them (MODEL_DIR).

Verdicts: drifted, the difference is large and no chance; steady; too few rows; no reference. docs/drift.md has the
formulas.
"""
_EPILOG = """\
exit status: 0 nothing has drifted, 3 something has, 1 it cannot be told (no database, for example), 2 wrong arguments

examples:
  ml-api drift                                    the last 7 days
  ml-api drift --rows 1000 --model regression     the latest hours that have 1,000 rows
  ml-api drift --since 2026-11-01 --html drift.html
"""


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "drift",
        help="whether inputs or predictions have moved away from training",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--since", type=moment, metavar="WHEN", help="whole hours from 7d, 12h, or a date on (default: 7d)"
    )
    window.add_argument("--rows", type=int, metavar="N", help="of each version the latest hours that have so many rows")
    add_report_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.rows is not None and options.rows < 1:
        raise SettingsError(f"--rows is {options.rows}; it is a number of rows, at least 1")
    with opened() as database:
        from ml_api.drift import report, store  # noqa: PLC0415  needs ml-api[log]
        from ml_api.drift.statistics import DRIFTED as HAS_DRIFTED  # noqa: PLC0415

        start = None if options.rows else options.since or moment("7d")
        windows = store.windows(database, start=start, rows=options.rows, model=options.model)
        if not windows:
            known = ", ".join(store.models(database)) or "none"
            raise SettingsError(
                f"there are no counts of {options.model or 'any model'} in the prediction log for this window; models "
                f"that have some: {known} (docs/drift.md)"
            )
        document = report.report(windows, _references({window.artifact.model for window in windows}))
        write_report(options, document, report.as_text, report.as_html)
    return DRIFTED if document["verdict"] == HAS_DRIFTED else 0


def _references(names: set[str]) -> dict[Artifact, Reference]:
    """The references of the models that are installed; one that cannot be loaded is told and left out."""
    from model_kit.scoring.reference import load_reference  # noqa: PLC0415  other commands do not need numpy

    from ml_api.drift.store import Artifact  # noqa: PLC0415
    from ml_api.models.registry import installed_models  # noqa: PLC0415

    found = {}
    for name, load in installed_models().items():
        if name not in names:
            continue
        try:
            model = load()
            reference = load_reference(model)
        except Exception as error:  # noqa: BLE001  a package may do anything wrong when it is loaded
            print(f"ml-api: the model {name} cannot be loaded: {error}", file=sys.stderr)
            continue
        if reference is not None:
            found[Artifact.of(name, model)] = reference
    return found
