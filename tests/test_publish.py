from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from model_kit.scoring.bundle import CONTENT, MANIFEST, MODEL

import publish as command
from build_wheels import build_wheel, development_version, identity
from package_index import PackageIndex
from project import Package, Project, ScriptError
from publish import publish
from small_project import TOKEN, add_model, train


def wheels(project: Project) -> list[str]:
    return sorted(path.name for path in project.index.glob("*.whl"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_development_publishes_each_digest_once(project: Project, model: Package, index: PackageIndex) -> None:
    artifact = train(model)
    told: list[str] = []
    sources = tree(model.folder)

    requirements = publish(project, index, say=told.append).read_text()

    version = f"0.3.0+{artifact[:12]}"
    wheel = project.index / f"regression_model-{version}-py3-none-any.whl"
    assert len(wheels(project)) == 2
    assert (
        f"regression-model=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n" in requirements
    )
    assert re.search(
        r"^model-kit==\d+\.\d+\.\d+\+[0-9a-f]{1,12} --hash=sha256:[0-9a-f]{64}$", requirements, re.MULTILINE
    )
    assert [line.split()[0] for line in told] == ["Published", "Published"]
    assert tree(model.folder) == sources
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert f'__version__ = "{version}"' in archive.read("regression_model/__init__.py").decode()
    assert {f"regression_model/bundle/{name}" for name in (*CONTENT, MODEL, MANIFEST)} <= names

    # The same data trained again at another time is the same artefact.
    assert train(model, run={"trained_at": "2027-01-01T00:00:00+00:00", "git_commit": None}) == artifact
    told.clear()
    assert publish(project, index, say=told.append).read_text() == requirements
    assert all(line.endswith("is there already, nothing to publish") for line in told)
    assert len(wheels(project)) == 2


def test_release_is_published_once(project: Project, model: Package, index: PackageIndex) -> None:
    requirements = publish(project, index, release=True).read_text()
    assert "regression-model==0.3.0 --hash=" in requirements
    before = tree(project.index)
    with pytest.raises(ScriptError, match=r"a release is never replaced: .*regression-model 0\.3\.0"):
        publish(project, index, release=True)

    # Another model under the same version is refused for what it is.
    train(model, metrics={"r2": 0.8})
    with pytest.raises(ScriptError, match=r"_model-0\.3\.0-.* is released already, with other content \(bundle\)"):
        publish(project, index, release=True)
    assert tree(project.index) == before
    assert project.published.read_text() == requirements

    # A raised version goes out; what was released with it before stays as it is.
    (model.source / "__init__.py").write_text('__version__ = "0.4.0"\n')
    train(model)
    assert "regression-model==0.4.0 " in publish(project, index, release=True).read_text()
    assert len(wheels(project)) == 3


def test_release_refuses_an_unevaluated_model_of_made_up_data_and_other_code(project: Project, model: Package) -> None:
    nowhere = PackageIndex("http://127.0.0.1:9/", "http://127.0.0.1:9/", "me", "x")
    train(model, evaluated=False, data={"synthetic": True}, code_sha256="0", kit_sha256="0")
    with pytest.raises(ScriptError) as caught:
        publish(project, nowhere, release=True)
    text = str(caught.value)
    assert "was not evaluated" in text
    assert "synthetic sample" in text
    assert text.count("was trained by other code than") == 2
    (model.source / "__init__.py").write_text('__version__ = "0.4.0+local"\n')
    with pytest.raises(ScriptError, match=r"a release is X\.Y\.Z"):
        publish(project, nowhere, release=True)


def test_code_changed_since_training_is_another_version(model: Package) -> None:
    trained = development_version(model)
    (model.source / "extra.py").write_text("x = 1\n")
    changed = development_version(model)
    assert re.fullmatch(re.escape(trained) + r"\.[0-9a-f]{1,8}", changed)


def test_a_damaged_or_missing_bundle_is_named(project: Project, model: Package) -> None:
    (model.bundle / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ScriptError, match=r"model\.onnx: sha256 is"):
        development_version(model)
    for path in model.bundle.iterdir():
        path.unlink()
    model.bundle.rmdir()
    with pytest.raises(ScriptError, match=r"regression has no bundle in .*; make train MODEL=regression DATA=path"):
        development_version(model)


def test_wheel_of_the_same_content_is_the_same_file(model: Package, tmp_path: Path) -> None:
    first, second = (build_wheel(model, "1.0", tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert identity(first) == identity(second)


@pytest.mark.parametrize("name", ["houses.csv", "bundle/model.pkl", "data/rows.json"])
def test_wheel_with_anything_but_code_and_bundle_is_refused(model: Package, tmp_path: Path, name: str) -> None:
    (model.source / name).parent.mkdir(exist_ok=True)
    (model.source / name).write_text("1,2,3\n")
    with pytest.raises(ScriptError, match=f"code and a bundle only, not {name}"):
        build_wheel(model, "1.0", tmp_path / "out")
    assert not list(tmp_path.rglob("*.whl"))


def test_a_wheel_without_its_whole_bundle_is_refused(model: Package, tmp_path: Path) -> None:
    (model.bundle / "golden.json").unlink()
    with pytest.raises(ScriptError, match=r"the bundle lacks golden\.json"):
        build_wheel(model, "1.0", tmp_path)


def test_a_build_that_fails_is_told_in_its_own_words(model: Package, tmp_path: Path) -> None:
    (model.folder / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'no_such_backend'\n")
    with pytest.raises(ScriptError, match="no_such_backend"):
        build_wheel(model, "1.0", tmp_path)


def test_version_must_be_stated_once(model: Package) -> None:
    (model.source / "__init__.py").write_text("")
    with pytest.raises(ScriptError, match=r"__init__\.py: needs exactly one line .*, has 0"):
        model.base_version()


def test_a_wrong_token_is_refused_naming_the_variables(project: Project, index: PackageIndex) -> None:
    stranger = PackageIndex(index.url, index.upload_url, index.user, "wrong-token")
    with pytest.raises(ScriptError, match=r"check PACKAGE_INDEX_USER and PACKAGE_INDEX_TOKEN") as caught:
        publish(project, stranger)
    assert "wrong-token" not in str(caught.value)
    assert not project.published.exists()
    assert wheels(project) == []
    assert [path.name for path in project.build.iterdir()] == ["index"]


def test_a_failed_upload_tells_twine_s_words_without_the_token(project: Project, index: PackageIndex) -> None:
    elsewhere = PackageIndex(index.url, index.url + "no/such/place/", index.user, index.token)
    with pytest.raises(ScriptError, match=r"\(PACKAGE_INDEX_UPLOAD_URL\) did not take model_kit-") as caught:
        publish(project, elsewhere)
    assert TOKEN not in str(caught.value)
    assert not project.published.exists()


def test_an_index_that_does_not_answer_is_named(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKAGE_INDEX_URL", "http://me:s3cret@127.0.0.1:9/simple/")
    assert command.main([], project) == 1
    error = capsys.readouterr().err
    assert "http://127.0.0.1:9/simple/ (PACKAGE_INDEX_URL) does not answer" in error
    assert "s3cret" not in error
    monkeypatch.setenv("PACKAGE_INDEX_URL", "nonsense")
    assert command.main([], project) == 2


def test_the_command_publishes_on_the_embedded_index(
    project: Project, model: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    # Above the floors of the package that has this name.
    train(model, metrics={"r2": 0.9, "rmse": 0.1, "rmse_core": 0.1, "mae": 3.0})
    assert command.main([], project) == 0
    assert capsys.readouterr().out.count("Published") == 2
    assert len(wheels(project)) == 2
    assert command.main(["--release"], project) == 0


def test_ctrl_c_ends_the_command_without_a_traceback(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "publish", interrupted)
    assert command.main([], project) == 130


def test_every_model_with_a_bundle_is_published_or_the_one_that_is_named(project: Project, index: PackageIndex) -> None:
    fares, tips = add_model(project, "fares", "1.0.0"), add_model(project, "tips")
    train(fares)
    told: list[str] = []
    pins = publish(project, index, release=True, say=told.append).read_text().splitlines()[1:]
    assert [pin.split(" ")[0] for pin in pins[1:]] == ["fares-model==1.0.0", "regression-model==0.3.0"]
    assert told[0] == "Left out: tips has no bundle; make train MODEL=tips DATA=path.csv"
    assert len(wheels(project)) == 3

    pins = publish(project, index, model="fares").read_text().splitlines()[1:]
    assert [pin.split("==")[0] for pin in pins] == ["model-kit", "fares-model"]
    with pytest.raises(ScriptError, match="tips has no bundle"):
        publish(project, index, model=tips.model)
