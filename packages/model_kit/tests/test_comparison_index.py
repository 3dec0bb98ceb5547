"""Reading a package index."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from model_kit.comparison.index import (
    TOKEN,
    URL,
    USER,
    Index,
    IndexClient,
    Listed,
    exactly,
    index_from_environment,
    newest_release,
)
from model_kit.errors import DataError
from packaging.version import Version

SECRET = "s3cret/+"
WHEEL = b"the wheel"
SHA256 = hashlib.sha256(WHEEL).hexdigest()
PAGE = f"""
<a href="/files/rides-1.2.0-py3-none-any.whl#sha256={SHA256}">rides</a>
<a href="rides-1.10.0-py3-none-any.whl">rides</a> <a>nothing</a>
<a href="../../files/rides-2.0.0-py3-none-any.whl#sha256={"0" * 64}" data-yanked="broken">rides</a>
<a href="/files/rides-2.0.0rc1-py3-none-any.whl">r</a> <a href="/files/rides-1.10.1%2Babc-py3-none-any.whl">r</a>
<a href="/files/rides-9.0.tar.gz">r</a> <a href="/files/other-9.0-py3-none-any.whl">o</a>
"""


class Handler(BaseHTTPRequestHandler):
    """An index with one project, for one user."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.path == "/away/rides/":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.connection.getsockname()[1]}/landed/")
            self.end_headers()
            return
        pages = {"/simple/": "", "/simple/rides/": PAGE, "/landed/": "", "/simple/broken/": None}
        allowed = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"
        content = WHEEL if self.path.startswith("/files/rides-1.2.0") else (pages.get(self.path) or "").encode()
        if self.path == "/landed/":
            self.send_response(200)
        elif self.headers["Authorization"] != allowed:
            self.send_response(401)
        elif self.path == "/simple/broken/":
            self.send_response(502)
        else:
            self.send_response(200 if self.path in pages or content is WHEEL else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def client(server: str, path: str = "simple/", token: str = SECRET) -> IndexClient:
    return IndexClient(Index(f"{server}{path}", "me", token))


def versions(wheels: list[Listed]) -> list[str]:
    return [str(wheel.version) for wheel in wheels]


def test_the_wheels_of_a_project_are_listed(server: str) -> None:
    wheels = client(server).wheels("rides")
    assert versions(wheels) == ["1.2.0", "1.10.0", "2.0.0", "2.0.0rc1", "1.10.1+abc"]
    assert wheels[0] == Listed(Version("1.2.0"), f"{server}files/rides-1.2.0-py3-none-any.whl", SHA256, yanked=False)
    assert wheels[1].url == f"{server}simple/rides/rides-1.10.0-py3-none-any.whl"
    assert wheels[2].yanked


def test_the_newest_release_is_the_highest_that_is_none_of_a_preview_a_build_or_withdrawn(server: str) -> None:
    wheels = client(server).wheels("rides")
    newest = newest_release(wheels)
    assert newest is not None
    assert str(newest.version) == "1.10.0"
    assert newest_release([]) is None
    assert newest_release([Listed(Version("1.0+abc"), "", None, yanked=False)]) is None
    # One of a scheduled training counts, by its number.
    trainings = [
        Listed(Version(version), "", None, yanked=False) for version in ("1.2.post2", "1.2.post10", "1.2", "1.1.post11")
    ]
    newest = newest_release(trainings)
    assert newest is not None
    assert str(newest.version) == "1.2.post10"


@pytest.mark.parametrize(
    ("asked", "found"),
    [("1.10", "1.10.0"), ("2.0.0", "2.0.0"), ("2.0.0RC1", "2.0.0rc1"), ("1.10.1+ABC", "1.10.1+abc"), ("1.1", None)],
)
def test_a_version_is_found_however_it_is_spelled(asked: str, found: str | None, server: str) -> None:
    wheel = exactly(client(server).wheels("rides"), asked)
    assert (wheel and str(wheel.version)) == found


def test_a_wheel_is_held_to_its_sha256(server: str, tmp_path: Path) -> None:
    asking = client(server)
    right = asking.wheels("rides")[0]
    assert asking.download(right, tmp_path).read_bytes() == WHEEL
    wrong = Listed(right.version, right.url, "0" * 64, yanked=False)
    with pytest.raises(DataError, match=r"sends rides-1\.2\.0-.* with another sha256 than it lists"):
        asking.download(wrong, tmp_path)
    unknown = Listed(Version("3"), f"{server}files/rides-3-py3-none-any.whl", None, yanked=False)
    with pytest.raises(DataError, match="lists rides-3-py3-none-any.whl, but answers 404 for it"):
        asking.download(unknown, tmp_path)


def test_a_project_that_an_index_does_not_know_has_no_wheels(server: str) -> None:
    assert client(server).wheels("unknown") == []


def test_a_wrong_address_is_not_taken_for_an_index_without_the_project(server: str) -> None:
    with pytest.raises(DataError, match="there is no package index at .*/wrong/"):
        client(server, "wrong/").wheels("rides")


def test_an_index_in_trouble_is_told_without_the_token(server: str) -> None:
    with pytest.raises(DataError, match="refuses user 'me' .401.; check PACKAGE_INDEX_USER and") as refused:
        client(server, token="wr0ng").wheels("rides")
    assert "wr0ng" not in str(refused.value)
    with pytest.raises(DataError, match="answers 502"):
        client(server).wheels("broken")
    with pytest.raises(DataError, match="does not answer: .*refused"):
        IndexClient(Index("http://127.0.0.1:9/", "me", SECRET)).wheels("rides")


def test_the_token_is_sent_to_no_other_host(server: str) -> None:
    asking = client(server, "away/")
    assert asking.wheels("rides") == []
    elsewhere = Listed(Version("1"), server.replace("127.0.0.1", "localhost") + "landed/", None, yanked=False)
    assert asking._get(elsewhere.url)[0] == b""
    sent = [authorization for path, authorization in Handler.asked if path == "/landed/"]
    assert sent == [None, None]
    assert Handler.asked[0][1]


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({URL: "https://i.example/simple", USER: "me", TOKEN: "t"}, ("https://i.example/simple/", "me", "t")),
        ({URL: "https://me:a%2Fb@i.example:8/"}, ("https://i.example:8/", "me", "a/b")),
        ({URL: "https://token@i.example/"}, ("https://i.example/", "token", "")),
        ({URL: "http://[::1]:8/", USER: " me ", TOKEN: "t"}, ("http://[::1]:8/", "me", "t")),
    ],
)
def test_the_environment_names_the_index(environ: dict[str, str], index: tuple[str, str, str]) -> None:
    found = index_from_environment(environ)
    assert (found.url, found.user, found.token) == index
    assert "token" not in repr(found).replace(found.user, "")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, "PACKAGE_INDEX_URL is not set"),
        ({URL: "nonsense"}, "PACKAGE_INDEX_URL is no URL"),
        ({URL: "https://[x/"}, "PACKAGE_INDEX_URL is no URL"),
        ({URL: "ftp://i.example/"}, "PACKAGE_INDEX_URL is no URL"),
        ({URL: "http://i.example/"}, "PACKAGE_INDEX_URL is http: the token would travel in clear"),
        ({URL: "https://i.example/", TOKEN: "t"}, "PACKAGE_INDEX_USER is not set"),
        ({URL: "https://i.example/", USER: "me"}, "PACKAGE_INDEX_TOKEN is not set"),
    ],
)
def test_settings_that_cannot_be_used_are_named(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        index_from_environment(environ)
