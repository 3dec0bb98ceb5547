"""Which packages there are, read from what lies under packages/."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from project import NO_MODEL, Package, Project, ScriptError
from small_project import add_model


def test_model_packages_are_found_by_what_they_announce(project: Project) -> None:
    fares = add_model(project, "fares")
    assert fares == Package("fares-model", project.root / "packages/fares_model", "fares")
    assert [package.name for package in project.packages] == ["model-kit", "fares-model", "regression-model"]
    assert project.models("fares") == (fares,)
    assert project.data(fares) == project.root / "data/fares.csv"
    with pytest.raises(ScriptError, match=r"MODEL=rides: no such model under packages/; there are: fares, regression"):
        project.models("rides")


def test_a_package_without_a_bundle_is_left_out_and_told_what_to_do(project: Project, model: Package) -> None:
    add_model(project, "fares")
    told: list[str] = []
    assert project.trained_models(say=told.append) == (model,)
    assert told == ["Left out: fares has no bundle; make train MODEL=fares DATA=path.csv"]
    with pytest.raises(ScriptError, match=r"^fares has no bundle; make train MODEL=fares DATA=path\.csv$"):
        project.trained_models("fares")
    shutil.rmtree(model.bundle)
    with pytest.raises(ScriptError, match="fares has no bundle.*\nregression has no bundle"):
        project.trained_models()


def test_without_any_model_package_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ScriptError) as caught:
        Project(tmp_path).trained_models()
    assert str(caught.value) == NO_MODEL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "Invalid"),
        ('[project.entry-points."ml_api.models"]\na = "x:y"\n', "has no name"),
        ('[project]\nname = "a"\n[project.entry-points."ml_api.models"]\na = "x:y"\nb = "x:y"\n', "announces 2 models"),
        ('[project]\nname = "a"\n[project.entry-points."ml_api.models"]\nregression = "x:y"\n', "regression is in .*"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(project: Project, text: str, words: str) -> None:
    folder = project.root / "packages/zebra"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(text)
    with pytest.raises(ScriptError, match=rf"packages/zebra/pyproject\.toml: .*{words}"):
        project.models()
