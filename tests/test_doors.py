"""Tests with the clients of others run in environments of their own, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from model_kit.exports.mlflow import MLFLOW_VERSION

import doors
from environment import SetUpError
from project import ROOT


def test_every_door_has_tests_and_a_lock_with_hashes_that_names_no_server() -> None:
    names = doors.doors()
    assert names
    for kind in ("in", "txt"):
        # One has no tests of its own: a page of the documentation comes from there, `make docs-commands`.
        assert sorted(path.stem for path in (ROOT / "requirements/doors").glob(f"*.{kind}")) == sorted(
            [*names, "bentoml"]
        )
    for name in names:
        text = (ROOT / f"requirements/doors/{name}.txt").read_text("utf-8")
        assert "://" not in text
        assert re.search(r"^pytest==", text, re.MULTILINE)
        assert text.count("==") <= text.count("--hash=sha256:")


def test_an_export_for_mlflow_names_the_version_that_it_is_tested_with() -> None:
    lock = (ROOT / "requirements/doors/mlflow.txt").read_text("utf-8")
    assert re.search(rf"^mlflow=={re.escape(MLFLOW_VERSION)} ", lock, re.MULTILINE)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Two doors whose environments are this one; the commands that were run in them, of which spark's fails."""
    found: list[list[str]] = []
    for name in ("mlflow", "spark"):
        (tmp_path / f"test_{name}.py").touch()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        found.append(command)
        return subprocess.CompletedProcess(command, int(command[-1].endswith("spark.py")))

    monkeypatch.setattr(doors, "doors", lambda root=tmp_path: ["mlflow", "spark"])
    monkeypatch.setattr(doors, "environment", lambda name: Path(sys.executable))
    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_all_doors_or_those_named_are_tested_and_a_failure_is_told(
    runs: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doors.main([]) == 1
    assert "1 of 2 passed; failed: spark" in capsys.readouterr().out
    assert doors.main(["mlflow"]) == 0
    assert [command[-1].rpartition("/")[2] for command in runs] == ["test_mlflow.py", "test_spark.py", "test_mlflow.py"]
    assert doors.main(["azur"]) == 2
    assert "there is no tests/doors/test_azur.py" in capsys.readouterr().err


def test_an_environment_has_our_packages_where_its_lock_can_build_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements/doors").mkdir(parents=True)
    (tmp_path / "requirements/doors/ray.txt").write_text("hatchling==1\n")
    (tmp_path / "requirements/doors/azure.txt").write_text("pytest==9\n")
    monkeypatch.setattr(doors, "ROOT", tmp_path)
    monkeypatch.setattr(doors, "ENVIRONMENTS", tmp_path / "build")
    monkeypatch.setattr(doors, "find_packages", lambda folder: [folder / "model_kit"])
    made: dict[str, list[Path]] = {}
    monkeypatch.setattr(
        doors, "make_environment", lambda folder, lock, packages, pip: made.update({folder.name: packages})
    )
    assert doors.environment("ray") == tmp_path / "build/ray/bin/python"
    doors.environment("azure")
    assert made == {"ray": [tmp_path / "packages/model_kit"], "azure": []}

    def fail(*_: object) -> bool:
        raise SetUpError("no network")

    monkeypatch.setattr(doors, "make_environment", fail)
    assert doors.main(doors.doors()[:1]) == 1
    assert capsys.readouterr().err
