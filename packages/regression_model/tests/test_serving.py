from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from model_kit.errors import BundleError
from model_kit.scoring.bundle import read_bundle
from model_kit.testing import write_ride_bundle
from model_kit.training import dataset
from regression_model import serving, training


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle that is not the package's own."""
    folder = tmp_path_factory.mktemp("mounted") / "bundle"
    training.train(dataset.synthetic(), cv=False, bundle=folder)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No bundle in the package, so that nothing can fall back to it."""
    monkeypatch.setattr(serving, "BUNDLE", tmp_path / "none")
    monkeypatch.setattr(serving, "installed_version", lambda _: "1.2.3+abcdef")


def test_bundle_from_outside_is_served_under_a_version_of_its_own(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(mounted))
    model = serving.load()
    model.check()
    sha256 = read_bundle(mounted).artifact_sha256
    assert model.lineage["artifact_sha256"] == sha256
    assert model.version == model.lineage["version"] == f"1.2.3+{sha256[:12]}"


def test_damaged_bundle_from_outside_is_refused(mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(mounted, tmp_path / "damaged")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    monkeypatch.setenv("MODEL_DIR", str(folder))
    with pytest.raises(BundleError, match=r"^MODEL_DIR: its bundle cannot be served: model\.onnx: sha256 is "):
        serving.load()


def test_bundle_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ride_bundle(tmp_path / "rides")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "rides"))
    with pytest.raises(BundleError, match=r"^MODEL_DIR: .* spec\.json: its fields are not those of this version"):
        serving.load()


@pytest.mark.parametrize("kind", ["nothing", "file", "empty"])
def test_what_is_no_bundle_is_refused_naming_the_variable(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.write_text("model")
    elif kind == "empty":
        path.mkdir()
    monkeypatch.setenv("MODEL_DIR", str(path))
    with pytest.raises(BundleError, match=rf"^MODEL_DIR: .* manifest\.json: cannot be read from {path}: "):
        serving.load()


def test_a_folder_that_cannot_be_listed_is_refused_as_well(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    monkeypatch.setenv("MODEL_DIR", str(mounted))
    with pytest.raises(BundleError, match=r"^MODEL_DIR: .* Permission denied"):
        serving.load()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", "")
    with pytest.raises(BundleError, match=r"^manifest\.json: cannot be read"):
        serving.load()
