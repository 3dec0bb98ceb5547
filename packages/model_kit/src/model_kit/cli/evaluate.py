"""The command ``evaluate``."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from model_kit.batch import evaluation
from model_kit.batch.file_systems import STANDARD
from model_kit.batch.sources import name_of
from model_kit.batch.tables import FORMATS, reading
from model_kit.cli.common import (
    add_bundle_argument,
    add_number_arguments,
    add_strict_arguments,
    facts,
    model_of,
    needing_training,
    numbers_of,
    report,
    report_columns,
    status_of,
    synthetic_notice,
)
from model_kit.errors import DataError
from model_kit.records.number_format import NumberFormat
from model_kit.scoring.definition import ModelDefinition

HELP: Final = "compare predictions with known values of the target, group by group"
EXAMPLES: Final = """\
examples:
  {program} evaluate --data labelled.csv
  {program} evaluate --data labelled.csv --by COLUMN --by ANOTHER
  {program} evaluate --data labelled.csv --by COLUMN --json | jq '.by.COLUMN[0]'
  {program} evaluate --data train.csv --nested    how often the ranges hold, in all honesty; takes minutes

The file has the target beside the fields: CSV, JSON Lines or Parquet. Where the target's scale is the log, RMSE and R2
are those of its log, so that an RMSE of .1 is about 10 %; MAE is in the target's unit, "median error" is relative to
the target, "bias" is above 0 where predictions are too high. Groups are sorted by RMSE, the largest first. The thirds
are those of the true value: by that, the low always look overestimated a little, and the high underestimated. Rows that
cannot be scored are counted and named.

Of a class the scores are log loss, ROC AUC, average precision, Brier score, accuracy and balanced accuracy, then each
class's precision and recall, and rows by true and predicted class. --by adds for each group how many are predicted
positive, both error rates and how often the class is in its 90 % set, with 95 % confidence: what fairness asks for.

The last table is how often the ranges of predict --interval hold the true value: of this file, and of the training
data, where each row was predicted by a model and judged by a calibration that did not know it. There the thirds are
those of the prediction. With --nested, the whole procedure is run again within ten folds of the file.

On rows that it was trained on, a model looks better than it is. Its honest scores are the cross-validated ones: show.

exit status: 0 done; 1 with --strict, a row could not be scored; 2 the file is unusable
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("--data", required=True, metavar="FILE", help="file with the target, - for standard input")
    command.add_argument("--by", action="append", default=[], metavar="COLUMN", help="group by this column; repeatable")
    command.add_argument(
        "--nested",
        action="store_true",
        help="check the ranges by nested cross-validation of the file, a training file: takes minutes, and [train]",
    )
    command.add_argument("--format", choices=FORMATS, help="of the file (default: by its name, else csv)")
    command.add_argument("--json", action="store_true", help="as JSON, with all groups and all rows that failed")
    add_number_arguments(command)
    add_strict_arguments(command)
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Score a labelled file, and print its errors."""
    definition: ModelDefinition = arguments.definition
    model = model_of(arguments)
    if arguments.nested and definition.target.is_class:
        raise DataError("--nested is about ranges of numbers; the sets of a class are judged by cross-validation: show")
    nested = _nested(definition, arguments.data, numbers_of(arguments)) if arguments.nested else None
    with reading(arguments.data, model.spec, arguments.format, numbers_of(arguments)) as table:
        scored = evaluation.score(table, definition, model, arguments.by)
    report_columns(table, scored.summary)
    assessment = scored.assess(model.spec, model.card)
    ranges = evaluation.covered(scored, model, nested)
    name, sha256 = name_of(arguments.data), _digest(arguments.data)
    document = evaluation.document(scored, assessment, definition, model, name, sha256, ranges)
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        found = document["data"]
        sys.stdout.write(f"{synthetic_notice(definition)}\n" if model.card["data"]["synthetic"] else "")
        counts = f"{found['rows']:,} rows, {found['scored']:,} scored, {found['failed']:,} failed"
        heading = [
            ("model", f"{model.card['model']} {model.version}, trained on {model.card['data']['name']}"),
            ("data", f"{found['name']}: {counts}"),
        ]
        sys.stdout.write(facts(heading))
        sys.stdout.write("\n" + evaluation.table(scored, assessment, definition))
        sys.stdout.write(evaluation.coverage_table(ranges))
    if document["data"]["trained_on_this"]:
        report("The model was trained on this very file: these figures flatter it. Its cross-validated scores: show")
    return status_of(arguments, len(scored.failures), scored.summary)


def _nested(definition: ModelDefinition, path: str, numbers: NumberFormat) -> dict[str, Any]:
    """Coverage by nested cross-validation of a training file.

    Raises:
        DataError: it cannot be trained on.
    """
    if path == STANDARD:
        raise DataError("--nested reads its data twice: give a file, not standard input")

    def nested() -> dict[str, Any]:
        from model_kit.training import dataset, evaluation  # noqa: PLC0415 - needs what serving does without

        return evaluation.nested_coverage(
            definition, dataset.load(definition, Path(path), report=report, numbers=numbers)
        )

    found: dict[str, Any] = needing_training(nested)
    return found


def _digest(path: str) -> str | None:
    """sha256 of a file; ``None`` of standard input, which is gone, and of what is no single file here."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
