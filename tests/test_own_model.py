"""docs/own-model.md is true: its commands are run in their order, in a clone, and print what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Generator

import pytest

from deployable import git
from pages import blocks
from project import ROOT
from walkthrough import Clone, assert_shown

PAGE = ROOT / "docs/own-model.md"
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Generator[Clone]:
    # Who follows the page has this package.
    with Clone(tmp_path_factory.mktemp("own") / "clone", leave_out=("packages/diabetes_model/",)) as made:
        yield made


@pytest.fixture(scope="module")
def printed(clone: Clone) -> dict[str, str]:
    """What each block of commands that can be run here prints."""
    return clone.follow(blocks(PAGE))


def test_every_command_prints_what_the_document_shows(printed: dict[str, str]) -> None:
    ran = {target for line in re.findall("^make (.*)", "".join(printed), re.MULTILINE) for target in line.split()}
    assert {"new-model", "plan", "model", "wheels", "test-wheel", "compare", "release"} <= ran
    assert_shown(blocks(PAGE), printed)


def test_readme_counts_files_and_lines_of_a_package(clone: Clone, printed: dict[str, str]) -> None:
    (promised,) = re.findall(r"(\d+) files, about (\d+) lines beside one line for each field", README)
    package = clone.root / "packages/diabetes_model"
    files = [path for path in package.rglob("*") if path.is_file() and not {"bundle", "__pycache__"} & set(path.parts)]
    assert len(files) == int(promised[0])
    lines = sum(len(path.read_text().splitlines()) for path in files) - 10
    assert lines <= int(promised[1]) * 1.2


def test_two_versions_are_released_with_the_artefacts_that_were_trained(clone: Clone, printed: dict[str, str]) -> None:
    wheels = sorted(path.name for path in clone.project.index.glob("diabetes_model-*.whl") if "+" not in path.name)
    assert wheels == ["diabetes_model-0.1.0-py3-none-any.whl", "diabetes_model-0.2.0-py3-none-any.whl"]
    manifest = json.loads((clone.project.wheels / "manifest.json").read_text())
    assert {wheel["name"] for wheel in manifest["wheels"]} == {"model-kit", "ml-client", "diabetes-model"}
    assert manifest["commit"] == git(clone.project, "rev-parse", "HEAD"), "and nothing is left to be committed"


def test_generated_package_passes_mypy(clone: Clone, printed: dict[str, str]) -> None:
    clone.run("MYPYPATH=packages/diabetes_model/src .venv/bin/python -m mypy packages/diabetes_model")
