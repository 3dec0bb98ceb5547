"""The command ``compare``."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from model_kit.cli import compare
from model_kit.cli.main import main
from model_kit.comparison import run
from model_kit.comparison.sources import Package
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import write_ride_bundle

REAL = {"name": "rides.csv", "sha256": "0" * 64, "rows": 100, "synthetic": False}
METRICS = {"r2": 0.9, "rmse": 0.1, "rmse_core": 0.1, "mae": 3.0}


def rides(folder: Path, **card: Any) -> str:
    write_ride_bundle(folder, **{"data": REAL, "metrics": METRICS} | card)
    return str(folder)


def run_command(arguments: Sequence[str]) -> int:
    """The exit status of ``rides-model``."""
    return main(arguments, program="rides-model")


@pytest.fixture(autouse=True)
def loaders(installed: ModelDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is to load bundle folders; another loader does, as the processes that score find no package of tests."""
    asked: list[str] = []

    def package(distribution: str, loader: str) -> Package:
        assert distribution == installed.distribution
        asked.append(loader)
        return Package(distribution, "model_kit.testing:load_rides")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "N_GENERATED", 500)
    monkeypatch.setattr(compare, "Package", package)
    return asked


@pytest.fixture
def live(tmp_path: Path) -> str:
    return rides(tmp_path / "live")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says of input that it cannot use."""
    assert run_command(["compare", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


def test_a_model_within_its_thresholds_passes_with_all_reports(
    live: str, loaders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", live, live, "--html", "report.html", "--json-to", "report.json"]
    assert run_command(arguments) == 0
    assert capsys.readouterr().out.startswith("PASSED: ")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["passed"] is True
    assert loaders == ["installed_rides:DEFINITION.load_bundle"]
    assert document["old"]["scored_by"] == "the installed code"


def test_a_worse_model_is_stopped_and_told_as_json(
    live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = rides(tmp_path / "worse", metrics=METRICS | {"rmse": 0.11})
    assert run_command(["compare", live, worse, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in document["checks"] if check["status"] == "beyond"] == ["metric.rmse"]


def test_the_floors_are_those_of_the_package(live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low = rides(tmp_path / "low", metrics=METRICS | {"r2": 0.49, "rmse": 0.51})
    assert run_command(["compare", low, low, "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    stopped = {check["name"]: check["limit"] for check in checks if check["status"] == "beyond"}
    assert stopped == {"floor.r2": 0.5, "floor.rmse": 0.5}


def test_rows_come_from_a_file_or_from_standard_input(
    live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = '{"distance": 2, "zone": "A"}\n{"distance": 8, "zone": "B", "comfort": 2}\n'
    (tmp_path / "rides.jsonl").write_text(lines)
    assert run_command(["compare", live, live, "--data", "rides.jsonl", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["name"], data["rows"]["compared"]) == ("rides.jsonl", 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert run_command(["compare", live, live, "--data", "-", "--format", "jsonl", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["name"], data["rows"]["compared"]) == ("standard input", 2)


def test_a_pipe_is_read_once_for_both_models(live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "rides.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("distance,zone\n2,A\n8,B\n",))
    writer.start()
    assert run_command(["compare", live, live, "--data", str(pipe), "--json"]) == 0
    writer.join()
    assert json.loads(capsys.readouterr().out)["data"]["rows"]["compared"] == 2


def test_what_cannot_be_used_is_status_2(live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: there is no such file or folder" in refused(capsys, live, "nowhere")
    assert "PACKAGE_INDEX_URL is not set" in refused(capsys, "latest", live)
    assert "none.csv: cannot be read" in refused(capsys, live, live, "--data", "none.csv")
    (tmp_path / "poor.csv").write_text("zone\nA\n")
    assert "poor.csv" in refused(capsys, live, live, "--data", "poor.csv")
    assert "there is no folder no/such/folder" in refused(capsys, live, live, "--html", "no/such/folder/report.html")
    assert "a bundle folder is scored by the installed code" in refused(capsys, live, live, "--old-kit", "0.1.0")
    assert "none.toml: the thresholds cannot be read" in refused(capsys, live, live, "--gate", "none.toml")
    (tmp_path / "gate.toml").write_text("[difference]\np98 = 0.1\n")
    assert "gate.toml: " in refused(capsys, live, live, "--gate", "gate.toml")
    (tmp_path / "live" / "model.onnx").write_bytes(b"")
    assert "model.onnx: sha256 is" in refused(capsys, live, live)


def test_a_library_that_is_missing_is_no_verdict(
    live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rides.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pyarrow" in refused(capsys, live, live, "--data", "rides.parquet")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "--html needs jinja2" in refused(capsys, live, live, "--html", "report.html")


def test_real_rows_need_not_be_shown(live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rides.csv").write_text("distance,zone\n2.71828,A\n3.14159,B\n")
    assert run_command(["compare", live, live, "--data", "rides.csv", "--html", "r.html", "--json-to", "r.json"]) == 0
    shown = capsys.readouterr().out + (tmp_path / "r.html").read_text() + (tmp_path / "r.json").read_text()
    assert "2.71828" not in shown
    assert "3.14159" not in shown
