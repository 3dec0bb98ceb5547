"""Files that are written whole or not at all."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from model_kit.batch.output import binary_output, replacing
from model_kit.errors import DataError


def test_file_is_replaced_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new\r\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == b"new\r\n"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_file_stays_as_it_was_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("new")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_link_keeps_pointing_at_the_replaced_file(tmp_path: Path) -> None:
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    path.write_text("old")
    link.symlink_to(path)
    with replacing(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_device_is_written_to_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("renamed")

    monkeypatch.setattr(Path, "replace", refuse)
    with replacing(Path(os.devnull)) as file:
        file.write("new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640])
def test_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as file:
        file.write("new")
        [part] = tmp_path.glob(".out.csv.*")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root: only root may give files away")
def test_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    os.chown(path, 65534, 65533)
    with replacing(path) as file:
        file.write("new")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_new_file_follows_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "out.csv") as file:
            file.write("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "out.csv"
    with pytest.raises(DataError) as caught, replacing(path):
        pass
    assert str(caught.value) == f"{path}: there is no folder {path.parent}"


def test_compressed_file_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.GZ"):
        with binary_output(str(tmp_path / name)) as file:
            file.write(b"zone\nA\n")
    first, second = (tmp_path / "a.csv.gz").read_bytes(), (tmp_path / "b.csv.GZ").read_bytes()
    assert first == second
    assert gzip.decompress(first) == b"zone\nA\n"
