"""The command ``retrain``: trains on data and outcomes, keeps what passes as a candidate, publishes if told to."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from model_kit.batch.file_systems import STANDARD
from model_kit.cli.common import (
    FAILED,
    OK,
    UNUSABLE,
    add_number_arguments,
    ending_cleanly,
    needing_training,
    numbers_of,
    report,
)
from model_kit.comparison.gate import FILE, find_gate
from model_kit.errors import DataError
from model_kit.scoring.definition import ModelDefinition

#: Fewest outcomes that are worth a training.
LEAST: Final = 50

HELP: Final = "train on data and outcomes, compare with the release, publish what passes"
EXAMPLES: Final = """\
examples:
  {program} retrain --data train.csv --outcomes outcomes.jsonl --holdout holdout.csv
  ml-api drift --json | {program} retrain --if-drifted --data train.csv --outcomes outcomes.jsonl --holdout holdout.csv
  {program} retrain --data train.csv --outcomes outcomes.jsonl --holdout holdout.csv --publish
  {program} retrain --publish                 publish the candidate of an earlier run, which a shadow has tried

`ml-api log export --outcomes` writes outcomes; a table with all fields and the target does as well. Outcomes that are
far from what the release predicts are held back; too many of them, or too few others, and nothing is changed. The
candidate is held to the package's gate.toml by its metrics on the hold-out, which is never trained on. What passes is
put into FOLDER/candidate, for SHADOW_MODELS, and with --publish on the index of PACKAGE_INDEX_URL as X.Y.Z.postN.
Every run leaves a record in FOLDER/records that says why. More: docs/retraining.md

exit status: 0 passed, published, nothing has drifted or too few outcomes; 1 bad outcomes, or training, the gate or
publishing failed; 2 something that was given cannot be used; 130 interrupted
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("--data", type=Path, metavar="PATH", help="training file")
    command.add_argument("--outcomes", type=Path, metavar="FILE", help="records with their outcomes")
    command.add_argument("--holdout", type=Path, metavar="FILE", help="trusted rows that are never trained on")
    command.add_argument(
        "--if-drifted",
        nargs="?",
        const=STANDARD,
        metavar="REPORT",
        help="only if this report of `ml-api drift --json` says so (default: standard input)",
    )
    command.add_argument("--publish", action="store_true", help="publish the candidate on the index if it passes")
    command.add_argument(
        "--released",
        default="latest",
        metavar="OLD",
        help="what to compare with: wheel, version or bundle folder (default: the newest release on the index)",
    )
    command.add_argument(
        "--min-outcomes", type=int, default=LEAST, metavar="N", help="fewest outcomes (default: %(default)s)"
    )
    command.add_argument(
        "--gate", type=Path, metavar="FILE", help=f"the thresholds (default: the package's {FILE}, else model-kit's)"
    )
    command.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of records and candidate (default: retraining/NAME)"
    )
    command.add_argument("--json", action="store_true", help="print the record instead of its sentence")
    add_number_arguments(command)


def run(arguments: argparse.Namespace) -> int:
    """Retrain, and say how it ended.

    Raises:
        DataError: files are missing from the command line, or no record can be written.
    """
    definition: ModelDefinition = arguments.definition
    given = {f"--{name}": getattr(arguments, name) for name in ("data", "outcomes", "holdout")}
    missing = [name for name, path in given.items() if path is None]
    if missing and not (arguments.publish and len(missing) == len(given) and arguments.if_drifted is None):
        raise DataError(
            f"retrain needs {', '.join(missing)}; --publish alone publishes the candidate of an earlier run"
        )
    if arguments.min_outcomes < 1:
        raise DataError("--min-outcomes is a number of outcomes, at least 1")
    if arguments.if_drifted == STANDARD and sys.stdin.isatty():
        raise DataError("--if-drifted reads a report of `ml-api drift --json` from standard input; or name a file")

    def retrain() -> Any:
        from model_kit.retraining.run import Files, Job, retrain  # noqa: PLC0415 - needs what serving does without

        found = find_gate(definition.folder)
        job = Job(
            definition,
            arguments.output or Path("retraining", definition.name),
            None if missing else Files(*given.values()),
            released=arguments.released,
            drift=arguments.if_drifted,
            # Relative, so that records do not show where the repository is.
            gate=arguments.gate or (found and Path(os.path.relpath(found))),
            least=arguments.min_outcomes,
            publish=arguments.publish,
            numbers=numbers_of(arguments),
        )
        with ending_cleanly():
            return retrain(job, report)

    record = needing_training(retrain)
    if arguments.json:
        sys.stdout.write(json.dumps(record.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        sys.stdout.write(f"{record.sentence}\nRecord: {record.path}\n")
    if record.is_good:
        return OK
    return UNUSABLE if record.end == "unusable" else FAILED
