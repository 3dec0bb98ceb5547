"""The command ``predict``."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from typing import Any, Final

from model_kit.batch.file_systems import STANDARD
from model_kit.batch.progress import Progress
from model_kit.batch.rows import Table
from model_kit.batch.scoring import MOST_THREADS, n_processors, predict_table
from model_kit.batch.tables import FORMATS, output_format, reading, require_library, writing
from model_kit.cli.common import (
    FAILED,
    add_bundle_argument,
    add_interval_argument,
    add_number_arguments,
    add_strict_arguments,
    ending_cleanly,
    model_of,
    numbers_of,
    report,
    report_columns,
    status_of,
    synthetic_notice,
    whole_number,
)
from model_kit.errors import DataError
from model_kit.records.column_summary import ColumnSummary
from model_kit.records.target_classes import ClassReader
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import Model
from model_kit.scoring.table_columns import (
    ERROR,
    MOST_CONTRIBUTIONS,
    NO_DETAILS,
    Added,
    DetailOptions,
    prediction_columns,
)
from model_kit.spec import Target

HELP: Final = "add predictions to a CSV, JSON Lines or Parquet file"
EXAMPLES: Final = """\
examples:
  {program} predict test.csv -o predicted.csv
  {program} predict test.csv -o predicted.csv --strict && publish predicted.csv
  {program} predict rows.jsonl -o predicted.jsonl
  {program} predict rows.parquet -o predicted.parquet
  {program} predict 2025.csv.gz 2026.csv.zst -o predicted.csv
  {program} predict 'rows/*.csv' -o s3://bucket/predicted.csv.gz
  {program} predict rows/ -o predicted.parquet
  {program} predict - -o - < test.csv > predicted.csv
  {program} predict test.csv -o predicted.csv --interval 0.9 --explain 5 --warnings
  produce | {program} predict - -o - --format jsonl | consume

The output is the input with two columns more: "prediction" (in the target's unit, or the class) and "error" (empty, or
why the row has no prediction). All rows are kept, in order. Columns that the model does not use are kept and ignored;
only the required fields ({program} show) are needed, the rest is imputed.

--prefix model_ puts that before the names of all columns that are added, where the input has one of these already.
--json prints what the last lines say as JSON to standard output, or to standard error where the table goes there.

More columns, where asked for, after these two:
--interval L  prediction_low, prediction_high: the true value lies between them in the share L of the cases
--explain N   explain_baseline: the prediction of a typical row; explain_1_field, _value, _percent, _amount and so on:
              what moves the prediction away from that most; explain_rest_percent, _amount: all the rest. Baseline and
              amounts sum to the prediction; percent only where the target's scale is the log. What only makes sense
              together (a sum and its parts) counts as one field. Takes some ten milliseconds a row.
              Of a class, baseline and amounts are probabilities, and effect is on the log-odds.
--probabilities  probability_<class> for each class; with it or without, --interval L of a class adds prediction_set:
              the classes that are plausible, the true one among them in the share L of the cases
--warnings    warnings: what was not given, never seen in training, outside its range, or contradictory

CSV      with a header; commas, semicolons or tabs; empty cells and NA are missing values; numbers with a point.
         Written like the input: delimiter, line ends and byte-order mark. A row with a cell too many or too few is a
         row in error; "error" repeats the cells beyond the header. A file cut off within a row is unusable.
JSONL    one object a line. A line that is no object is a row in error; the output repeats it under "input".
PARQUET  Columns keep their types. In CSV and JSONL, bytes are base64 and decimals numbers.
CSV and PARQUET need the extra: pip install "model-kit[batch]".

Compressed text (gzip, bzip2, xz, zstd, lz4) is unpacked, whatever its name; output is compressed by its name: .gz .bz2
.xz .zst .lz4 after the format's suffix.

Several inputs are one table, in the order given; a pattern (in quotes, so that the shell leaves it) or a folder stands
for its files in the order of their names. All have one format and the same columns. Of a folder of Parquet files, what
folders like year=2026 say are columns; files and folders that begin with . or _ are passed over.
URLs: s3:// gs:// abfs:// hdfs:// file:// by Arrow, all others by fsspec where that and its part for them are installed.
An object is written when all of it is there; until then it is kept in a temporary file.

Files are read in blocks, which threads share: one for each processor, at most 4, or --workers N.
The formats follow from the names (.csv .tsv .jsonl .ndjson .parquet .pq); the output's is else the input's.

exit status: 0 done; 1 not one row could be scored, or with --strict, one could not, or with --strict-columns, a column
is unusual in nearly every row; 2 the input is unusable; 130 interrupted
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="file, folder, pattern or URL to read, - for standard input"
    )
    command.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="file to write, - for standard output")
    command.add_argument("--format", choices=FORMATS, help="of the input (default: by its name, else csv)")
    command.add_argument(
        "--output-format", choices=FORMATS, help="of the output (default: by its name, else as the input)"
    )
    add_interval_argument(command)
    command.add_argument(
        "--explain",
        type=whole_number(1, MOST_CONTRIBUTIONS, "contributions"),
        metavar="N",
        help=f"add the N strongest contributions, 1 to {MOST_CONTRIBUTIONS}",
    )
    command.add_argument(
        "--warnings", action="store_true", help="add warnings: fields not given, unseen, out of range, contradictory"
    )
    command.add_argument("--probabilities", action="store_true", help="of a class: add the probability of each")
    command.add_argument(
        "--class",
        dest="of_class",
        metavar="CLASS",
        help="with --explain: of which class (default: the predicted)",
    )
    command.add_argument(
        "--prefix", default="", metavar="TEXT", help="what the names of the new columns begin with (default: nothing)"
    )
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_number_arguments(command)
    add_strict_arguments(command)
    command.add_argument(
        "--workers",
        type=whole_number(1, 256, "threads"),
        metavar="N",
        help=f"threads that share the work (default: one per processor, at most {MOST_THREADS})",
    )
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Write every row with its prediction."""
    predictor = Predictor(model_of(arguments))
    spec = predictor.model.spec
    options = DetailOptions(
        arguments.interval,
        arguments.explain,
        arguments.warnings,
        arguments.probabilities,
        _class(arguments, spec.target),
    )
    if options != NO_DETAILS:
        # What the model cannot give is said before a file is touched.
        predictor.detailed([], **options._asdict())
    columns = prediction_columns(spec.target, options)
    added: Added = {f"{arguments.prefix}{name}": kind for name, kind in columns.items()}
    summary = ColumnSummary(spec)
    failed = 0
    _leave_pandas_out()
    with ending_cleanly(), reading(arguments.inputs, spec, arguments.format, numbers_of(arguments)) as table:
        table.refuse(added)
        as_format = arguments.output_format or output_format(arguments.output, table.format)
        require_library(as_format)
        n_threads = arguments.workers or n_processors()
        with (
            writing(arguments.output, table, as_format, added) as writer,
            Progress("Predicting", table.total) as progress,
            closing(predict_table(table, predictor, writer, options, n_threads)) as results,
        ):
            for batch, answers, rendered in results:
                writer.write(rendered)
                summary.add(answers.encoded, answers.value_of(batch))
                failed += answers.n_failed
                progress.show(table.position(), f"{summary.n_rows + failed:,} rows")
    if arguments.json:
        stream = sys.stderr if arguments.output == STANDARD else sys.stdout
        document = _summary(arguments, predictor.model, table, summary, failed)
        stream.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if not arguments.json or arguments.output != STANDARD:
        report_columns(table, summary)
        if predictor.model.card["data"]["synthetic"]:
            report(synthetic_notice(arguments.definition))
        report(f"{summary.n_rows} rows scored, {failed} failed")
        if failed and not summary.n_rows:
            report(f"*** No row could be scored; the column {arguments.prefix}{ERROR} has the reasons ***")
    return FAILED if failed and not summary.n_rows else status_of(arguments, failed, summary)


class _NoPandas:
    """An import hook by which pandas is not found."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _leave_pandas_out() -> None:
    """Have pyarrow not import pandas for its first value, where it is installed: half a second that nothing needs."""
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra

        # pyarrow looks for it once; whoever asks for a DataFrame later gets one still.
        pa.scalar(None)
    except ModuleNotFoundError:
        pass
    finally:
        sys.meta_path.remove(_NoPandas)


def _summary(
    arguments: argparse.Namespace, model: Model, table: Table, summary: ColumnSummary, failed: int
) -> dict[str, Any]:
    """What is said about the rows, as JSON; the same keys as those of ``evaluate --json`` where it has them."""
    return {
        "model": {"name": model.card["model"], "version": model.version},
        "data": {
            "name": table.name,
            "rows": summary.n_rows + failed,
            "scored": summary.n_rows,
            "failed": failed,
            "local_numbers": table.local_numbers,
            "imputed": table.lacking(table.spec.names),
        },
        "synthetic": model.card["data"]["synthetic"],
        "output": arguments.output,
        "columns": summary.to_dict(),
    }


def _class(arguments: argparse.Namespace, target: Target) -> str | None:
    """The class of ``--class`` as the model has it; ``None`` where there is none.

    Raises:
        DataError: it makes no sense, or names no class.
    """
    text: str | None = arguments.of_class
    if not target.is_class and (arguments.probabilities or text is not None):
        raise DataError(f"{target.name} is a number: --probabilities and --class are for classes")
    if text is None:
        return None
    position = ClassReader(target)(text)
    if position is None:
        raise DataError(f"--class {text}: {target.name} has the classes {', '.join(target.keys)}")
    if arguments.explain is None:
        raise DataError("--class says whose probability is explained: it needs --explain N")
    return target.keys[position]
