"""The command ``spark``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from model_kit.batch.tables import format_of
from model_kit.cli.common import FAILED, OK, add_interval_argument, report, synthetic_notice, whole_number
from model_kit.errors import DataError, MissingLibraryError, ModelKitError, first_line
from model_kit.scoring.table_columns import ERROR, MOST_CONTRIBUTIONS, PREDICTION

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HELP: Final = "add predictions to files of any size with Spark"
EXAMPLES: Final = """\
examples:
  {program} spark rows.parquet -o predicted
  {program} spark 'hdfs:///rows/*.csv' -o hdfs:///predicted --interval 0.9 --master yarn

INPUT and OUTPUT are paths as Spark has them: a file, a folder or a pattern, in any file system that it knows. OUTPUT is
a folder of files; one that is there is not touched, unless --overwrite. The columns that are added are those of
predict, and columns of text are read as predict reads the cells of CSV files. CSV files have a header, the same in all;
cells with line breaks need --multiline, for which Spark reads each file as one partition. A row with a cell too many or
too few is a row in error.

Needs pyspark and its Java. The package of the model must be installed where Spark's workers run.

A task that fails is tried again spark.task.maxFailures times (4); on one machine as --master says: local[*,4].

exit status: 0 done; 1 not one row could be scored, or with --strict, one could not, or a task failed as often as it is
tried; 2 the input is unusable
"""
FORMATS: Final = ("parquet", "csv")
#: Where Spark puts a line that has not a cell for each column of the header.
_MALFORMED: Final = "_malformed_line"
_CELLS: Final = "The row has a cell too many or too few."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("input", metavar="INPUT", help="path to read")
    command.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="folder to write")
    command.add_argument("--format", choices=FORMATS, help="of the input (default: by its name, else parquet)")
    command.add_argument("--output-format", choices=FORMATS, help="of the output (default: as the input)")
    command.add_argument("--delimiter", default=",", metavar="MARK", help="between the cells of CSV files (default: ,)")
    command.add_argument("--multiline", action="store_true", help="cells of CSV files have line breaks")
    command.add_argument("--overwrite", action="store_true", help="replace the output")
    add_interval_argument(command)
    command.add_argument(
        "--explain",
        type=whole_number(1, MOST_CONTRIBUTIONS, "contributions"),
        metavar="N",
        help=f"add the N strongest contributions, 1 to {MOST_CONTRIBUTIONS}",
    )
    command.add_argument("--warnings", action="store_true", help="add warnings")
    command.add_argument("--probabilities", action="store_true", help="of a class: add the probability of each")
    command.add_argument("--prefix", default="", metavar="TEXT", help="what the names of the new columns begin with")
    command.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    command.add_argument("--master", metavar="URL", help="where Spark runs (default: its configuration's)")


def run(arguments: argparse.Namespace) -> int:
    """Write every row with its prediction.

    Raises:
        DataError: Spark cannot read the input, or write the output.
        ModelKitError: a task failed as often as Spark tries it.
        MissingLibraryError: there is no Spark.
    """
    try:
        from py4j.protocol import Py4JJavaError  # noqa: PLC0415 - an engine of its own
        from pyspark.errors import PySparkException  # noqa: PLC0415
        from pyspark.sql import Observation, SparkSession, functions  # noqa: PLC0415

        from model_kit import spark  # noqa: PLC0415 - needs pyarrow
        from model_kit.engines import load_predictor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"Spark needs {error.name}, which is not installed: pip install pyspark") from error
    builder = SparkSession.builder.appName("model-kit")
    session = (builder.master(arguments.master) if arguments.master else builder).getOrCreate()
    as_format = arguments.format or ("csv" if format_of(arguments.input, "parquet") == "csv" else "parquet")
    counted = Observation()
    try:
        rows = _read(session, arguments, as_format)
        predicted = spark.predict(
            rows,
            arguments.definition.name,
            interval=arguments.interval,
            explain=arguments.explain,
            warnings=arguments.warnings,
            probabilities=arguments.probabilities,
            prefix=arguments.prefix,
        )
        added = [name for name in predicted.columns if name not in rows.columns]
        reason, prediction = f"{arguments.prefix}{ERROR}", f"{arguments.prefix}{PREDICTION}"
        if _MALFORMED in rows.columns:
            is_malformed = functions.col(_MALFORMED).isNotNull()
            emptied = {name: functions.when(~is_malformed, functions.col(f"`{name}`")) for name in added}
            emptied[reason] = functions.when(is_malformed, _CELLS).otherwise(functions.col(f"`{reason}`"))
            predicted = predicted.withColumns(emptied).drop(_MALFORMED)
        predicted = predicted.observe(
            counted,
            functions.count(functions.lit(1)).alias("rows"),
            functions.count(f"`{prediction}`").alias("scored"),
        )
        _write(predicted, arguments, arguments.output_format or as_format)
        counts = counted.get
    except PySparkException as error:
        raise DataError(first_line(error)) from error
    except Py4JJavaError as error:
        reason = str(error.java_exception.getMessage()).partition("\n")[0]
        raise ModelKitError(
            f"Spark gave up, and {arguments.output} is incomplete; --overwrite begins again: {reason}"
        ) from error
    n_rows, n_scored = counts["rows"], counts["scored"]
    if load_predictor(arguments.definition.name).model.card["data"]["synthetic"]:
        report(synthetic_notice(arguments.definition))
    report(f"{n_scored} rows scored, {n_rows - n_scored} failed")
    return FAILED if n_rows and (not n_scored or (arguments.strict and n_scored < n_rows)) else OK


def _read(session: SparkSession, arguments: argparse.Namespace, as_format: str) -> DataFrame:
    """The rows; of CSV files texts, with a column of lines that have not a cell for each column."""
    if as_format == "parquet":
        return session.read.parquet(arguments.input)
    options: dict[str, Any] = {
        "header": True,
        "sep": arguments.delimiter,
        "escape": '"',
        "multiLine": arguments.multiline,
        # Each file's header is held to the first one's.
        "enforceSchema": False,
        "columnNameOfCorruptRecord": _MALFORMED,
    }
    columns = session.read.options(**options).csv(arguments.input).columns
    schema = ", ".join(f"`{name.replace('`', '``')}` STRING" for name in [*columns, _MALFORMED])
    return session.read.options(**options).schema(schema).csv(arguments.input)


def _write(rows: DataFrame, arguments: argparse.Namespace, as_format: str) -> None:
    writer = rows.write.mode("overwrite" if arguments.overwrite else "errorifexists")
    if as_format == "parquet":
        writer.parquet(arguments.output)
        return
    kept = {"ignoreLeadingWhiteSpace": False, "ignoreTrailingWhiteSpace": False}
    writer.options(header=True, sep=arguments.delimiter, escape='"', **kept).csv(arguments.output)
