"""What callers may do to the connection: a real gunicorn, spoken to in bytes."""

from __future__ import annotations

import fcntl
import json
import re
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service import CANARY, CANARY_NUMBER, HOUSE, NAME, URL, Answer, Service, request

MEBIBYTE = 1024 * 1024
JSON = "Content-Type: application/json"
BODY = json.dumps(HOUSE).encode()
#: Seconds that the server gives a request here.
PATIENCE = 1
MAX_ROWS = 50
MAX_BYTES = 3 * MEBIBYTE


@pytest.fixture(scope="module")
def service(houses: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    running = Service(
        tmp_path_factory.mktemp("service"),
        houses,
        REQUEST_TIMEOUT=str(PATIENCE),
        MAX_ROWS=str(MAX_ROWS),
        MAX_BODY_BYTES=str(MAX_BYTES),
        LOG_LEVEL="debug",
    )
    yield running
    running.stop()


@pytest.fixture
def quick() -> Generator[None]:
    """The test waits for nothing; a time-out would be told apart by its status."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < PATIENCE + 2


def judge(answer: Answer, status: int) -> None:
    """A problem as RFC 9457 has it, that the caller can quote and that quotes nothing."""
    assert answer.status == answer.json["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json["request_id"]
    assert {"type", "title", "detail"} <= set(answer.json)
    assert CANARY not in answer.body.decode()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", URL, "OPTIONS, POST"),
        ("PUT", URL, "OPTIONS, POST"),
        ("DELETE", URL, "OPTIONS, POST"),
        ("TRACE", URL, "OPTIONS, POST"),
        (CANARY.upper(), URL, "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("POST", "/version", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_names_the_right_ones(service: Service, method: str, path: str, allowed: str) -> None:
    with service.well(1):
        (answer,) = service.send(request(BODY, method=method, path=path))
    judge(answer, 405)
    assert ", ".join(sorted(re.split(r",\s*", answer.headers["allow"]))) == allowed
    assert CANARY.upper() not in service.log


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "name", [CANARY, f"{NAME}x", NAME.upper(), "%00", "..", "%2e%2e", "caf%C3%A9", "%FF", "a" * 3000, "%0d%0aX:%20y"]
)
def test_unknown_model_names_those_installed(service: Service, name: str) -> None:
    with service.well(1):
        (answer,) = service.send(request(BODY, path=f"/v1/predict/{name}?{CANARY}={CANARY_NUMBER}"))
    judge(answer, 404)
    if name != "..":
        assert answer.json["detail"] == f"There is no model of that name; installed: {NAME}."


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "path", ["/", f"/{CANARY}", "/v1", "/v1/predict", "/v1/predict/", f"{URL}/", f"{URL}/{CANARY}"]
)
def test_unknown_path(service: Service, path: str) -> None:
    with service.well(1):
        (answer,) = service.send(request(BODY, path=path))
    assert answer.status == 404 or path == "/"
    assert answer.status < 500


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("trace-1.2_A", True),
        ("a" * 128, True),
        ("a" * 129, False),
        (CANARY + "a" * 5000, False),
        (f"{CANARY} {CANARY}", False),
        (f"{CANARY}/../etc", False),
        (f"{CANARY}\u00e9", False),
        ('"}', False),
        ("", False),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_request_id(service: Service, sent: str, kept: bool) -> None:
    with service.well(1):
        (answer,) = service.send(request(BODY, f"X-Request-ID: {sent}"))
    assert answer.status == 200
    name = answer.headers["x-request-id"]
    assert (name == sent) is kept
    assert kept or re.fullmatch(r"[0-9a-f]{32}", name)
    assert sum(line.get("request_id") == name for line in service.lines) == 1


@pytest.mark.usefixtures("quick")
def test_request_id_sent_twice_is_replaced(service: Service) -> None:
    with service.well(1):
        (answer,) = service.send(request(BODY, "X-Request-ID: one", "X-Request-ID: two"))
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


#: What is no HTTP: the request, and its status. None of them reaches the application.
MALFORMED = {
    "no request line": (b"\r\n\r\n\r\n", 400),
    "garbage": (f"{CANARY}\r\n\r\n".encode(), 400),
    "bytes": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "http 0.9": (f"GET /{CANARY}\r\n\r\n".encode(), 400),
    "http 2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http 9": (head(f"GET /{CANARY} HTTP/9.9", "Host: x"), 400),
    "version is no number": (head(f"GET / HTTP/{CANARY}", "Host: x"), 400),
    "method in small letters": (head(f"{CANARY} / HTTP/1.1", "Host: x"), 400),
    "space in the path": (head(f"GET /{CANARY} {CANARY} HTTP/1.1", "Host: x"), 400),
    "bytes in the path": (head(f"GET /{CANARY}\xff HTTP/1.1", "Host: x"), 400),
    "control in the path": (head(f"GET /{CANARY}\x01 HTTP/1.1", "Host: x"), 400),
    "long path": (head(f"GET /{CANARY}{'a' * 9000} HTTP/1.1", "Host: x"), 414),
    "long header": (head("GET /health HTTP/1.1", f"X-A: {CANARY}{'a' * 9000}"), 431),
    "long request id": (head("GET /health HTTP/1.1", f"X-Request-ID: {CANARY}{'a' * 9000}"), 431),
    "many headers": (head("GET /health HTTP/1.1", *(f"X-{n}: {CANARY}" for n in range(200))), 431),
    "header without a colon": (head("GET /health HTTP/1.1", CANARY), 400),
    "space in a header's name": (head("GET /health HTTP/1.1", f"{CANARY} x: 1"), 400),
    "space before the colon": (head("GET /health HTTP/1.1", f"{CANARY} : 1"), 400),
    "no name of a header": (head("GET /health HTTP/1.1", f": {CANARY}"), 400),
    "line break in a header": (head("GET /health HTTP/1.1", f"X-Request-ID: a\n{CANARY}: b"), 400),
    "carriage return in a header": (head("GET /health HTTP/1.1", f"X-Request-ID: a\r{CANARY}: b"), 400),
    "folded header": (head("GET /health HTTP/1.1", "X-Request-ID: a", f" {CANARY}"), 400),
    "nul in a header": (head("GET /health HTTP/1.1", f"X-Request-ID: {CANARY}\0"), 400),
    "length is no number": (head(f"POST {URL} HTTP/1.1", JSON, f"Content-Length: {CANARY}"), 400),
    "negative length": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: -1"), 400),
    "signed length": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: +1"), 400),
    "length in another script": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: \xb2"), 400),
    "two lengths": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 2", "Content-Length: 3"), 400),
    "length of 5,000 digits": (head(f"POST {URL} HTTP/1.1", JSON, f"Content-Length: {'9' * 5000}"), 400),
    "length and chunks": (
        head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "unknown transfer coding": (head(f"POST {URL} HTTP/1.1", JSON, f"Transfer-Encoding: {CANARY}"), 400),
    "compressed transfer": (
        head(f"POST {URL} HTTP/1.1", JSON, "Transfer-Encoding: gzip, chunked", "Connection: close") + b"0\r\n\r\n",
        415,
    ),
    "chunked twice": (head(f"POST {URL} HTTP/1.1", JSON, "Transfer-Encoding: chunked, chunked"), 400),
    "unknown expectation": (head(f"POST {URL} HTTP/1.1", JSON, f"Expect: {CANARY}"), 417),
    "proxy protocol": (f"PROXY TCP4 1.2.3.4 1.2.3.4 1 {CANARY}\r\n".encode() + request(b"[]"), 400),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request_is_the_callers_mistake(service: Service, case: str) -> None:
    data, status = MALFORMED[case]
    with service.well(1):
        (answer,) = service.send(data)
    judge(answer, status)
    assert answer.headers["connection"] == "close"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "data",
    [
        head("GET /health HTTP/1.1", "Connection: close"),
        head("GET /health HTTP/1.0"),
        head("GET http://elsewhere/health HTTP/1.1", "Host: x", "Connection: close"),
        head(
            "GET /health HTTP/1.1",
            f"Host: {CANARY}",
            f"Cookie: {CANARY}",
            f"Authorization: {CANARY}",
            "Connection: close",
        ),
        head("GET /health HTTP/1.1", "Host: x", "X-Forwarded-For: " + "1.2.3.4, " * 500, "Connection: close"),
        head("GET /health HTTP/1.1", "Host: x", "Upgrade: h2c", "HTTP2-Settings: AAA", "Connection: close"),
        head(f"GET /health?{'%' * 200}&{CANARY}=%ff HTTP/1.1", "Host: x", "Connection: close"),
    ],
    ids=["no host", "http 1.0", "absolute path", "secrets", "long way", "upgrade", "query"],
)
def test_odd_request_is_answered(service: Service, data: bytes) -> None:
    with service.well(1):
        (answer,) = service.send(data)
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def chunks(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    lines = [f"POST {URL} HTTP/1.1", "Host: x", JSON, "Transfer-Encoding: chunked", "Connection: close"]
    return head(*lines) + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (chunks(BODY), 200),
        (chunks(*(BODY[n : n + 1] for n in range(len(BODY)))), 200),
        (chunks(BODY, last=f"0;{CANARY}=1\r\n\r\n".encode()), 200),
        (chunks(BODY, last=f"0\r\nX-Trailer: {CANARY}\r\n\r\n".encode()), 200),
        (chunks(), 400),
        (chunks(b"[", last=f"{CANARY}\r\n".encode()), 400),
        (chunks(b"[", last=b"-1\r\n"), 400),
        (chunks(b"[", last=b"\r\n\r\n"), 400),
        (chunks(b"[", last=b"2\r\n]xyz\r\n"), 400),
        (chunks(b"[", last=b"f" * 9000), 400),
        (chunks(b"[", last=b"ffffffffffffffffffff\r\n"), 413),
        (chunks(b" " * MAX_BYTES, b"[]"), 413),
        (chunks(b"[]", b" " * (MAX_BYTES - 2)), 200),
    ],
    ids=[
        "one", "each byte", "extension", "trailer", "none", "bad size", "negative size", "no size", "no end",
        "long size", "huge size", "too long", "just short enough",
    ],
)  # fmt: skip
def test_body_in_chunks(service: Service, data: bytes, status: int) -> None:
    def end(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)

    # A body that is announced and does not come: the caller has hung up, or the test would wait for the time-out.
    with service.well(1):
        (answer,) = service.send(data, then=end if status == 413 else lambda _: None)
    assert answer.status == status or (status == 413 and answer.status == 400 and b"ffff" in data)


@pytest.mark.usefixtures("quick")
def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    names = [f"pipe-{n}" for n in range(20)]
    bodies = [BODY, b"[]", b"{", b"x" * 5000]
    data = b"".join(
        request(
            bodies[n % 4],
            f"X-Request-ID: {name}",
            close=n == 19,
            content_type="text/plain" if n % 4 == 3 else "application/json",
        )
        for n, name in enumerate(names)
    )
    with service.well(20):
        found = service.send(data)
    assert [answer.headers["x-request-id"] for answer in found] == names
    assert [answer.status for answer in found] == [200, 200, 400, 415] * 5


@pytest.mark.usefixtures("quick")
def test_body_of_a_refused_request_is_not_taken_for_the_next(service: Service) -> None:
    smuggled = request(BODY, "X-Request-ID: smuggled")
    with service.well(2):
        first, second = service.send(
            request(smuggled, method="POST", path="/nowhere", close=False) + request(b"[]", "X-Request-ID: honest")
        )
    assert (first.status, second.status, second.headers["x-request-id"]) == (404, 200, "honest")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [(URL, "application/json", 200), (URL, "text/plain", 415), ("/x", "text/plain", 404)],
)
def test_expectation_is_met(service: Service, path: str, content_type: str, status: int) -> None:
    whole = request(BODY, "Expect: 100-continue", path=path, content_type=content_type)
    asked = whole[: -len(BODY)]
    with service.well(1), service.connect() as sock:
        sock.sendall(asked)
        received = sock.recv(65536)
        assert received.startswith(b"HTTP/1.1 100 ")
        sock.sendall(BODY)
        while piece := sock.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 ") == 2
    assert f"HTTP/1.1 {status} ".encode() in received


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("rows", [MAX_ROWS, MAX_ROWS + 1])
def test_limit_of_rows_is_a_setting(service: Service, rows: int) -> None:
    with service.well(1):
        answer = service.predict([HOUSE] * rows)
    assert answer.status == (200 if rows == MAX_ROWS else 413)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [0, 1])
def test_limit_of_bytes_is_a_setting(service: Service, more: int) -> None:
    with service.well(1):
        answer = service.predict(BODY + b" " * (MAX_BYTES - len(BODY) + more))
    assert answer.status == (413 if more else 200)


def unread(service: Service, sock: socket.socket) -> int | None:
    """Bytes that have come to the server's side of ``sock`` and wait there to be read; ``None`` if it is closed."""
    ends = f":{service.port:04X}", f":{sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, _, queues, *_ = line.split()
        if (ours[-5:], theirs[-5:]) == ends:
            return int(queues.partition(":")[2], 16)
    return None


def read_of_endless_body(service: Service, data: bytes) -> int:
    """Bytes that the server has read of endless spaces sent after ``data``, until it closed the connection.

    Those are the ones sent, less those still in our kernel, less those in the server's.
    """
    sent = read = 0
    with service.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.sendall(data)
        sock.settimeout(0.01)
        with suppress(ConnectionError):
            give_up = time.monotonic() + 10
            while time.monotonic() < give_up:
                with suppress(TimeoutError):
                    sent += sock.send(b" " * 4096)
                theirs = unread(service, sock)
                if theirs is None:
                    break
                ours = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]
                read = max(read, sent - ours - theirs)
    return read


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"POST {URL} HTTP/1.1\r\n{JSON}", 413),
        (f"POST {URL} HTTP/1.1\r\nContent-Type: text/plain", 415),
        ("POST /nowhere HTTP/1.1", 404),
        ("POST /health HTTP/1.1", 405),
    ],
    ids=["too long", "wrong type", "unknown path", "wrong method"],
)
def test_of_a_refused_body_no_more_than_a_mebibyte_is_read(service: Service, line: str, status: int) -> None:
    with service.well(1):
        read = read_of_endless_body(service, head(*line.split("\r\n"), "Host: x", f"Content-Length: {500 * MEBIBYTE}"))
        assert service.lines[-1]["status"] == status
    print(f"{read} bytes read")  # noqa: T201
    # One piece may be read between our looking at the one kernel and at the other.
    assert 0 < read <= MEBIBYTE + 8192


@pytest.mark.parametrize("path", [URL, "/nowhere"])
def test_caller_who_sends_all_before_reading_gets_the_answer(service: Service, path: str) -> None:
    with service.well(1):
        (answer,) = service.send(request(b" " * (MEBIBYTE - 1), path=path, content_type="text/plain"))
    judge(answer, 415 if path == URL else 404)


#: Callers that stall: what they send, and what they are told in the end.
STALLED: dict[str, tuple[bytes, int | None]] = {
    "half a request line": (f"POST /v1/{CANARY}".encode(), 408),
    "half a head": (head(f"POST {URL} HTTP/1.1", JSON, f"X-A: {CANARY}")[:-2], 408),
    "no body": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 100"), 408),
    "half a body": (head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 100") + f'[{{"{CANARY}'.encode(), 408),
    "half a chunk": (chunks(b"[", last=b"5\r\n12"), 408),
    "no last chunk": (chunks(b"[]", last=b""), 408),
    "half an unwanted body": (head("POST /nowhere HTTP/1.1", "Content-Length: 100") + CANARY.encode(), 404),
}  # fmt: skip


@pytest.mark.parametrize("case", STALLED)
def test_stalled_request_ends_with_a_time_out(service: Service, case: str) -> None:
    data, status = STALLED[case]
    started = time.monotonic()
    with service.well(1):
        (answer,) = service.send(data)
    judge(answer, status or 0)
    assert time.monotonic() - started < PATIENCE + 3


@pytest.mark.parametrize("case", ["half a request line", "half a head", "no body", "half a body", "half a chunk"])
def test_caller_who_hangs_up_half_way(service: Service, case: str) -> None:
    with service.well():
        with service.connect() as sock:
            sock.sendall(STALLED[case][0])
        with service.connect() as sock:
            sock.sendall(STALLED[case][0])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        assert service.predict(HOUSE).status == 200


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", ["no body", "half a body"])
def test_caller_who_ends_the_body_too_early(service: Service, case: str) -> None:
    with service.well(1):
        (answer,) = service.send(STALLED[case][0], then=lambda sock: sock.shutdown(socket.SHUT_WR))
    judge(answer, 400)
    assert answer.json["detail"] == "The body is shorter than its Content-Length."


def drip(sock: socket.socket, data: bytes, seconds: float) -> None:
    for n in range(len(data)):
        sock.sendall(data[n : n + 1])
        time.sleep(seconds)


@pytest.mark.parametrize("part", ["head", "body"])
def test_one_byte_at_a_time_is_too_slow_in_the_end(service: Service, part: str) -> None:
    lines = head(f"POST {URL} HTTP/1.1", JSON, f"X-A: {CANARY}", "Content-Length: 1000")
    first, rest = (b"", lines) if part == "head" else (lines, b" " * 1000)
    started = time.monotonic()
    with service.well(1):
        (answer,) = service.send(first, then=lambda sock: drip(sock, rest, 0.2))
    judge(answer, 408)
    assert time.monotonic() - started < PATIENCE + 4


def test_slow_but_in_time_is_answered(service: Service) -> None:
    data = request(BODY)
    with service.well(1):
        (answer,) = service.send(data[:-10], then=lambda sock: drip(sock, data[-10:], 0.1))
    assert answer.status == 200


def test_callers_who_do_not_read_do_not_stop_the_others(service: Service) -> None:
    """Each asks for enough to fill the buffers of both kernels."""
    data = request(json.dumps([{}] * MAX_ROWS).encode(), close=False) * 500
    callers = [service.connect() for _ in range(20)]
    with service.well():
        for sock in callers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.send(data)
        started = time.monotonic()
        assert service.predict(HOUSE).status == 200
        # The others' requests are worked on, many at a time, until their answers fit nowhere.
        assert time.monotonic() - started < 5
        for sock in callers:
            sock.close()


def stall(service: Service, kind: str, count: int) -> list[socket.socket]:
    starts: dict[str, Callable[[int], bytes]] = {
        "silent": lambda _: b"",
        "half a head": lambda _: STALLED["half a head"][0],
        "half a body": lambda _: STALLED["half a body"][0],
        "half a long body": lambda _: head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 3000000") + b" " * 1_500_000,
        "one byte at a time": lambda _: head(f"POST {URL} HTTP/1.1", JSON, "Content-Length: 1000"),
        "all kinds": lambda n: list(STALLED.values())[n % len(STALLED)][0],
    }
    found = []
    for n in range(count):
        found.append(service.connect())
        found[-1].sendall(starts[kind](n))
    return found


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("silent", 40),
        ("half a head", 40),
        ("half a body", 40),
        ("half a long body", 40),
        ("one byte at a time", 40),
        ("all kinds", 200),
    ],
)
def test_stalled_callers_do_not_stop_the_others(service: Service, kind: str, count: int) -> None:
    with service.well():
        stalled = stall(service, kind, count)
        longest = 0.0
        until = time.monotonic() + 1
        try:
            while time.monotonic() < until:
                if kind == "one byte at a time":
                    for sock in stalled:
                        sock.sendall(b" ")
                started = time.monotonic()
                assert service.predict(HOUSE).status == 200
                longest = max(longest, time.monotonic() - started)
        finally:
            for sock in stalled:
                sock.close()
    assert longest < 1


def test_ends_in_time_though_callers_stall(houses: Path, tmp_path: Path) -> None:
    service = Service(tmp_path, houses, REQUEST_TIMEOUT=str(PATIENCE), WEB_CONCURRENCY="1")
    stalled = stall(service, "all kinds", 40)
    assert service.stop() < PATIENCE + 4
    for sock in stalled:
        sock.close()
    assert "Traceback" not in service.log


def test_every_line_of_the_log_is_json(service: Service) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in service.log.splitlines()]
    assert all({"time", "level", "message", "pid"} <= set(line) for line in lines)
