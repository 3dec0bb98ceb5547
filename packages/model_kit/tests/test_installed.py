from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest
from model_kit.errors import BundleError
from model_kit.scoring.bundle import bundle_exists, read_bundle, write_bundle
from model_kit.scoring.installed import (
    InstalledModel,
    check_code,
    field_names,
    read_installed,
    replacement_faults,
    serve,
    source_digest,
)
from model_kit.spec import InputSpec
from model_kit.testing import FIELDS, LEARNED, TARGET, ride_files, write_ride_bundle

from installed import hide_other_models, install


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package ``served_rides`` with a bundle; there is no other model."""
    site = tmp_path / "site"
    install(site, "served-rides", "1.2.3", "[ml_api.models]\nrides = served_rides.model:load\n")
    folder = site / "served_rides"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('a server imports no model in its first process')\n")
    write_ride_bundle(folder / "bundle")
    hide_other_models(site)
    monkeypatch.delenv("MODEL_DIR", raising=False)
    monkeypatch.syspath_prepend(str(site))
    invalidate_caches()
    yield folder
    serve({})


@pytest.fixture
def given(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package's bundle in ``MODEL_DIR``, which is not there."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "bundles"))
    return tmp_path / "bundles" / "rides"


def test_package_is_read_and_not_imported(package: Path) -> None:
    (model,) = read_installed().values()
    assert (model.folder, model.code_sha256) == (package, source_digest(package))
    assert model.served is not None
    assert model.served.files == ride_files()
    assert "served_rides" not in sys.modules


def test_names_of_fields_are_known_where_every_bundle_is_good(package: Path) -> None:
    assert field_names(read_installed()) == {field.name for field in FIELDS}
    (package / "bundle" / "spec.json").write_text("{}")
    assert field_names(read_installed()) is None


def test_bundle_in_model_dir_is_the_one_that_is_served(package: Path, given: Path) -> None:
    own = read_installed()["rides"].served
    artifact = write_ride_bundle(given, metrics={"r2": 0.5})
    outside = read_installed()["rides"].served
    assert own is not None
    assert outside is not None
    assert own.artifact_sha256 == read_bundle(package / "bundle").artifact_sha256 != artifact
    assert outside.artifact_sha256 == artifact


def test_served_bundles_are_what_was_read_whatever_the_folders_have_by_then(package: Path, given: Path) -> None:
    serve(read_installed())
    write_ride_bundle(given)
    (package / "bundle" / "model.onnx").write_bytes(b"other")
    assert not bundle_exists(given)
    assert read_bundle(package / "bundle").files == ride_files()
    # What was damaged remains so.
    serve(read_installed())
    write_ride_bundle(package / "bundle")
    assert bundle_exists(given)
    with pytest.raises(BundleError, match=r"^model\.onnx: sha256 is "):
        read_bundle(package / "bundle")


def test_code_that_has_changed_is_refused_until_it_is_read_again(package: Path) -> None:
    check_code(package)
    serve(read_installed())
    check_code(package)
    (package / "other.py").write_text("1")
    with pytest.raises(BundleError, match=r"^served_rides: its code has changed since the server loaded it"):
        check_code(package)
    serve(read_installed())
    check_code(package)


@pytest.mark.parametrize("added", [".post2", "+a1b2", ".post2+a1b2"])
def test_version_of_a_wheel_is_no_change_of_the_code_that_a_model_was_trained_with(package: Path, added: str) -> None:
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    before = source_digest(package)
    (package / "__init__.py").write_text(f'__version__ = "1.2.3{added}"\n')
    found = read_installed()["rides"]
    assert found.code_sha256 != before
    assert found.source_sha256 == before
    (package / "__init__.py").write_text('__version__ = "1.2.4"\n')
    assert read_installed()["rides"].source_sha256 != before


def model(folder: Path, code: str = "c", **card: Any) -> dict[str, InstalledModel]:
    write_ride_bundle(folder, **card)
    return {"rides": InstalledModel(folder.parent, code, f"{code} as source", {folder: read_bundle(folder)})}


def test_bundle_of_other_code_than_is_installed_is_no_replacement(tmp_path: Path) -> None:
    served = model(tmp_path / "a", code_sha256="c")
    assert replacement_faults(served, model(tmp_path / "b", code_sha256="c", metrics={})) == {}
    assert replacement_faults(served, model(tmp_path / "b", code_sha256="c as source", metrics={})) == {}
    assert replacement_faults(served, model(tmp_path / "b", metrics={})) == {}
    assert replacement_faults(served, model(tmp_path / "b", code_sha256="d", metrics={})) == {
        "rides": "the bundle was trained with other code than is installed: its card has code_sha256 d, and that of "
        f"{tmp_path} is c as source"
    }
    # Nothing is replaced.
    odd = model(tmp_path / "a", code_sha256="d")
    assert replacement_faults(odd, odd) == {}


def test_model_that_is_gone_is_named_and_a_new_one_is_taken(tmp_path: Path) -> None:
    served = model(tmp_path / "a")
    assert replacement_faults(served, {}) == {"rides": "it is served, and no longer installed"}
    assert replacement_faults({}, served) == {}


def test_bundle_of_other_fields_is_no_replacement(tmp_path: Path) -> None:
    spec = InputSpec((replace(FIELDS[0], required=False), *FIELDS[1:]), LEARNED, TARGET)
    write_bundle(tmp_path / "b", ride_files() | {"spec.json": spec.to_json().encode()})
    other = {"rides": InstalledModel(None, None, None, {tmp_path / "b": read_bundle(tmp_path / "b")})}
    assert replacement_faults(model(tmp_path / "a"), other) == {
        "rides": "callers would have to change: distance was required, is optional"
    }
    # A served bundle that is broken has no callers.
    broken = {"rides": InstalledModel(None, None, None, {tmp_path: BundleError("model.onnx", "damaged")})}
    assert replacement_faults(broken, other) == {}


def test_spec_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", ride_files() | {"spec.json": json.dumps({"format": 99}).encode()})
    other = {"rides": InstalledModel(None, None, None, {tmp_path / "b": read_bundle(tmp_path / "b")})}
    assert "99" in replacement_faults(model(tmp_path / "a"), other)["rides"]
