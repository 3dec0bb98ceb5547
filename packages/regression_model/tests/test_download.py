"""The real file's way here, against a server on loopback that answers as OpenML does, and as it should not."""

from __future__ import annotations

import csv
import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request

import pytest
from model_kit.cli import download
from model_kit.cli import main as cli
from model_kit.errors import DataError
from model_kit.training import dataset
from regression_model import sample, transfer
from regression_model.transfer import DownloadError, Transfer, shown

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))
HOUSES = sample.csv_bytes(60, seed=1)
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers a path with the next of its answers; the last one goes on for ever."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        answers = self.server.answers.get(self.path, [status(404)])
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stop = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that leaves is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.stop.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr("regression_model.transfer.time.sleep", made.append)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that is there already, alone in its folder."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "houses.csv"
    path.write_text("the old file")
    return path


def whole(content: bytes, **headers: str) -> Answer:
    """200 with a length; parts of it to who asks for them, if there is an ETag."""

    def answer(handler: Handler) -> None:
        start = 0
        if "Range" in handler.headers and handler.headers["If-Range"] == headers.get("ETag"):
            start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - start))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[start:])

    return answer


def cut(content: bytes, after: int, **headers: str) -> Answer:
    """200 that promises all and ends early."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.close_connection = True

    return answer


def raw(response: bytes) -> Answer:
    """These very bytes, then the end of the connection."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(response)
        handler.close_connection = True

    return answer


def status(code: int, body: bytes = b"no", **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def stalled(content: bytes, after: int, **headers: str) -> Answer:
    """Some of it, and then nothing for longer than anybody waits."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        handler.server.stop.wait(10)
        handler.close_connection = True

    return answer


def in_arff(content: bytes) -> bytes:
    """A CSV file as OpenML serves it: spelled like data set 42165."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    real = {"LotFrontage", "MasVnrArea", "GarageYrBlt"}

    def is_number(column: int) -> bool:
        return all(row[column] == "NA" or row[column].lstrip("-").isdecimal() for row in rows[1:])

    kinds = ["REAL" if name in real else "INTEGER" if is_number(at) else "STRING" for at, name in enumerate(rows[0])]

    def spelled(cell: str, kind: str) -> str:
        if cell == "NA":
            return "?"
        if kind == "REAL":
            return f"{cell}.0"
        return f"'{cell}'" if " " in cell else cell

    lines = ["% House prices, 79 fields", "@RELATION house_prices", ""]
    lines += [f"@ATTRIBUTE {name} {kind}" for name, kind in zip(rows[0], kinds, strict=True)]
    lines += ["", "@DATA"]
    lines += [",".join(spelled(cell, kind) for cell, kind in zip(row, kinds, strict=True)) for row in rows[1:]]
    return ("\n".join(lines) + "\n").encode()


def offer_openml(server: Server, content: bytes, **changes: Any) -> None:
    """Serve ``content`` as OpenML serves data set 42165."""
    described = {
        "id": "42165",
        "name": "house_prices",
        "format": "arff",
        "url": f"{server.url}/data/v1/download/21754539/house_prices.arff",
        "status": "active",
        "md5_checksum": hashlib.md5(content).hexdigest(),
    }
    body = json.dumps({"data_set_description": described | changes}).encode()
    server.answers["/api/v1/json/data/42165"] = [status(200, body, Content_Type="application/json")]
    server.answers["/data/v1/download/21754539/house_prices.arff"] = [whole(content)]


def run(server: Server, target: Path, *arguments: str, path: str = "/houses.csv") -> int:
    return cli.main(["data", "--from", server.url + path, "-o", str(target), "--timeout", "0.4", *arguments])


def untouched(target: Path) -> bool:
    return target.read_text() == "the old file" and os.listdir(target.parent) == [target.name]


# OpenML


def test_openml_is_the_default_and_gives_the_kaggle_file(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_openml(server, in_arff(sample.csv_bytes()))
    monkeypatch.setenv("OPENML_URL", server.url + "/")
    assert cli.main(["data", "-o", str(target)]) == 0
    assert target.read_bytes() == sample.csv_bytes()
    assert os.listdir(target.parent) == [target.name]
    output = capsys.readouterr()
    assert output.out == ""
    assert f"Wrote {target}: 1,460 rows, 81 columns, checked\n" in output.err
    assert cli.SYNTHETIC in output.err
    assert [path for path, _ in server.requests] == [
        "/api/v1/json/data/42165",
        "/data/v1/download/21754539/house_prices.arff",
    ]


def test_address_of_openml_can_be_given(server: Server, target: Path) -> None:
    offer_openml(server, in_arff(sample.csv_bytes()))
    assert cli.main(["data", "-o", str(target), "--openml-url", server.url]) == 0


@pytest.mark.skipif(not (AMES / "train.csv").exists(), reason="the Kaggle files are not there (AMES_DATA)")
def test_file_from_openml_is_kaggles_byte_for_byte(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_openml(server, in_arff((AMES / "train.csv").read_bytes()))
    assert cli.main(["data", "-o", str(target), "--openml-url", server.url]) == 0
    assert target.read_bytes() == (AMES / "train.csv").read_bytes()
    assert f"sha256 {download.KAGGLE_SHA256}, byte for byte Kaggle's train.csv\n" in capsys.readouterr().err


def test_file_that_differs_from_openmls_md5_is_refused(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_openml(server, in_arff(HOUSES), md5_checksum="0" * 32)
    assert cli.main(["data", "-o", str(target), "--openml-url", server.url]) == 2
    assert f"OpenML says {'0' * 32}; it was damaged on the way: try again\n" in capsys.readouterr().err
    assert untouched(target)


def test_file_with_fewer_rows_than_openml_has_is_refused(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_openml(server, in_arff(HOUSES))
    assert cli.main(["data", "-o", str(target), "--openml-url", server.url]) == 2
    assert capsys.readouterr().err.endswith("house_prices.arff: 60 rows where there must be 1460\n")
    assert untouched(target)


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"{}", b'{"data_set_description": []}', b"7"])
def test_answer_that_describes_no_data_set_is_refused(
    body: bytes, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/api/v1/json/data/42165"] = [status(200, body)]
    assert cli.main(["data", "-o", str(target), "--openml-url", server.url]) == 1
    assert "/api/v1/json/data/42165: not the description of a data set; OpenML may be down" in capsys.readouterr().err
    assert untouched(target)


def test_data_set_that_openml_has_withdrawn_is_said_to_be(server: Server, target: Path) -> None:
    offer_openml(server, in_arff(HOUSES), status="deactivated")
    said: list[str] = []
    download.load(target, openml=server.url, rows=60, say=said.append)
    assert f"{server.url}/api/v1/json/data/42165: OpenML calls this data set deactivated" in said


def test_encrypted_openml_that_leads_to_an_open_address_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"data_set_description": {"url": "http://x.org/d.arff", "md5_checksum": ""}}).encode()
    monkeypatch.setattr(Transfer, "fetch", lambda _: body)
    with pytest.raises(DownloadError, match=r"leads to http://x\.org/d\.arff, which is not encrypted"):
        download.load(target)


# any URL or path


def test_any_url_will_do(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing of it is taken for the sample: its identifiers are others.
    server.answers["/houses.csv"] = [whole(HOUSES.replace(b"\n9000", b"\n"))]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES.replace(b"\n9000", b"\n")
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    assert cli.SYNTHETIC not in capsys.readouterr().err


def test_any_path_will_do(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "with space.csv"
    source.write_bytes(HOUSES)
    for address in (str(source), source.as_uri()):
        target.write_text("the old file")
        assert cli.main(["data", "--from", address, "-o", str(target)]) == 0
        assert target.read_bytes() == HOUSES


def test_folder_is_made_only_for_a_good_file(server: Server, tmp_path: Path) -> None:
    new = tmp_path / "new" / "houses.csv"
    server.answers["/houses.csv"] = [status(404), whole(HOUSES)]
    assert run(server, new) == 1
    assert not new.parent.exists()
    assert run(server, new) == 0
    assert new.read_bytes() == HOUSES


def test_packed_file_is_unpacked(server: Server, target: Path) -> None:
    server.answers["/houses.csv.gz"] = [whole(gzip.compress(in_arff(HOUSES)))]
    assert run(server, target, path="/houses.csv.gz") == 0
    assert target.read_bytes() == HOUSES


def test_encoding_that_was_not_asked_for_is_undone_or_refused(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [
        whole(gzip.compress(HOUSES), **{"Content-Encoding": "gzip"}),
        whole(HOUSES, **{"Content-Encoding": "br"}),
    ]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert run(server, target) == 1
    assert "sent in the encoding br, which was not asked for; download it with a browser" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(HOUSES)[:-20], "damaged gzip: it is cut off"),
        (b"\x1f\x8b\x08\x00" + bytes(20) + b"\xff" * 9, "damaged gzip: "),
        (gzip.compress(bytes(3000)), "unpacked larger than 0 MB; that is not the data"),
    ],
)
def test_packed_file_that_is_damaged_or_a_bomb_is_refused(
    content: bytes, reason: str, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LARGEST", 2000 if reason.startswith("unpacked") else 10**6)
    server.answers["/houses.csv"] = [whole(content)]
    with pytest.raises(DataError, match=reason):
        download.load(target, f"{server.url}/houses.csv")
    assert untouched(target)


def test_redirect_is_followed_and_a_password_not_sent_along(server: Server, target: Path) -> None:
    server.answers["/old.csv"] = [status(302, Location="/houses.csv")]
    server.answers["/houses.csv"] = [whole(HOUSES)]
    address = server.url.replace("//", "//eva:s%40crt@") + "/old.csv"
    assert cli.main(["data", "--from", address, "-o", str(target)]) == 0
    # "eva:s@crt" in base64.
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Basic ZXZhOnNAY3J0", None]


def test_redirect_to_another_kind_of_address_is_refused(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [status(302, Location="file:///etc/passwd")]
    assert run(server, target) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"regression-model: {server.url}/houses.csv: ")
    assert untouched(target)


def test_redirect_from_an_encrypted_address_to_an_open_one_is_refused() -> None:
    request = Request("https://eva:x@a.org/d.csv?key=k")
    with pytest.raises(
        DownloadError, match=r"^https://a\.org/d\.csv\?\.\.\.: redirects to http://b\.org/d\.csv, which"
    ):
        transfer._Redirects().redirect_request(request, io.BytesIO(), 302, "", request.headers, "http://b.org/d.csv")  # type: ignore[arg-type]


def test_neither_password_nor_query_is_ever_shown(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv?key=s3cret"] = [status(503), status(404)]
    address = server.url.replace("//", "//eva:s3cret@") + "/houses.csv?key=s3cret#s3cret"
    assert cli.main(["data", "--from", address, "-o", str(target)]) == 1
    output = capsys.readouterr()
    assert "s3cret" not in output.out + output.err
    assert f"{server.url}/houses.csv?..." in output.err
    assert shown("https://eva:s3cret@a.org:8443/d.csv?key=s3cret#x") == "https://a.org:8443/d.csv?..."


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ftp://a.org/d.csv", "ftp://a.org/d.csv: only http, https and file addresses, and paths"),
        ("nowhere.csv", "nowhere.csv: cannot be read: No such file or directory"),
    ],
)
def test_source_that_cannot_be_one_is_refused(
    source: str, reason: str, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "--from", source, "-o", str(target)]) == 2
    assert capsys.readouterr().err == f"regression-model: {reason}\n"


# what servers do


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (404, "the server answered 404 Not Found; check the address, or download it with a browser and pass the file"),
        (410, "the server answered 410 Gone; check the address"),
        (401, "the server answered 401 Unauthorized; it wants you to sign in: download it with a browser"),
        (403, "the server answered 403 Forbidden; it wants you to sign in"),
        (412, "the server answered 412 Precondition Failed; check the address"),
    ],
)
def test_refusal_is_not_repeated_and_named(
    code: int, reason: str, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [status(code)]
    assert run(server, target) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"regression-model: {server.url}/houses.csv: {reason}")
    assert len(server.requests) == 1
    assert untouched(target)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_passing_trouble_is_waited_out(code: int, server: Server, target: Path, pauses: list[float]) -> None:
    server.answers["/houses.csv"] = [status(code), status(code, Retry_After="7"), whole(HOUSES)]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert pauses == [1.0, 7.0]


def test_trouble_that_does_not_pass_is_one_sentence(
    server: Server, target: Path, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [status(503)]
    assert run(server, target) == 1
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"regression-model: {server.url}/houses.csv: the server answered 503 Service Unavailable (5 attempts); "
        "try again later"
    )
    assert untouched(target)


def test_server_that_asks_for_an_hour_is_not_waited_for(server: Server, target: Path, pauses: list[float]) -> None:
    server.answers["/houses.csv"] = [status(503, Retry_After="3600")]
    assert run(server, target) == 1
    assert (pauses, len(server.requests)) == ([], 1)


def test_cut_connection_is_taken_up_where_it_broke(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [cut(HOUSES, 5000, ETag='"1"'), whole(HOUSES, ETag='"1"')]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert server.requests[1][1]["Range"] == "bytes=5000-"
    assert server.requests[1][1]["If-Range"] == '"1"'
    assert (
        f"the connection was cut after 5,000 of {len(HOUSES):,} bytes; trying again in 1 s\n" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (cut(b"x" * 9000, 5000, ETag='"1"'), whole(HOUSES, ETag='"2"')),
        (cut(HOUSES, 5000), whole(HOUSES)),
        (cut(b"x" * 9000, 5000, ETag='W/"1"'), whole(HOUSES, ETag='W/"1"')),
    ],
    ids=["another version", "no validator", "a weak one"],
)
def test_cut_connection_that_cannot_be_taken_up_begins_anew(
    first: Answer, then: Answer, server: Server, target: Path
) -> None:
    server.answers["/houses.csv"] = [first, then]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES


def test_date_of_change_is_a_validator_too(server: Server, target: Path) -> None:
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    server.answers["/houses.csv"] = [cut(HOUSES, 5000, **{"Last-Modified": date}), whole(HOUSES)]
    assert run(server, target) == 0
    assert server.requests[1][1]["If-Range"] == date


@pytest.mark.parametrize(
    "wrong",
    [
        raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 9-19/99\r\nContent-Length: 3\r\n\r\nabc"),
        raw(b"HTTP/1.1 206 Partial\r\nContent-Range: nonsense\r\nContent-Length: 3\r\n\r\nabc"),
        status(416),
    ],
    ids=["another part", "no range", "none"],
)
def test_part_that_was_not_asked_for_is_thrown_away(wrong: Answer, server: Server, target: Path) -> None:
    server.answers["/houses.csv"] = [cut(HOUSES, 5000, ETag='"1"'), wrong, whole(HOUSES, ETag='"1"')]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert "Range" not in server.requests[2][1]


def test_connection_that_is_always_cut_leaves_the_old_file(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [cut(HOUSES, 5000)]
    assert run(server, target) == 1
    assert capsys.readouterr().err.endswith(
        f"the connection was cut after 5,000 of {len(HOUSES):,} bytes (5 attempts); try again later\n"
    )
    assert untouched(target)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (raw(b""), "the server closed the connection without an answer"),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
            "the connection was cut after 5 bytes",
        ),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "its answer is not HTTP; check the address"),
    ],
)
def test_answer_that_is_no_http_is_one_sentence(
    answer: Answer, reason: str, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [answer]
    assert run(server, target) == 1
    assert f"{server.url}/houses.csv: {reason}" in capsys.readouterr().err.splitlines()[-1]
    assert untouched(target)


def test_file_of_unknown_length_is_taken_if_it_ends_with_a_line(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    server.answers["/houses.csv"] = [raw(head + HOUSES), raw(head + HOUSES[:-3])]
    assert run(server, target) == 0
    target.write_text("the old file")
    assert run(server, target) == 1
    assert "the server does not say how long the file is, and it ends within a line" in capsys.readouterr().err
    assert untouched(target)


def test_slow_server_is_waited_for_while_something_comes(server: Server, target: Path) -> None:
    step = threading.Event()

    def dribble(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(HOUSES)))
        handler.end_headers()
        for start in range(0, len(HOUSES), len(HOUSES) // 6):
            handler.wfile.write(HOUSES[start : start + len(HOUSES) // 6])
            handler.wfile.flush()
            step.wait(0.1)

    server.answers["/houses.csv"] = [dribble]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert len(server.requests) == 1


def test_server_that_stalls_is_left_and_asked_again(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [stalled(HOUSES, 5000, ETag='"1"'), whole(HOUSES, ETag='"1"')]
    assert run(server, target) == 0
    assert target.read_bytes() == HOUSES
    assert "nothing arrived for 0.4 s after 5,000 bytes; trying again in 1 s\n" in capsys.readouterr().err


def test_server_that_never_answers_is_one_sentence(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "PAUSES", (1.0,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/houses.csv"
        assert cli.main(["data", "--from", address, "-o", str(target), "--timeout", "0.2"]) == 1
    assert capsys.readouterr().err.endswith(f"{address}: nothing arrived for 0.2 s (2 attempts); try again later\n")
    assert untouched(target)


def test_server_that_dribbles_for_ever_is_left(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "LONGEST_TRANSFER", -1.0)
    server.answers["/houses.csv"] = [whole(HOUSES)]
    assert run(server, target) == 1
    assert "minutes; download it with a browser" in capsys.readouterr().err


def test_port_where_nobody_listens_is_one_sentence(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/houses.csv"
    assert cli.main(["data", "--from", address, "-o", str(target)]) == 1
    assert capsys.readouterr().err.endswith(
        f"{address}: cannot be reached: Connection refused (5 attempts); try again later\n"
    )


@pytest.mark.parametrize(
    ("error", "passing", "reason"),
    [
        (ssl.SSLCertVerificationError(1, "expired"), False, "its certificate cannot be verified"),
        (socket.gaierror(-2, "Name or service not known"), True, "the host a.org is not known here"),
        (ValueError("control characters"), False, "cannot be fetched: control characters"),
    ],
)
def test_address_that_cannot_be_reached_says_why(error: Exception, passing: bool, reason: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "certificate has expired"
    with pytest.raises(transfer._PassingError if passing else DownloadError, match=reason):
        Transfer("https://a.org/d.csv")._failed(error if isinstance(error, ValueError) else URLError(error))


@pytest.mark.parametrize("chunked", [False, True])
def test_file_that_is_too_large_is_not_taken(
    chunked: bool, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 1000)
    endless = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + b"x" * 2048 + b"\r\n")
    server.answers["/houses.csv"] = [endless if chunked else whole(HOUSES)]
    assert run(server, target) == 1
    assert "larger than 0 MB; that is not the data: check the address\n" in capsys.readouterr().err
    assert untouched(target)


def test_path_of_a_file_that_is_too_large_is_refused(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LARGEST", 1000)
    (tmp_path / "houses.csv").write_bytes(HOUSES)
    with pytest.raises(DataError, match="larger than 0 MB"):
        download.load(target, str(tmp_path / "houses.csv"))


# what is in the file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"<!DOCTYPE html>\n<title>Sign in</title>\n",
            "an HTML or XML page, not CSV; was it downloaded without signing in?",
        ),
        (HOUSES.replace(b"SalePrice", b"Price"), "the header lacks column SalePrice"),
        (HOUSES.replace(b"GrLivArea", b"Area"), "the header lacks the required columns GrLivArea"),
        (b"\n".join(HOUSES.split(b"\n")[:11]) + b"\n", "10 rows; training needs at least 50"),
        (b"", "the file is empty"),
        (b"PK\x03\x04\x14\x00", "a workbook (.xlsx) or zip archive, not CSV text"),
    ],
    ids=["HTML", "wrong columns", "required", "few rows", "empty", "zip"],
)
def test_file_that_is_not_the_data_leaves_the_old_one(
    content: bytes, reason: str, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [whole(content)]
    assert run(server, target) == 2
    assert f"{server.url}/houses.csv: {reason}" in capsys.readouterr().err.splitlines()[-1]
    assert untouched(target)


def test_cell_of_a_wrong_type_is_named(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.reader(io.StringIO(HOUSES.decode())))
    rows[4][rows[0].index("GrLivArea")] = "big"
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    server.answers["/houses.csv"] = [whole(text.getvalue().encode())]
    assert run(server, target) == 2
    assert "line 5, column GrLivArea: Not a valid number; found 'big'\n" in capsys.readouterr().err
    assert untouched(target)


def test_sha256_is_that_of_the_file_as_it_is_served(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = gzip.compress(in_arff(HOUSES), mtime=0)
    server.answers["/houses.csv"] = [whole(served)]
    assert run(server, target, "--sha256", "0" * 64) == 2
    found = hashlib.sha256(served).hexdigest()
    assert f"its sha256 is {found}, not {'0' * 64}; it is another file or damaged\n" in capsys.readouterr().err
    assert untouched(target)
    assert run(server, target, "--sha256", found.upper()) == 0


def test_number_of_rows_can_be_asked_for(server: Server, target: Path) -> None:
    server.answers["/houses.csv"] = [whole(HOUSES)]
    assert run(server, target, "--rows", "61") == 2
    assert untouched(target)
    assert run(server, target, "--rows", "60") == 0


@pytest.mark.parametrize("option", [["--sha256", "abc"], ["--timeout", "0"], ["--timeout", "soon"]])
def test_option_that_means_nothing_is_a_usage_error(option: list[str], target: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "-o", str(target), *option])
    assert ended.value.code == 2


def test_interruption_leaves_the_old_file(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    server.answers["/houses.csv"] = [whole(HOUSES)]
    monkeypatch.setattr(dataset, "parse", interrupt)
    assert run(server, target) == 130
    assert untouched(target)


def test_progress_is_drawn_on_a_terminal_only(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/houses.csv"] = [whole(HOUSES)]
    assert run(server, target) == 0
    assert "\r" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(server, target) == 0
    assert "\r\x1b[KDownloading houses.csv " in capsys.readouterr().err
