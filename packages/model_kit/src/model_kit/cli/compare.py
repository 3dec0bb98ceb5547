"""The command ``compare``: shows what changes between two versions of a model and judges it by thresholds."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from model_kit.batch.file_systems import STANDARD
from model_kit.batch.output import replacing
from model_kit.batch.progress import Progress
from model_kit.batch.sources import name_of
from model_kit.batch.tables import FORMATS, format_of
from model_kit.comparison import text
from model_kit.comparison.gate import FILE, find_gate, read_gate
from model_kit.comparison.run import Comparison, Data, compare
from model_kit.comparison.scorer import Scorer
from model_kit.comparison.sources import Package, Source, find, with_kit, with_own_kit
from model_kit.errors import DataError, MissingLibraryError
from model_kit.scoring.definition import ModelDefinition, find_entry_point

PASSED: Final = 0
BEYOND: Final = 1

HELP: Final = "compare two versions of the model and judge what changes"
EXAMPLES: Final = """\
examples:
  {program} compare latest path/to/bundle            the newest release on the index with what was trained now
  {program} compare 1.1.0 1.2.0                   two versions on the index
  {program} compare old.whl new.whl --data rows.csv --html report.html
  {program} compare latest new.whl --json | jq .checks

OLD and NEW are each a wheel file, a version on the private index ("1.2.0" or "latest",
the newest release), or a bundle folder. The index is that of PACKAGE_INDEX_URL, PACKAGE_INDEX_USER and
PACKAGE_INDEX_TOKEN. A wheel is scored by its own code, in its own process; a bundle folder has none and is scored
by the installed code. Both score the same rows: those of --data, any file that predict reads, or 5,000 generated
from the spec of NEW.

Thresholds and reviewed changes are in the gate.toml beside the package's pyproject.toml, if it is installed from its
sources; what that file does not state has the default of model-kit. More: docs/comparison.md

exit status: 0 nothing is beyond its threshold; 1 something is; 2 the input or the thresholds are unusable
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("old", metavar="OLD", help="the model now live: wheel, version, latest or bundle folder")
    command.add_argument("new", metavar="NEW", help="the candidate: the same")
    command.add_argument(
        "--data", metavar="FILE", help="rows to score, - for standard input (default: 5,000 generated rows)"
    )
    command.add_argument("--format", choices=FORMATS, help="of the data (default: by its name, else csv)")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--json-to", type=Path, metavar="FILE", help="write the JSON to a file as well")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a report to a file as well")
    command.add_argument(
        "--gate", type=Path, metavar="FILE", help=f"the thresholds (default: the package's {FILE}, else model-kit's)"
    )
    for side in ("old", "new"):
        command.add_argument(
            f"--{side}-kit",
            metavar="KIT",
            help=f"wheel or version of model-kit for {side.upper()} (default: the one that it was trained with)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Compare, show, judge; returns the exit status.

    Raises:
        DataError: OLD, NEW, the data or the thresholds are unusable, or a report cannot be written.
    """
    if arguments.html and not find_spec("jinja2"):
        raise DataError('--html needs jinja2, which is not installed: pip install "model-kit[train]"')
    try:
        comparison = _compare(arguments)
        _write(comparison, arguments)
    except MissingLibraryError as error:
        # 1 would say that something is beyond its threshold.
        raise DataError(f'{error}: pip install "model-kit[batch]"') from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"{error.filename or 'output'}: {error.strerror}") from error
    return PASSED if comparison.passed else BEYOND


def _compare(arguments: argparse.Namespace) -> Comparison:
    definition: ModelDefinition = arguments.definition
    # A bundle folder has no code of its own: the installed definition loads it.
    loader = find_entry_point(definition.name).value.removesuffix(".load") + ".load_bundle"
    package = Package(definition.distribution, loader)
    # Relative, so that reports do not show where the repository is.
    found = find_gate(definition.folder)
    gate = read_gate(arguments.gate or (found and Path(os.path.relpath(found))))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        old = _found(arguments.old, arguments.old_kit, package, folder / "old")
        new = _found(arguments.new, arguments.new_kit, package, folder / "new")
        if new is None:
            raise DataError("there is no release on the index that could be the new model")
        before = stack.enter_context(closing(Scorer(old))) if old else None
        after = stack.enter_context(closing(Scorer(new)))
        data = _data(arguments, folder)
        with Progress("Comparing", None) as progress:
            return compare(
                before, after, gate, definition.floors, data, report=lambda done: progress.show(done, f"{done:,} rows")
            )


def _found(named: str, kit: str | None, package: Package, folder: Path) -> Source | None:
    source = find(named, package, folder / "model", os.environ)
    if source is None:
        return None
    kits = folder / "kit"
    return with_kit(source, kit, kits, os.environ) if kit else with_own_kit(source, kits, os.environ)


def _data(arguments: argparse.Namespace, folder: Path) -> Data:
    """What to score; what can be read only once is kept, as both models read it."""
    path = arguments.data
    if path is None:
        return Data()
    if path != STANDARD and not Path(path).is_fifo():
        return Data(path, name_of(path), arguments.format)
    kept = folder / "data"
    with sys.stdin.buffer if path == STANDARD else Path(path).open("rb") as source, kept.open("wb") as file:
        shutil.copyfileobj(source, file)
    return Data(str(kept), name_of(path), arguments.format or format_of(path))


def _write(comparison: Comparison, arguments: argparse.Namespace) -> None:
    as_json = json.dumps(comparison.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if arguments.json_to:
        with replacing(arguments.json_to) as file:
            file.write(as_json)
    if arguments.html:
        from model_kit.comparison import html  # noqa: PLC0415 - jinja2 comes with what trains

        with replacing(arguments.html) as file:
            file.write(html.page(comparison))
    sys.stdout.write(as_json if arguments.json else text.report(comparison.document))
