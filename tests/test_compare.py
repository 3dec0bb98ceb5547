"""The gate between versions with a real index, real wheels and real houses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import model_kit
import pytest
from jsonschema import Draft202012Validator
from model_kit.comparison import index as reader
from model_kit.errors import DataError
from model_kit.scoring.installed import source_digest
from regression_model import DEFINITION

import compare as command
import package_index
import publish as publishing
from build_wheels import build_wheel
from package_index import PackageIndex
from plan import ModelPlan, Plan, require_plan, write_plan
from project import ROOT, Package, Project, ScriptError
from publish import publish
from small_project import SERVING, TOKEN, add_model, own_kit, train
from wheels import make_wheels

#: A card that may be released.
CARD = {"metrics": {"r2": 0.9, "rmse": 0.1, "rmse_core": 0.1, "mae": 3.0}, "evaluated": True}
GATE = ROOT / "packages/regression_model/gate.toml"
SCHEMA = json.loads((ROOT / "docs/comparison.schema.json").read_text())


@pytest.fixture
def named(index: PackageIndex, project: Project, model: Package, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """The index, named by the environment, and the thresholds of houses."""
    shutil.copy(GATE, model.folder)
    monkeypatch.setenv("PACKAGE_INDEX_URL", index.url)
    monkeypatch.setenv("PACKAGE_INDEX_USER", index.user)
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", TOKEN)
    return index


def judged(project: Project, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and document of a comparison; the document is what its schema says."""
    status = command.main([*arguments, "--json"], project)
    output = capfd.readouterr()
    assert TOKEN not in output.out + output.err
    assert output.out, output.err
    document = json.loads(output.out)
    Draft202012Validator(SCHEMA).validate(document)
    return status, document


def raised(model: Package, version: str) -> None:
    (model.source / "__init__.py").write_text(f'__version__ = "{version}"\n')


def test_a_release_is_held_to_the_newest_one_by_the_code_of_each(
    named: PackageIndex, project: Project, model: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(model, **CARD)
    publish(project, named, release=True, say=lambda _: None)
    # The same artefact, but code that says something else of the same encoded rows.
    raised(model, "0.4.0")
    (model.source / "serving.py").write_text(SERVING.replace("distance.clip(0, 100)", "distance.clip(0, 3.5)"))
    wheel = build_wheel(model, "0.4.0", tmp_path / "built")

    status, document = judged(project, capfd, "--new", str(wheel))
    assert status == 1
    assert (document["old"]["version"], document["new"]["version"]) == ("0.3.0", "0.4.0")
    assert (document["old"]["source"], document["new"]["source"]) == ("index", "wheel")
    assert document["old"]["artifact_sha256"] == document["new"]["artifact_sha256"]
    assert document["by_field"][0]["field"] == "distance"
    assert document["differences"]["median"] > 0.2
    assert {check["name"] for check in document["checks"] if check["status"] == "beyond"} == {
        f"difference.{name}" for name in ("median", "p90", "p99", "max", "share")
    }

    for old in ("0.3.0", "regression-model==0.3.0"):
        status, document = judged(project, capfd, "--old", old, "--new", old, "--new-kit", str(kit(project)))
        assert status == 0
        assert document["differences"]["max"] == 0.0
        assert document["old"]["wheel_sha256"] == document["new"]["wheel_sha256"]


def test_a_release_that_compare_stops_is_not_published_unless_that_is_ignored(
    named: PackageIndex, project: Project, model: Package, capfd: pytest.CaptureFixture[str]
) -> None:
    train(model, **CARD)
    assert publishing.main(["--release"], project) == 0
    first = "regression_model-0.3.0-py3-none-any.whl"
    assert f"{first} compared with the newest release: passed\nPublished " in capfd.readouterr().out
    # The same artefact, but code that says something else of the same encoded rows.
    raised(model, "0.4.0")
    (model.source / "serving.py").write_text(SERVING.replace("distance.clip(0, 100)", "distance.clip(0, 3.5)"))
    train(model, **CARD)
    second = "regression_model-0.4.0-py3-none-any.whl"

    for made in (False, True):
        if made:
            make_wheels(project, named, say=lambda _: None)
        assert publishing.main(["--release"], project) == 1
        said = capfd.readouterr()
        assert re.search(r"^BEYOND +difference\.median", said.out, re.MULTILINE)
        assert f"{second} is beyond its thresholds: nothing was published" in said.err
        assert "IGNORE_COMPARISON=1" in said.err
        assert [path.name for path in project.index.glob("regression_model-*")] == [first]

    assert publishing.main(["--release", "--ignore-comparison"], project) == 0
    assert f"*** WARNING *** compared with the newest release, {second} is beyond" in capfd.readouterr().out
    assert {path.name for path in project.index.glob("regression_model-*")} == {first, second}
    # What is there already is not judged again.
    assert publishing.main(["--release"], project) == 0
    assert "compared with" not in capfd.readouterr().out


def test_each_is_scored_with_the_model_kit_that_it_was_trained_with(
    named: PackageIndex, project: Project, model: Package, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A kit of another time is found on the index by what the model's card says of its code."""
    kit = own_kit(project)
    raised(project.kit, "0.0.9")
    code = kit / "scoring/model.py"
    code.write_text(code.read_text() + "# Earlier.\n")
    train(model, **CARD, kit_sha256=source_digest(kit))
    # As they were released then: today's code would refuse to.
    for package, version in ((project.kit, "0.0.9"), (model, "0.3.0")):
        build_wheel(package, version, project.index)
    # A later one, that is not the model's.
    code.write_text(code.read_text() + "# Later.\n")
    raised(project.kit, "0.1.99")
    build_wheel(project.kit, "0.1.99", project.index)
    raised(model, "0.4.0")
    train(model, **CARD)
    wheel = build_wheel(model, "0.4.0", tmp_path / "built")

    status, document = judged(project, capfd, "--new", str(wheel))
    assert (document["old"]["model_kit"], document["new"]["model_kit"]) == ("0.0.9", model_kit.__version__)
    assert status == 0
    assert not any("model kit" in note for note in document["notes"])

    # Withdrawn from the index by hand, it is missed, and that is said.
    next(project.index.glob("model_kit-0.0.9-*")).unlink()
    _, document = judged(project, capfd, "--new", str(wheel))
    assert document["old"]["model_kit"] == model_kit.__version__
    (note,) = [note for note in document["notes"] if "model kit" in note]
    assert note.startswith("The old model is scored by the installed model kit")


def kit(project: Project) -> Path:
    return next(project.index.glob("model_kit-*.whl"))


def test_a_version_that_the_index_lacks_and_one_that_refuses_are_unusable(
    named: PackageIndex, project: Project, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main(["--old", "9.9.9", "--new", "latest"], project) == 2
    assert "has no wheel of regression-model 9.9.9" in capfd.readouterr().err
    assert command.main(["--new", "latest"], project) == 2
    assert "no release on the index that could be the new model" in capfd.readouterr().err
    monkeypatch.setenv("PACKAGE_INDEX_TOKEN", "wr0ng")
    assert command.main([], project) == 2
    output = capfd.readouterr()
    assert "refuses user" in output.err
    assert "wr0ng" not in output.out + output.err
    monkeypatch.delenv("PACKAGE_INDEX_URL")
    assert command.main([], project) == 2
    assert "PACKAGE_INDEX_URL is not set" in capfd.readouterr().err


def test_without_a_previous_version_the_bundle_that_is_there_is_held_to_the_floors(
    project: Project, model: Package, houses: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(GATE, model.folder)
    shutil.rmtree(model.bundle)
    shutil.copytree(houses, model.bundle)
    status, document = judged(project, capfd)
    assert status == 1
    assert document["old"] is None
    assert document["notes"][0].startswith("There is no previous version on the index")
    stopped = {check["name"] for check in document["checks"] if check["status"] == "beyond"}
    assert stopped == {"floor.r2", "floor.rmse", "floor.evaluated", "floor.real_data"}


def test_houses_are_scored_by_the_installed_code(
    houses: Path, tmp_path: Path, project: Project, model: Package, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(GATE, model.folder)
    report = tmp_path / "report.html"
    status, document = judged(project, capfd, "--old", str(houses), "--new", str(houses), "--html", str(report))
    assert status == 1
    assert document["differences"]["max"] == 0.0
    assert document["data"]["rows"]["compared"] == 5000
    assert len(document["by_field"]) == 79
    assert "<svg" in report.read_text()
    DEFINITION.load_bundle(houses).check()


def test_both_readers_of_the_settings_understand_the_same() -> None:
    cases: list[dict[str, str]] = [
        {"PACKAGE_INDEX_URL": url} | more
        for url in (
            "https://index.example/simple",
            "https://me:a%2Fb@index.example:8443/simple/",
            "https://token@index.example/",
            "http://localhost:1/simple/",
            "http://index.example/simple/",
            "ftp://index.example/",
            "https://[x/",
            "nonsense",
        )
        for more in (
            {},
            {"PACKAGE_INDEX_USER": "you"},
            {"PACKAGE_INDEX_TOKEN": "t0ken"},
            {"PACKAGE_INDEX_USER": " you ", "PACKAGE_INDEX_TOKEN": " t0ken\n"},
        )
    ]
    for environ in cases:
        found: Any = None
        try:
            theirs = package_index.index_from_environment(environ)
        except ScriptError:
            with pytest.raises(DataError):
                found = reader.index_from_environment(environ)
            continue
        assert theirs
        found = reader.index_from_environment(environ)
        assert (found.url, found.user, found.token) == (theirs.url, theirs.user, theirs.token)


def test_make_passes_on_what_it_is_told() -> None:
    def make(*arguments: str) -> str:
        done = subprocess.run(
            ["make", "--no-print-directory", "-n", "compare", *arguments],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return " ".join(done.stdout.splitlines()[-1].split())

    assert re.search(r"scripts/compare\.py\s*$", make())
    assert make("OLD=1.0.0", "NEW=a b.whl", "COMPARE=--html r.html").endswith(
        "scripts/compare.py --old '1.0.0' --new 'a b.whl' --html r.html"
    )


def test_the_script_teaches_its_use_and_ends_in_order(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/compare.py", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: compare.py")
    assert "PACKAGE_INDEX_URL" in done.stdout

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "open_index", interrupted)
    assert command.main([], project) == 130


def test_each_model_is_held_to_its_own_release(project: Project, model: Package, tmp_path: Path) -> None:
    fares, tips = add_model(project, "fares"), add_model(project, "tips")
    train(fares)
    assert command.chosen(project, None, None) == [(fares, str(fares.bundle)), (model, str(model.bundle))]
    wheels = tmp_path / "wheels"
    built = {package.model: build_wheel(package, "0.4.0", wheels) for package in (fares, model)}
    found = [(fares, str(built["fares"])), (model, str(built["regression"]))]
    assert command.chosen(project, None, str(wheels)) == found
    assert command.chosen(project, "regression", str(wheels)) == found[1:]
    with pytest.raises(ScriptError, match="has no wheel of tips"):
        command.chosen(project, tips.model, str(wheels))
    with pytest.raises(ScriptError, match=r"NEW=0\.4\.0 is of one model; say which: MODEL=fares\|regression\|tips"):
        command.chosen(project, None, "0.4.0")
    assert command.chosen(project, "tips", "0.4.0") == [(tips, "0.4.0")]


def test_a_model_beyond_its_thresholds_is_held_back_while_another_one_is_new(
    named: PackageIndex, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("fares", "tips"):
        train(add_model(project, name))
    statuses, really = {"fares": 1, "regression": 0}, subprocess.run

    def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "compare" not in words:
            return really(words, **options)
        return subprocess.CompletedProcess(words, statuses[words[words.index("--model") + 1]])

    monkeypatch.setattr(subprocess, "run", run)
    planned = {"fares": ModelPlan("train", ""), "regression": ModelPlan("train", ""), "tips": ModelPlan("reuse", "")}
    versions = {package.name: package.base_version() for package in project.packages}
    write_plan(project, Plan(None, versions, planned))
    assert command.main(["--hold-back"], project) == 0, "tips is not compared: it was not trained"
    said = (
        "HELD BACK: fares-model 0.3.0 (it is beyond the thresholds of its gate); it is left out, for none is released."
    )
    assert said in capsys.readouterr().err
    assert require_plan(project).models["fares"].held_back == "it is beyond the thresholds of its gate"
    # The one that is left fails as well: nothing is new.
    statuses["regression"] = 2
    assert command.main(["--hold-back"], project) == 2
    assert require_plan(project).models["regression"].decision == "train"
    write_plan(project, Plan(None, versions, {"fares": ModelPlan("reuse", "")}))
    assert command.main(["--hold-back"], project) == 0
    assert "Nothing was trained, and so nothing is compared." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--hold-back", "--new", "build/wheels"], project)


def test_of_several_the_worst_status_counts_and_each_has_its_report(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gate.toml").write_text("")
    fares = add_model(project, "fares")
    train(fares)
    shutil.copy(tmp_path / "gate.toml", fares.folder)
    calls: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(words[words.index("compare") :])
        return subprocess.CompletedProcess(words, 1 if "fares" in words else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert command.main(["--reports", "build/reports", "--json"], project) == 1
    reports = project.root / "build/reports"
    assert calls[0][:3] == ["compare", "--model", "fares"]
    assert calls[0][-5:] == ["--json", "--gate", str(fares.folder / "gate.toml"), "--html", str(reports / "fares.html")]
    assert calls[1][-3:] == ["--json", "--html", str(reports / "regression.html")]
