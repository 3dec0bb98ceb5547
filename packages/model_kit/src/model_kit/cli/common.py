"""What several commands share: exit statuses, arguments' types, signals, lists of facts."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from model_kit.batch.evaluation import format_amount
from model_kit.batch.rows import Table
from model_kit.errors import DataError, ModelKitError
from model_kit.records.column_summary import ColumnSummary
from model_kit.records.number_format import NumberFormat
from model_kit.scoring.definition import ModelDefinition, Sample
from model_kit.scoring.intervals import HIGHEST, LEVELS_REASON, LOWEST
from model_kit.scoring.model import BundleModel
from model_kit.spec import Target

OK: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2
#: What shells report for a process ended by Ctrl-C.
INTERRUPTED: Final = 130
#: Modules that come with ``model-kit[train]``.
TRAINING_LIBRARIES: Final = frozenset(
    {"jinja2", "joblib", "onnx", "packaging", "pandas", "skl2onnx", "sklearn", "threadpoolctl", "tqdm"}
)


class EndedBySignal(BaseException):
    """A signal asks this process to end; like Ctrl-C it passes through handlers of errors.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


def _end(number: int, _: object) -> NoReturn:
    raise EndedBySignal(number)


@contextmanager
def ending_cleanly() -> Generator[None, None, None]:
    """Signals that end a process end it as Ctrl-C does: no half file, no process left behind."""
    # Python handles signals in the main thread; and one that is ignored (nohup) stays ignored.
    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in signals if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def report(text: str) -> None:
    """Print a line for people, beside the output."""
    sys.stderr.write(f"{text}\n")


def model_of(arguments: argparse.Namespace) -> BundleModel:
    """The model that is meant, with the bundle of ``--bundle`` or its own."""
    definition: ModelDefinition = arguments.definition
    return definition.load_bundle(arguments.bundle) if arguments.bundle else definition.load()


def add_bundle_argument(command: argparse.ArgumentParser) -> None:
    """Add ``--bundle``."""
    command.add_argument(
        "--bundle", type=Path, metavar="DIR", help="another trained model (default: the package's own)"
    )


def add_number_arguments(command: argparse.ArgumentParser) -> None:
    """Add ``--decimal`` and ``--thousands``."""
    command.add_argument("--decimal", choices=(".", ","), help="decimal mark of the numbers in a CSV file (default: .)")
    command.add_argument(
        "--thousands",
        choices=(".", ",", " ", "'", "\u00a0", "\u202f"),
        default="",
        metavar="MARK",
        help="what stands between thousands in a CSV file: . or , or ' or a blank (default: nothing)",
    )


def numbers_of(arguments: argparse.Namespace) -> NumberFormat:
    """How numbers are written.

    Raises:
        DataError: one mark is to be both.
    """
    # Whoever names the point as separator of thousands has a comma before decimals.
    decimal = arguments.decimal or ("," if arguments.thousands == "." else None)
    if arguments.thousands and arguments.thousands == (decimal or "."):
        raise DataError(f"--thousands {arguments.thousands} needs another --decimal")
    return NumberFormat(decimal, arguments.thousands)


def add_strict_arguments(command: argparse.ArgumentParser) -> None:
    """Add ``--strict`` and ``--strict-columns``."""
    command.add_argument("--strict", action="store_true", help="exit with 1 if a row could not be scored")
    command.add_argument(
        "--strict-columns",
        action="store_true",
        help="exit with 1 if a column has unknown levels, or values out of range, in nearly every row",
    )


def status_of(arguments: argparse.Namespace, failed: int, summary: ColumnSummary) -> int:
    """The exit status of a command that scored rows."""
    strange = arguments.strict_columns and summary.is_strange_nearly_everywhere
    return FAILED if strange or (failed and arguments.strict) else OK


def report_columns(table: Table, summary: ColumnSummary) -> None:
    """Say what is unusual about a table's columns, one line each; loudly where nearly every row is unusual."""
    if table.local_numbers:
        report(
            f"{table.name}: numbers written with a comma, like 12,5 or 1,000, were refused ({table.local_numbers}); "
            "write 12.5, 1000, or see --decimal and --thousands"
        )
    if absent := table.lacking(table.spec.names):
        count = f"{len(absent)} {'field' if len(absent) == 1 else 'fields'}"
        report(f"{table.name}: imputing {count} that the file lacks: {', '.join(absent)}")
    for one in summary.reports():
        report(f"*** WARNING *** {one}" if one.is_strange_nearly_everywhere else str(one))


def synthetic_notice(definition: ModelDefinition) -> str:
    """What is said of predictions of a model that was trained on synthetic data."""
    sample: Sample | None = definition.resolve("sample")
    return sample.notice if sample else "*** TRAINED ON SYNTHETIC DATA: predictions mean nothing. ***"


def needing_training(function: Callable[[], Any]) -> Any:
    """Call a function that imports what only training needs.

    Raises:
        ModelKitError: a library is missing; the text says how to install it.
    """
    try:
        return function()
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        command = 'pip install "model-kit[train]"'
        if library not in TRAINING_LIBRARIES:
            command = f"install {library}, and add it to the dependencies of the model's package"
        raise ModelKitError(f"needs {error.name}, which is not installed: {command}") from error


def data_facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a model was trained on."""
    found = card["data"]
    return [("data", f"{found['name']}, {found['rows']} rows"), ("data sha256", found["sha256"])]


def score_facts(card: Mapping[str, Any], target: Target) -> list[tuple[str, str]]:
    """A model's cross-validated scores."""
    if not card["metrics"]:
        return [("scores", "not evaluated")]
    if target.is_class:
        return [(name.replace("_", " "), f"{value:.4f}") for name, value in card["metrics"].items()]
    of = f"{'log ' if target.scale == 'log' else ''}{target.name}"
    labels = {
        "rmse": f"RMSE of {of}",
        "rmse_core": f"RMSE of {of}, core rows",
        "r2": f"R2 of {of}",
        "mae": ", ".join(filter(None, ("MAE", target.unit))),
    }
    return [
        (labels.get(name, name), format_amount(value) if name == "mae" or target.scale != "log" else f"{value:.4f}")
        for name, value in card["metrics"].items()
    ]


def facts(lines: Sequence[tuple[str, str]]) -> str:
    """Labels and values in two columns."""
    width = max(len(label) for label, _ in lines)
    return "".join(f"{label:<{width}}  {value}\n" for label, value in lines)


def add_interval_argument(command: argparse.ArgumentParser) -> None:
    """Add ``--interval``."""
    command.add_argument(
        "--interval",
        type=_interval_level,
        metavar="LEVEL",
        help=f"add the range that holds the true value in this share of the cases, {LOWEST} to {HIGHEST}",
    )


def _interval_level(text: str) -> float:
    level = float(text)
    if not LOWEST <= level <= HIGHEST:
        raise argparse.ArgumentTypeError(f"from {LOWEST} to {HIGHEST}: {LEVELS_REASON}")
    return level


def whole_number(lowest: int, highest: int, what: str) -> Callable[[str], int]:
    """The type of an argument that is a whole number within bounds."""

    def parse(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"from {lowest} to {highest} {what}")
        return number

    parse.__name__ = "number"
    return parse
