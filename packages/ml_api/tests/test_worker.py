"""The responses that the server itself makes; the worker as a whole is tested over HTTP in test_gunicorn.py."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

import pytest
from gunicorn.http import errors  # type: ignore[import-untyped]

from ml_api.connection import RequestError
from ml_api.worker import TOO_MANY, Worker, refuse_handshakes

#: The application says what is logged.
pytestmark = pytest.mark.usefixtures("app")


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
        (RequestError(413, "Request Entity Too Large", "The body is too long."), 413),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_the_application_never_saw(log: list[dict[str, Any]], error: Exception, status: int) -> None:
    head, _, body = Worker.problem(object.__new__(Worker), error).partition(b"\r\n\r\n")
    document = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    assert document["status"] == status
    assert f"X-Request-ID: {document['request_id']}".encode() in head
    assert (log[-1]["status"], log[-1]["request_id"]) == (status, document["request_id"])
    assert [line["message"] for line in log[:-1]] == ["request failed in the server"] * (status == 500)
    assert "canary" not in json.dumps(log) + body.decode()


def test_refusal_says_when_to_come_back() -> None:
    assert b"\r\nRetry-After: 1\r\n" in Worker.problem(object.__new__(Worker), TOO_MANY)


@pytest.mark.skipif(sys.platform != "linux", reason="uses a socket filter")
def test_listener_that_refuses_handshakes_keeps_those_that_are_made() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        socket.socket() as late,
    ):
        if not refuse_handshakes(listener):
            # Without the capability the listener stays as it is.
            assert os.geteuid() != 0
            late.connect(listener.getsockname())
            listener.accept()[0].close()
            return
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
