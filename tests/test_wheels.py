from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
from model_kit.scoring.installed import source_digest

import check_wheels
import plan
import publish as publishing
import wheels as command
from build_wheels import build_wheel, development_version
from check_wheels import check
from package_index import PackageIndex
from plan import ModelPlan, Plan, make_plan
from project import ROOT, Package, Project, ScriptError
from publish import publish, publish_made
from small_project import add_model, add_third_party, make_environment, train
from wheels import make_wheels, read_manifest


def write_plan(
    project: Project,
    decision: str,
    versions: dict[str, str],
    *,
    commit: str | None = None,
    data_sha256: str | None = None,
) -> None:
    planned = ModelPlan(decision, "", data_sha256=data_sha256)
    project.plan.write_text(json.dumps(asdict(Plan(commit, versions, {"regression": planned}))))


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.whl")}


def test_what_was_made_is_what_is_published_and_what_is_fetched_afterwards(
    project: Project, model: Package, index: PackageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    artifact = train(model)
    manifest = make_wheels(project, index, say=told.append)
    assert [line.rpartition(" ")[2] for line in told] == ["built", "built"]
    assert manifest.models[0].artifact_sha256 == artifact
    assert files(project.wheels) == {wheel.file: wheel.sha256 for wheel in manifest.wheels}
    assert (project.wheels / "requirements.txt").read_text() == manifest.pins()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing is built again")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "build_wheel", never)
        pins = publish_made(project, index, say=told.append).read_text()
        assert pins.splitlines()[1:] == manifest.pins().splitlines()
        assert files(project.index) == files(project.wheels)
        # Again: there is nothing to do, and that is no fault.
        told.clear()
        publish_made(project, index, say=told.append)
        assert all(line.endswith("is released already, as this very file") for line in told)

    # On another machine, without the model: the released files, whatever they were compressed with.
    shutil.rmtree(model.bundle)
    shutil.rmtree(project.wheels)
    fetched = make_wheels(project, index, say=told.append)
    assert [wheel.origin for wheel in fetched.wheels] == ["index", "index"]
    assert fetched.pins() == manifest.pins()
    assert fetched.models[0].artifact_sha256 == artifact


def test_the_client_is_released_beside_the_models_and_pinned_for_callers_alone(
    project: Project, model: Package, index: PackageIndex
) -> None:
    (project.root / "packages/ml_client").symlink_to(ROOT / "packages/ml_client")
    (client,) = project.clients
    assert [package.name for package in project.packages] == ["model-kit", "regression-model", "ml-client"]
    assert make_plan(project, index).versions["ml-client"] == client.base_version()
    manifest = make_wheels(project, index)
    assert [wheel.name for wheel in manifest.wheels] == ["model-kit", "ml-client", "regression-model"]
    pins = publish_made(project, index).read_text()
    assert "ml-client" not in pins
    (line,) = project.published_client.read_text().splitlines()[1:]
    assert line == next(wheel.pin for wheel in manifest.wheels if wheel.is_client)
    assert line.startswith(f"ml-client=={client.base_version()} --hash=sha256:")
    names = [name for name in files(project.index) if name.startswith("ml_client")]
    assert len(names) == 1
    with zipfile.ZipFile(project.index / names[0]) as archive:
        assert {"ml_client/py.typed", "ml_client/cli/main.py"} <= set(archive.namelist())

    # A development version of it is pinned likewise.
    publish(project, index)
    assert "ml-client" not in project.published.read_text()
    assert project.published_client.read_text().splitlines()[1].startswith(f"ml-client=={client.base_version()}+")


def test_code_of_a_wheel_is_what_its_model_was_trained_with_but_for_the_version(
    project: Project, model: Package, tmp_path: Path
) -> None:
    train(model)
    wheel = build_wheel(model, development_version(model), tmp_path / "built")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    installed = tmp_path / "site" / model.source.name
    trained_with = json.loads((installed / "bundle/card.json").read_text())["code_sha256"]
    assert source_digest(installed) != trained_with == source_digest(installed, is_built=True)


def test_a_released_version_that_is_something_else_here_is_refused(
    project: Project, model: Package, index: PackageIndex
) -> None:
    make_wheels(project, index)
    publish_made(project, index)
    made = files(project.wheels)
    train(model, metrics={"r2": 0.8})
    with pytest.raises(ScriptError, match=r"0\.3\.0 is released, and is something else \(another model is trained"):
        make_wheels(project, index)
    (model.source / "extra.py").write_text("x = 1\n")
    with pytest.raises(ScriptError, match=r"something else \(code: extra\.py; another model"):
        make_wheels(project, index)
    assert files(project.wheels) == made, "what was made before is still there"


def test_the_plan_says_which_version_is_made_and_lets_a_model_that_lies_about_alone(
    project: Project, model: Package, index: PackageIndex
) -> None:
    artifact = train(model)
    make_wheels(project, index)
    publish_made(project, index)
    versions = {package.name: package.base_version() for package in project.packages}
    write_plan(project, "reuse", versions)
    train(model, metrics={"r2": 0.8})
    assert make_wheels(project, index).models[0].artifact_sha256 == artifact

    write_plan(project, "train", versions | {"regression-model": "0.3.0.post1"})
    manifest = make_wheels(project, index)
    assert manifest.models[0].version == "0.3.0.post1"
    assert manifest.models[0].origin == "built"
    assert manifest.wheels[0].origin == "index"
    publish_made(project, index)
    write_plan(project, "reuse", versions, data_sha256="1" * 64)
    with pytest.raises(ScriptError, match="other data than regression was trained on; `make model`"):
        make_wheels(project, index)
    write_plan(project, "reuse", versions, commit="another")
    with pytest.raises(ScriptError, match="is about commit another"):
        make_wheels(project, index)
    project.plan.unlink()
    assert make_wheels(project, index).models[0].version == "0.3.0.post1", "the highest of the version"


def test_a_model_that_is_held_back_is_released_as_it_was_before_beside_one_that_is_new(
    project: Project, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    fares = add_model(project, "fares")
    released = train(fares, metrics={"r2": 0.7})
    first = make_wheels(project, index)
    # As a tag takes them: each must be released already.
    with pytest.raises(ScriptError, match=r"does not have model_kit-.*fares_model-0\.3\.0.*nothing was published now"):
        publish_made(project, index, is_released=True)
    assert not files(project.index)
    publish_made(project, index)
    project.published.unlink()
    publish_made(project, index, is_released=True)
    assert project.published.read_text().splitlines()[1:] == first.pins().splitlines()
    capsys.readouterr()
    assert command.main(["--held-back"], project) == 0
    assert capsys.readouterr().out == "No model was held back.\n"

    for package in project.models():
        (package.source / "__init__.py").write_text('__version__ = "0.4.0"\n')
    (fares.source / "broken.py").write_text("x = 1\n")
    train(fares, metrics={"r2": 0.1})
    good = train(project.models("regression")[0], metrics={"r2": 0.95})
    versions = {package.name: package.base_version() for package in project.packages}
    decisions = {"fares": ModelPlan("train", ""), "regression": ModelPlan("train", "")}
    plan.write_plan(project, Plan(None, versions, decisions))
    plan.hold_back(project, index, {"fares": "it is worse"})
    assert "HELD BACK: fares-model 0.4.0 (it is worse); 0.3.0 is used as it is." in capsys.readouterr().out

    manifest = make_wheels(project, index)
    made = {wheel.model: (wheel.version, wheel.origin, wheel.artifact_sha256) for wheel in manifest.models}
    assert made == {"fares": ("0.3.0", "index", released), "regression": ("0.4.0", "built", good)}
    assert manifest.held_back == read_manifest(project).held_back == {"fares": "it is worse"}
    pins = publish_made(project, index).read_text()
    assert "fares-model==0.3.0" in pins
    assert "regression-model==0.4.0" in pins
    assert not list(project.index.glob("fares_model-0.4.0*"))
    capsys.readouterr()
    assert command.main(["--held-back"], project) == 1
    assert "fares was held back: it is worse\ncorrect it, or take its new version back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("card", "words"),
    [({"evaluated": False}, "was not evaluated"), ({"data": {"synthetic": True}}, "synthetic sample")],
)
def test_a_model_that_is_unevaluated_or_of_the_sample_is_no_release(
    project: Project, model: Package, index: PackageIndex, card: dict[str, object], words: str
) -> None:
    train(model, **card)
    with pytest.raises(ScriptError, match=words):
        make_wheels(project, index)
    assert not project.wheels.exists()


def test_wheels_that_are_not_what_was_made_are_not_published(
    project: Project, model: Package, index: PackageIndex
) -> None:
    manifest = make_wheels(project, index)
    path = project.wheels / "manifest.json"
    path.write_text(path.read_text().replace('"commit": null', '"commit": "another"'))
    with pytest.raises(ScriptError, match="is about commit another, and None is here"):
        publish_made(project, index)
    path.write_text(path.read_text().replace('"commit": "another"', '"commit": null'))
    wheel = project.wheels / manifest.models[0].file
    content = wheel.read_bytes()
    wheel.write_bytes(content + b" ")
    with pytest.raises(ScriptError, match=r"is not the file that manifest\.json is about"):
        publish_made(project, index)
    assert not files(project.index)
    # Somebody has released the same version in the meantime, as another file.
    wheel.write_bytes(content)
    (project.index / wheel.name).write_bytes(content + b" ")
    with pytest.raises(ScriptError, match=r"has another regression_model-0\.3\.0-.* than the one in"):
        publish_made(project, index)
    shutil.rmtree(project.wheels)
    with pytest.raises(ScriptError, match="`make wheels` makes it"):
        read_manifest(project)


def test_the_very_wheels_are_installed_served_and_asked(
    project: Project, model: Package, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ScriptError, match="is not here; `make wheels` makes it"):
        check(project, project.serving)
    manifest = make_wheels(project, index)
    with pytest.raises(ScriptError, match="`make test-wheel` makes it"):
        check(project, project.serving)
    make_environment(project.serving)
    add_third_party(project.serving)
    assert check_wheels.main([], project) == 0
    assert f"serves: artefact {manifest.models[0].artifact_sha256[:12]}" in capsys.readouterr().out
    site = next(project.serving.glob("lib/python*/site-packages"))
    assert (site / "regression_model-0.3.0.dist-info").is_dir()

    # One that does not serve is told with what was seen.
    path = project.wheels / "manifest.json"
    path.write_text(path.read_text().replace(manifest.models[0].artifact_sha256, "0" * 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_wheels, "LIMIT", 4.0)
        assert check_wheels.main([], project) == 1
    assert f"where '{'0' * 64}' was meant" in capsys.readouterr().err


def test_the_commands_end_in_order(
    project: Project, model: Package, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Above the floors of the package that has this name.
    train(model, metrics={"r2": 0.9, "rmse": 0.1, "rmse_core": 0.1, "mae": 3.0})
    assert command.main([], project) == 0
    assert capsys.readouterr().out.count("--hash=sha256:") == 2
    monkeypatch.setenv("PACKAGE_INDEX_URL", "nonsense")
    assert command.main([], project) == 2
    monkeypatch.delenv("PACKAGE_INDEX_URL")
    assert publishing.main(["--release"], project) == 0, "published as they are"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_wheels", interrupted)
    assert command.main([], project) == 130
    monkeypatch.setattr(check_wheels, "check", interrupted)
    assert check_wheels.main([], project) == 130


def test_the_wheels_of_all_models_are_made_tried_together_and_published(
    project: Project, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    train(add_model(project, "fares"), metrics={"r2": 0.7})
    tips = add_model(project, "tips")
    told: list[str] = []
    manifest = make_wheels(project, index, say=told.append)
    assert [(wheel.name, wheel.model) for wheel in manifest.wheels] == [
        ("model-kit", ""),
        ("fares-model", "fares"),
        ("regression-model", "regression"),
    ]
    left_out = "Left out: tips is not released and has no bundle; make train MODEL=tips DATA=path.csv"
    assert left_out in told
    artifacts = {wheel.artifact_sha256 for wheel in manifest.models}
    assert len(artifacts) == 2
    assert read_manifest(project) == manifest

    make_environment(project.serving)
    add_third_party(project.serving)
    assert check_wheels.main([], project) == 0
    said = capsys.readouterr().out
    assert f"fares_model-0.3.0-py3-none-any.whl serves: artefact {manifest.models[0].artifact_sha256[:12]}" in said
    assert "regression_model-0.3.0-py3-none-any.whl serves" in said

    pins = publish_made(project, index, model="fares", say=told.append).read_text()
    assert "fares-model==0.3.0" in pins
    assert "regression-model" not in pins
    with pytest.raises(ScriptError, match="MODEL=tips: build/wheels has no wheel of it, but of fares, regression"):
        publish_made(project, index, model="tips")
    assert "regression-model==0.3.0" in publish_made(project, index, say=told.append).read_text()

    # What the plan leaves out is left out.
    versions = {package.name: package.base_version() for package in project.packages}
    planned = {"fares": ModelPlan("reuse", ""), "regression": ModelPlan("skip", "No data.")}
    project.plan.write_text(json.dumps(asdict(Plan(None, versions, planned))))
    told.clear()
    assert [wheel.model for wheel in make_wheels(project, index, say=told.append).models] == ["fares"]
    assert told[-2:] == ["No data.", "Left out: the plan does not name tips; `make plan` again"]
    with pytest.raises(ScriptError, match="the plan does not name tips"):
        make_wheels(project, index, model=tips.model)
