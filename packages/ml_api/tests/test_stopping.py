"""What a real gunicorn does from SIGTERM to its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

DELAY = 2
OVERLOADED = "The server has as many requests as it can handle; try again soon."
LINES = "Host: x\r\nContent-Type: application/json"
BODY = json.dumps(GOLDEN_ROW)
PREDICT = f"POST /v1/predict/rides HTTP/1.1\r\n{LINES}\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
HEALTH, READY = (f"GET /health{rest} HTTP/1.1\r\n{LINES}\r\n\r\n".encode() for rest in ("", "/ready"))


def answer(sock: socket.socket) -> tuple[int, str | None, Any]:
    """Status, ``Connection`` and document of a response."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, response.headers["Connection"], json.loads(response.read())


def settle(server: Server) -> None:
    """Until both workers have answered, and listen."""
    found: set[int] = set()
    give_up = time.monotonic() + 20
    while len(found) < 2:
        assert time.monotonic() < give_up
        with ExitStack() as stack:
            for _ in range(4):
                connection = server.connect()
                stack.callback(connection.close)
                connection.request("GET", "/health")
                response = connection.getresponse()
                response.read()
                found.add(server.line_of(response.headers["X-Request-ID"])["pid"])


@pytest.mark.parametrize("whom", ["master", "group"])
def test_every_connection_is_served_until_the_delay_has_passed(serve: Serve, whom: str) -> None:
    server = serve(WEB_CONCURRENCY="2", SHUTDOWN_DELAY=str(DELAY))
    settle(server)
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))

        kept = [connect() for _ in range(8)]
        for sock in kept:
            sock.sendall(HEALTH)
            assert answer(sock)[:2] == (200, "keep-alive")
        told = time.monotonic()
        # As a platform that signals all processes does; the master passes it on to the workers once more.
        for pid in [*server.workers, server.process.pid] if whom == "group" else [server.process.pid]:
            os.kill(pid, signal.SIGTERM)
        stopping: set[int] = set()
        while len(stopping) < 2:
            assert time.monotonic() < told + DELAY
            response, document = server.request("GET", "/health/ready")
            if response.status == 503:
                stopping.add(server.line_of(document["request_id"])["pid"])
        answered = 0
        while True:
            # Whether a connection that is made after the delay is served, is undefined.
            fresh = []
            for number in range(32):
                if time.monotonic() >= told + DELAY:
                    break
                try:
                    fresh.append(connect())
                except OSError:
                    assert time.monotonic() >= told + DELAY
                    break
                fresh[-1].sendall((PREDICT, HEALTH, READY)[number % 3])
            for number, sock in enumerate(fresh):
                status, connection, document = answer(sock)
                assert connection == "close"
                if number % 3 == 0:
                    # A machine that is too slow for 32 at a time sheds load, which is an answer too.
                    assert document.get("predictions") == [GOLDEN_PREDICTION] or document["detail"] == OVERLOADED
                elif number % 3 == 1:
                    assert (status, document) == (200, {"status": "ok"})
                else:
                    assert (status, document["detail"], document["models"]) == (503, "The server is stopping.", {})
                sock.close()
            answered += len(fresh)
            if len(fresh) < 32:
                break
            if kept:
                sock = kept.pop()
                sock.sendall(PREDICT)
                status, connection, document = answer(sock)
                assert connection == "close"
                assert status == 200 or document["detail"] == OVERLOADED
                sock.close()
            time.sleep(0.1)
        assert answered >= 32
        assert server.process.wait(20) == 0
    assert [line for line in server.lines if line["level"] == "error"] == []
    assert '"level":"error"' not in server.errors


def test_request_that_has_begun_is_answered_after_the_delay(serve: Serve) -> None:
    server = serve(SHUTDOWN_DELAY="1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as begun:
        begun.sendall(PREDICT[:-1])
        server.process.terminate()
        with pytest.raises(OSError):  # noqa: PT012  refused, or ignored until it is refused
            while True:
                socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
                time.sleep(0.05)
        begun.sendall(PREDICT[-1:])
        assert answer(begun)[:2] == (200, "close")
    assert server.process.wait(20) == 0


def test_interrupt_does_not_wait_for_the_delay(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="2", SHUTDOWN_DELAY="15")
    settle(server)
    for pid in (server.process.pid, *server.workers):
        os.kill(pid, signal.SIGINT)
    assert server.process.wait(12) == 0


def test_interrupt_after_sigterm_ends_the_delay(serve: Serve) -> None:
    server = serve(SHUTDOWN_DELAY="15")
    server.process.terminate()
    while server.request("GET", "/health/ready")[0].status == 200:
        pass
    server.process.terminate()
    assert server.request("GET", "/health")[0].status == 200
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(12) == 0
