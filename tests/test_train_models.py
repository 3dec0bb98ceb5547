"""Which models are trained, and on what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import load_data
import train_models as command
from package_index import PackageIndex
from plan import ModelPlan, Plan, require_plan
from project import Project, ScriptError
from small_project import TOKEN, add_model


def name_index(monkeypatch: pytest.MonkeyPatch, index: PackageIndex) -> None:
    """Have the environment name the index."""
    for name, value in (("URL", index.url), ("USER", index.user), ("TOKEN", TOKEN)):
        monkeypatch.setenv(f"PACKAGE_INDEX_{name}", value)


@pytest.fixture
def calls(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What `model-kit` was called with, one call a line; it does nothing. Two models, one of which has a sample."""
    add_model(project, "fares")
    path = tmp_path / "calls"
    program = tmp_path / "model-kit"
    program.write_text(f'#!/bin/sh\necho "$@" >> {path}\ncase "$*" in *broken*) exit 3;; esac\n')
    program.chmod(0o755)
    for module in (command, load_data):
        monkeypatch.setattr(module, "MODEL_KIT", (program,))
    monkeypatch.setattr(command, "has_sample", lambda package: package.model == "regression")

    def read() -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    return read


def test_a_model_is_trained_on_its_file_and_samples_only_where_there_are_some(
    project: Project, calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--model", "fares", "--data", "f.csv"], project) == 0
    assert calls() == ["train --model fares --data f.csv"]
    assert command.main([], project) == 0
    assert calls() == ["train --model regression --sample"]
    assert "Left out: fares has no synthetic sample; make train MODEL=fares DATA=path.csv" in capsys.readouterr().out
    assert command.main(["--model", "fares"], project) == 2
    assert capsys.readouterr().err == "train: fares has no synthetic sample; make train MODEL=fares DATA=path.csv\n"
    assert command.main(["--data", "f.csv"], project) == 2
    assert "DATA=f.csv is of one model; say which: MODEL=fares|regression" in capsys.readouterr().err
    assert calls() == []
    assert command.main(["--model", "fares", "--data", "broken.csv"], project) == 1
    assert "training fares on broken.csv failed; the reason is above" in capsys.readouterr().err


def test_what_the_plan_says_is_trained_on_the_data_that_it_is_about(
    project: Project, calls: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--planned"], project) == 1
    assert "`make plan` writes it" in capsys.readouterr().err
    planned = {"fares": ModelPlan("train", "New.", "data/fares.csv"), "regression": ModelPlan("reuse", "Same.")}
    project.build.mkdir(exist_ok=True)
    project.plan.write_text(json.dumps(asdict(Plan(None, {}, planned))))
    assert command.main(["--planned"], project) == 0
    assert calls() == [f"train --model fares --data {project.root}/data/fares.csv"]
    add_model(project, "tips")
    assert command.main(["--planned"], project) == 1
    assert "does not name tips; `make plan` again" in capsys.readouterr().err


def test_a_model_that_cannot_be_trained_is_held_back_while_another_one_is_new(
    project: Project,
    index: PackageIndex,
    calls: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name_index(monkeypatch, index)
    versions = {package.name: package.base_version() for package in project.packages}
    project.build.mkdir(exist_ok=True)

    def plan(*broken: str) -> None:
        planned = {
            model.model: ModelPlan("train", "New.", f"data/{'broken' if model.model in broken else model.model}.csv")
            for model in project.models()
        }
        project.plan.write_text(json.dumps(asdict(Plan(None, versions, planned))))

    plan("fares")
    assert command.main(["--planned"], project) == 1, "without --hold-back the first that fails ends it"
    assert calls() == [f"train --model fares --data {project.root}/data/broken.csv"]

    assert command.main(["--planned", "--hold-back"], project) == 0
    assert len(calls()) == 2
    said = "HELD BACK: fares-model 0.3.0 (training on data/broken.csv failed); it is left out, for none is released.\n"
    assert said in capsys.readouterr().out
    found = require_plan(project)
    assert {name: planned.decision for name, planned in found.models.items()} == {
        "fares": "skip",
        "regression": "train",
    }
    assert found.models["fares"].held_back == "training on data/broken.csv failed"
    assert "fares-model" not in found.versions

    # One that is released keeps the newest release, whatever version its code states.
    plan("fares")
    for version in ("0.2.0", "0.2.0.post1", "0.1.0"):
        (project.index / f"fares_model-{version}-py3-none-any.whl").write_bytes(b"")
    assert command.main(["--planned", "--hold-back"], project) == 0
    found = require_plan(project)
    assert (found.models["fares"].decision, found.versions["fares-model"]) == ("reuse", "0.2.0.post1")

    # Where every one fails there is nothing new, and nothing is released.
    plan("fares", "regression")
    before = project.plan.read_text()
    assert command.main(["--planned", "--hold-back"], project) == 1
    assert "train: fares: training on data/broken.csv failed\nregression: training on" in capsys.readouterr().err
    assert project.plan.read_text() == before


def test_a_package_that_is_not_installed_is_told(project: Project) -> None:
    (package,) = [add_model(project, "fares")]
    with pytest.raises(ScriptError, match=r"packages/fares_model: no model fares is installed.*`make tools` installs"):
        command.has_sample(package)
    assert command.has_sample(project.models("regression")[0])


def test_each_file_is_loaded_from_where_its_variable_says(
    project: Project,
    calls: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(load_data, "_on_openml", lambda package: package.model == "regression")
    here = f"{project.root}/data"
    told: list[str] = []
    load_data.load(project, None, {"DATA_URL_FARES": "u", "DATA_SHA256_FARES": "5"}, told.append)
    assert calls() == [
        f"data --model fares -o {here}/fares.csv --from u --sha256 5",
        f"data --model regression -o {here}/regression.csv",
    ]
    load_data.load(project, "fares", {"DATA_URL": "v"}, told.append)
    assert calls() == [f"data --model fares -o {here}/fares.csv --from v"]
    assert told == []
    with pytest.raises(ScriptError, match="name one for each: DATA_URL_FARES, DATA_URL_REGRESSION"):
        load_data.load(project, None, {"DATA_URL": "v"}, told.append)
    load_data.load(project, None, {}, told.append)
    assert len(calls()) == 1
    assert "fares: nothing says where its file is, and there is no fares.csv; make data MODEL=fares DATA" in told[0]
    with pytest.raises(ScriptError, match="there is no fares"):
        load_data.load(project, "fares", {}, told.append)
    with pytest.raises(ScriptError, match="the file of fares could not be loaded"):
        load_data.load(project, "fares", {"DATA_URL": "broken"}, told.append)
    monkeypatch.setattr(load_data, "load", lambda *_: None)
    assert load_data.main([], project) == 0
