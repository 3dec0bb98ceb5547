"""The contracts between packages hold for packages that nobody has listed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import typecheck
from imports import contracts
from project import ROOT, Project
from small_project import SERVING, add_model

TEXT = (ROOT / ".importlinter").read_text()


def check(project: Project) -> subprocess.CompletedProcess[str]:
    """Hold a project to the contracts, in a process of its own: it imports the packages."""
    (project.root / ".importlinter").write_text(TEXT)
    code = "import sys, imports, project; sys.exit(imports.main(project.Project(project.Path(sys.argv[1]))))"
    return subprocess.run(
        [sys.executable, "-c", code, str(project.root)],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_name_every_package_that_is_there(project: Project) -> None:
    add_model(project, "fares")
    found = contracts(TEXT, project)
    assert found["importlinter"]["root_packages"].split() == ["model_kit", "ml_api", "fares_model", "regression_model"]
    assert found["importlinter:contract:api"]["forbidden_modules"].split() == ["fares_model", "regression_model"]
    serving = set(found["importlinter:contract:libraries"]["source_modules"].split())
    others = set(found["importlinter:contract:serving"]["forbidden_modules"].split())
    assert serving == {"model_kit.errors", "model_kit.records", "model_kit.scoring", "model_kit.spec"}
    assert {"model_kit.training", "model_kit.batch", "model_kit.comparison", "model_kit.cli"} <= others
    assert not serving & others
    for name in ("fares", "regression"):
        shutil.rmtree(project.root / f"packages/{name}_model")
    empty = contracts(TEXT, project)
    assert "importlinter:contract:models" not in empty
    assert "importlinter:contract:client" not in empty
    assert "importlinter:contract:layers" in empty


@pytest.mark.parametrize(
    ("line", "contract"),
    [
        ("", ""),
        ("import flask\n", "a model package knows nothing of the API"),
        ("import regression_model\n", "model packages know nothing of each other"),
    ],
)
def test_a_new_package_is_held_to_the_contracts(project: Project, line: str, contract: str) -> None:
    model = add_model(project, "fares")
    (model.source / "serving.py").write_text(SERVING + line)
    done = check(project)
    assert (done.returncode, f"{contract} BROKEN" in done.stdout) == ((1, True) if line else (0, False)), done.stdout


@pytest.mark.parametrize("line", ["import model_kit\n", "import ml_api.settings\n"])
def test_the_client_imports_nothing_of_ours(project: Project, line: str) -> None:
    shutil.copytree(ROOT / "packages/ml_client", project.root / "packages/ml_client")
    (project.root / "packages/ml_client/src/ml_client/more.py").write_text(line)
    done = check(project)
    assert (done.returncode, "the client speaks HTTP alone BROKEN" in done.stdout) == (1, True), done.stdout


def test_types_of_a_new_package_are_checked(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As long as its sources are on mypy's path, whatever mypy.ini names."""
    model = add_model(project, "fares")
    (model.source / "typed.py").write_text("from fares_model import __version__\n\nVERSION: int = __version__\n")
    (project.root / "mypy.ini").write_text("[mypy]\nexplicit_package_bases = true\nnamespace_packages = true\n")
    monkeypatch.setattr(typecheck, "RUNS", (("packages/fares_model/src/fares_model/typed.py",),))
    assert typecheck.main([f"--cache-dir={tmp_path}/cache"], project) == 1
    assert 'typed.py:3: error: Incompatible types in assignment (expression has type "str"' in capfd.readouterr().out
