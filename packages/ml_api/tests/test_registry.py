from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from model_kit import testing
from model_kit.errors import NotReadyError
from model_kit.scoring.model import BundleModel
from model_kit.scoring.protocol import Model
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides, write_ride_bundle

from ml_api.models import registry as module
from ml_api.models.registry import BrokenModelError, Registry, UnknownModelError, installed_models

FILES = ["card.json", "golden.json", "manifest.json", "model.onnx", "reference.json", "spec.json"]
SYNTHETIC = "TRAINED ON SYNTHETIC DATA: its predictions mean nothing in the real world"
NOT_EVALUATED = "NOT EVALUATED: the quality of its predictions is unknown"


def rides(folder: Path, **card: Any) -> Callable[[], BundleModel]:
    write_ride_bundle(folder, **card)
    return lambda: load_rides(folder)


def test_loaded_model_predicts(bundle: Path) -> None:
    registry = Registry({"rides": lambda: load_rides(bundle)})
    assert registry.names == ("rides",)
    assert registry.predictor("rides")([GOLDEN_ROW]).predictions == [GOLDEN_PREDICTION]
    assert registry.faults() == {}


def test_unknown_model_names_those_installed(bundle: Path) -> None:
    registry = Registry({"b": lambda: load_rides(bundle), "a": lambda: load_rides(bundle)})
    with pytest.raises(UnknownModelError, match=r"^There is no model of that name; installed: a, b\.$"):
        registry.predictor("c")


def test_nothing_installed(log: list[dict[str, Any]]) -> None:
    registry = Registry({})
    with pytest.raises(UnknownModelError, match=r"installed: none\."):
        registry.predictor("rides")
    assert (registry.names, registry.faults(), registry.lineages()) == ((), {}, {})
    assert registry.default_version("regression") is None
    assert [(line["level"], line["message"]) for line in log] == [("error", "no model is installed")]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_refused_by_the_name_of_its_file(tmp_path: Path, bundle: Path, name: str) -> None:
    folder = tmp_path / "rides"
    shutil.copytree(bundle, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    registry = Registry({"rides": lambda: load_rides(folder)})
    assert registry.faults()["rides"].startswith(f"{name}: ")
    with pytest.raises(BrokenModelError, match=f"^Model rides cannot answer: {name}: "):
        registry.predictor("rides")
    assert registry.lineages() == {"rides": {"error": registry.faults()["rides"]}}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, bundle: Path, name: str) -> None:
    folder = tmp_path / "rides"
    shutil.copytree(bundle, folder)
    (folder / name).unlink()
    assert Registry({"rides": lambda: load_rides(folder)}).faults()["rides"].startswith(f"{name}: cannot be read")


def test_one_broken_model_leaves_the_others_alone(bundle: Path) -> None:
    registry = Registry({"gone": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)})
    assert registry.predictor("rides")([GOLDEN_ROW]).predictions == [GOLDEN_PREDICTION]
    assert list(registry.faults()) == ["gone"]


def test_unforeseen_error_shows_its_text_to_the_log_only(log: list[dict[str, Any]]) -> None:
    def load() -> Model:
        raise OSError("/secret/path")

    registry = Registry({"rides": load})
    assert registry.faults() == {"rides": "OSError; the log has the details"}
    (line,) = log
    assert (line["level"], line["message"]) == ("error", "model cannot be loaded")
    assert (line["model"], line["reason"]) == ("rides", "OSError: /secret/path")
    assert line["exceptions"][0]["type"] == "OSError"


def test_what_is_no_model_is_refused() -> None:
    registry = Registry({"rides": dict})  # type: ignore[dict-item]
    assert registry.faults() == {"rides": "load() returned dict, which is no model"}


def test_model_that_misses_its_golden_value_is_not_used(bundle: Path) -> None:
    def load() -> Model:
        model = load_rides(bundle)
        model.golden["prediction"] *= 1.001
        return model

    registry = Registry({"rides": load})
    assert registry.faults()["rides"].startswith("the golden row scores ")
    with pytest.raises(BrokenModelError):
        registry.predictor("rides")


def test_model_that_begins_to_miss_its_golden_value_is_a_fault(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_rides(bundle)
    registry = Registry({"rides": lambda: model})

    def check() -> None:
        raise NotReadyError("drifted")

    monkeypatch.setattr(model, "check", check)
    assert registry.faults() == {"rides": "drifted"}

    def check_in_vain() -> None:
        raise MemoryError("0x7f")

    monkeypatch.setattr(model, "check", check_in_vain)
    assert registry.faults() == {"rides": "MemoryError; the log has the details"}


def test_default_version(bundle: Path) -> None:
    def load(version: str) -> Callable[[], BundleModel]:
        return lambda: load_rides(bundle, version)

    one = Registry({"rides": load("1.0.0")})
    assert one.default_version("regression") == "1.0.0"
    several = Registry({"rides": load("1.0.0"), "regression": load("2.0.0")})
    assert several.default_version("regression") == "2.0.0"
    assert several.default_version("rides") == "1.0.0"
    assert several.default_version("other") is None


def test_version_of_a_broken_default_is_unknown(bundle: Path) -> None:
    registry = Registry({"regression": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)})
    assert registry.default_version("regression") is None


@pytest.mark.parametrize(
    ("card", "warnings"),
    [
        ({}, [SYNTHETIC]),
        ({"evaluated": False, "metrics": None}, [SYNTHETIC, NOT_EVALUATED]),
        ({"data": {"name": "real rides", "sha256": "0" * 64, "rows": 5, "synthetic": False}}, []),
    ],
)
def test_log_says_what_was_loaded(
    tmp_path: Path, log: list[dict[str, Any]], card: dict[str, Any], warnings: list[str]
) -> None:
    Registry({"rides": rides(tmp_path / "rides", **card)})
    data = card.get("data", {"name": "rides by hand"})["name"]
    assert [(line["level"], line["message"]) for line in log] == [
        ("info", "model loaded"),
        *(("warning", message) for message in warnings),
    ]
    for line in log:
        assert (line["model"], line["version"], line["data"]) == ("rides", "1.2.3", data)


def announce(monkeypatch: pytest.MonkeyPatch, *announced: tuple[str, str]) -> None:
    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "ml_api.models"
        return [EntryPoint(name, value, group) for name, value in announced]

    monkeypatch.setattr(module, "entry_points", entry_points)


def test_models_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("rides", "builtins:dict"), ("trips", "builtins:list"))
    loaded: dict[str, object] = {name: load() for name, load in installed_models().items()}
    assert loaded == {"rides": {}, "trips": []}


def test_model_with_another_name_than_its_entry_point_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "DEFINITION", testing.ride_definition(), raising=False)
    announce(monkeypatch, ("trips", "model_kit.testing:DEFINITION.load"))
    assert Registry(installed_models()).faults() == {
        "trips": "the entry point is named trips, its ModelDefinition rides; give both one name"
    }


def test_model_is_served_from_a_folder_of_bundles(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    monkeypatch.setattr(testing, "DEFINITION", testing.ride_definition(), raising=False)
    announce(monkeypatch, ("rides", "model_kit.testing:DEFINITION.load"))
    monkeypatch.setenv("MODEL_DIR", str(bundle.parent))
    registry = Registry(installed_models())
    assert registry.predictor("rides")([GOLDEN_ROW]).predictions == [GOLDEN_PREDICTION]
    assert (registry.default_version("rides") or "").startswith("1.2.3+")
    monkeypatch.setenv("MODEL_DIR", str(bundle))
    assert Registry(installed_models()).faults()["rides"].startswith("MODEL_DIR: it is a bundle itself")


def test_name_announced_twice_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("rides", "one:load"), ("rides", "two:load"))
    assert Registry(installed_models()).faults() == {"rides": "announced by several packages: one:load, two:load"}


def test_package_that_cannot_be_imported_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, ("rides", "no_such_package:load"))
    assert Registry(installed_models()).faults() == {"rides": "ModuleNotFoundError; the log has the details"}
