"""What a real gunicorn does with more requests and connections than it can handle, and when it stops or reloads."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, write_ride_bundle

from ml_api.admission import CALM
from suspended import suspended

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

FOLDER = Path(__file__).parents[1]
NAPS = "[ml_api.models]\nrides = rides_package:load\nnaps = rides_package:load_naps\n"
SLEEPS = {**GOLDEN_ROW, "passengers": 8}
DEFINITION = "[ml_api.models]\nrides = rides_package:DEFINITION.load\n"
URL = "/v1/predict/rides"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def narrow(serve: Serve) -> Server:
    """A gunicorn of one worker that can handle little at a time."""
    limits = {"THREADS": "1", "MAX_IN_FLIGHT": "3", "MAX_CONNECTIONS": "8", "MAX_CONNECTIONS_PER_PEER": "6"}
    return serve(entry_points=NAPS, **limits)


def in_background(server: Server, records: Any, found: list[tuple[int, Any]]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(server.predict(records, "naps")))
    thread.start()
    return thread


def test_short_request_does_not_wait_for_long_ones(narrow: Server) -> None:
    found: list[tuple[int, Any]] = []
    threads = [in_background(narrow, [SLEEPS] * 60, found) for _ in range(2)]
    time.sleep(0.2)
    started = time.monotonic()
    for _ in range(5):
        assert narrow.predict(GOLDEN_ROW)[1]["predictions"] == [GOLDEN_PREDICTION]
    assert time.monotonic() - started < 0.7
    assert found == []
    for thread in threads:
        thread.join()
    assert [status for status, _ in found] == [200, 200]
    # One after the other.
    assert time.monotonic() - started > 1.5


def test_request_beyond_the_concurrency_limit_is_refused_at_once_and_health_is_not(narrow: Server) -> None:
    found: list[tuple[int, Any]] = []
    threads = [in_background(narrow, SLEEPS, found) for _ in range(3)]
    time.sleep(0.3)
    started = time.monotonic()
    response, document = narrow.request("POST", URL, json.dumps(GOLDEN_ROW), JSON)
    assert (response.status, response.headers["Retry-After"], response.headers["Connection"]) == (
        503,
        "1",
        "keep-alive",
    )
    assert document["detail"] == "The server has as many requests as it can handle; try again soon."
    assert narrow.request("GET", "/health")[1] == {"status": "ok"}
    assert narrow.request("GET", "/health/ready")[1] == {"status": "ready"}
    assert time.monotonic() - started < 0.5
    for thread in threads:
        thread.join()
    assert [status for status, _ in found] == [200] * 3
    assert narrow.predict(GOLDEN_ROW)[0] == 200


def post(records: Any, *lines: str) -> bytes:
    body = json.dumps(records).encode()
    head = (
        "POST /v1/predict/naps HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, *lines, "", "")).encode() + body


def read_response(sock: socket.socket) -> tuple[int, str | None, bytes]:
    """Status, ``Retry-After`` and body of one response."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, response.headers["Retry-After"], response.read()


def statuses(server: Server, since: int) -> Counter[int]:
    """Statuses in the log of the predictions after so many lines, and of what the application never saw."""
    lines = [line for line in server.lines[since:] if line["message"] == "request"]
    return Counter(line["status"] for line in lines if line["route"] in (None, "/v1/predict/<name>"))


def test_burst_beyond_the_limit_is_refused_while_the_first_computes_and_nothing_is_computed_for_who_left(
    serve: Serve,
) -> None:
    server = serve(entry_points=NAPS, THREADS="1", MAX_IN_FLIGHT="4")
    before = len(server.lines)
    with ExitStack() as stack:

        def send(data: bytes) -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            sock.sendall(data)
            return sock

        first = send(post(SLEEPS))
        time.sleep(0.2)
        waiting, *leaving = [send(post(GOLDEN_ROW)) for _ in range(3)]
        time.sleep(0.1)
        for sock in leaving:
            sock.close()
        burst = [send(post(GOLDEN_ROW)) for _ in range(30)]
        assert {read_response(sock)[:2] for sock in burst} == {(503, "1")}
        assert [server.request("GET", path)[0].status for path in ("/health", "/health/ready")] == [200, 200]
        # All of that while the first one computes.
        assert select.select([first], [], [], 0)[0] == []
        assert read_response(first)[0] == read_response(waiting)[0] == 200
        # A connection that was refused can be used again.
        burst[0].sendall(post(GOLDEN_ROW))
        assert read_response(burst[0])[0] == 200
    assert statuses(server, before) == {200: 3, 499: 2, 503: 30}


def test_refusal_does_not_wait_for_the_body_and_the_connection_goes_on_after_it(narrow: Server) -> None:
    found: list[tuple[int, Any]] = []
    threads = [in_background(narrow, SLEEPS, found) for _ in range(3)]
    time.sleep(0.3)
    request = post([GOLDEN_ROW] * 1000)
    with socket.create_connection(("127.0.0.1", narrow.port), timeout=10) as client:
        client.sendall(request[:1000])
        assert read_response(client)[:2] == (503, "1")
        client.sendall(request[1000:] + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_response(client)[::2] == (200, b'{"status":"ok"}')
    assert found == []
    for thread in threads:
        thread.join()


def test_queue_that_stays_long_is_cut_and_ends(serve: Serve) -> None:
    server = serve(entry_points=NAPS, THREADS="1", MAX_IN_FLIGHT="1000")
    before = len(server.lines)
    request = post({**GOLDEN_ROW, "passengers": 6})
    with ExitStack() as stack:

        def send() -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            sock.sendall(request)
            return sock

        # The server learns what a request takes.
        assert {read_response(send())[0] for _ in range(80)} == {200}
        # Two seconds of work at once, and some more while it is waiting.
        clients = [send() for _ in range(200)]
        for _ in range(10):
            time.sleep(0.05)
            clients.append(send())
        answered = Counter(read_response(client)[0] for client in clients)
        assert set(answered) == {200, 503}
        assert answered[503] >= 50
        time.sleep(CALM)
        assert read_response(send())[0] == 200
    assert statuses(server, before) == answered + Counter({200: 81})


def test_no_connection_of_a_burst_is_closed_before_its_request_is_answered(serve: Serve) -> None:
    server = serve(entry_points=NAPS, MAX_CONNECTIONS="250", MAX_IN_FLIGHT="10")
    worker = server.lines[0]["pid"]
    with ExitStack() as stack:
        resumption = stack.enter_context(ExitStack())
        resumption.enter_context(suspended(worker))
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10)) for _ in range(700)
        ]
        for client in clients:
            client.sendall(post(GOLDEN_ROW))
        resumption.close()
        found = Counter(read_response(client)[:2] for client in clients)
    assert set(found) == {(200, None), (503, "1")}
    assert found[200, None] >= 10


def silent(server: Server, stack: ExitStack, count: int, source: str = "127.0.0.1") -> list[socket.socket]:
    address = ("127.0.0.1", server.port)
    found = []
    for _ in range(count):
        found.append(stack.enter_context(socket.create_connection(address, timeout=5, source_address=(source, 0))))
        time.sleep(0.02)
    return found


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True


def test_connection_that_waited_longest_makes_way(narrow: Server) -> None:
    with ExitStack() as stack:
        ours, theirs = silent(narrow, stack, 4), silent(narrow, stack, 4, "127.0.0.2")
        assert narrow.request("GET", "/health/ready")[0].status == 200
        # The last byte of a request does not make a connection younger than it is.
        assert [is_open(sock) for sock in ours] == [False, True, True, True]
        assert all(map(is_open, theirs))
        theirs += silent(narrow, stack, 8, "127.0.0.2")
        # Six are left of the one client; the other one's made way when there were more than eight in all.
        assert [is_open(sock) for sock in theirs] == [False] * 6 + [True] * 6
        assert [is_open(sock) for sock in ours][:2] == [False, False]
        assert narrow.request("GET", "/health/ready")[0].status == 200


def start(serve: Serve, environ: dict[str, str], **options: Any) -> tuple[subprocess.Popen[bytes], int]:
    """A gunicorn like that of ``serve``, with another stdout."""
    server = serve()
    server.stop()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn"],
        cwd=FOLDER,
        env={**server.environ, **environ, "PORT": str(server.port)},
        **options,
    )
    give_up = time.monotonic() + 20
    while True:
        with suppress(OSError):
            if health(server.port) == 200:
                return process, server.port
        assert time.monotonic() < give_up
        time.sleep(0.05)


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def end(process: subprocess.Popen[bytes]) -> float:
    started = time.monotonic()
    process.terminate()
    try:
        assert process.wait(10) == 0
    finally:
        process.kill()
    return time.monotonic() - started


def test_log_that_nobody_reads_stops_neither_requests_nor_the_end(serve: Serve) -> None:
    reader, writer = os.pipe()
    process, port = start(serve, {}, stdout=writer, stderr=writer)
    os.close(writer)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(1500):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()
    assert end(process) < 5
    os.close(reader)


@pytest.mark.parametrize("kind", ["closed", "gone"])
def test_log_that_cannot_be_written_is_no_error_of_a_request(serve: Serve, tmp_path: Path, kind: str) -> None:
    with (tmp_path / "err").open("wb") as err:
        if kind == "closed":
            process, port = start(serve, {}, stderr=err, preexec_fn=lambda: os.close(1))
        else:
            reader, writer = os.pipe()
            process, port = start(serve, {}, stdout=writer, stderr=err)
            os.close(writer)
            os.close(reader)
        assert [health(port) for _ in range(20)] == [200] * 20
        end(process)
    lines = [json.loads(line) for line in (tmp_path / "err").read_text().splitlines()]
    assert {line["level"] for line in lines} == {"info"}


def test_no_connection_is_reset_when_the_server_stops(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="2")
    stopping = threading.Event()
    failures: list[str] = []
    answered = [0]

    def ask() -> None:
        while True:
            try:
                connected = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            except OSError as error:
                # Refused, or ignored until it is refused: the client knows that nothing was done.
                if stopping.is_set():
                    return
                failures.append(repr(error))
                return
            with connected:
                try:
                    connected.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    answered[0] += connected.recv(1000).startswith(b"HTTP/1.1 200")
                except OSError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stopping.set()
    assert server.stop() < 5
    for thread in threads:
        thread.join()
    assert failures == []
    assert answered[0] > 20
    assert [line for line in server.lines if line["level"] == "error"] == []


def versions(server: Server, count: int = 12) -> set[str]:
    return {server.request("GET", "/version")[1]["models"]["rides"].get("version") for _ in range(count)}


def wait_for_workers(server: Server, count: int) -> None:
    give_up = time.monotonic() + 20
    while len({line["pid"] for line in server.lines if line["message"] == "model loaded"}) < count:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(0.5)


def test_bundle_of_the_start_is_served_until_a_reload_to_a_good_one(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "rides"
    write_ride_bundle(folder)
    server = serve(entry_points=DEFINITION, WEB_CONCURRENCY="2", MODEL_DIR=str(tmp_path))
    (first,) = versions(server)
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    shutil.rmtree(folder)
    write_ride_bundle(folder, metrics={"r2": 0.5})

    os.kill(server.lines[0]["pid"], signal.SIGKILL)
    wait_for_workers(server, 3)
    assert versions(server) == {first}

    good = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(b"damaged")
    server.process.send_signal(signal.SIGHUP)
    give_up = time.monotonic() + 20
    while "Not reloaded" not in server.errors:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert "the bundle in rides/ cannot be served: model.onnx: sha256 is " in server.errors
    assert versions(server) == {first}

    (folder / "model.onnx").write_bytes(good)
    server.process.send_signal(signal.SIGHUP)
    wait_for_workers(server, 5)
    (second,) = versions(server)
    assert second != first
    server.process.terminate()
    assert server.process.wait(10) == 0
