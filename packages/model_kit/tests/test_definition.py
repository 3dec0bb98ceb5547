"""Where a definition finds its bundle, and which it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from model_kit.errors import BundleError
from model_kit.scoring.bundle import SPEC, read_bundle, write_bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, write_ride_bundle


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of another bundle of rides in that of ``MODEL_DIR``."""
    folder = tmp_path / "mounted" / "rides"
    write_ride_bundle(folder, metrics={"r2": 0.8})
    monkeypatch.setenv("MODEL_DIR", str(folder.parent))
    return folder


def test_package_serves_its_own_bundle_under_its_own_version(installed: ModelDefinition) -> None:
    model = installed.load()
    model.check()
    assert model.version == "1.2.3"
    assert model.lineage["artifact_sha256"] == read_bundle(installed.bundle).artifact_sha256


def test_bundle_from_outside_is_served_under_a_version_of_its_own(installed: ModelDefinition, mounted: Path) -> None:
    model = installed.load()
    model.check()
    sha256 = read_bundle(mounted).artifact_sha256
    assert sha256 != read_bundle(installed.bundle).artifact_sha256
    assert model.lineage["artifact_sha256"] == sha256
    assert model.version == model.lineage["version"] == f"1.2.3+{sha256[:12]}"


def test_model_without_a_folder_outside_serves_its_own_bundle(installed: ModelDefinition, mounted: Path) -> None:
    mounted.rename(mounted.with_name("other"))
    assert installed.load().version == "1.2.3"


def test_empty_variable_counts_as_unset(installed: ModelDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", "")
    assert installed.load().version == "1.2.3"


@pytest.mark.parametrize("outside", [True, False])
def test_bundle_that_is_served_must_be_the_pinned_one(
    installed: ModelDefinition, mounted: Path, monkeypatch: pytest.MonkeyPatch, outside: bool
) -> None:
    if not outside:
        monkeypatch.delenv("MODEL_DIR")
    monkeypatch.setenv("MODEL_SHA256", "0" * 64)
    with pytest.raises(BundleError, match="MODEL_SHA256: the artefact's sha256 is "):
        installed.load()
    # Not meant for what is compared with it.
    assert installed.load_bundle(mounted).version


def test_damaged_bundle_from_outside_is_refused(installed: ModelDefinition, mounted: Path) -> None:
    content = bytearray((mounted / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (mounted / "model.onnx").write_bytes(content)
    with pytest.raises(
        BundleError, match=r"^MODEL_DIR: the bundle in rides/ cannot be served: model\.onnx: sha256 is "
    ):
        installed.load()


def test_empty_folder_of_a_model_is_refused(installed: ModelDefinition, mounted: Path) -> None:
    shutil.rmtree(mounted)
    mounted.mkdir()
    with pytest.raises(BundleError, match=r"^MODEL_DIR: .* manifest\.json: cannot be read from "):
        installed.load()


def test_folder_that_cannot_be_read_is_refused(
    installed: ModelDefinition, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(BundleError, match=r"^MODEL_DIR: .* Permission denied"):
        installed.load()


@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_variable_that_names_no_folder_is_refused(
    kind: str, installed: ModelDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.write_text("model")
    monkeypatch.setenv("MODEL_DIR", str(path))
    with pytest.raises(BundleError, match=rf"^MODEL_DIR: there is no folder {path}$"):
        installed.load()


def test_variable_that_names_a_bundle_itself_is_refused(
    installed: ModelDefinition, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(mounted))
    with pytest.raises(BundleError, match=r"^MODEL_DIR: it is a bundle itself; .* move this one to rides/ in it$"):
        installed.load()


def test_bundle_of_another_model_is_refused(installed: ModelDefinition, tmp_path: Path) -> None:
    write_ride_bundle(tmp_path / "bundle", model="flights")
    with pytest.raises(BundleError, match=r"^card\.json: it is a bundle of the model flights, not of rides$"):
        installed.load_bundle(tmp_path / "bundle")


def test_bundle_of_other_fields_is_refused(installed: ModelDefinition, tmp_path: Path) -> None:
    bundle = read_bundle(installed.bundle)
    spec: dict[str, Any] = bundle.json(SPEC)
    spec["fields"][0], spec["fields"][1] = spec["fields"][1], spec["fields"][0]
    write_bundle(tmp_path / "bundle", {**bundle.files, SPEC: json.dumps(spec).encode()})
    with pytest.raises(BundleError, match=r"^spec\.json: its fields are not those of this version"):
        installed.load_bundle(tmp_path / "bundle")


def test_predictions_in_python_load_the_model_once(installed: ModelDefinition, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ModelDefinition] = []
    load = ModelDefinition.load

    def counted(definition: ModelDefinition) -> Any:
        loaded.append(definition)
        return load(definition)

    monkeypatch.setattr(ModelDefinition, "load", counted)
    installed.__dict__.pop("_predictor", None)
    for _ in range(2):
        answer = installed.make_prediction(input_data=GOLDEN_ROW)
        assert answer == {"predictions": [GOLDEN_PREDICTION], "version": "1.2.3", "errors": None}
    assert loaded == [installed]
