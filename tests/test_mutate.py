from __future__ import annotations

import configparser
import subprocess
from pathlib import Path
from typing import Any

import pytest

import mutate

RESULTS = """
To apply a mutant on disk: mutmut apply

    kit.spec.x_read__mutmut_1: killed
    kit.spec.x_read__mutmut_2: survived
    kit.code.x_write__mutmut_1: timeout
    kit.code.x_write__mutmut_2: no tests
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that would have been run, in a folder of the test's own."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, RESULTS)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(mutate, "WORK", tmp_path)
    return commands


@pytest.mark.parametrize("name", mutate.TARGETS)
def test_copy_has_what_the_tests_need(started: list[list[str]], tmp_path: Path, name: str) -> None:
    target = mutate.TARGETS[name]
    mutate.run(name, target, 1)
    parser = configparser.ConfigParser()
    parser.read(tmp_path / name / "setup.cfg")
    settings = {key: value.split() for key, value in parser["mutmut"].items()}
    for path in settings["also_copy"] + settings["source_paths"] + settings["pytest_add_cli_args_test_selection"]:
        assert (tmp_path / name / path).exists()
    for pattern in (*target.mutate, *target.spare):
        assert list((tmp_path / name).glob(pattern))
    assert not [path for path in settings["pytest_add_cli_args_test_selection"] if "gunicorn" in path]
    assert [command[3] for command in started] == ["run", "results"]


@pytest.mark.usefixtures("started")
def test_survivors_are_named_and_too_many_are_red(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mutate.py", "model_kit", "--jobs", "1"])
    assert mutate.main() == 1
    monkeypatch.setattr(mutate, "FLOOR", 0.5)
    assert mutate.main() == 0
    said = capsys.readouterr().out
    assert "  survived: kit.spec.x_read__mutmut_2\n" in said
    assert "  no tests: kit.code.x_write__mutmut_2\n" in said
    assert "mutmut_1" not in said
    assert "model_kit: 50.0% noticed" in said
    assert next(line.split() for line in said.splitlines() if line.startswith("kit.spec")) == [
        "kit.spec",
        "2",
        "mutants",
        "50.0%",
    ]


def test_modules_are_chosen_by_name(started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["mutate.py", "views", "--modules", "requests,examples"])
    mutate.main()
    parser = configparser.ConfigParser()
    parser.read(tmp_path / "views" / "setup.cfg")
    assert parser["mutmut"]["only_mutate"].split() == ["ml_api/views/requests.py", "ml_api/views/openapi/examples.py"]
    assert len(started) == 2
    monkeypatch.setattr("sys.argv", ["mutate.py", "model_kit", "--modules", "spec"])
    mutate.main()
    parser.read(tmp_path / "model_kit" / "setup.cfg")
    assert "src/model_kit/spec/fields.py" in parser["mutmut"]["only_mutate"].split()


def test_module_that_is_not_there_is_refused(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mutate.py", "model_kit", "--modules", "spec,boats"])
    with pytest.raises(SystemExit, match="^model_kit: boats is no module of the code to change$"):
        mutate.main()
    assert started == []


def test_context_managers_are_changed_too(started: list[list[str]], tmp_path: Path) -> None:
    """mutmut leaves decorated functions alone."""
    mutate.run("model_kit", mutate.TARGETS["model_kit"], 1)
    code = (tmp_path / "model_kit" / "src" / "model_kit" / "batch" / "tables.py").read_text()
    assert "@contextmanager\n" not in code
    assert "\n\n\ndef reading(\n" in code
    assert code.index("\nreading = contextmanager(reading)\n") > code.index("def _seekable")
    assert mutate.bare("x = 1\n") == "x = 1\n"
    assert started
