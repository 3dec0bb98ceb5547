"""The command ``predict``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from model_kit.batch import bulk
from model_kit.batch.blocks import Block
from model_kit.batch.csv_files import Dialect
from model_kit.batch.details import NO_DETAILS, DetailOptions, iter_details
from model_kit.batch.pool import MOST, n_processors
from model_kit.batch.progress import Progress
from model_kit.batch.tables import FORMATS, Table, Writer, format_of, reading, writing, writing_parts
from model_kit.cli.common import (
    FAILED,
    OK,
    add_bundle_argument,
    ending_cleanly,
    model_of,
    report,
    synthetic_notice,
    whole_number,
)
from model_kit.scoring.definition import find_definition
from model_kit.scoring.intervals import HIGHEST, LEVELS_REASON, LOWEST
from model_kit.scoring.model import CHUNK
from model_kit.scoring.predictor import Predictor

PREDICTION: Final = "prediction"
ERROR: Final = "error"
#: Contributions to a prediction that a table has columns for.
MOST_CONTRIBUTIONS: Final = 50

HELP: Final = "add predictions to a CSV, JSON Lines or Parquet file"
EXAMPLES: Final = """\
examples:
  {program} predict test.csv -o predicted.csv
  {program} predict test.csv -o predicted.csv --strict && publish predicted.csv
  {program} predict rows.jsonl -o predicted.jsonl
  {program} predict rows.parquet -o predicted.parquet
  {program} predict - -o - < test.csv > predicted.csv
  {program} predict test.csv -o predicted.csv --interval 0.9 --explain 5 --warnings
  produce | {program} predict - -o - --format jsonl | consume

The output is the input with two columns more: "prediction" (in the target's unit) and "error" (empty, or why the row
has no prediction). All rows are kept, in order. Columns that the model does not use are kept and ignored; only the
required fields ({program} show) are needed, the rest is imputed.

More columns, where asked for, after these two:
--interval L  prediction_low, prediction_high: the true value lies between them in the share L of the cases
--explain N   explain_baseline: the prediction of a typical row; explain_1_field, _value, _percent, _amount and so on:
              what moves the prediction away from that most; explain_rest_percent, _amount: all the rest. Baseline and
              amounts sum to the prediction; percent only where the target's scale is the log. What only makes sense
              together (a sum and its parts) counts as one field. Takes some ten milliseconds a row.
--warnings    warnings: what was not given, never seen in training, outside its range, or contradictory

CSV      with a header; commas, semicolons or tabs; empty cells and NA are missing values; numbers with a point.
         Written like the input: delimiter, line ends and byte-order mark. A row with a cell too many or too few is a
         row in error; "error" repeats the cells beyond the header. A file cut off within a row is unusable.
JSONL    one object a line. A line that is no object is a row in error; the output repeats it under "input".
PARQUET  needs the extra: pip install "model-kit[parquet]". Columns keep their types.

Long CSV and JSONL are shared among processes, one for each processor, at most 4, or --workers N.
The formats follow from the names (.csv .tsv .jsonl .ndjson .parquet .pq); the output's is else the input's.

exit status: 0 done; 1 with --strict, a row could not be scored; 2 the input is unusable; 130 interrupted
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("input", metavar="INPUT", help="file to read, - for standard input")
    command.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="file to write, - for standard output")
    command.add_argument("--format", choices=FORMATS, help="of the input (default: by its name, else csv)")
    command.add_argument(
        "--output-format", choices=FORMATS, help="of the output (default: by its name, else as the input)"
    )
    command.add_argument(
        "--interval",
        type=_level,
        metavar="LEVEL",
        help=f"add the range that holds the true value in this share of the cases, {LOWEST} to {HIGHEST}",
    )
    command.add_argument(
        "--explain",
        type=whole_number(1, MOST_CONTRIBUTIONS, "contributions"),
        metavar="N",
        help=f"add the N strongest contributions, 1 to {MOST_CONTRIBUTIONS}",
    )
    command.add_argument(
        "--warnings", action="store_true", help="add warnings: fields not given, unseen, out of range, contradictory"
    )
    command.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    command.add_argument(
        "--workers",
        type=whole_number(1, 256, "processes"),
        metavar="N",
        help=f"processes that share a long file (default: one per processor, at most {MOST})",
    )
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Write every row with its prediction."""
    predictor = Predictor(model_of(arguments))
    options = DetailOptions(arguments.interval, arguments.explain, arguments.warnings)
    if options != NO_DETAILS:
        # What the model cannot give is said before a file is touched.
        predictor.detailed([], **options._asdict())
    with ending_cleanly(), reading(arguments.input, predictor.model.spec, arguments.format) as table:
        dialect = table.csv.dialect if table.csv else Dialect()
        job = bulk.BatchJob(table.name, PREDICTION, ERROR, table.columns, dialect, options)
        added = job.added(predictor.model.spec.target)
        table.refuse(added)
        report_absent_fields(table, predictor.model.spec.names)
        as_format = arguments.output_format or format_of(arguments.output, table.format)
        if table.blocks and as_format == table.format:
            scored, failed = _predict_blocks(table, table.blocks, predictor, job, arguments)
        else:
            with writing(arguments.output, table, as_format, added) as writer:
                scored, failed = _predict_rows(table, predictor, writer, as_format, job)
        report_decimal_commas(table)
    if predictor.model.card["data"]["synthetic"]:
        report(synthetic_notice(arguments.definition))
    report(f"{scored} rows scored, {failed} failed")
    return FAILED if failed and arguments.strict else OK


def _prepare(model: str, bundle: Path | None, job: bulk.BatchJob) -> bulk.BlockPredictor:
    """What another process calls."""
    definition = find_definition(model)
    return bulk.block_predictor(Predictor(definition.load_bundle(bundle) if bundle else definition.load()), job)


def _predict_blocks(
    table: Table, blocks: Iterator[Block], predictor: Predictor, job: bulk.BatchJob, arguments: argparse.Namespace
) -> tuple[int, int]:
    """As :func:`_predict_rows`, by blocks, with other processes if that pays."""
    results = bulk.predict_blocks(
        blocks,
        bulk.block_predictor(predictor, job),
        partial(_prepare, arguments.definition.name, arguments.bundle, job),
        total=table.total,
        n_processes=arguments.workers or n_processors(),
    )
    scored = failed = 0
    with (
        writing_parts(arguments.output, table, job.added(predictor.model.spec.target)) as file,
        Progress("Predicting", table.total) as progress,
        closing(results),
    ):
        for result in results:
            file.write(result.content)
            scored += result.scored
            failed += result.failed
            if table.csv:
                table.csv.record.decimal_commas += result.decimal_commas
            progress.show(table.position(), f"{scored + failed:,} rows")
    return scored, failed


def _predict_rows(
    table: Table, predictor: Predictor, writer: Writer, as_format: Any, job: bulk.BatchJob
) -> tuple[int, int]:
    """Write every row with its prediction or its error; returns how many were scored and how many not."""
    scored = failed = 0
    added = job.added(predictor.model.spec.target)
    with Progress("Predicting", table.total) as progress:
        while chunk := list(islice(table.entries, CHUNK)):
            for entry, cells in zip(chunk, iter_details(predictor, chunk, job.options), strict=True):
                writer.write({**table.row(entry, as_format), **dict(zip(added, cells, strict=True))})
                failed += cells[0] is None
            scored += len(chunk)
            progress.show(table.position(), f"{scored:,} rows")
    return scored - failed, failed


def report_absent_fields(table: Table, names: tuple[str, ...]) -> None:
    """Say which fields a table lacks."""
    absent = [] if table.columns is None else [name for name in names if name not in table.columns]
    if absent:
        count = f"{len(absent)} {'field' if len(absent) == 1 else 'fields'}"
        report(f"{table.name}: imputing {count} that the file lacks: {', '.join(absent)}")


def report_decimal_commas(table: Table) -> None:
    """Say that numbers were refused because of their commas."""
    if table.csv and table.csv.decimal_commas:
        count = table.csv.decimal_commas
        report(
            f"{table.name}: numbers written with a comma, like 12,5 or 1,000, were refused ({count}); write 12.5, 1000"
        )


def _level(text: str) -> float:
    level = float(text)
    if not LOWEST <= level <= HIGHEST:
        raise argparse.ArgumentTypeError(f"from {LOWEST} to {HIGHEST}: {LEVELS_REASON}")
    return level
