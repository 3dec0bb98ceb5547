"""Count the instructions of a prediction and hold them to the figures recorded in instructions.json.

Time depends on the machine and on who else uses it; what valgrind's callgrind counts does not, so a change that makes
predictions dearer shows here, in CI. The model is the house-price model trained on the synthetic sample, the records
are made from its spec, and nothing but start-up and the work itself runs in between: bytes to prices, in-process.

  make instructions          compare; more than 10 % above the figure fails
  make instructions-record   record the figures anew, when a change is meant to cost or to save that much

A figure holds for one minor version of Python. Where none is recorded, or valgrind is missing, the count is skipped and
says so; valgrind missing where the variable CI is set is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _scripts  # noqa: F401
from project import ROOT, ScriptError

RECORDED = Path(__file__).with_name("instructions.json")
BUILD = ROOT / "build/benchmarks"
#: Share by which a count may exceed its figure.
MARGIN = 0.10
#: Name -> (records of a body, calls that are counted).
WORK = {"one record": (1, 50), "50 records": (50, 2), "one request": (1, 50), "one request, metrics on": (1, 50)}
#: What metrics may add to a request.
METRICS_MARGIN = 0.05
#: Different bodies of each; a count goes through them in turn.
BODIES = 10
#: Calls before the count: everything has been called, and every cache filled.
WARM = 3
SEED = 20240
PYTHON = ".".join(map(str, sys.version_info[:2]))


def model_folder() -> Path:
    """The bundle of the model that is asked, trained if these sources and libraries have not been before."""
    from model_kit.scoring.installed import source_digest  # noqa: PLC0415 - the counted process must not pay for what trains

    sources = [source_digest(ROOT / f"packages/{name}/src/{name}") for name in ("model_kit", "regression_model")]
    digest = hashlib.sha256("".join([*sources, PYTHON, libraries()]).encode()).hexdigest()
    folder = BUILD / f"sample-{digest[:12]}"
    if not folder.exists():
        from model_kit.training import dataset  # noqa: PLC0415
        from model_kit.training.train import train  # noqa: PLC0415
        from regression_model import DEFINITION  # noqa: PLC0415

        train(DEFINITION, dataset.synthetic(DEFINITION), folder, cv=False)
    return folder


def libraries() -> str:
    """Digest of the lock that serving is installed from."""
    return hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()


def write_bodies(bundle: Path, folder: Path) -> None:
    """The bodies that are asked, as JSON, so that the counted process makes none."""
    from model_kit.records.generation import generate_rows  # noqa: PLC0415
    from model_kit.scoring.bundle import SPEC  # noqa: PLC0415
    from model_kit.spec import InputSpec  # noqa: PLC0415

    spec = InputSpec.from_json((bundle / SPEC).read_bytes())
    for name, (rows, _) in WORK.items():
        records = generate_rows(spec, rows * BODIES, seed=SEED)
        bodies = [records[start : start + rows] for start in range(0, len(records), rows)]
        (folder / name).write_text("".join(json.dumps(body) + "\n" for body in bodies), "utf-8")


def work(bundle: Path, folder: Path) -> None:
    """What runs under valgrind: start up once, then fork a process for each kind of work, and one that does nothing.

    Each is counted from the start of its parent, so its difference from the idle one is its work alone.
    """
    from model_kit.scoring.model import BundleModel  # noqa: PLC0415
    from model_kit.scoring.predictor import Predictor  # noqa: PLC0415
    from regression_model.derive import derive  # noqa: PLC0415

    from in_process import application, pricer  # noqa: PLC0415
    from ml_api.settings import Settings  # noqa: PLC0415

    model = BundleModel.load(bundle, derive, "0")
    price = pricer(Predictor(model))
    asked = {
        "idle": price,
        "one request": application(model, Settings()),
        "one request, metrics on": application(model, Settings(metrics=True)),
    }
    calls: dict[str, list[bytes]] = {"idle": []}
    for name, (_, count) in WORK.items():
        bodies = (folder / name).read_bytes().splitlines()
        for body in bodies[:WARM]:
            asked.get(name, price)(body)
        calls[name] = [bodies[number % len(bodies)] for number in range(count)]
    for name, bodies in calls.items():
        ask = asked.get(name, price)
        child = os.fork()
        if child == 0:
            for body in bodies:
                ask(body)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{name} failed under valgrind")
        (folder / f"{name}.pid").write_text(str(child))


def count(bundle: Path) -> dict[str, int]:
    """Instructions of a call, by name of the work.

    Raises:
        ScriptError: valgrind cannot run this Python.
    """
    with tempfile.TemporaryDirectory(prefix="instructions-") as temporary:
        folder = Path(temporary)
        write_bodies(bundle, folder)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.%p", "--quiet"]
        command += [sys.executable, __file__, "--work", str(bundle), str(folder)]
        environ = os.environ | {
            # The same from run to run: the order of sets, and no thread that waits for work.
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": str(ROOT / "packages/ml_api"),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScriptError(f"valgrind failed with status {done.returncode}:\n{done.stderr[-2000:]}")
        totals = {
            name: read_total((folder / f"callgrind.{(folder / f'{name}.pid').read_text()}").read_text("utf-8"))
            for name in ("idle", *WORK)
        }
    return {name: round((totals[name] - totals["idle"]) / calls) for name, (_, calls) in WORK.items()}


def read_total(text: str) -> int:
    """The total of a file that callgrind wrote.

    Raises:
        ScriptError: it has none.
    """
    found = re.search(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)
    if not found:
        raise ScriptError("callgrind wrote no total")
    return int(found[1])


def compare(counted: dict[str, int], figure: dict[str, Any]) -> list[str]:
    """What is dearer than recorded, one sentence each."""
    slower = []
    for name, instructions in counted.items():
        recorded = figure["instructions"][name]
        change = instructions / recorded - 1
        print(f"instructions, {name}: {instructions:,} a call; {change:+.1%} against {recorded:,} recorded")
        if change > MARGIN:
            slower.append(f"{name} takes {change:.0%} more instructions than recorded")
        elif change < -MARGIN:
            print("  a figure to be glad of: `make instructions-record` keeps it")
    return slower


def compare_metrics(counted: dict[str, int]) -> list[str]:
    """What is wrong with the cost of metrics, one sentence."""
    share = counted["one request, metrics on"] / counted["one request"] - 1
    print(f"instructions: metrics add {share:.1%} to a request")
    return [f"metrics add {share:.1%} to a request, more than {METRICS_MARGIN:.0%}"] if share > METRICS_MARGIN else []


def record(counted: dict[str, int]) -> None:
    """Write the figures for this Python."""
    figures = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
    figures[PYTHON] = {
        "instructions": counted,
        "requirements_sha256": libraries(),
        "recorded": datetime.now(UTC).date().isoformat(),
    }
    RECORDED.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", "utf-8")
    print(f"instructions: recorded {counted} for Python {PYTHON} in {RECORDED.relative_to(ROOT)}; commit it")


def check(*, record_anew: bool) -> None:
    """Count, and compare or record.

    Raises:
        ScriptError: more instructions than recorded, or nothing to count with where CI is set.
    """
    figures = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
    if PYTHON not in figures and not record_anew:
        print(f"instructions: not counted: no figure for Python {PYTHON}; `make instructions-record` records one")
        return
    if not shutil.which("valgrind"):
        missing = "there is no valgrind; apt-get install valgrind"
        if os.environ.get("CI") or record_anew:
            raise ScriptError(missing)
        print(f"instructions: not counted: {missing}")
        return
    counted = count(model_folder())
    if record_anew:
        record(counted)
        return
    slower = compare(counted, figures[PYTHON]) + compare_metrics(counted)
    if slower:
        changed = figures[PYTHON]["requirements_sha256"] != libraries()
        cause = " (the libraries have changed since: perhaps it is theirs)" if changed else ""
        raise ScriptError(f"{'; '.join(slower)}{cause}. If that is meant: `make instructions-record`, and commit it")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "instructions.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the figures instead of comparing")
    parser.add_argument("--work", nargs=2, type=Path, metavar=("BUNDLE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work(*options.work)
        return 0
    try:
        check(record_anew=options.record)
    except ScriptError as error:
        print(f"instructions: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
