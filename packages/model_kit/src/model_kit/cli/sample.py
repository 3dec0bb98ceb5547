"""The command ``sample``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from model_kit.batch.output import replacing_binary
from model_kit.cli.common import OK, report
from model_kit.training.dataset import require_sample


def add_command(commands: Any, program: str) -> argparse.ArgumentParser:  # noqa: ARG001 - all commands take it
    """Add the command."""
    command: argparse.ArgumentParser = commands.add_parser("sample", help="write the package's synthetic sample")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")
    command.set_defaults(run=run)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Write the sample.

    Raises:
        DataError: the package has none.
    """
    sample = require_sample(arguments.definition)
    content = sample.csv()
    with replacing_binary(arguments.output) as file:
        file.write(content)
    n_rows = content.count(b"\n") - 1
    report(f"Wrote {n_rows} made-up rows to {arguments.output}")
    report(sample.notice)
    return OK
