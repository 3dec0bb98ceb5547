"""``ml-api verify``: what an init container asks before a server starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from model_kit.errors import BundleError
from model_kit.scoring.bundle import GOLDEN, Bundle, dump_json, read_folder, write_bundle
from model_kit.scoring.installed import InstalledModel
from model_kit.testing import GOLDEN_ROW, ride_files, write_ride_bundle

from installed import hide_other_models, install
from ml_api.cli.verify import outside_faults

FOLDER = Path(__file__).parents[1]
PACKAGE = """
from model_kit.testing import ride_definition

__version__ = "1.2.3"
DEFINITION = ride_definition(package="rides_package")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a model of rides is installed, with a bundle, and no other."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "rides-model", "1.2.3", "[ml_api.models]\nrides = rides_package:DEFINITION.load\n")
    hide_other_models(folder)
    (folder / "rides_package").mkdir()
    (folder / "rides_package/__init__.py").write_text(PACKAGE)
    write_ride_bundle(folder / "rides_package/bundle")
    return folder


def verify(site: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "ml_api.cli", "verify"],
        cwd=FOLDER,
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_bundles_that_are_right_are_named(site: Path, tmp_path: Path) -> None:
    artifact = write_ride_bundle(tmp_path / "rides", metrics={"r2": 0.8})
    done = verify(site, MODEL_DIR=str(tmp_path), MODEL_SHA256=artifact)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"rides 1.2.3+{artifact[:12]} (artefact {artifact[:12]})\n"


def test_every_reason_is_told(site: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "rides", ride_files() | {GOLDEN: dump_json({"row": GOLDEN_ROW, "prediction": 1.0})})
    write_ride_bundle(tmp_path / "boats")
    done = verify(site, MODEL_DIR=str(tmp_path))
    assert done.returncode == 1
    assert re.fullmatch(
        r"ml-api: the bundles are not right:\n"
        r"  boats: .*/boats is a bundle of a model that is not installed\n"
        r"  rides: .*golden.*\n",
        done.stderr,
    )


def model(folder: Path, code: Path, bundle: Bundle | BundleError | None) -> InstalledModel:
    return InstalledModel(code, "0", "0", {folder / "rides": bundle, code / "bundle": None})


def test_a_folder_without_a_bundle_is_not_what_was_meant(tmp_path: Path) -> None:
    code = tmp_path / "code"
    found = outside_faults({"rides": model(tmp_path, code, None)})
    assert found == {"MODEL_DIR": f"{tmp_path} has no bundle of an installed model: rides"}
    write_ride_bundle(tmp_path / "rides")
    # A volume's own folder is none of ours.
    (tmp_path / "lost+found").mkdir()
    assert outside_faults({"rides": model(tmp_path, code, read_folder(tmp_path / "rides"))}) == {}
    # Of a bundle that is broken the registry tells why.
    assert outside_faults({"rides": model(tmp_path, code, BundleError("spec.json", "damaged"))}) == {}
    assert outside_faults({"rides": InstalledModel(code, "0", "0", {code / "bundle": None})}) == {}
