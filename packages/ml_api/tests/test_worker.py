"""The client's socket; the worker as a whole is tested over HTTP in test_gunicorn.py."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.http import errors  # type: ignore[import-untyped]

from ml_api import worker
from ml_api.connection import MAX_DISCARDED
from ml_api.worker import Client, Connection, Worker
from ml_api.worker_loads import WorkerLoads

#: The application says what is logged.
pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def ends() -> Iterator[tuple[Client, socket.socket]]:
    """The server's end of a connection, and its client's."""
    ours, theirs = socket.socketpair()
    with Client(fileno=ours.detach()) as client, theirs:
        client.begin(0.1)
        yield client, theirs


def test_client_that_sends_nothing_is_late(ends: tuple[Client, socket.socket]) -> None:
    client, _ = ends
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        client.recv(10)
    # gunicorn ignores this kind, and logs the stack of others.
    assert caught.value.errno == errno.ECONNRESET
    assert 0.09 < time.monotonic() - started < 1
    assert client.timed_out
    with pytest.raises(TimeoutError):
        client.recv(10)


def test_small_pieces_buy_no_time(ends: tuple[Client, socket.socket]) -> None:
    client, theirs = ends
    theirs.sendall(b"x" * 100)
    before = client.deadline
    assert client.recv(100) == b"x" * 100
    assert before <= client.deadline < before + 0.001


def test_large_pieces_do(ends: tuple[Client, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MIN_RATE", 1000)
    client, theirs = ends
    theirs.sendall(b"x" * 2000)
    before = client.deadline
    assert len(client.recv(2000)) == 2000
    assert client.deadline == pytest.approx(before + 2)
    assert not client.timed_out


def test_client_that_does_not_read_is_gone(ends: tuple[Client, socket.socket]) -> None:
    client, _ = ends
    with pytest.raises(TimeoutError) as caught:
        client.send(b"x" * 500_000)
    assert caught.value.errno == errno.EPIPE


def test_head_of_an_answer_goes_with_its_body(ends: tuple[Client, socket.socket]) -> None:
    client, theirs = ends
    theirs.setblocking(False)
    client.sendall(b"head")
    assert client.response_started
    with pytest.raises(BlockingIOError):
        theirs.recv(10)
    client.sendall(b"body")
    assert theirs.recv(10) == b"headbody"
    client.sendall(b"more")
    assert theirs.recv(10) == b"more"


def test_head_without_a_body_goes_in_the_end(ends: tuple[Client, socket.socket]) -> None:
    client, theirs = ends
    client.sendall(b"head")
    client.flush()
    client.flush()
    client.linger()
    assert theirs.recv(10) == b"head"
    assert theirs.recv(10) == b""


def test_linger_reads_no_more_than_a_mebibyte(ends: tuple[Client, socket.socket]) -> None:
    client, theirs = ends
    sent = 0

    def send() -> None:
        nonlocal sent
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        try:
            while True:
                sent += theirs.send(b"x" * 1024)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    client.send(b"answer")
    client.linger()
    thread.join(5)
    assert MAX_DISCARDED // 2 < sent <= MAX_DISCARDED + 8192
    assert client.fileno() == -1
    assert theirs.recv(10) == b"answer"


def test_linger_ends_with_the_client(ends: tuple[Client, socket.socket]) -> None:
    client, theirs = ends
    theirs.close()
    started = time.monotonic()
    client.linger()
    assert time.monotonic() - started < 1


def test_linger_has_an_end(ends: tuple[Client, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LINGER_TIMEOUT", 0.1)
    client, _ = ends
    started = time.monotonic()
    client.linger()
    assert 0.09 < time.monotonic() - started < 1


def test_waiting_for_the_first_byte(ends: tuple[Client, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DEFAULT_WORKER_DATA_TIMEOUT", 0.01)
    client, theirs = ends
    connection = Connection(None, client, ("", 0), ("", 0))
    assert not connection.wait_for_first_bytes()
    assert not connection.wait_for_data(1)
    theirs.sendall(b"G")
    assert connection.wait_for_first_bytes()
    assert connection.wait_for_data(0)
    connection.close(graceful=True)
    assert client.fileno() == -1


class Listener:
    def __init__(self, error: int) -> None:
        self.error = error

    def accept(self) -> Any:
        raise OSError(self.error, "no")


def test_connection_that_is_gone_before_it_is_accepted() -> None:
    server = object.__new__(Worker)
    server.load_slot, server.active, server.alive = WorkerLoads(1).acquire(), set(), True
    server.nr_conns, server.worker_connections, server.accepts_until = 0, 1, 0
    server.accept(Listener(errno.ECONNABORTED))
    with pytest.raises(OSError, match="no"):
        server.accept(Listener(errno.EMFILE))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestLine("canary"), 400),
        (errors.LimitRequestLine(1, 2), 414),
        (errors.LimitRequestHeaders("canary"), 431),
        (errors.ExpectationFailed("canary"), 417),
        (errors.UnsupportedTransferCoding("canary"), 400),
        (errors.InvalidResponseHeader("canary"), 500),
        (RuntimeError("canary"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_the_application_never_saw(
    ends: tuple[Client, socket.socket], log: list[dict[str, Any]], error: Exception, status: int
) -> None:
    client, theirs = ends
    Worker.handle_error(object.__new__(Worker), None, client, ("", 0), error)
    head, _, body = theirs.recv(65536).partition(b"\r\n\r\n")
    document = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert document["status"] == status
    assert f"X-Request-ID: {document['request_id']}".encode() in head
    assert (log[-1]["status"], log[-1]["request_id"]) == (status, document["request_id"])
    assert [line["message"] for line in log[:-1]] == ["request failed in the server"] * (status == 500)
    assert "canary" not in json.dumps(log) + body.decode()


def test_answer_to_nobody(ends: tuple[Client, socket.socket], log: list[dict[str, Any]]) -> None:
    client, theirs = ends
    theirs.close()
    Worker.handle_error(object.__new__(Worker), None, client, ("", 0), errors.LimitRequestLine(1, 2))
    assert [line["status"] for line in log] == [414]
