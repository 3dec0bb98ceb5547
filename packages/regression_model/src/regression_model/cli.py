"""The command ``regression-model``: train, predict, show, sample."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

from model_kit.errors import BundleError, DataError, ModelKitError
from model_kit.model import CHUNK
from model_kit.prediction import Predictor
from model_kit.tabular import Records, read_records, replacing
from model_kit.validation import RowErrors

from regression_model import dataset, predict, sample, serving

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2
#: What shells report for a process ended by Ctrl-C.
INTERRUPTED: Final = 130

#: Stands for standard input or output.
STANDARD: Final = "-"
PREDICTION: Final = "prediction"
ERROR: Final = "error"

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
  regression-model train --data train.csv            cross-validate, train, write the bundle
  regression-model predict test.csv -o priced.csv    every row of test.csv with its price
  regression-model predict - -o - < test.csv | head  the same in a pipe
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
PREDICT_EXAMPLES: Final = """\
examples:
  regression-model predict test.csv -o priced.csv
  regression-model predict test.csv -o priced.csv --strict && publish priced.csv
  regression-model predict - -o - < test.csv > priced.csv

The output is the input with two columns more: "prediction" (USD) and "error" (empty, or why the row
has no prediction). All rows are kept, in order. Empty cells and NA are missing values. Columns that the
model does not use are kept and ignored; only OverallQual, GrLivArea, YearBuilt and Neighborhood are needed.
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
    except DataError as error:
        return _complain(str(error), UNUSABLE)
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

    score = commands.add_parser(
        "predict", help="add prices to a CSV file", epilog=PREDICT_EXAMPLES, formatter_class=layout
    )
    score.add_argument("input", metavar="INPUT.csv", help="CSV file with a header, - for standard input")
    score.add_argument(
        "-o", "--output", required=True, metavar="OUTPUT.csv", help="file to write, - for standard output"
    )
    score.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    score.set_defaults(run=_predict)

    show = commands.add_parser("show", help="show the model's card")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)

    write = commands.add_parser("sample", help="write the synthetic sample")
    write.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")
    write.set_defaults(run=_sample)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    try:
        from regression_model.training import train  # noqa: PLC0415 - needs what serving does without
    except ModuleNotFoundError as error:
        return _complain(
            f'training needs {error.name}, which is not installed: pip install "{serving.DISTRIBUTION}[train]"', FAILED
        )
    data = dataset.load(arguments.data, say=_note) if arguments.data else dataset.synthetic()
    if data.synthetic:
        _note(SYNTHETIC)
    card = train(data, cv=not arguments.no_cv, bundle=arguments.bundle, say=_note)
    sys.stdout.write(_facts(_data_facts(card) + _score_facts(card)))
    if data.synthetic:
        sys.stdout.write(f"{SYNTHETIC}\n")
    return OK


def _predict(arguments: argparse.Namespace) -> int:
    predictor = predict.predictor()
    with _reading(arguments.input) as source:
        records = read_records(source, predictor.model.spec, _name(arguments.input))
        clashes = [column for column in (PREDICTION, ERROR) if column in records.columns]
        if clashes:
            raise DataError(f"{records.name}: has a column {' and '.join(clashes)} already")
        absent = [name for name in predictor.model.spec.names if name not in records.columns]
        if absent:
            _note(f"{records.name}: imputing {len(absent)} fields that the file lacks: {', '.join(absent)}")
        with _writing(arguments.output) as target:
            scored, failed = _price(records, predictor, target)
    if predictor.model.card["data"]["synthetic"]:
        _note(SYNTHETIC)
    _note(f"{scored} rows scored, {failed} failed")
    return FAILED if failed and arguments.strict else OK


def _price(records: Records, predictor: Predictor, target: TextIO) -> tuple[int, int]:
    """Write every row with its prediction or its error; returns how many were scored and how many not."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*records.columns, PREDICTION, ERROR])
    scored = failed = 0
    while chunk := list(islice(records, CHUNK)):
        answer = predictor([record for _, record in chunk])
        for position, ((cells, _), prediction) in enumerate(zip(chunk, answer.predictions, strict=True)):
            writer.writerow([*cells.values(), prediction, _in_words(answer.errors.get(position, {}))])
        failed += len(answer.errors)
        scored += len(chunk) - len(answer.errors)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{scored + failed:,} rows\r")
    return scored, failed


def _show(arguments: argparse.Namespace) -> int:
    model = serving.load()
    lineage = model.lineage
    artifact = lineage["artifact_sha256"]
    if arguments.json:
        document = {**model.card, "artifact_sha256": artifact, "version": model.version}
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


def _in_words(errors: RowErrors) -> str:
    """What is wrong with a row in one line, "GrLivArea: Not a valid number."; empty if nothing is."""
    return "; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())


def _name(path: str) -> str:
    return "standard input" if path == STANDARD else Path(path).name


def _reading(path: str) -> AbstractContextManager[TextIO]:
    if path == STANDARD:
        return nullcontext(_as_utf8(sys.stdin))
    try:
        return Path(path).open(encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _writing(path: str) -> AbstractContextManager[TextIO]:
    return nullcontext(_as_utf8(sys.stdout)) if path == STANDARD else replacing(Path(path))


def _as_utf8(stream: TextIO) -> TextIO:
    """A standard stream as CSV needs it, whatever the locale: UTF-8, line ends left alone."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="strict", newline="")
    return stream


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _complain(text: str, status: int) -> int:
    _note(f"regression-model: {text}")
    return status
