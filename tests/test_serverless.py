"""The server where serverless platforms run it: one processor, nothing writable but /tmp, frozen between requests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from confined import Confined, confined_command
from on_vm import make_release
from operated import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
#: Writes a file into each folder that a server might use, and names those where that was possible.
PROBE = """
import os, tempfile
for folder in ("/", "/tmp", "/dev/shm", "/var/tmp", "/run", "/var/lib", os.getcwd(), os.path.expanduser("~")):
    try:
        tempfile.TemporaryFile(dir=folder).close()
        print(folder)
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def confined(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Confined]:
    """The server with all that it may share by files."""
    server = Confined(release, tmp_path_factory.mktemp("confined"), METRICS="true", RATE_LIMIT="1000000/day")
    yield server
    server.stop()


def test_nothing_but_tmp_is_writable(release: Path) -> None:
    command = confined_command(release, sys.executable, "-c", PROBE)
    done = subprocess.run(command, cwd=release, capture_output=True, text=True, check=True)
    assert done.stdout == "/tmp\n"


def test_server_answers_with_one_processor_and_nothing_writable_but_tmp(confined: Confined) -> None:
    status, _, document = confined.ask("POST", "/v1/predict/rides", GOLDEN_ROW)
    assert (status, document["predictions"]) == (200, [GOLDEN_PREDICTION])
    assert confined.ask("GET", "/metrics")[0] == 200
    assert len(os.sched_getaffinity(confined.process.pid)) == 1
    # What its processes share.
    (shared,) = Path(f"/proc/{confined.process.pid}/root/tmp").glob("ml-api-*")
    assert shared.is_dir()
    assert '"level":"error"' not in confined.log


def test_a_body_that_is_on_its_way_at_the_stop_is_received_and_answered(release: Path, tmp_path: Path) -> None:
    server = Confined(release, tmp_path)
    body = json.dumps(GOLDEN_ROW).encode()
    head = (
        f"POST /v1/predict/rides HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    with server.connect() as sock:
        sock.sendall(f"{head}\r\n\r\n".encode() + body[:5])
        # A request behind it has been answered: it was received.
        assert server.ask("GET", "/health")[0] == 200
        server.process.terminate()
        wait_until(lambda: "Handling signal: term" in server.log)
        time.sleep(0.3)
        sock.sendall(body[5:])
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert (response.status, json.loads(response.read())["predictions"]) == (200, [GOLDEN_PREDICTION])
    server.stop()
    assert "the event loop failed" not in server.log
