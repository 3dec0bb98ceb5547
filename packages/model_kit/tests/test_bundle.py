from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from model_kit.errors import BundleError
from model_kit.scoring import bundle as module
from model_kit.scoring.bundle import (
    CONTENT,
    MANIFEST,
    MODEL,
    digest,
    dump_json,
    read_bundle,
    write_bundle,
)
from model_kit.testing import ride_files, write_ride_bundle


def test_bundle_reads_back_what_was_written(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.files == ride_files()
    assert read.artifact_sha256 == digest(ride_files())
    assert read.json("golden.json")["row"]["zone"] == "A"


@pytest.mark.parametrize("name", [*CONTENT, MODEL, MANIFEST])
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


@pytest.mark.parametrize("name", [*CONTENT, MODEL, MANIFEST])
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


def test_json_is_written_in_one_way() -> None:
    assert dump_json({"b": "é", "a": [1]}) == '{\n "a": [\n  1\n ],\n "b": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"a": float("nan")})


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_ride_bundle(tmp_path / "some" / "where" / "bundle")
    assert read_bundle(tmp_path / "some" / "where" / "bundle").files == ride_files()


def test_new_bundle_is_written_beside_the_old_one(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only within one file system does a folder take another's place at once."""
    places: list[Path] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        places.extend([self, target])
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    write_ride_bundle(bundle)
    assert places == [bundle, places[1], places[2], bundle]
    assert places[1].parent == places[2].parent
    assert places[1].parent.parent == bundle.parent
    assert places[1].parent.name.startswith(".bundle-")


def test_damage_is_told(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    hashes = json.loads((bundle / MANIFEST).read_text())["files"]
    assert str(caught.value) == (
        "model.onnx: sha256 is 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881, "
        f"manifest.json says {hashes['model.onnx']}; the file is damaged"
    )
    (bundle / MANIFEST).write_bytes(b"{}")
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    assert str(caught.value) == ("manifest.json: it does not have the sha256 that it states; the file is damaged")


def test_file_that_no_bundle_has_is_refused_though_it_is_listed(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["sha256"]
    manifest["files"]["extra.bin"] = digest(ride_files())
    manifest["sha256"] = module._sha256(dump_json(manifest))
    (bundle / MANIFEST).write_bytes(dump_json(manifest))
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    assert str(caught.value) == "extra.bin: no part of a bundle"


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST])
def test_what_is_no_regular_file_is_not_read(bundle: Path, name: str) -> None:
    for make in (os.mkfifo, os.mkdir):
        path = bundle / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(BundleError, match=rf"^{name}: (it is not a regular file|cannot be read from .*directory)"):
            read_bundle(bundle)


def test_file_that_is_too_large_is_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, name = max((path.stat().st_size, path.name) for path in bundle.iterdir())
    monkeypatch.setattr(module, "MAX_FILE_BYTES", size)
    assert len(read_bundle(bundle).files[name]) == size
    monkeypatch.setattr(module, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(BundleError, match=f"^{name}: it has {size:,} bytes; .* at most {size - 1:,}$"):
        read_bundle(bundle)


@pytest.mark.parametrize("given", ["{}", f"{'0' * 64}, {{}}", ""])
def test_pinned_bundle_is_the_one_given(bundle: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    expected = digest(ride_files())
    monkeypatch.setenv("MODEL_SHA256", given.format(expected.upper()))
    assert read_bundle(bundle, pinned=True).artifact_sha256 == expected


def test_bundle_of_another_digest_than_the_pinned_one_is_refused_though_its_manifest_states_that(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = digest(ride_files())
    monkeypatch.setenv("MODEL_SHA256", pinned)
    card = json.dumps({**json.loads(ride_files()["card.json"]), "other": 1}).encode()
    files = ride_files() | {"card.json": card}
    write_bundle(bundle, files)
    monkeypatch.setattr(module, "digest", lambda _: pinned)
    forged = write_bundle(bundle, files)
    monkeypatch.undo()
    monkeypatch.setenv("MODEL_SHA256", pinned)
    assert forged == pinned
    with pytest.raises(BundleError, match=rf"^MODEL_SHA256: the artefact's sha256 is {digest(files)}, which is not"):
        read_bundle(bundle, pinned=True)
    assert read_bundle(bundle).artifact_sha256 == pinned
