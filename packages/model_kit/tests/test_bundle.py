from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_kit import bundle as module
from model_kit.bundle import CONTENT, MANIFEST, digest, dump_json, read_bundle, write_bundle
from model_kit.errors import BundleError
from model_kit.testing import ride_files, write_ride_bundle


def test_bundle_reads_back_what_was_written(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.files == ride_files()
    assert read.artifact_sha256 == digest(ride_files())
    assert read.json("golden.json")["row"]["zone"] == "A"


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST])
def test_one_flipped_byte_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    for position in (0, len(content) // 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(BundleError) as caught:
            read_bundle(bundle)
        assert caught.value.file == name
        assert str(caught.value).startswith(f"{name}: ")
    path.write_bytes(content)
    assert read_bundle(bundle).files


def test_every_byte_of_the_manifest_counts(bundle: Path) -> None:
    path = bundle / MANIFEST
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x20]) + content[position + 1 :])
        with pytest.raises(BundleError, match=r"^manifest\.json: "):
            read_bundle(bundle)


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST])
def test_missing_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"^{name}: cannot be read"):
        read_bundle(bundle)


def test_file_that_the_manifest_does_not_list_is_refused(bundle: Path) -> None:
    (bundle / "extra.pkl").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"^extra\.pkl: not listed"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 2}, r"^manifest\.json: format 2"), ({"files": {}}, r"^card\.json: missing from manifest\.json")],
)
def test_manifest_of_another_kind_is_refused(bundle: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest.pop("sha256")
    manifest |= change
    manifest["sha256"] = module._sha256(dump_json(manifest))
    (bundle / MANIFEST).write_bytes(dump_json(manifest))
    with pytest.raises(BundleError, match=message):
        read_bundle(bundle)


def test_digest_ignores_the_circumstances_of_a_run_and_nothing_else() -> None:
    same = digest(ride_files(run={"trained_at": "another day"}))
    assert same == digest(ride_files())
    assert digest(ride_files(version="1.2.4")) != same
    files = ride_files()
    for name in set(files) - {"card.json"}:
        assert digest(files | {name: files[name] + b" "}) != same


def test_file_too_many_or_too_few_is_not_written(tmp_path: Path) -> None:
    files = ride_files()
    with pytest.raises(BundleError, match=r"^row\.csv: no part of a bundle"):
        write_bundle(tmp_path / "bundle", files | {"row.csv": b""})
    files.pop("spec.json")
    with pytest.raises(BundleError, match=r"^spec\.json: missing"):
        write_bundle(tmp_path / "bundle", files)
    assert list(tmp_path.iterdir()) == []


def test_new_bundle_replaces_the_old_one_and_leaves_nothing_else(bundle: Path) -> None:
    before = read_bundle(bundle).artifact_sha256
    assert write_ride_bundle(bundle, version="2.0.0") != before
    assert read_bundle(bundle).json("card.json")["version"] == "2.0.0"
    assert list(bundle.parent.iterdir()) == [bundle]


def test_old_bundle_stays_when_the_new_one_cannot_take_its_place(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_bundle(bundle)
    rename = Path.rename

    def refuse_new(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="no space"):
        write_ride_bundle(bundle, version="2.0.0")
    monkeypatch.undo()
    assert read_bundle(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_content_that_is_no_json_is_refused_by_name(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", ride_files() | {"golden.json": b"{"})
    with pytest.raises(BundleError, match=r"^golden\.json: not JSON"):
        read_bundle(tmp_path / "bundle").json("golden.json")
