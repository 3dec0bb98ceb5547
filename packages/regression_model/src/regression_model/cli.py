"""The command ``regression-model``: data, train, predict, evaluate, compare, show, sample."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from model_kit import bulk
from model_kit.blocks import Block
from model_kit.details import NOTHING, Asked, answers
from model_kit.errors import BundleError, DataError, MissingLibraryError, ModelKitError
from model_kit.intervals import BEYOND, HIGHEST, LOWEST
from model_kit.model import CHUNK, BundleModel
from model_kit.pool import MOST, n_processors
from model_kit.prediction import Predictor
from model_kit.progress import Progress
from model_kit.tables import (
    FORMATS,
    STANDARD,
    Format,
    Table,
    Writer,
    format_of,
    name_of,
    reading,
    writing,
    writing_parts,
)
from model_kit.tabular import Dialect

from regression_model import compare, dataset, predict, sample, serving
from regression_model.contradictions import CONTRADICTIONS
from regression_model.derive import derive

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2
#: What shells report for a process ended by Ctrl-C.
INTERRUPTED: Final = 130

PREDICTION: Final = "prediction"
ERROR: Final = "error"
#: Reasons for a price that a table has room for.
MOST_REASONS: Final = 50

SYNTHETIC: Final = "*** SYNTHETIC SAMPLE: made-up houses. These prices mean nothing for real ones. ***"
METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "rmse": ("RMSE of log price", "{:.4f}"),
    "rmse_core": ("RMSE of log price, core rows", "{:.4f}"),
    "r2": ("R2 of log price", "{:.4f}"),
    "mae": ("MAE, USD", "{:,.0f}"),
}

EXAMPLES: Final = """\
examples:
  regression-model sample -o houses.csv              made-up houses to try things with
  regression-model data -o train.csv                 the real ones, from OpenML
  regression-model train --data train.csv            cross-validate, train, write the bundle
  regression-model predict test.csv -o priced.csv    every row of test.csv with its price
  regression-model predict - -o - < test.csv | head  the same in a pipe
  regression-model evaluate --data train.csv --by Neighborhood    errors, group by group
  regression-model compare latest new.whl            what changes from one version to the next
  regression-model show                              what the model was trained on, and its scores

exit status: 0 done; 1 failed; 2 the input or the command line is unusable; 130 interrupted
"""
TRAIN_EXAMPLES: Final = """\
examples:
  regression-model train                             on the synthetic sample: needs no network
  regression-model train --data train.csv            the Kaggle House Prices file, or one like it
  regression-model train --data train.csv --no-cv --bundle try    quick, unevaluated, elsewhere

Training needs the extra: pip install "regression-model[train]"
"""
DATA_EXAMPLES: Final = """\
examples:
  regression-model data -o train.csv                              from OpenML, data set 42165
  regression-model data --from https://example.org/houses.csv -o train.csv
  regression-model data --from Downloads/train.csv -o train.csv --rows 1460

The file is CSV or ARFF, gzip or not. It is checked (all columns, types, bounds, identifiers, prices, rows, sha256)
before it replaces the one that is there. Addresses are shown without user, password and query. A connection that is
cut is taken up again where the server can, else from the beginning. From Kaggle, with a token: docs/data.md.

exit status: 0 done; 1 cannot be fetched or written; 2 not the data; 130 interrupted
"""
PREDICT_EXAMPLES: Final = """\
examples:
  regression-model predict test.csv -o priced.csv
  regression-model predict test.csv -o priced.csv --strict && publish priced.csv
  regression-model predict houses.jsonl -o priced.jsonl
  regression-model predict houses.parquet -o priced.parquet
  regression-model predict - -o - < test.csv > priced.csv
  regression-model predict test.csv -o priced.csv --interval 0.9 --explain 5 --warnings
  produce | regression-model predict - -o - --format jsonl | consume

The output is the input with two columns more: "prediction" (USD) and "error" (empty, or why the row
has no prediction). All rows are kept, in order. Columns that the model does not use are kept and ignored;
only OverallQual, GrLivArea, YearBuilt and Neighborhood are needed, the rest is imputed.

More columns, where asked for, after these two:
--interval L  prediction_low, prediction_high: the true price lies between them in the share L of the cases
--explain N   explain_baseline: the price of a typical house; explain_1_field, _value, _percent, _amount and so on: what
              moves the price away from that most; explain_rest_percent, _amount: all the rest. Baseline and amounts
              (USD) sum to the prediction. What only makes sense together (a sum and its parts) counts as one field.
              Takes some ten milliseconds a row.
--warnings    warnings: what was imputed, never seen in training, outside its range, or contradictory

CSV      with a header; commas, semicolons or tabs; empty cells and NA are missing values; numbers with a point.
         Written like the input: delimiter, line ends and byte-order mark. A row with a cell too many or too few is a
         row in error; "error" repeats the cells beyond the header. A file cut off within a row is unusable.
JSONL    one object a line. A line that is no object is a row in error; the output repeats it under "input".
PARQUET  needs the extra: pip install "regression-model[parquet]". Columns keep their types.

Long CSV and JSONL are shared among processes, one for each processor, at most 4, or --workers N.
The formats follow from the names (.csv .tsv .jsonl .ndjson .parquet .pq); the output's is else the input's.

exit status: 0 done; 1 with --strict, a row could not be scored; 2 the input is unusable; 130 interrupted
"""
EVALUATE_EXAMPLES: Final = """\
examples:
  regression-model evaluate --data sold.csv
  regression-model evaluate --data sold.csv --by Neighborhood --by YearBuilt
  regression-model evaluate --data sold.csv --by Neighborhood --json | jq '.by.Neighborhood[0]'
  regression-model evaluate --data train.csv --nested    how often the ranges hold, in all honesty; takes minutes

The file has SalePrice beside the fields: CSV, JSON Lines or Parquet. RMSE and R2 are those of the log price, so an
RMSE of .1 is about 10 %; MAE is in USD, "median error" is relative to the price, "bias" is above 0 where prices come
out too high. Groups are sorted by RMSE, the largest first. The thirds are those of the true price: by that, the cheap
always look overpriced a little, and the dear underpriced. Rows that cannot be scored are counted and named.

The last table is how often the ranges of predict --interval hold the true price: of this file, and of the training
data, where each row was predicted by a model and judged by a calibration that did not know it. There the thirds are
those of the predicted price. With --nested, the whole procedure is run again within ten folds of the file.

On rows that it was trained on, a model looks better than it is. Its honest scores are the cross-validated ones: show.

exit status: 0 done; 1 with --strict, a row could not be scored; 2 the file is unusable
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    Args:
        argv: arguments without the program's name, by default those of the process.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except _EndedError as error:
        return _complain(f"ended by {error.signal.name}", 128 + error.signal)
    except DataError as error:
        return _complain(str(error), UNUSABLE)
    except MissingLibraryError as error:
        return _complain(f'{error}: pip install "{serving.DISTRIBUTION}[parquet]"', FAILED)
    except BundleError as error:
        return _complain(f"{error}; `regression-model train` writes a new bundle", FAILED)
    except ModelKitError as error:
        return _complain(str(error), FAILED)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; what is left in the buffer must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(f"{error.filename or 'output'}: {error.strerror}", FAILED)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "regression-model",
        description="House prices: train the model, use it.",
        epilog=EXAMPLES,
        formatter_class=layout,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {serving.version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train", help="train the model and write its bundle", epilog=TRAIN_EXAMPLES, formatter_class=layout
    )
    source = train.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="PATH", help="CSV file with the 79 fields, Id and SalePrice")
    source.add_argument("--sample", action="store_true", help="the synthetic sample (the default)")
    train.add_argument("--no-cv", action="store_true", help="skip cross-validation; the model counts as unevaluated")
    train.add_argument(
        "--bundle",
        type=Path,
        default=serving.BUNDLE,
        metavar="DIR",
        help="folder to write (default: the package's own)",
    )
    train.set_defaults(run=_train)

    data = commands.add_parser("data", help="load the real training file", epilog=DATA_EXAMPLES, formatter_class=layout)
    data.add_argument(
        "--from", "--url", dest="source", metavar="URL|PATH", help="where to take it from (default: OpenML, no account)"
    )
    data.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")
    data.add_argument("--sha256", type=_sha256, metavar="HEX", help="what the file must have, as it is served")
    data.add_argument("--rows", type=int, metavar="N", help="how many rows it must have (OpenML: 1460)")
    data.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds without a byte before a retry (default: 30)",
    )
    data.add_argument(
        "--openml-url",
        default=os.environ.get("OPENML_URL"),
        metavar="URL",
        help="another address of OpenML (default: OPENML_URL, or the real one)",
    )
    data.set_defaults(run=_data)

    score = commands.add_parser(
        "predict",
        help="add prices to a CSV, JSON Lines or Parquet file",
        epilog=PREDICT_EXAMPLES,
        formatter_class=layout,
    )
    score.add_argument("input", metavar="INPUT", help="file to read, - for standard input")
    score.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="file to write, - for standard output")
    score.add_argument("--format", choices=FORMATS, help="of the input (default: by its name, else csv)")
    score.add_argument(
        "--output-format", choices=FORMATS, help="of the output (default: by its name, else as the input)"
    )
    score.add_argument(
        "--interval",
        type=_level,
        metavar="LEVEL",
        help=f"add the range that holds the true price in this share of the cases, {LOWEST} to {HIGHEST}",
    )
    score.add_argument(
        "--explain", type=_contributions, metavar="N", help=f"add the N strongest reasons, 1 to {MOST_REASONS}"
    )
    score.add_argument(
        "--warnings", action="store_true", help="add what deserves a word: imputed, unseen, contradictory"
    )
    score.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    score.add_argument(
        "--workers",
        type=_processes,
        metavar="N",
        help=f"processes that share a long file (default: one per processor, at most {MOST})",
    )
    score.set_defaults(run=_predict)

    judge = commands.add_parser(
        "evaluate",
        help="compare predictions with known prices, group by group",
        epilog=EVALUATE_EXAMPLES,
        formatter_class=layout,
    )
    judge.add_argument("--data", required=True, metavar="FILE", help="file with SalePrice, - for standard input")
    judge.add_argument("--by", action="append", default=[], metavar="COLUMN", help="group by this column; repeatable")
    judge.add_argument(
        "--nested",
        action="store_true",
        help="check the ranges by nested cross-validation of the file, a training file: takes minutes, and [train]",
    )
    judge.add_argument("--format", choices=FORMATS, help="of the file (default: by its name, else csv)")
    judge.add_argument("--json", action="store_true", help="as JSON, with all groups and all rows that failed")
    judge.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    judge.set_defaults(run=_evaluate)

    compare.add_command(commands)

    show = commands.add_parser("show", help="show the model's card")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)
    for command in (score, judge, show):
        command.add_argument(
            "--bundle", type=Path, metavar="DIR", help="another trained model (default: the package's own)"
        )

    write = commands.add_parser("sample", help="write the synthetic sample")
    write.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")
    write.set_defaults(run=_sample)
    return parser


def _training() -> ModuleType:
    try:
        from regression_model import training  # noqa: PLC0415 - needs what serving does without
    except ModuleNotFoundError as error:
        raise ModelKitError(
            f'training needs {error.name}, which is not installed: pip install "{serving.DISTRIBUTION}[train]"'
        ) from error
    return training


def _train(arguments: argparse.Namespace) -> int:
    train = _training().train
    data = dataset.load(arguments.data, say=_note) if arguments.data else dataset.synthetic()
    if data.synthetic:
        _note(SYNTHETIC)
    card = train(data, cv=not arguments.no_cv, bundle=arguments.bundle, say=_note)
    sys.stdout.write(_facts(_data_facts(card) + _score_facts(card)))
    if data.synthetic:
        sys.stdout.write(f"{SYNTHETIC}\n")
    return OK


def _data(arguments: argparse.Namespace) -> int:
    from regression_model import download  # noqa: PLC0415 - no other command needs the network's libraries

    data = download.load(
        arguments.output,
        arguments.source,
        openml=arguments.openml_url or download.OPENML,
        sha256=arguments.sha256,
        rows=arguments.rows,
        timeout=arguments.timeout,
        say=_note,
    )
    if data.synthetic:
        _note(SYNTHETIC)
    _note(f"Train on it: regression-model train --data {arguments.output}")
    return OK


class _EndedError(BaseException):
    """A signal asks this process to end; like Ctrl-C it is no error that anybody handles on the way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def _end(number: int, _: object) -> NoReturn:
    raise _EndedError(number)


@contextmanager
def _ending_cleanly() -> Generator[None, None, None]:
    """Signals that end a process end it as Ctrl-C does: no half file, no process left behind."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Python handles signals in the main thread; and one that is ignored (nohup) stays ignored.
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _predict(arguments: argparse.Namespace) -> int:
    predictor = _predictor(arguments.bundle)
    asked = Asked(arguments.interval, arguments.explain, arguments.warnings)
    if asked != NOTHING:
        # What the model cannot give is said before a file is touched.
        predictor.detailed([], **asked._asdict())
    with _ending_cleanly(), reading(arguments.input, predictor.model.spec, arguments.format) as table:
        dialect = table.csv.dialect if table.csv else Dialect()
        job = bulk.Job(table.name, PREDICTION, ERROR, table.columns, dialect, asked)
        added = job.added(predictor.model.spec.target)
        table.refuse(added)
        _note_absent(table, predictor.model.spec.names)
        as_format = arguments.output_format or format_of(arguments.output, table.format)
        if table.blocks and as_format == table.format:
            scored, failed = _price_blocks(table, table.blocks, predictor, job, arguments)
        else:
            with writing(arguments.output, table, as_format, added) as writer:
                scored, failed = _price(table, predictor, writer, as_format, job)
        _note_decimal_commas(table)
    if predictor.model.card["data"]["synthetic"]:
        _note(SYNTHETIC)
    _note(f"{scored} rows scored, {failed} failed")
    return FAILED if failed and arguments.strict else OK


def _predictor(bundle: Path | None) -> Predictor:
    return Predictor(_load(bundle)) if bundle else predict.predictor()


def _load(bundle: Path) -> BundleModel:
    return BundleModel.load(bundle, derive, serving.version(), CONTRADICTIONS)


def _answerer(bundle: Path | None, job: bulk.Job) -> bulk.Answerer:
    """What another process calls."""
    return bulk.answerer(_predictor(bundle), job)


def _price_blocks(
    table: Table, blocks: Iterator[Block], predictor: Predictor, job: bulk.Job, arguments: argparse.Namespace
) -> tuple[int, int]:
    """As :func:`_price`, by blocks, with other processes if that pays."""
    parts = bulk.parts(
        blocks,
        bulk.answerer(predictor, job),
        partial(_answerer, arguments.bundle, job),
        total=table.total,
        n_processes=arguments.workers or n_processors(),
    )
    scored = failed = 0
    with (
        writing_parts(arguments.output, table, job.added(predictor.model.spec.target)) as file,
        Progress("Predicting", table.total) as progress,
        closing(parts),
    ):
        for part in parts:
            file.write(part.content)
            scored += part.scored
            failed += part.failed
            if table.csv:
                table.csv.record.decimal_commas += part.decimal_commas
            progress.show(table.position(), f"{scored + failed:,} rows")
    return scored, failed


def _price(table: Table, predictor: Predictor, writer: Writer, as_format: Format, job: bulk.Job) -> tuple[int, int]:
    """Write every row with its prediction or its error; returns how many were scored and how many not."""
    scored = failed = 0
    added = job.added(predictor.model.spec.target)
    with Progress("Predicting", table.total) as progress:
        while chunk := list(islice(table.entries, CHUNK)):
            for entry, cells in zip(chunk, answers(predictor, chunk, job.asked), strict=True):
                writer.write({**table.row(entry, as_format), **dict(zip(added, cells, strict=True))})
                failed += cells[0] is None
            scored += len(chunk)
            progress.show(table.position(), f"{scored:,} rows")
    return scored - failed, failed


def _evaluate(arguments: argparse.Namespace) -> int:
    from regression_model import evaluate  # noqa: PLC0415 - named like the command

    model = _model(arguments)
    nested = _nested(arguments.data) if arguments.nested else None
    with reading(arguments.data, model.spec, arguments.format) as table:
        scored = evaluate.score(table, model, arguments.by)
        _note_absent(table, model.spec.names)
        _note_decimal_commas(table)
    assessment = scored.assess(model.spec)
    ranges = evaluate.covered(scored, model, nested)
    document = evaluate.document(scored, assessment, model, name_of(arguments.data), _digest(arguments.data), ranges)
    synthetic = model.card["data"]["synthetic"]
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        facts = document["data"]
        sys.stdout.write(f"{SYNTHETIC}\n" if synthetic else "")
        counts = f"{facts['rows']:,} rows, {facts['scored']:,} scored, {facts['failed']:,} failed"
        heading = [
            ("model", f"{model.card['model']} {model.version}, trained on {model.card['data']['name']}"),
            ("data", f"{facts['name']}: {counts}"),
        ]
        sys.stdout.write(_facts(heading))
        sys.stdout.write("\n" + evaluate.table(scored, assessment, model))
        sys.stdout.write(evaluate.coverage_table(ranges))
    if document["data"]["trained_on_this"]:
        _note("The model was trained on this very file: these figures flatter it. Its cross-validated scores: show")
    return FAILED if scored.failures and arguments.strict else OK


def _nested(path: str) -> dict[str, Any]:
    """Coverage by nested cross-validation of a training file.

    Raises:
        DataError: it cannot be trained on.
    """
    if path == STANDARD:
        raise DataError("--nested reads its data twice: give a file, not standard input")
    found: dict[str, Any] = _training().nested_coverage(dataset.load(Path(path), say=_note))
    return found


def _digest(path: str) -> str | None:
    """sha256 of a file; ``None`` of standard input, which is gone."""
    if path == STANDARD:
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note_absent(table: Table, names: Sequence[str]) -> None:
    absent = [] if table.columns is None else [name for name in names if name not in table.columns]
    if absent:
        count = f"{len(absent)} {'field' if len(absent) == 1 else 'fields'}"
        _note(f"{table.name}: imputing {count} that the file lacks: {', '.join(absent)}")


def _note_decimal_commas(table: Table) -> None:
    if table.csv and table.csv.decimal_commas:
        count = table.csv.decimal_commas
        _note(
            f"{table.name}: numbers written with a comma, like 12,5 or 1,000, were refused ({count}); write 12.5, 1000"
        )


def _model(arguments: argparse.Namespace) -> BundleModel:
    if arguments.bundle is None:
        return serving.load()
    return _load(arguments.bundle)


def _show(arguments: argparse.Namespace) -> int:
    model = _model(arguments)
    lineage = model.lineage
    artifact = lineage["artifact_sha256"]
    if arguments.json:
        document = {
            **model.card,
            "version": model.version,
            "artifact_sha256": artifact,
            "files": lineage["files"],
            "fields": list(model.spec.names),
            "required": list(model.spec.required),
            "target": {"name": model.spec.target.name, "unit": model.spec.target.unit},
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return OK
    card = model.card
    libraries = ", ".join(f"{name} {version}" for name, version in card["libraries"].items())
    facts = [
        ("model", f"{card['model']} {model.version}"),
        *_data_facts(card),
        *_score_facts(card),
        ("fields", f"{len(model.spec.fields)}, required: {', '.join(model.spec.required)}"),
        ("target", f"{model.spec.target.name}, {model.spec.target.unit}"),
        ("libraries", libraries),
        ("trained", f"{lineage['trained_at']}, commit {lineage['git_commit'] or 'unknown'}"),
        ("artefact sha256", artifact),
    ]
    if card["data"]["synthetic"]:
        sys.stdout.write(f"{SYNTHETIC}\n")
    sys.stdout.write(_facts(facts))
    return OK


def _sample(arguments: argparse.Namespace) -> int:
    sample.write(arguments.output)
    _note(f"Wrote {sample.N_ROWS} made-up houses to {arguments.output}")
    _note(SYNTHETIC)
    return OK


def _data_facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    data = card["data"]
    return [("data", f"{data['name']}, {data['rows']} rows"), ("data sha256", data["sha256"])]


def _score_facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not card["metrics"]:
        return [("scores", "not evaluated")]
    facts = []
    for name, value in card["metrics"].items():
        label, layout = METRICS.get(name, (name, "{}"))
        facts.append((label, layout.format(value)))
    return facts


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    width = max(len(label) for label, _ in facts)
    return "".join(f"{label:<{width}}  {value}\n" for label, value in facts)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("from above 0 to 3600 seconds")
    return seconds


def _level(text: str) -> float:
    level = float(text)
    if not LOWEST <= level <= HIGHEST:
        raise argparse.ArgumentTypeError(f"from {LOWEST} to {HIGHEST}: {BEYOND}")
    return level


def _contributions(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_REASONS:
        raise argparse.ArgumentTypeError(f"from 1 to {MOST_REASONS}")
    return number


def _processes(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 256:
        raise argparse.ArgumentTypeError("from 1 to 256 processes")
    return number


def _sha256(text: str) -> str:
    digest = text.strip().lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a sha256 has 64 hexadecimal digits")
    return digest


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _complain(text: str, status: int) -> int:
    _note(f"regression-model: {text}")
    return status
