"""The command ``train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from model_kit.cli.common import (
    OK,
    add_number_arguments,
    data_facts,
    facts,
    needing_training,
    numbers_of,
    report,
    score_facts,
    synthetic_notice,
)
from model_kit.scoring.definition import ModelDefinition

HELP: Final = "train the model and write its bundle"
EXAMPLES: Final = """\
examples:
  {program} train --data train.csv
  {program} train --data train.csv --no-cv --bundle try    quick, unevaluated, elsewhere
  {program} train                             on the package's synthetic sample, if it has one

The file is CSV with all fields and the target; {program} show lists them.
Training needs the extra: pip install "model-kit[train]"
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    source = command.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="PATH", help="CSV file with the fields and the target")
    source.add_argument("--sample", action="store_true", help="the synthetic sample (the default)")
    command.add_argument("--no-cv", action="store_true", help="skip cross-validation; the model counts as unevaluated")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="folder to write (default: the package's own)")
    add_number_arguments(command)


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the scores."""
    definition: ModelDefinition = arguments.definition
    numbers = numbers_of(arguments)

    def train() -> Any:
        from model_kit.training import dataset  # noqa: PLC0415 - needs what serving does without
        from model_kit.training.train import train  # noqa: PLC0415

        read = (
            dataset.load(definition, arguments.data, report=report, numbers=numbers)
            if arguments.data
            else dataset.synthetic(definition)
        )
        if read.synthetic:
            report(synthetic_notice(definition))
        return train(definition, read, arguments.bundle or definition.bundle, cv=not arguments.no_cv, report=report)

    card = needing_training(train)
    sys.stdout.write(facts(data_facts(card) + score_facts(card, definition.target)))
    if card["data"]["synthetic"]:
        sys.stdout.write(f"{synthetic_notice(definition)}\n")
    return OK
