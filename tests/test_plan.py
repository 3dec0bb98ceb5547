from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from model_kit.retraining.publication import next_training

import plan as command
from deployable import commit, git, release_version
from package_index import PackageIndex
from plan import make_plan
from project import Package, Project, ScriptError
from publish import publish
from small_project import TOKEN, add_model, own_kit, train

LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:00
twine==7.0.0 \\
    --hash=sha256:00
"""
LIBRARIES = {"python": "3.11.7", "numpy": "2.4.6"}


@pytest.fixture
def data(project: Project) -> Path:
    """Training data, and a lock to train with."""
    path = project.root / "rides.csv"
    path.write_text("distance,fare\n1,2\n")
    project.train_lock.parent.mkdir()
    project.train_lock.write_text(LOCK)
    return path


def train_on(model: Package, data: Path) -> str:
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    facts = {"name": data.name, "sha256": digest, "rows": 1, "synthetic": False}
    return train(model, data=facts, libraries=LIBRARIES)


def test_new_version_is_trained_if_its_data_are_here(project: Project, index: PackageIndex, data: Path) -> None:
    plan = make_plan(project, index, data)
    assert plan.models["regression"].decision == "train"
    assert plan.models["regression"].sentence == "regression-model 0.3.0 is not released yet: it is trained."
    assert plan.versions["regression-model"] == "0.3.0"


def test_without_data_the_bundle_is_released_unless_it_is_of_the_sample(
    project: Project, model: Package, index: PackageIndex
) -> None:
    found = make_plan(project, index).models["regression"]
    assert found.decision == "reuse"
    assert found.sentence == (
        "regression-model 0.3.0 is not released yet, and there is no data/regression.csv: "
        "its bundle, trained on rides by hand, is used as it is."
    )
    train(model, data={"name": "sample", "sha256": "0" * 64, "rows": 1, "synthetic": True})
    train(add_model(project, "fares"))
    found = make_plan(project, index).models["regression"]
    assert found.decision == "skip"
    assert found.sentence == (
        "regression-model 0.3.0 is left out: it is trained on its synthetic sample, which is never released, and there "
        "is no data/regression.csv; make data MODEL=regression DATA_URL=url-or-path"
    )


def test_what_is_unchanged_is_used_again_and_each_change_needs_a_new_version(
    project: Project, model: Package, index: PackageIndex, data: Path
) -> None:
    train_on(model, data)
    kit = own_kit(project)
    publish(project, index, release=True)
    # The model itself need not be here, and a tool that trains nothing may be another.
    shutil.rmtree(model.bundle)
    project.train_lock.write_text(LOCK.replace("twine==7.0.0", "twine==7.0.1"))
    plan = make_plan(project, index, data)
    assert (plan.models["regression"].decision, plan.versions["regression-model"]) == ("reuse", "0.3.0")
    assert (
        plan.models["regression"].sentence
        == "Code, data and lock are those of regression-model 0.3.0: its wheel is used as it is."
    )

    without_data = make_plan(project, index).models["regression"]
    assert without_data.decision == "reuse"
    assert without_data.sentence.startswith(
        "There is no data/regression.csv; code and lock are those of regression-model"
    )

    serving = model.source / "serving.py"
    project.train_lock.write_text(LOCK.replace("numpy==2.4.6", "numpy==2.4.7"))
    data.write_text("distance,fare\n1,3\n")
    serving.write_text(serving.read_text() + "\n")
    (model.source / "extra.py").write_text("x = 1\n")
    (kit / "errors.py").write_text((kit / "errors.py").read_text() + "\n")
    with pytest.raises(ScriptError) as caught:
        make_plan(project, index, data)
    first, second = str(caught.value).splitlines()
    version = project.kit.base_version()
    assert first == (
        f"model-kit has changed (code: errors.py) since model-kit {version} was released; "
        "raise __version__ in packages/model_kit/src/model_kit/__init__.py"
    )
    assert second == (
        "regression has changed (code: extra.py, serving.py; code of model-kit; lock: numpy 2.4.6 -> 2.4.7; data) "
        "since regression-model 0.3.0 was released; "
        "raise __version__ in packages/regression_model/src/regression_model/__init__.py"
    )
    (model.source / "__init__.py").write_text('__version__ = "0.4.0"\n')
    (kit / "errors.py").write_text((kit / "errors.py").read_text().removesuffix("\n"))
    assert make_plan(project, index, data).models["regression"].decision == "train"


def test_newer_data_are_a_fault_in_a_push_and_a_new_training_on_a_schedule(
    project: Project, model: Package, index: PackageIndex, data: Path
) -> None:
    train_on(model, data)
    publish(project, index, release=True)
    assert make_plan(project, index, data, retrain=True).models["regression"].decision == "reuse"
    data.write_text("distance,fare\n1,3\n")
    with pytest.raises(ScriptError, match=r"regression has changed \(data\) since regression-model 0\.3\.0"):
        make_plan(project, index, data)
    plan = make_plan(project, index, data, retrain=True)
    assert (plan.models["regression"].decision, plan.versions["regression-model"]) == ("train", "0.3.0.post1")
    assert next_training("0.3.0.post1") == "0.3.0.post2"
    project.train_lock.write_text("")
    with pytest.raises(ScriptError, match=r"lock: numpy 2\.4\.6 -> none; data"):
        make_plan(project, index, data, retrain=True)


def test_what_cannot_be_compared_is_named(project: Project, model: Package, index: PackageIndex, data: Path) -> None:
    train_on(model, data)
    publish(project, index, release=True)
    with pytest.raises(ScriptError, match=r"DATA=nowhere\.csv: no such file"):
        make_plan(project, index, Path("nowhere.csv"))
    project.train_lock.unlink()
    with pytest.raises(ScriptError, match=r"train\.txt: No such file .*`make lock` writes it"):
        make_plan(project, index, data)


def test_the_command_writes_the_plan_and_tells_it_again_for_this_commit_only(
    project: Project,
    index: PackageIndex,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--show"], project) == 1
    assert "`make plan` writes it" in capsys.readouterr().err
    git(project, "init", "--quiet")
    here = commit(project)
    assert command.main([], project) == 0
    assert json.loads(project.plan.read_text())["commit"] == here
    capsys.readouterr()
    assert command.main(["--show"], project) == 0
    assert capsys.readouterr().out == "regression reuse\n"
    commit(project)
    assert command.main(["--show"], project) == 1
    assert "is about commit " + here in capsys.readouterr().err

    # A plan that failed leaves none behind.
    monkeypatch.setenv("PACKAGE_INDEX_URL", index.url)
    assert command.main([], project) == 2
    monkeypatch.setenv("PACKAGE_INDEX_USER", index.user)
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", TOKEN + "x")
    assert command.main([], project) == 1
    assert not project.plan.exists()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_plan", interrupted)
    assert command.main([], project) == 130


def test_each_model_has_a_decision_and_one_without_data_is_no_part_of_the_release(
    project: Project, model: Package, index: PackageIndex, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on(model, data)
    publish(project, index, release=True)
    add_model(project, "fares")
    add_model(project, "tips")
    for name in ("regression", "fares"):
        path = project.root / f"data/{name}.csv"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(data, path)
    plan = make_plan(project, index)
    decided = {name: planned.decision for name, planned in plan.models.items()}
    assert decided == {"fares": "train", "regression": "reuse", "tips": "skip"}
    assert plan.models["fares"].data == "data/fares.csv"
    assert plan.models["tips"].sentence == (
        "tips-model 0.3.0 is left out: it is not released, and there is no data/tips.csv; "
        "make data MODEL=tips DATA_URL=url-or-path"
    )
    assert set(plan.versions) == {"model-kit", "fares-model", "regression-model"}
    assert set(make_plan(project, index, model="fares").models) == {"fares"}
    with pytest.raises(ScriptError, match="tips-model 0.3.0 is left out"):
        make_plan(project, index, model="tips")
    release_version(project, "0.4.0")
    project.data(model).unlink()
    shutil.rmtree(model.bundle)
    with pytest.raises(
        ScriptError, match=r"regression-model 0\.4\.0 is left out: .*\(an earlier version is released\)"
    ):
        make_plan(project, index)
    with pytest.raises(ScriptError, match=r"is of one model; say which: MODEL=fares\|regression\|tips"):
        make_plan(project, index, data)
    for package in project.models():
        shutil.rmtree(package.folder)
    with pytest.raises(ScriptError, match="make new-model NAME="):
        make_plan(project, index)


def test_what_changed_is_told_of_every_model_at_once(project: Project, index: PackageIndex, data: Path) -> None:
    for package in (add_model(project, "fares"), *project.models("regression")):
        train_on(package, data)
        (project.root / "data").mkdir(exist_ok=True)
        shutil.copy(data, project.data(package))
    publish(project, index, release=True)
    for package in project.models():
        (package.source / "extra.py").write_text("x = 1\n")
    with pytest.raises(ScriptError) as caught:
        make_plan(project, index)
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "fares has changed (code: extra.py) since fares-model 0.3.0 was released; raise __version__"
    )
    assert second.startswith("regression has changed (code: extra.py)")
