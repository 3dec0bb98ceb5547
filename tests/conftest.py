"""The house-price model; a small project, an index to publish it on, and an environment to install it into."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from local_index import serve_index
from package_index import PackageIndex
from project import Package, Project
from service import train_houses
from small_project import TOKEN, make_environment, make_project

#: Run by scripts/doors.py, in environments of their own; what takes minutes, by `make docs-commands` and `make faults`.
collect_ignore = [
    "doors",
    *([] if os.environ.get("DOCS_COMMANDS") else ["documentation"]),
    *([] if os.environ.get("LONG_FAULTS") else ["faults/test_places.py"]),
]


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that a test starts write nothing beside the sources."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the house-price model, trained on the synthetic sample; never written to."""
    folder = tmp_path_factory.mktemp("houses") / "bundle"
    train_houses(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a trained model."""
    return make_project(tmp_path / "project")


@pytest.fixture
def model(project: Project) -> Package:
    """The package of the trained model."""
    (package,) = project.models()
    return package


@pytest.fixture
def index(project: Project) -> Generator[PackageIndex]:
    """A running index that has nothing yet."""
    with serve_index(project.index, TOKEN) as running:
        yield running


@pytest.fixture
def environment(project: Project) -> Path:
    """An empty virtual environment where the project serves from."""
    make_environment(project.serving)
    return project.serving
