"""The command ``sample``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from model_kit.batch.output import replacing_binary
from model_kit.cli.common import OK, report
from model_kit.training.dataset import require_sample

HELP: Final = "write the package's synthetic sample"
EXAMPLES: Final = ""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")


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
