"""A house-price model trained on the synthetic sample, rows, and what `model-kit predict` says of them.

Made by this project's own environment, .venv; the tests run in those of others, see scripts/doors.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv/bin/python"

TRAIN = """
import json, sys
from pathlib import Path
from model_kit.records.generation import generate_rows
from model_kit.scoring.bundle import CARD, dump_json, read_bundle, write_bundle
from regression_model import DEFINITION
from service import train_houses

folder, n_rows = Path(sys.argv[1]), int(sys.argv[2])
train_houses(folder)
# Ranges that were not calibrated, which takes minutes: here they are to arrive, not to be right.
files = dict(read_bundle(folder).files)
card = json.loads(files[CARD])
card["intervals"] = {"rows": 100, "levels": [0.5, 0.9, 0.95], "edges": [150000.0], "widths": [[0.1, 0.2, 0.3]] * 2}
write_bundle(folder, files | {CARD: dump_json(card)})
rows = generate_rows(DEFINITION.load_bundle(folder).spec, n_rows, seed=7, nulls=0.1, unseen=0.1)
print(json.dumps(rows))
"""
N_ROWS = 60


def ours(*arguments: str | Path) -> str:
    """Run this project's Python; returns what it prints."""
    paths = (ROOT / name for name in ("tests/helpers", "scripts", "packages/ml_api"))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([OURS, *arguments], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Houses:
    """A model, rows and predictions.

    Attributes:
        bundle: the model, in a folder that may be ``MODEL_DIR``.
        rows: records; the last two are in error.
        predicted: of each record what `model-kit predict --interval 0.9` adds.
    """

    bundle: Path
    rows: list[dict[str, Any]]
    predicted: list[dict[str, Any]]


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Houses:
    folder = tmp_path_factory.mktemp("models")
    rows = json.loads(ours("-c", TRAIN, folder / "regression", str(N_ROWS)))
    rows[-2]["GrLivArea"] = -1
    rows[-1]["OverallQual"] = None
    given, found = folder / "rows.jsonl", folder / "predicted.jsonl"
    given.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    command = ("-m", "model_kit.cli.main", "predict", given, "-o", found, "--interval", "0.9", "--model", "regression")
    ours(*command, "--bundle", folder / "regression")
    names = ("prediction", "error", "prediction_low", "prediction_high")
    lines = map(json.loads, found.read_text("utf-8").splitlines())
    predicted = [{name: line[name] for name in names} for line in lines]
    assert [one["error"] is None for one in predicted] == [True] * (N_ROWS - 2) + [False] * 2
    return Houses(folder / "regression", rows, predicted)


@pytest.fixture(scope="session")
def export(houses: Houses, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that exports the model in a format, and returns the folder."""

    def make(form: str) -> Path:
        folder = tmp_path_factory.mktemp("export") / form
        command = ("-m", "model_kit.cli.main", "export", form, "-o", folder, "--model", "regression")
        ours(*command, "--bundle", houses.bundle)
        return folder

    return make


@pytest.fixture
def installed(houses: Houses, monkeypatch: pytest.MonkeyPatch) -> Houses:
    """The same, as the bundle of the package that is installed here."""
    monkeypatch.setenv("MODEL_DIR", str(houses.bundle.parent))
    return houses
