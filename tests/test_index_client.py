from __future__ import annotations

from pathlib import Path

import pytest
import requests

from index_client import IndexClient, Listed
from package_index import PackageIndex
from project import ScriptError


class Answers:
    """A session that gives one answer to everything."""

    def __init__(self, status: int, text: str = "") -> None:
        self.response = requests.Response()
        self.response.status_code = status
        self.response._content = text.encode()
        self.response.url = "https://index.example/simple/rides/"

    def get(self, *_: object, **__: object) -> requests.Response:
        return self.response


def client(answers: Answers) -> IndexClient:
    asking = IndexClient(PackageIndex("https://index.example/simple/", "https://index.example/", "me", "x"))
    asking._session = answers  # type: ignore[assignment]
    return asking


def test_files_of_an_index_are_read_from_its_simple_page() -> None:
    page = '<a href="../../f/rides-1.0%2Babc.whl#sha256=12">r</a> <a href="rides-1.0.tar.gz#md5=3">r</a> <a>x</a>'
    assert client(Answers(200, page)).files("rides") == {
        "rides-1.0+abc.whl": Listed("https://index.example/f/rides-1.0%2Babc.whl", "12"),
        "rides-1.0.tar.gz": Listed("https://index.example/simple/rides/rides-1.0.tar.gz", None),
    }
    assert client(Answers(404)).files("rides") == {}


def test_an_index_in_trouble_is_told_with_its_status() -> None:
    with pytest.raises(ScriptError, match=r"answered 502 for .*; check PACKAGE_INDEX_URL"):
        client(Answers(502)).files("rides")


def test_a_download_is_held_to_the_sha256_that_is_listed(tmp_path: Path) -> None:
    listed = Listed("https://index.example/rides-1.0-py3-none-any.whl", "0" * 64)
    with pytest.raises(ScriptError, match="another sha256 than it lists"):
        client(Answers(200, "content")).download(listed, tmp_path)
    unlisted = Listed(listed.url, None)
    assert client(Answers(200, "content")).download(unlisted, tmp_path).read_text() == "content"


def test_the_highest_release_of_a_version_is_found_and_nothing_else() -> None:
    names = ("1.2.0", "1.2.0.post2", "1.2.0.post10", "1.2.0+abc", "1.2.0rc1", "1.3.0")
    page = "".join(f'<a href="rides-{name}-py3-none-any.whl">r</a>' for name in names) + '<a href="x.whl">x</a>'
    found = client(Answers(200, page)).released("rides", "1.2.0")
    assert found is not None
    assert found[0] == "rides-1.2.0.post10-py3-none-any.whl"
    assert client(Answers(200, page)).released("rides", "1.4.0") is None
