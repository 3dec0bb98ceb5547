"""``ml-api report``: errors of predictions whose outcome is known."""

from __future__ import annotations

import argparse
from typing import Any

from ml_api.moments import moment
from ml_api.prediction_log.opening import add_report_options, check_model, opened, write_report
from ml_api.settings import SettingsError


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("report", help="errors by version and group, and the coverage of ranges")
    parser.add_argument("--since", type=moment, metavar="WHEN", help="7d, 12h, or a date (default: everything)")
    parser.add_argument("--by", action="append", default=[], metavar="FIELD", help="tell groups apart; may be repeated")
    add_report_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    with opened() as database:
        from ml_api.prediction_log import report  # noqa: PLC0415  needs ml-api[log]

        check_model(database, options.model)
        document = report.report(database, options.since, options.model, options.by)
        for name in options.by:
            groups = [group for version in document["versions"] for group in version["by"][name]]
            if groups and all(group["value"] is None for group in groups):
                raise SettingsError(
                    f"--by {name}: no record in the log has this field (PREDICTION_LOG_INPUTS, _REDACT)"
                )
        write_report(options, document, report.as_text, report.as_html)
