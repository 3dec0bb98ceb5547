"""The command ``data``: fetched, checked, and only then put in its place."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from model_kit.cli.main import main
from regression_model.sample import csv_bytes

HOUSES = csv_bytes(60, seed=1)


class _Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/houses.csv"):
            cut = "cut" in self.path
            self.send_response(200)
            self.send_header("Content-Length", str(len(HOUSES)))
            self.end_headers()
            self.wfile.write(HOUSES[: len(HOUSES) // 2] if cut else HOUSES)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    running = HTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def load(target: Path, *options: str) -> int:
    return main(["data", "-o", str(target), *options], program="regression-model")


def test_url_path_and_gzip_give_the_same_file(server: str, tmp_path: Path) -> None:
    (tmp_path / "houses.csv.gz").write_bytes(gzip.compress(HOUSES))
    for number, source in enumerate((f"http://{server}/houses.csv", str(tmp_path / "houses.csv.gz"))):
        target = tmp_path / f"folder/{number}.csv"
        assert load(target, "--from", source) == 0
        assert target.read_bytes() == HOUSES


def test_sha256_is_that_of_the_file_as_it_is_served(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "houses.csv"
    source = ("--from", f"http://{server}/houses.csv")
    assert load(target, *source, "--sha256", hashlib.sha256(HOUSES).hexdigest()) == 0
    target.write_text("old")
    assert load(target, *source, "--sha256", "0" * 64) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("http://{}/houses.csv?cut&token=hunter2", "the connection ended after"),
        ("http://{}/nothing?token=hunter2", "/nothing: cannot be fetched: Not Found"),
        ("http://me:hunter2@{}/houses.csv", "cannot be fetched: "),
    ],
)
def test_what_cannot_be_fetched_leaves_the_old_file_and_shows_no_credentials(
    source: str, reason: str, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "houses.csv"
    target.write_text("old")
    assert load(target, "--from", source.format(server)) == 1
    err = capsys.readouterr().err
    assert reason in err
    assert "hunter2" not in err
    assert target.read_text() == "old"


def test_what_is_not_the_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.csv").write_text("OverallQual,GrLivArea,YearBuilt,Neighborhood\n1,2,3,4\n")
    (tmp_path / "damaged.gz").write_bytes(gzip.compress(HOUSES)[:-20])
    for name, reason in (("other.csv", "the header lacks"), ("damaged.gz", "damaged"), ("absent", "cannot be read")):
        assert load(tmp_path / "target.csv", "--from", str(tmp_path / name)) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "target.csv").exists()


def test_openml_gives_what_the_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As scikit-learn's loader with parser="pandas" gives it: "?" is missing, and "None" is a level.
    frame = pd.read_csv(io.BytesIO(HOUSES), keep_default_na=False, na_values=["NA"])
    asked: list[int] = []

    def fetch_openml(*, data_id: int, **_: object) -> SimpleNamespace:
        asked.append(data_id)
        return SimpleNamespace(frame=frame)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    target = tmp_path / "houses.csv"
    assert load(target) == 0
    assert asked == [42165]
    found = pd.read_csv(target, keep_default_na=False, na_values=["NA"])
    pd.testing.assert_frame_equal(found, frame)
    assert (found["MasVnrType"] == "None").any()
