"""End-to-end tests over a real gunicorn with the configuration of production."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from ml_api.heartbeats import SUSPENDED
from suspended import suspended

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

FOLDER = Path(__file__).parents[1]
URL = "/v1/predict/rides"
JSON = {"Content-Type": "application/json"}
MEBIBYTE = 1024 * 1024
MISSING = ["Missing data for required field."]


@pytest.mark.parametrize(
    ("body", "status", "predictions", "errors"),
    [
        (GOLDEN_ROW, 200, [GOLDEN_PREDICTION], None),
        ([GOLDEN_ROW] * 3, 200, [GOLDEN_PREDICTION] * 3, None),
        ([], 200, [], None),
        ({}, 422, [None], {"0": {"distance": MISSING, "zone": MISSING}}),
        ([{}], 422, [None], {"0": {"distance": MISSING, "zone": MISSING}}),
        (
            [GOLDEN_ROW, {"distance": "x", "zone": 1}, 5, GOLDEN_ROW],
            200,
            [GOLDEN_PREDICTION, None, None, GOLDEN_PREDICTION],
            {
                "1": {"distance": ["Not a valid number."], "zone": ["Not a valid string."]},
                "2": {"_schema": ["Invalid input type."]},
            },
        ),
        ([{**GOLDEN_ROW, "zone": "unheard of"}], 200, [GOLDEN_PREDICTION], None),
    ],
)
def test_predictions(server: Server, body: Any, status: int, predictions: Any, errors: Any) -> None:
    assert server.predict(body) == (status, {"predictions": predictions, "errors": errors, "version": "1.2.3"})


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", URL, b"[{]", JSON, 400),
        ("POST", URL, b"[NaN]", JSON, 400),
        ("POST", URL, b'["\xff"]', JSON, 400),
        ("POST", URL, b"[" * 100_000, JSON, 400),
        ("POST", URL, b"3", JSON, 400),
        ("POST", URL, b"", JSON, 400),
        ("POST", URL, b"[]", {"Content-Type": "text/plain"}, 415),
        ("POST", URL, b"[]", JSON | {"Content-Encoding": "gzip"}, 415),
        ("POST", URL, json.dumps([1] * 10_001).encode(), JSON, 413),
        ("POST", "/v1/predict/boats", b"[]", JSON, 404),
        ("GET", "/nowhere", None, {}, 404),
        ("GET", URL, None, {}, 405),
    ],
)
def test_problems(
    server: Server, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    response, document = server.request(method, path, body, headers)
    assert response.status == document["status"] == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == document["request_id"]
    assert response.headers["Connection"] == "keep-alive"


def test_health_and_version(server: Server) -> None:
    assert server.request("GET", "/health")[1] == {"status": "ok"}
    assert server.request("GET", "/health/ready")[1] == {"status": "ready"}
    version = server.request("GET", "/version")[1]
    assert version["model_version"] == "1.2.3"
    assert list(version["models"]) == ["naps", "rides"]


def test_head_has_no_body(server: Server) -> None:
    response, document = server.request("HEAD", "/health")
    assert (response.status, document) == (200, None)


def test_every_worker_says_what_it_loaded_and_warns(server: Server) -> None:
    loaded = [line for line in server.lines if line["message"] == "model loaded"]
    assert len({line["pid"] for line in loaded}) == 2
    assert {(line["model"], line["version"], line["data"]) for line in loaded} == {
        ("rides", "1.2.3", "rides by hand"),
        ("naps", "1.2.3", "rides by hand"),
    }
    warned = [line for line in server.lines if line["message"].startswith("TRAINED ON SYNTHETIC DATA")]
    assert len(warned) == 4
    assert {line["level"] for line in warned} == {"warning"}


def test_one_line_a_request_with_its_id_and_without_its_values(server: Server) -> None:
    headers = JSON | {"X-Request-ID": "trace-1"}
    records = json.dumps([{"zone": "canary", "distance": 1}])
    response, _ = server.request("POST", URL + "?warnings=true", records, headers)
    assert response.headers["X-Request-ID"] == "trace-1"
    line = server.line_of("trace-1")
    assert (line["status"], line["rows"], line["errors"], line["model"]) == (200, 1, 0, "rides")
    refused, _ = server.request("POST", URL + "?canary=1", records, JSON | {"X-Request-ID": "trace-1-refused"})
    assert (refused.status, server.line_of("trace-1-refused")["status"]) == (400, 400)
    assert "canary" not in json.dumps(server.lines) + server.errors


def test_insane_request_id_is_replaced(server: Server) -> None:
    response, _ = server.request("GET", "/health", headers={"X-Request-ID": "a b"})
    assert server.line_of(response.headers["X-Request-ID"])["route"] == "/health"


def test_gunicorns_own_log_is_json(server: Server) -> None:
    lines = [json.loads(line) for line in server.errors.splitlines()]
    assert any(line["message"].startswith("Listening at: http://127.0.0.1:") for line in lines)
    assert not any("ontrol socket" in line["message"] for line in lines)


def test_unforeseen_error_shows_no_internals(server: Server) -> None:
    status, document = server.predict([{**GOLDEN_ROW, "passengers": 7, "distance": 41.8125}], "naps")
    assert status == 500
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    (trace,) = [line for line in server.lines if line["message"] == "unhandled exception"]
    assert trace["request_id"] == document["request_id"]
    assert trace["exceptions"][0]["type"] == "RuntimeError"
    assert "41.8125" not in json.dumps(server.lines) + server.errors + json.dumps(document)


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = server.connect()
    yield connection
    connection.close()


def exchange(connection: http.client.HTTPConnection, *arguments: Any, **options: Any) -> http.client.HTTPResponse:
    connection.request(*arguments, **options)
    response = connection.getresponse()
    response.read()
    return response


def test_connection_is_kept_for_several_requests(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    own = connection.sock.getsockname()
    for _ in range(5):
        assert exchange(connection, "POST", URL, json.dumps([GOLDEN_ROW]), JSON).status == 200
        assert exchange(connection, "GET", "/health").headers["Connection"] == "keep-alive"
        assert connection.sock.getsockname() == own


@pytest.mark.parametrize("path", [URL, "/nowhere", "/health"])
def test_unwanted_body_is_read_and_the_connection_kept(connection: http.client.HTTPConnection, path: str) -> None:
    response = exchange(connection, "POST", path, b"x" * (MEBIBYTE - 1), {"Content-Type": "text/plain"})
    assert response.status in (404, 405, 415)
    assert response.headers["Connection"] == "keep-alive"
    assert exchange(connection, "POST", URL, json.dumps([GOLDEN_ROW]), JSON).status == 200


def test_chunks_are_read(connection: http.client.HTTPConnection) -> None:
    pieces = [b"[", json.dumps(GOLDEN_ROW).encode(), b"]"]
    response = exchange(connection, "POST", URL, iter(pieces), JSON, encode_chunked=True)
    assert response.status == 200
    assert exchange(connection, "GET", "/health").status == 200


def raw(server: Server, head: str, body: Callable[[socket.socket], None] = lambda _: None) -> bytes:
    """Everything that comes back on a connection until it is closed by the server."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(f"{head}\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n".encode())
        body(sock)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


@pytest.mark.parametrize("path", [URL, "/nowhere"])
def test_too_large_body_closes_the_connection(server: Server, path: str) -> None:
    sent = 0

    def body(sock: socket.socket) -> None:
        nonlocal sent
        # A client that would send for ever: it stops when the server does not listen any longer.
        try:
            while sent < 200 * MEBIBYTE:
                sent += sock.send(b" " * 65536)
        except OSError:
            pass

    received = raw(server, f"POST {path} HTTP/1.1\r\nContent-Length: {200 * MEBIBYTE}", body)
    head, _, document = received.partition(b"\r\n\r\n")
    assert json.loads(document)["status"] == (413 if path == URL else 404)
    assert b"\r\nConnection: close\r\n" in head
    assert sent < 200 * MEBIBYTE
    assert server.predict(GOLDEN_ROW)[0] == 200


def test_too_large_body_in_chunks_closes_the_connection(server: Server) -> None:
    def body(sock: socket.socket) -> None:
        try:
            for _ in range(3200):
                sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except OSError:
            pass

    received = raw(server, f"POST {URL} HTTP/1.1\r\nTransfer-Encoding: chunked", body)
    head, _, document = received.partition(b"\r\n\r\n")
    assert json.loads(document)["status"] == 413
    assert b"\r\nConnection: close\r\n" in head
    assert server.predict(GOLDEN_ROW)[0] == 200


def test_malformed_chunk_is_a_bad_request_and_closes_the_connection(server: Server) -> None:
    received = raw(server, f"POST {URL} HTTP/1.1\r\nTransfer-Encoding: chunked", lambda sock: sock.sendall(b"xyz\r\n"))
    head, _, document = received.partition(b"\r\n\r\n")
    assert json.loads(document)["detail"] == "The body could not be read to its end."
    assert b"\r\nConnection: close\r\n" in head


def test_caller_that_hangs_up_leaves_the_server_well(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(
            f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[".encode()
        )
    assert server.predict(GOLDEN_ROW)[0] == 200


def test_requests_do_not_wait_for_each_other(server: Server) -> None:
    started = time.monotonic()
    threads = [
        threading.Thread(target=server.predict, args=({**GOLDEN_ROW, "passengers": 8}, "naps")) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= time.monotonic() - started < 3


def test_request_under_way_is_finished_before_the_end(serve: Serve) -> None:
    server = serve(entry_points="[ml_api.models]\nnaps = rides_package:load_naps\n")
    answers: list[tuple[int, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(server.predict({**GOLDEN_ROW, "passengers": 8}, "naps")))
    thread.start()
    time.sleep(0.3)
    assert server.stop() >= 0.5
    thread.join()
    ((status, document),) = answers
    assert (status, document["errors"], len(document["predictions"])) == (200, None, 1)


def pids(server: Server, connections: list[http.client.HTTPConnection]) -> list[int]:
    """Processes that answer on the connections."""
    answers = [exchange(connection, "GET", "/health") for connection in connections]
    return [server.line_of(answer.headers["X-Request-ID"])["pid"] for answer in answers]


def settled(server: Server) -> Server:
    """``server``, as soon as both its workers take connections; they have loaded the models a moment before."""
    for _ in range(200):
        connections = [server.connect(), server.connect()]
        found = set(pids(server, connections))
        for connection in connections:
            connection.close()
        time.sleep(0.05)
        if len(found) == 2:
            return server
    raise AssertionError("one worker takes no connection")


@pytest.mark.parametrize(("count", "least"), [(2, 1), (16, 6)])
def test_connections_are_shared_out_evenly(serve: Serve, count: int, least: int) -> None:
    server = settled(serve(WEB_CONCURRENCY="2"))
    connections = [server.connect() for _ in range(count)]
    for connection in connections:
        connection.connect()
    found = pids(server, connections)
    assert pids(server, connections) == found
    assert len(set(found)) == 2
    assert min(map(found.count, found)) >= least
    for connection in connections:
        connection.close()


def test_busy_worker_leaves_connections_to_the_idle_one(serve: Serve) -> None:
    server = serve(entry_points="[ml_api.models]\nnaps = rides_package:load_naps\n", WEB_CONCURRENCY="2")
    settled(server)
    connections = [server.connect() for _ in range(6)]
    connections[0].request("POST", "/v1/predict/naps", json.dumps([{**GOLDEN_ROW, "passengers": 8}]), JSON)
    found = []
    for connection in connections[1:]:
        time.sleep(0.1)
        found += pids(server, [connection])
        connection.close()
    answer = connections[0].getresponse()
    answer.read()
    connections[0].close()
    assert len(set(found)) == 1
    assert server.line_of(answer.headers["X-Request-ID"])["pid"] not in found


def test_connections_of_a_worker_that_died_count_no_longer(serve: Serve) -> None:
    server = settled(serve(WEB_CONCURRENCY="2"))
    connections = [server.connect() for _ in range(8)]
    dead = pids(server, connections)[0]
    os.kill(dead, signal.SIGKILL)
    give_up = time.monotonic() + 20
    while len({line["pid"] for line in server.lines if line["message"] == "model loaded"}) < 3:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(1)
    more = [server.connect() for _ in range(4)]
    found = pids(server, more)
    assert dead not in found
    # The survivor has four from before; of the four that come, its young colleague gets most.
    assert max(map(found.count, found)) >= 3
    for connection in connections + more:
        connection.close()
    server.process.terminate()
    assert server.process.wait(10) == 0


def test_worker_that_hangs_keeps_no_connection_waiting(serve: Serve) -> None:
    server = settled(serve(WEB_CONCURRENCY="2"))
    connections = [server.connect() for _ in range(6)]
    (hanging,) = pids(server, connections[:1])
    with suspended(hanging):
        assert hanging not in pids(server, connections[1:])
    for connection in connections:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_large_bodies_goes_back_to_the_system(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="1")
    (worker,) = {line["pid"] for line in server.lines if line["message"] == "model loaded"}

    def held() -> int:
        (line,) = [line for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) // 1024

    row = {**GOLDEN_ROW, **{f"other {n}": float(n) for n in range(80)}}
    body = json.dumps([row] * 5_000).encode()
    before = held()

    def send() -> None:
        connection = server.connect()
        assert exchange(connection, "POST", URL, body, JSON).status == 200
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.request("GET", "/health")
    assert held() < before + 25


def test_server_that_was_suspended_keeps_its_workers_and_replaces_one_that_hangs(serve: Serve) -> None:
    server = serve(GUNICORN_CMD_ARGS="--timeout=5")
    workers = server.workers
    with ExitStack() as stack:
        for pid in workers:
            stack.enter_context(suspended(pid))
        with suspended(server.process.pid):
            time.sleep(SUSPENDED + 1)
        # The master goes on first, and checks.
        time.sleep(1.5)
    assert server.predict(GOLDEN_ROW)[0] == 200
    assert server.workers == workers
    assert "WORKER TIMEOUT" not in server.errors
    (hanging,) = workers
    os.kill(hanging, signal.SIGSTOP)
    give_up = time.monotonic() + 40
    while hanging in server.workers:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert server.predict(GOLDEN_ROW)[0] == 200
    server.process.terminate()
    assert server.process.wait(30) == 0


def test_damaged_model_is_named_while_the_process_lives(serve: Serve, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "rides")
    content = bytearray((tmp_path / "rides" / "model.onnx").read_bytes())
    content[10] ^= 1
    (tmp_path / "rides" / "model.onnx").write_bytes(content)
    server = serve(tmp_path / "rides")
    assert server.request("GET", "/health")[0].status == 200
    response, document = server.request("GET", "/health/ready")
    assert (response.status, response.headers["Retry-After"]) == (503, "30")
    assert document["detail"].startswith("rides: model.onnx: sha256 is ")
    status, document = server.predict(GOLDEN_ROW)
    assert status == 503
    assert document["detail"].startswith("Model rides cannot answer: model.onnx: sha256 is ")
    assert server.request("GET", "/version")[1]["model_version"] is None
    assert [line["model"] for line in server.lines if line["message"] == "model cannot be loaded"] == ["rides"]


def test_without_a_model_the_process_lives_and_is_not_ready(serve: Serve) -> None:
    server = serve(entry_points="")
    assert server.request("GET", "/health")[0].status == 200
    response, document = server.request("GET", "/health/ready")
    assert (response.status, document["detail"]) == (503, "No model is installed.")
