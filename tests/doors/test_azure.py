"""The Azure export, by Azure Machine Learning's own inference server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120


@pytest.fixture(scope="module")
def server(export: Callable[[str], Path]) -> Generator[str]:
    """The address of the server of an exported model."""
    assert find_spec("model_kit") is None
    folder = export("azure")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("azmlinfsrv")), "--entry_script", "score.py", "--model_dir", "model"]
    with subprocess.Popen([*command, "--port", str(port)], cwd=folder, start_new_session=True) as process:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, "the server has ended"
                    assert time.monotonic() < deadline, "the server does not answer"
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def score(url: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(f"{url}/score", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_every_record_has_its_prediction_or_its_errors(server: str, houses: Any) -> None:
    status, found = score(server, json.dumps(houses.rows).encode())
    assert status == 200
    assert found["predictions"] == [
        None if one["prediction"] is None else pytest.approx(one["prediction"], rel=1e-9) for one in houses.predicted
    ]
    assert sorted(found["errors"]) == ["58", "59"]
    assert list(found["errors"]["58"]) == ["GrLivArea"]


def test_ranges_and_warnings_on_request(server: str, houses: Any) -> None:
    asked = {"input_data": houses.rows[:2], "params": {"interval": 0.9, "warnings": True}}
    status, found = score(server, json.dumps(asked).encode())
    assert status == 200
    low, high = found["intervals"][0]
    assert low == pytest.approx(houses.predicted[0]["prediction_low"], rel=1e-9)
    assert high == pytest.approx(houses.predicted[0]["prediction_high"], rel=1e-9)
    assert all(warning["code"] for warning in found["warnings"][0])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"3", "no array of records"),
        (b'{"input_data": [], "params": {"level": 0.9}}', "there is no level"),
        (b'{"input_data": [], "params": {"interval": 0.999}}', "interval"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_400(server: str, body: bytes, words: str) -> None:
    status, found = score(server, body)
    assert status == 400
    assert words in found["error"]
