"""What a connection makes of the bytes that it receives; the event loop around it is tested over HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import errors  # type: ignore[import-untyped]

from ml_api import connection as module
from ml_api.connection import MAX_DISCARDED, MAX_HEAD, SMALL, Connection, RequestError, State

MAX_BODY = 100_000
URL = "/v1/predict/rides"


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    """The server's end of a connection, and its client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(Config(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2), MAX_BODY, 10), theirs


def head(*lines: str, path: str = URL) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


def feed(ends: tuple[Connection, socket.socket], data: bytes, step: int = 4096) -> bool:
    """Send ``data`` in pieces; returns whether the request is whole after the last of them."""
    whole = False
    for start in range(0, len(data), step):
        ends[1].sendall(data[start : start + step])
        ends[0].receive()
        whole = ends[0].parse()
    return whole


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize(
    "sent",
    [
        head("Content-Length: 6") + b"[1, 2]",
        head("Transfer-Encoding: chunked") + b"2\r\n[1\r\n4;a=b\r\n, 2]\r\n0\r\nX-T: 1\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
def test_request_is_whole_with_its_last_byte(ends: tuple[Connection, socket.socket], sent: bytes, step: int) -> None:
    client, _ = ends
    assert not feed(ends, sent[:-1], step)
    assert feed(ends, sent[-1:])
    assert bytes(client.body or b"") == b"[1, 2]"
    assert (client.request.method, client.request.path) == ("POST", URL)
    assert client.received == b""


def test_next_request_is_kept_for_later(ends: tuple[Connection, socket.socket]) -> None:
    client, _ = ends
    one, two = (head("Content-Length: 2", f"X-Request-ID: {name}") + b"[]" for name in ("one", "two"))
    assert feed(ends, one + two[:-1])
    assert ("X-REQUEST-ID", "one") in client.request.headers
    client.reset()
    assert not client.parse()
    assert feed(ends, two[-1:])
    assert ("X-REQUEST-ID", "two") in client.request.headers


@pytest.mark.parametrize("rest", [b"", head("Content-Length: 1") + b"1"], ids=["alone", "followed"])
def test_plain_request_is_skipped_to_where_the_parser_ends_it(
    ends: tuple[Connection, socket.socket], rest: bytes
) -> None:
    client, theirs = ends
    sent = head("Host: x", "Connection: keep-alive", "content-length: 6", "Accept: */*")
    theirs.sendall(sent + b"[1")
    client.receive()
    assert client.skip()
    assert client.unread == len(sent) + 6
    assert not client.parse()
    assert client.unread == 4
    theirs.sendall(b", 2]" + rest)
    client.receive()
    assert client.parse() is bool(rest)
    assert client.unread == 0
    assert client.is_idle is not bool(rest)
    assert bytes(client.body or b"") == rest[-1:]


@pytest.mark.parametrize(
    "sent",
    [
        head("Host: x"),
        head("Content-Length: 1", "Content-Length: 1"),
        head("Content-Length: 1, 1"),
        head("Content-Length: +1"),
        head("Content-Length : 1"),
        head("Content-Length: 1", "Connection: close"),
        head("Content-Length: 1", "Connection:  keep-alive, close"),
        head("Content-Length: 1", "Transfer-Encoding: chunked"),
        head("Content-Length: 1", "Expect: 100-continue"),
        head("Content-Length: 1", "A: b", " folded"),
        head("Content-Length: 1", "A: b\nTransfer-Encoding: chunked"),
        head("Content-Length: 1").replace(b"1.1", b"1.0"),
        head("Content-Length: 1", path="/health"),
        head("Content-Length: 1")[:-2],
    ],
)
def test_request_that_is_not_plain_is_not_skipped(ends: tuple[Connection, socket.socket], sent: bytes) -> None:
    client, theirs = ends
    theirs.sendall(sent)
    client.receive()
    assert not client.skip()
    assert (client.received, client.unread) == (sent, 0)


@pytest.mark.parametrize("length", [5, MAX_BODY + 1])
@pytest.mark.parametrize("path", [URL, "/nowhere"])
def test_body_that_nobody_wants_is_not_waited_for(
    ends: tuple[Connection, socket.socket], path: str, length: int
) -> None:
    client, _ = ends
    waits = path == URL and length == 5
    assert feed(ends, head(f"Content-Length: {length}", path=path) + b"abc") is not waits
    if not waits:
        assert (client.body, client.unread) == (None, length)
        client.reset()
        assert not client.parse()
        assert (client.received, client.unread) == (b"", length - 3)


def test_unwanted_chunks_cannot_be_skipped(ends: tuple[Connection, socket.socket]) -> None:
    assert feed(ends, head("Transfer-Encoding: chunked", path="/nowhere"))
    assert ends[0].unread > MAX_DISCARDED


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"xyz\r\n", 400),
        (b"\r\n", 400),
        (b"2\r\n[]x", 400),
        (b"f" * 9000, 400),
        (b"%x\r\n" % (MAX_BODY + 1), 413),
        (b"%x\r\n" % (1 << 70), 413),
    ],
)
def test_malformed_chunks(ends: tuple[Connection, socket.socket], body: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        feed(ends, head("Transfer-Encoding: chunked") + body + b"\r\n")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        ("Content-Length: 5", "The body is shorter than its Content-Length."),
        ("Transfer-Encoding: chunked", "The body could not be read to its end."),
    ],
)
def test_body_that_ends_early(ends: tuple[Connection, socket.socket], lines: str, detail: str) -> None:
    client, theirs = ends
    assert not feed(ends, head(lines) + b"2")
    theirs.shutdown(socket.SHUT_WR)
    client.receive()
    with pytest.raises(RequestError) as caught:
        client.parse()
    assert (caught.value.status, caught.value.detail) == (400, detail)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"POST /" + b"a" * MAX_HEAD, errors.LimitRequestLine),
        (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * (MAX_HEAD // 8), errors.LimitRequestHeaders),
        (b"\r\n\r\n\r\n", errors.InvalidRequestLine),
    ],
)
def test_head_has_an_end(ends: tuple[Connection, socket.socket], sent: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        feed(ends, sent)


@pytest.mark.parametrize(
    ("lines", "sent", "wanted"),
    [
        (f"Content-Length: {SMALL}", b"x", 0),
        (f"Content-Length: {SMALL + 1}", b"x", SMALL + 1),
        ("Content-Length: 3", b"xyz", 0),
        ("Transfer-Encoding: chunked", b"ffff\r\nx", 0),
        ("Transfer-Encoding: chunked", b"ffff\r\n" + b"x" * (SMALL + 1), MAX_BODY),
    ],
)
def test_memory_of_a_large_body_is_wanted(
    ends: tuple[Connection, socket.socket], lines: str, sent: bytes, wanted: int
) -> None:
    client, _ = ends
    feed(ends, head(lines) + sent)
    assert client.wanted == wanted
    client.reserved = wanted
    assert client.wanted == 0


def test_expectation_is_met_once_and_before_the_body(ends: tuple[Connection, socket.socket]) -> None:
    client, theirs = ends
    assert not feed(ends, head("Content-Length: 2", "Expect: 100-continue"))
    assert theirs.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert feed(ends, b"[]")
    assert (client.output, client.body) == ([], b"[]")


def test_pieces_buy_time_by_their_size(ends: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_RATE", 1000)
    monkeypatch.setattr(module, "CONTENDED_MIN_RATE", 4000)
    client, _ = ends
    client.wait(State.REQUEST, 10)
    before = client.deadline, client.contended_deadline
    feed(ends, b"x" * 2000)
    assert client.deadline == pytest.approx(before[0] + 2)
    assert client.contended_deadline == pytest.approx(before[1] + 0.5)


def test_response_is_sent_as_the_client_takes_it(ends: tuple[Connection, socket.socket]) -> None:
    client, theirs = ends
    client.send(b"head")
    client.sendall(b"x" * 1_000_000)
    assert not client.flush()
    assert client.output
    received = b""
    while not client.flush():
        received += theirs.recv(100_000)
    while len(received) < 1_000_004:
        received += theirs.recv(100_000)
    assert received == b"head" + b"x" * 1_000_000


def test_client_that_has_left(ends: tuple[Connection, socket.socket]) -> None:
    client, theirs = ends
    assert not client.has_left()
    theirs.sendall(json.dumps([]).encode())
    assert not client.has_left()
    client.receive()
    theirs.close()
    assert client.has_left()


def test_waiting_for_the_next_request(ends: tuple[Connection, socket.socket]) -> None:
    client, _ = ends
    assert client.is_idle
    feed(ends, b"P")
    assert not client.is_idle
    client.wait(State.LINGER, 3)
    assert client.deadline == pytest.approx(time.monotonic() + 3, abs=0.5)
