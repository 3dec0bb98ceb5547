"""What is repeated, and how: with a server that fails as it is told, and with one that is killed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest
from ml_client import Client, InvalidResponseError, MLClientError, NoResponseError, ServerError, UnavailableError

from rides_server import Serve

ANSWER = {"predictions": [1.5], "errors": None, "version": "1"}
RIDE = {"distance": 2.0, "zone": "A"}
#: Status, headers and body of a response; status 0: the connection is closed without one.
Given: TypeAlias = tuple[int, dict[str, str], bytes]


class Failing:
    """A server that gives these answers in turn, the last one again and again: status, headers, body."""

    def __init__(self, *answers: Given) -> None:
        self.asked: list[tuple[dict[str, str], str, bytes]] = []
        failing = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                failing.asked.append((dict(self.headers), self.path, body))
                status, headers, content = answers[min(len(failing.asked), len(answers)) - 1]
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Failing]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()
        thread.join()


GOOD: Given = (200, {}, json.dumps(ANSWER).encode())


def test_the_same_request_is_repeated_after_the_time_that_the_server_says() -> None:
    busy = (503, {"Retry-After": "1"}, b"{}")
    lost: Given = (0, {}, b"")
    with Failing(busy, lost, GOOD).running() as server, Client(server.url, api_key="k") as client:
        started = time.monotonic()
        assert client.predict("m", [RIDE], inference_id="order-1").predictions == [1.5]
        assert time.monotonic() - started >= 1
        first, *others = server.asked
    assert [other == first for other in others] == [True, True]
    headers, path, _ = first
    assert path == "/v1/predict/m"
    assert (headers["Inference-Id"], headers["X-API-Key"]) == ("order-1", "k")
    assert len(headers["X-Request-ID"]) == 32


def test_a_retry_after_beyond_the_patience_is_told_at_once() -> None:
    with Failing((503, {"Retry-After": "120"}, b"{}")).running() as server, Client(server.url) as client:
        with pytest.raises(UnavailableError) as caught:
            client.predict("m", [RIDE])
        assert (caught.value.retry_after, len(server.asked)) == (120, 1)
    date = {"Retry-After": formatdate(time.time() + 600, usegmt=True)}
    with Failing((503, date, b"{}")).running() as server, Client(server.url) as client:
        with pytest.raises(UnavailableError) as caught:
            client.predict("m", [RIDE])
        assert 500 < (caught.value.retry_after or 0) <= 600


def test_what_would_fail_again_is_not_repeated() -> None:
    answers = [
        b"<html>",
        b'{"predictions": [1], "errors": null}',
        b'{"predictions": [], "errors": null, "version": "1"}',
    ]
    failing = Failing((500, {}, b"<html>"), *((200, {}, answer) for answer in answers))
    with failing.running() as server, Client(server.url) as client:
        with pytest.raises(ServerError):
            client.predict("m", [RIDE])
        for _ in answers:
            with pytest.raises(InvalidResponseError, match="not the answer to a prediction"):
                client.predict("m", [RIDE])
        assert len(server.asked) == 4


def test_a_server_without_arrow_is_asked_so_once() -> None:
    with Failing((415, {}, b"{}"), GOOD).running() as server, Client(server.url) as client:
        for _ in range(2):
            assert client.predict("m", pd.DataFrame([RIDE])).predictions.tolist() == [1.5]
        types = [headers["Content-Type"] for headers, _, _ in server.asked]
    assert types == ["application/vnd.apache.arrow.stream", "application/json", "application/json"]


def test_a_url_where_nobody_listens_is_given_up_soon() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with (
            Client(url) as client,
            pytest.raises(NoResponseError, match=f"no response from {url}/v1/predict/m: .*refused") as caught,
        ):
            client.predict("m", [RIDE], request_id="mine")
    assert caught.value.request_id == "mine"


def test_a_server_that_does_not_answer_in_time_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.05) as client, pytest.raises(NoResponseError, match="timed out"):
            client.predict("m", [RIDE])


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://host", "http://", "http://me:secret@host", "http://host?a=b"])
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(MLClientError, match="^url must") as caught:
        Client(url)
    assert "secret" not in str(caught.value)


def test_a_closed_client_gives_up() -> None:
    with Failing((503, {"Retry-After": "60"}, b"{}")).running() as server:
        client = Client(server.url, retry_for=600)
        client._core.is_known = True
        failed: list[MLClientError] = []

        def ask() -> None:
            try:
                client.predict("m", [RIDE] * 20_000)
            except MLClientError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while len(server.asked) < 2:
            time.sleep(0.01)
        client.close()
        thread.join(20)
        assert not thread.is_alive()
    assert [type(error) for error in failed] == [MLClientError]
    with pytest.raises(MLClientError, match="the client is closed"):
        client.predict("m", [RIDE])


def test_no_row_is_lost_if_the_server_is_killed_in_between(serve: Serve) -> None:
    server = serve()

    def records() -> Iterator[dict[str, Any]]:
        for number in range(3_000):
            if number == 1_500:
                server.kill()
                restarted.start()
            yield {"distance": float(number % 40), "zone": "A", "passengers": 1}

    restarted = threading.Thread(target=server.start)
    with Client(server.url, concurrency=2) as client:
        client._core.max_rows[10_000] = 100
        found = [row.prediction for row in client.stream("rides", records())]
    restarted.join()
    np.testing.assert_allclose(found, np.exp(2.5 + np.arange(3_000) % 40 / 8 + 1 / 16), rtol=1e-6)
