"""``ml-api shadow-report``: compare what shadows predict with what was answered."""

from __future__ import annotations

import argparse
from typing import Any

from ml_api.moments import moment
from ml_api.prediction_log.opening import add_report_options, check_model, opened, write_report

_DESCRIPTION = """\
Compares the predictions of shadows (SHADOW_MODELS) with those that were answered, row by row: whether they agree, in
which groups they do not (where inputs are logged), and, for rows whose outcome is known, which has the smaller loss.

The verdict is "better" or "worse" if the 95 % interval of the paired difference of the losses is on one side of 0, else
"not yet known", with the number of requests that would tell a difference of the size seen. Numbers are compared by
their absolute error, and by the squared error of the logarithm where all are positive; classes by log loss.
"""
_EXAMPLES = """\
examples:
  ml-api shadow-report --since 7d
  ml-api shadow-report --model regression --tolerance 0.05 --html shadow.html
  ml-api shadow-report --json | jq '.comparisons[].losses[] | {loss, verdict, low, high}'
"""


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "shadow-report",
        help="whether a shadow agrees with what was answered, and which is better",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--since", type=moment, metavar="WHEN", help="7d, 12h, or a date (default: everything)")
    parser.add_argument(
        "--tolerance",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="numbers agree within this share of the one that was answered (default: 0.01)",
    )
    add_report_options(parser)
    parser.set_defaults(run=_run)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return share


def _run(options: argparse.Namespace) -> None:
    with opened() as database:
        from ml_api.prediction_log import shadow_report as report  # noqa: PLC0415  needs ml-api[log]

        check_model(database, options.model)
        document = report.shadow_report(database, options.since, options.model, options.tolerance)
        write_report(options, document, report.as_text, report.as_html)
