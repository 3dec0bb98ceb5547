"""A small project with models of taxi rides, and an environment that can serve them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import model_kit
from model_kit.scoring.installed import source_digest
from model_kit.testing import write_ride_bundle

from project import ROOT, Package, Project

TOKEN = "hunter2/known+to:the@test"

SERVING = '''\
"""The rides of model_kit.testing, as an installed package serves them."""

from pathlib import Path

import numpy as np
from model_kit.scoring.model import BundleModel

from . import __version__


def derive(encoded):
    distance, passengers, zone, comfort = encoded.T
    passengers = np.where(np.isnan(passengers), 1.0, passengers)
    comfort = np.where(np.isnan(comfort), 0.0, comfort).clip(0)
    return np.column_stack([distance.clip(0, 100), passengers, zone == 2, comfort]).astype(np.float64)


def load():
    return BundleModel.load(Path(__file__).with_name("bundle"), derive, __version__)
'''


def make_project(root: Path, *others: str) -> Project:
    """A project with our model_kit, our API and our pyproject files, and a model of rides in place of houses.

    Args:
        root: where it is made.
        others: names of further models, of rides as well.
    """
    (root / "packages").mkdir(parents=True)
    for name in ("model_kit", "ml_api"):
        (root / "packages" / name).symlink_to(ROOT / "packages" / name)
    shutil.copy(ROOT / "run.sh", root)
    project = Project(root)
    for name in ("regression", *others):
        train(add_model(project, name))
    return project


def add_model(project: Project, name: str, version: str = "0.3.0") -> Package:
    """Add a model of rides that is not trained; its package is called as ours is, by the model's name."""
    folder = project.root / f"packages/{name}_model"
    source = folder / f"src/{name}_model"
    source.mkdir(parents=True)
    text = (ROOT / "packages/regression_model/pyproject.toml").read_text()
    text = text.replace("regression_model:DEFINITION.load", "regression_model.serving:load")
    (folder / "pyproject.toml").write_text(text.replace("regression", name))
    (source / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (source / "serving.py").write_text(SERVING)
    (package,) = project.models(name)
    return package


def own_kit(project: Project) -> Path:
    """A copy of model-kit that may be changed; returns its sources."""
    kit = project.root / "packages/model_kit"
    kit.unlink()
    shutil.copytree(ROOT / "packages/model_kit", kit, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    return kit / "src/model_kit"


def train(model: Package, **card: Any) -> str:
    """Write the bundle of rides into the model's package; returns its artefact's sha256."""
    real = {"name": "rides by hand", "sha256": "0" * 64, "rows": 100, "synthetic": False}
    code = {"code_sha256": source_digest(model.source), "kit_sha256": source_digest(Path(model_kit.__file__).parent)}
    return write_ride_bundle(model.bundle, **code | {"data": real} | card)


def make_environment(folder: Path) -> None:
    """An empty virtual environment without pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


def add_third_party(folder: Path, *locks: str) -> None:
    """Give an environment what requirements.txt, or these locks name, and nothing else, without a network."""
    site = Path(sysconfig.get_path("purelib"))
    target = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    target.mkdir(parents=True, exist_ok=True)
    text = "".join((ROOT / lock).read_text() for lock in locks or ("requirements.txt",))
    names = set(re.findall(r"^([a-zA-Z0-9._-]+).*==", text, re.MULTILINE))
    for name in names:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:  # for another Python or system
            continue
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (target / top).exists():
                (target / top).symlink_to(site / top)
