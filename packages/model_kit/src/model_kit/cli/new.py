"""The command ``new``: a model package from a CSV file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from model_kit.cli.common import (
    OK,
    add_number_arguments,
    data_facts,
    facts,
    needing_training,
    numbers_of,
    report,
    score_facts,
)

HELP: Final = "make a model package from a CSV file, and train it"
EXAMPLES: Final = """\
examples:
  {program} new diamonds --data diamonds.csv --target price --unit USD
  {program} new diamonds --data diamonds.csv --target price --no-train     look at the package before it is trained
  {program} new churn --data staff.csv --target left --subject employee    a class: texts, true or false, 0 or 1

The kinds of the columns are inferred from the file, one line each in fields.py, with the evidence as a comment; every
row of the file is proven to be accepted before anything is written. A package that exists is never overwritten. The
estimator is the best in cross-validation of those that the kit offers. No value of the data is in the generated code.

Then: edit fields.py and estimator.py as you like, and train again: {program} train --model diamonds --data diamonds.csv

exit status: 0 done; 1 failed; 2 the file, the target or the name cannot be used
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("name", metavar="NAME", help="of the model, the last part of its URL")
    command.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV file with a header")
    command.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    command.add_argument("--unit", default="", metavar="UNIT", help='unit of the target ("USD")')
    command.add_argument("--subject", default="record", metavar="NOUN", help='what one row is ("diamond")')
    command.add_argument("--scale", choices=("log", "identity"), help="of the target (default: by its distribution)")
    command.add_argument("--target-kind", choices=("number", "class"), help="what the target is (default: inferred)")
    add_number_arguments(command)
    command.add_argument(
        "--into", type=Path, default=Path("packages"), metavar="DIR", help="where packages are (default: %(default)s)"
    )
    command.add_argument("--no-train", action="store_true", help="write the package, and do not train it")
    command.add_argument("--json", action="store_true", help="report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Infer, write, train, and report."""
    return int(needing_training(lambda: _run(arguments)))


def _run(arguments: argparse.Namespace) -> int:
    from model_kit.scaffold import new, source  # noqa: PLC0415 - needs what serving does without
    from model_kit.training.estimators import defaults  # noqa: PLC0415
    from model_kit.training.train import train  # noqa: PLC0415

    new.check_name(arguments.name, arguments.into)
    found = new.draft(
        arguments.name,
        arguments.data,
        arguments.target,
        unit=arguments.unit,
        subject=arguments.subject,
        scale=arguments.scale,
        target_kind=arguments.target_kind,
        numbers=numbers_of(arguments),
        report=report,
    )
    scores = defaults.rank(found.definition, found.dataset, report=report)
    folder = new.write(found, arguments.into, source.default_estimator_source(scores, found.definition.target))
    document = new.to_document(found, scores, folder)
    if not arguments.json:
        sys.stdout.write(new.describe(found, scores))
        sys.stdout.write(f"Wrote {folder}:\n")
        for file in document["files"]:
            sys.stdout.write(f"  {file['lines']:>4} lines  {file['name']}\n")
        sys.stdout.flush()
    if not arguments.no_train:
        with new.whole_or_not_at_all(folder):
            definition = new.written_definition(folder, found.definition.package)
            card = train(definition, found.dataset, definition.bundle, report=report)
        document["card"] = card
        if not arguments.json:
            sys.stdout.write(facts(data_facts(card) + score_facts(card, definition.target)))
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return OK
