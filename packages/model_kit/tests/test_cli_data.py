"""The command ``data`` against servers on loopback: what is fetched, from where, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from model_kit.cli.main import main
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import ride_definition
from model_kit.training import dataset

#: "None" is a level and not a missing cell; ARFF needs quotes for the two with a blank.
ZONES = ("None", "Old Town", "Dock, East", "A")
ROWS = [
    (str(n), f"{n / 4 + 1}", "NA" if n % 5 == 0 else str(n % 8 + 1), ZONES[n % 4], str(n % 3 + 1), str(n % 30 + 10))
    for n in range(1, 61)
]
HEADER = ("Id", "distance", "passengers", "zone", "comfort", "fare")
RIDES = "".join(
    ",".join(f'"{cell}"' if "," in cell else cell for cell in row) + "\n" for row in (HEADER, *ROWS)
).encode()
SHA256 = hashlib.sha256(RIDES).hexdigest()
#: Columns of the data set on OpenML: name, type there.
ATTRIBUTES = (
    ("Id", "numeric"),
    ("distance", "numeric"),
    ("passengers", "numeric"),
    ("zone", "string"),
    ("comfort", "nominal"),
    ("fare", "numeric"),
)
OPENML_ID = 42


class Answer(NamedTuple):
    """What a path is answered with; ``sent`` is how many bytes of the body reach the client."""

    body: bytes
    status: int = 200
    encoding: str = ""
    sent: int | None = None
    chunked: bool = False


class Server(NamedTuple):
    url: str
    answers: dict[str, Answer]
    requested: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    answers: dict[str, Answer] = {}
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            requested.append(self.path)
            self.close_connection = True
            answer = answers.get(self.path.partition("?")[0], Answer(b"", 404))
            if answer.status == 0:
                return
            self.send_response(answer.status)
            if answer.encoding:
                self.send_header("Content-Encoding", answer.encoding)
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n" % len(answer.body))
            else:
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
            self.wfile.write(answer.body[: answer.sent])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield Server(f"http://127.0.0.1:{running.server_port}", answers, requested)
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def definition(monkeypatch: pytest.MonkeyPatch) -> ModelDefinition:
    """The model that the command finds, with a data set on OpenML."""
    definition = ride_definition(identifier="Id", openml_id=OPENML_ID)
    monkeypatch.setattr("model_kit.cli.main.find_definition", lambda _: definition)
    return definition


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An older file, in a folder of its own."""
    target = tmp_path / "data" / "rides.csv"
    target.parent.mkdir()
    target.write_text("old")
    return target


def load(target: Path, *options: str) -> int:
    return main(["data", "-o", str(target), *options], program="rides-model")


def is_untouched(target: Path) -> bool:
    return target.read_text() == "old" and os.listdir(target.parent) == [target.name]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return str(err.splitlines()[-1])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["path", "file", "http"])
def test_file_is_written_as_it_is_unpacked(
    kind: str, packed: bool, server: Server, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = gzip.compress(RIDES) if packed else RIDES
    server.answers["/rides"] = Answer(served)
    (tmp_path / "rides").write_bytes(served)
    source = {"path": f"{tmp_path}/rides", "file": f"file://{tmp_path}/rides", "http": f"{server.url}/rides"}[kind]
    assert load(target, "--from", source, "--sha256", hashlib.sha256(served).hexdigest().upper()) == 0
    assert target.read_bytes() == RIDES
    assert last_line(capsys) == f"Wrote 60 rows to {target}"


def test_folder_is_made_for_what_is_accepted_alone(tmp_path: Path) -> None:
    (tmp_path / "rides").write_bytes(RIDES)
    (tmp_path / "other").write_bytes(b"a,b\n1,2\n")
    target = tmp_path / "new" / "folder" / "rides.csv"
    assert load(target, "--from", str(tmp_path / "other")) == 2
    assert not target.parent.parent.exists()
    assert load(target, "--from", str(tmp_path / "rides")) == 0
    assert target.read_bytes() == RIDES


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        (RIDES, ("--sha256", "0" * 64), f"sha256 is {SHA256}, not {'0' * 64}; nothing was written"),
        (b"a,b\n1,2\n", (), "rides.csv: the header lacks the required columns distance, zone"),
        (RIDES.replace(b"\n7,2.75,", b"\n7,-2.75,"), (), "rides.csv, line 8, column distance: "),
        (b"<!doctype html><title>Log in</title>", (), "rides.csv: an HTML or XML page, not CSV"),
        (gzip.compress(RIDES, mtime=0)[:-20], (), "the gzip file is damaged: "),
        (gzip.compress(RIDES, mtime=0)[:9] + b"\xff" * 40, (), "the gzip file is damaged: "),
    ],
)
def test_what_is_not_the_data_is_refused(
    content: bytes,
    options: tuple[str, ...],
    reason: str,
    server: Server,
    target: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.answers["/rides"] = Answer(content)
    assert load(target, "--from", f"{server.url}/rides", *options) == 2
    assert last_line(capsys).startswith(f"rides-model: {reason}")
    assert is_untouched(target)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(RIDES, sent=100), "cannot be fetched: IncompleteRead(100 bytes read, "),
        (Answer(RIDES, sent=100, chunked=True), "cannot be fetched: IncompleteRead("),
        (Answer(b"", status=0), "cannot be fetched: Remote end closed connection without response"),
        (Answer(b"", status=403), "cannot be fetched: Forbidden"),
    ],
)
def test_what_cannot_be_fetched_leaves_the_old_file(
    answer: Answer, reason: str, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/rides"] = answer
    assert load(target, "--from", f"{server.url}/rides") == 1
    assert last_line(capsys).startswith(f"rides-model: http://127.0.0.1/rides: {reason}")
    assert is_untouched(target)


@pytest.mark.parametrize(
    "source",
    [
        "http://me:hunter2@{}/rides",
        "http://{}/rides?token=hunter2",
        "http://{}/rides#hunter2",
        "ftp://me:hunter2@{}/rides",
        "s3://me:hunter2@{}/rides",
        "http://me:hunter2@[{}/rides",
    ],
)
def test_credentials_of_a_url_are_not_shown(
    source: str, server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(target, "--from", source.format(server.url.removeprefix("http://"))) in {1, 2}
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "Traceback" not in shown.err
    assert is_untouched(target)


# OpenML


def arff() -> bytes:
    """The rides as OpenML serves them: "?" is missing; what has a blank or a comma stands in single quotes."""
    kinds = {"numeric": "REAL", "string": "STRING", "nominal": "{'1','2','3'}"}
    head = [f"@ATTRIBUTE {name} {kinds[kind]}" for name, kind in ATTRIBUTES]
    lines = ["% Rides", "@RELATION rides", *head, "@DATA"]
    for row in ROWS:
        cells = ["?" if cell == "NA" else f"'{cell}'" if " " in cell else cell for cell in row]
        cells[4] = f"'{cells[4]}'"
        lines.append(",".join(cells))
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def openml(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that stands in for OpenML, where scikit-learn looks for it; its cache is empty."""
    from sklearn.datasets import _openml

    for name in ("_DATA_INFO", "_DATA_FEATURES", "_DATA_QUALITIES"):
        address = getattr(_openml, name)
        assert address.startswith("https://www.openml.org/")
        monkeypatch.setattr(_openml, name, address.replace("https://www.openml.org", server.url))
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _: None)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    content = arff()
    description = {
        "id": str(OPENML_ID),
        "name": "rides",
        "version": "1",
        "description": "Rides by hand",
        "format": "ARFF",
        "status": "active",
        "url": f"{server.url}/data/v1/download/7/rides.arff",
        "md5_checksum": hashlib.md5(content).hexdigest(),
    }
    features = [
        {
            "index": str(index),
            "name": name,
            "data_type": kind,
            "is_target": str(name == "fare").lower(),
            "is_ignore": "false",
            "is_row_identifier": "false",
            "number_of_missing_values": "12" if name == "passengers" else "0",
        }
        for index, (name, kind) in enumerate(ATTRIBUTES)
    ]
    documents = {
        f"/api/v1/json/data/{OPENML_ID}": {"data_set_description": description},
        f"/api/v1/json/data/features/{OPENML_ID}": {"data_features": {"feature": features}},
        f"/api/v1/json/data/qualities/{OPENML_ID}": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(ROWS))}]}
        },
    }
    for path, document in documents.items():
        server.answers[path] = Answer(gzip.compress(json.dumps(document).encode()), encoding="gzip")
    server.answers["/data/v1/download/7/rides.arff"] = Answer(gzip.compress(content), encoding="gzip")
    return server


def test_file_from_openml_trains_as_the_csv_does(openml: Server, target: Path, definition: ModelDefinition) -> None:
    assert load(target) == 0
    assert "/data/v1/download/7/rides.arff" in openml.requested
    found = dataset.load(definition, target)
    expected = dataset.parse(definition, RIDES, "rides.csv")
    assert found.rows == expected.rows
    assert found.ids == expected.ids
    assert found.target.tolist() == expected.target.tolist()
    assert {row["zone"] for row in found.rows} == set(ZONES)
    assert [row["passengers"] for row in found.rows[3:6]] == [5, None, 7]


def test_column_that_openml_declares_as_row_identifier_is_one_of_the_file(
    openml: Server, target: Path, definition: ModelDefinition
) -> None:
    path = f"/api/v1/json/data/features/{OPENML_ID}"
    document = json.loads(gzip.decompress(openml.answers[path].body))
    document["data_features"]["feature"][0]["is_row_identifier"] = "true"
    openml.answers[path] = Answer(json.dumps(document).encode())
    assert load(target) == 0
    assert dataset.load(definition, target).ids == tuple(row[0] for row in ROWS)


def test_warning_of_openml_is_reported_in_a_line(
    openml: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"/api/v1/json/data/{OPENML_ID}"
    document = json.loads(gzip.decompress(openml.answers[path].body))
    document["data_set_description"]["warning"] = "fares of 2019 are wrong"
    openml.answers[path] = Answer(json.dumps(document).encode())
    assert load(target) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("OpenML: OpenML raised a warning on the dataset.")
    assert lines[1].endswith("fares of 2019 are wrong")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        (f"/api/v1/json/data/{OPENML_ID}", Answer(b"", 412), "Dataset with data_id 42 not found."),
        (f"/api/v1/json/data/{OPENML_ID}", Answer(b"", 503), "HTTP Error 503: Service Unavailable"),
        (f"/api/v1/json/data/{OPENML_ID}", Answer(b"<html>"), "Expecting value"),
        ("/data/v1/download/7/rides.arff", Answer(arff()[:-100]), "The md5 checksum of the file "),
        ("/data/v1/download/7/rides.arff", Answer(gzip.compress(arff())[:-50], encoding="gzip"), "Compressed file "),
    ],
)
def test_openml_that_fails_is_one_line_and_leaves_the_old_file(
    path: str, answer: Answer, reason: str, openml: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openml.answers[path] = answer
    assert load(target) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Loading data set 42 from OpenML"
    assert second.startswith(f"rides-model: OpenML: cannot be fetched: {reason}")
    assert is_untouched(target)


def test_model_without_a_data_set_on_openml_says_what_to_do(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model_kit.cli.main.find_definition", lambda _: ride_definition())
    assert load(target) == 2
    assert capsys.readouterr().err == (
        "rides-model: the model rides names no data set on OpenML; say where: --from URL|PATH\n"
    )
    assert is_untouched(target)
