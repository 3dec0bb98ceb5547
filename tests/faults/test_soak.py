"""A short soak; `make soak` is the long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_kit.testing import write_ride_bundle

import soak
from installed import hide_other_models, install

#: A regression, and classes by hand.
PACKAGE = """
import os
from pathlib import Path

import numpy as np
from model_kit.spec import Field, Target, fit_spec
from model_kit.testing import load_rides


def load():
    return load_rides(Path(os.environ["RIDES_BUNDLE"]))


class Lengths:
    version = "1.2.3"
    target = Target("length", kind="class", classes=("short", "long"))
    spec = fit_spec((Field("distance", "number", "Length", required=True),), target, [{"distance": 8.0}] * 2)
    card = {"data": {"name": "rides by hand", "synthetic": True}, "evaluated": True}
    golden = {"row": {"distance": 8.0}, "prediction": "long"}
    lineage = {"version": version, "data": card["data"]}

    def score(self, encoded):
        long = encoded[:, 0] >= 8
        return np.column_stack([~long, long]).astype(float)

    def check(self):
        pass
"""
COUNT = 2000


def test_a_soak_with_each_fault_loses_nothing_and_answers_nothing_wrong(tmp_path: Path) -> None:
    site, report = tmp_path / "site", tmp_path / "report.json"
    points = "[ml_api.models]\nrides = rides_package:load\nlengths = rides_package:Lengths\n"
    install(site, "regression-model", "1.2.3", points)
    (site / "rides_package.py").write_text(PACKAGE)
    hide_other_models(site)
    write_ride_bundle(tmp_path / "rides")
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, soak.__file__, "--count", str(COUNT), "--json", str(report)],
        env=os.environ | {"PYTHONPATH": path, "RIDES_BUNDLE": str(tmp_path / "rides")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert all(found["checks"].values())
    figures = found["figures"]
    assert set(figures["faults"]) == {
        "kill -9 of a worker",
        "SIGHUP",
        "pg_ctl -m immediate restart",
        "kill -9 of PostgreSQL",
        "kill -9 of the postmaster",
    }
    assert figures["requests"] >= COUNT
    assert figures["models"] == ["lengths", "rides"]
    assert set(figures["as expected"]) == {
        "one row", "batch", "batch with errors", "error", "details", "refused", "page", "outcomes"
    }  # fmt: skip
    assert figures["worker starts"] >= 4


def test_model_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--model", "boats"]) == 2
    assert "no model boats is installed and trained; `make train`" in capsys.readouterr().err
