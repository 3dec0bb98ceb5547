"""The pictures that README shows."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from model_kit.scoring.bundle import CARD, dump_json, read_bundle, write_bundle

import screenshot
from check_tracked import LARGEST_PICTURE, PNG
from local_index import free_port
from project import ROOT, ScriptError
from screenshot import FOLDER, VIEWS, require_synthetic, take

chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium here")


def size(picture: Path) -> tuple[int, int]:
    content = picture.read_bytes()
    assert content.startswith(PNG)
    assert len(content) <= LARGEST_PICTURE
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@chromium
def test_pictures_of_a_served_model_are_taken(houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert screenshot.main(["--bundle", str(houses), "--output", str(tmp_path / "images")]) == 0
    found = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in found] == ["page.png", "phone.png"]
    assert [size(path) for path in found] == [(1280, 1020), (390, 844)]
    # Far more than an empty page takes.
    assert all(path.stat().st_size > 20_000 for path in found)
    assert f"{found[0]} ({found[0].stat().st_size:,} bytes)" in capsys.readouterr().out


@chromium
def test_picture_that_is_there_stays_if_the_page_does_not_come(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("old")
    with pytest.raises(ScriptError, match="ERR_CONNECTION_REFUSED"):
        take(f"http://127.0.0.1:{free_port()}/", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["page.png"]
    assert (tmp_path / "page.png").read_text() == "old"


def test_no_picture_is_taken_of_a_model_of_real_data(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_synthetic(houses)
    sound = read_bundle(houses)
    card = sound.json(CARD)
    card["data"] |= {"synthetic": False, "name": "sold.csv"}
    write_bundle(tmp_path / "real", {**sound.files, CARD: dump_json(card)})
    with pytest.raises(ScriptError, match=r"trained on sold\.csv"):
        require_synthetic(tmp_path / "real")
    assert screenshot.main(["--bundle", str(tmp_path / "real"), "--output", str(tmp_path)]) == 1
    assert "sold.csv" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_readme_shows_the_pictures_and_they_are_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, view in VIEWS.items():
        assert f'src="docs/images/{name}.png"' in readme
        assert size(FOLDER / f"{name}.png") == (view.width, view.height)


def test_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert screenshot.main([]) == 1
    assert "apt-get install chromium" in capsys.readouterr().err
