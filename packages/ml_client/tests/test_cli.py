"""The command, on files and pipes."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ml_client.cli.files import csv_lines
from ml_client.cli.main import main

from rides_server import Server

#: With a number as text, what is missing, an unused column with quotes and lines, an empty text beside a missing one.
RIDES = 'distance,zone,comfort,note\n3.5,A,2,"a ""b"",\nc"\nfar,B,,""\n 8 ,B,NA,\n'
FARES = [math.exp(2.5 + 3.5 / 8 + 1 / 16 + 2 / 32), None, math.exp(2.5 + 1 + 1 / 16 - 1 / 4)]
ERROR = "distance: Not a valid number."


@pytest.fixture
def url(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ML_API_URL", server.url)
    return server.url


@pytest.fixture
def rides(tmp_path: Path) -> Path:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict(*arguments: Any) -> int:
    return main(["predict", "--model", "rides", *map(str, arguments)])


def test_csv_keeps_its_values_as_text(
    url: str, rides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    assert predict(rides, "-o", output, "--interval", 0.9) == 0
    text = output.read_text()
    assert text.startswith(
        'distance,zone,comfort,note,prediction,error,prediction_low,prediction_high\n3.5,A,2,"a ""b"",\nc",'
    )
    assert '\nfar,B,,"",,' in text
    assert "\n 8 ,B,NA,," in text
    found = rows_of(output)
    assert [row["prediction"] and float(row["prediction"]) for row in found] == [
        pytest.approx(FARES[0], rel=1e-6),
        "",
        pytest.approx(FARES[2], rel=1e-6),
    ]
    assert [row["error"] for row in found] == ["", ERROR, ""]
    assert float(found[0]["prediction_low"]) < float(found[0]["prediction"]) < float(found[0]["prediction_high"])
    error = capsys.readouterr().err
    assert error.startswith("rides 1.2.3: 2 rows predicted, 1 failed, in ")


def test_parquet_and_json_lines_and_pipes(url: str, tmp_path: Path) -> None:
    path, output = tmp_path / "rides.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table({"distance": [3.5, None], "zone": ["A", "B"], "comfort": [2, 2]}), path)
    assert predict(path, "-o", output, "--prefix", "my_", "--json") == 0
    found = pq.read_table(output)
    assert found.column_names == ["distance", "zone", "comfort", "my_prediction", "my_error"]
    assert found.column("my_prediction").to_pylist() == [pytest.approx(FARES[0], rel=1e-6), None]
    lines = '{"distance": 3.5, "zone": "A", "comfort": 2}\n\n{"zone": "B"}\n[1]\n'
    command = [
        sys.executable,
        "-m",
        "ml_client.cli",
        "predict",
        "-",
        "--format",
        "jsonl",
        "--model",
        "rides",
        "--warnings",
    ]
    done = subprocess.run([*command, "--json"], input=lines, capture_output=True, text=True, check=True, env=os.environ)
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert first["prediction"] == pytest.approx(FARES[0], rel=1e-6)
    assert first["warnings"][0]["code"] == "imputed"
    assert (second["zone"], second["prediction"], second["error"]) == (
        "B",
        None,
        "distance: Missing data for required field.",
    )
    assert third["record"] == [1]
    assert json.loads(done.stderr) | {"seconds": 0} == {
        "model": {"name": "rides", "versions": ["1.2.3"]},
        "rows": 3,
        "predicted": 1,
        "failed": 2,
        "seconds": 0,
    }


def test_a_long_file_is_read_in_blocks(current: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ML_API_URL", current.url)
    path, output = tmp_path / "rides.csv", tmp_path / "out.csv"
    path.write_text("distance,zone,note\n" + "".join(f"{number % 50},A,{'x' * 300}\n" for number in range(20_000)))
    assert predict(path, "-o", output) == 0
    found = [float(row["prediction"]) for row in rows_of(output)]
    np.testing.assert_allclose(found, np.exp(2.5 + np.arange(20_000) % 50 / 8 + 1 / 16), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("{rides}", "--strict"), 1, "1 failed"),
        (("{bad}",), 1, "0 rows predicted, 1 failed"),
        (("nowhere.csv",), 2, "nowhere.csv: "),
        (("{ragged}",), 2, "ragged.csv: CSV parse error: Expected 2 columns, got 3"),
        (("{empty}",), 2, "empty.csv: there is no header"),
        (("{bytes}",), 2, "bytes.csv: the header is not UTF-8"),
        (("{rides}", "--format", "parquet"), 2, "rides.csv: "),
        (("{rides}", "--format", "jsonl", "-o", "-"), 2, "rides.csv, line 1: not JSON"),
        (("lines.jsonl", "-o", "out.csv"), 2, "of JSON Lines the output is JSON Lines too"),
        (("{taken}",), 2, "the file has a column prediction already; give the new ones a --prefix"),
        (("{rides}", "--interval", "0.99"), 3, "400 Bad Request: The query parameter interval"),
        (("{rides}", "--url", "http://127.0.0.1:9"), 3, "no response from http://127.0.0.1:9/"),
        (("{rides}", "--url", "nonsense"), 2, "url must begin with http"),
    ],
)
def test_exit_statuses_and_what_is_said(
    current: Server,
    rides: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    monkeypatch.setenv("ML_API_URL", current.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("distance,zone\nfar,A\n")
    (tmp_path / "ragged.csv").write_text("distance,zone\n1,A,2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bytes.csv").write_bytes(b"\xff,b\n1,2\n")
    (tmp_path / "taken.csv").write_text("distance,zone,prediction\n1,A,2\n")
    (tmp_path / "lines.jsonl").write_text("{}\n")
    given = [str(tmp_path / f"{one[1:-1]}.csv") if one.startswith("{") else one for one in arguments]
    output = () if "-o" in given else ("-o", "out.csv")
    assert predict(*given, *output) == status
    assert words in capsys.readouterr().err
    left = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out")))
    assert left == (["out.csv"] if status == 1 else [])


def test_a_file_without_rows_is_a_file_with_all_columns(url: str, tmp_path: Path) -> None:
    (tmp_path / "rides.csv").write_text("distance,zone\n")
    assert predict(tmp_path / "rides.csv", "-o", tmp_path / "out.csv", "--strict") == 0
    assert (tmp_path / "out.csv").read_text() == "distance,zone,prediction,error\n"


def test_models_and_the_only_one(url: str, rides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "lengths  1.2.3  length (short, long)\nrides  1.2.3  fare (EUR)\n"
    assert main(["models", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["lengths", "rides"]
    assert main(["predict", str(rides)]) == 2
    assert "--model is needed; the server has lengths, rides" in capsys.readouterr().err


def test_help_has_no_key_and_a_url_is_needed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_API_KEY", "secret")
    assert main(["models"]) == 2
    assert "--url is needed, or the variable ML_API_URL" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    out = capsys.readouterr().out
    assert "--key" not in out
    assert "secret" not in out


def test_lines_of_csv_are_read_back_as_they_were() -> None:
    values: list[list[Any]] = [["a", "", None, 'q"q', "x,y", "l\nm", " b "], [1.5, None, 1e300, -0.0, 3.0, 0.1, 2.0]]
    table = pa.table({"text": values[0], "number": values[1]})
    text = csv_lines(table, ",").decode()
    assert text.splitlines()[:3] == ["a,1.5", '"",', ",1e+300"]
    found = list(csv.reader(text.splitlines(keepends=True)))
    assert [row[0] for row in found] == [value or "" for value in values[0]]
