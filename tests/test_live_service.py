"""A service that is not what was meant, asked for what it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import live_service
from live_service import Expected, ExpectedModel, Service, contract_faults, faults, wait_until_back, wait_until_right
from project import ScriptError

RIDES = ExpectedModel("rides", "1.2.3", "a" * 64, {"row": {"distance": 1}, "prediction": 20.0})
MEANT = Expected((RIDES,), "c0ffee")
LINEAGE = {"version": "1.2.3", "artifact_sha256": "a" * 64}
VERSION = {"git_commit": "c0ffee", "models": {"rides": LINEAGE}}


def with_models(**models: object) -> dict[str, Any]:
    return VERSION | {"models": models}


class Answers(ThreadingHTTPServer):
    """Answers each path as it was told to; 200 and an empty object elsewhere."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, Any]] = {
            "/version": (200, VERSION),
            "/v1/predict/rides": (200, {"predictions": [20.0]}),
        }


class Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, document = self.server.answers.get(self.path, (200, {}))
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status == 503 else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Generator[Answers]:
    with Answers() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def service(server: Answers, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(live_service, "PAUSE", 0.01)
    return Service(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/health/ready", (503, {"detail": "sick"}), "/health/ready answers 503: sick"),
        ("/version", (500, {}), "/version does not answer"),
        ("/version", (200, []), "/version does not answer"),
        ("/version", (200, VERSION | {"git_commit": None}), "git_commit None where 'c0ffee' was meant"),
        ("/version", (200, with_models(rides=LINEAGE | {"version": "1"})), "rides.version '1' where '1.2.3' was meant"),
        ("/version", (200, with_models(rides={"version": "1.2.3"})), f"None where '{'a' * 64}' was meant"),
        ("/version", (200, with_models(rides=LINEAGE, fares=LINEAGE)), "models ['fares', 'rides'] where ['rides'] was"),
        ("/v1/predict/rides", (200, {"predictions": [20.1]}), 'answered with 200 {"predictions": [20.1]} where 20.0'),
        ("/v1/predict/rides", (422, {"predictions": [None]}), "answered with 422"),
        ("/v1/predict/rides", (200, {"detail": "x" * 999}), "x..."),
    ],
)
def test_what_is_not_as_meant_is_told_as_it_was_seen(
    server: Answers, service: Service, path: str, answer: tuple[int, Any], words: str
) -> None:
    assert faults(service, MEANT) == []
    server.answers[path] = answer
    (fault,) = faults(service, MEANT)
    assert words in fault
    told: list[str] = []
    with pytest.raises(ScriptError, match="is not what was meant after 0 s; seen last:") as caught:
        wait_until_right(service, MEANT, 0, told.append)
    assert words in str(caught.value)
    assert len(told) == 1


def test_nobody_there_is_no_answer() -> None:
    nobody = Service("http://127.0.0.1:9/")
    assert faults(nobody, MEANT) == ["no answer: ConnectionError"]
    assert nobody.version() is None
    with pytest.raises(ScriptError, match="is not ready, and its /version is None"):
        wait_until_back(nobody, VERSION, 0)


def test_back_is_what_was_known_before_and_ready(server: Answers, service: Service) -> None:
    wait_until_back(service, VERSION, 5)
    server.answers["/version"] = (200, VERSION | {"git_commit": "another"})
    with pytest.raises(ScriptError, match="is ready, and its /version is .*another"):
        wait_until_back(service, VERSION, 0)


def test_each_promise_that_is_broken_is_named(service: Service) -> None:
    broken = contract_faults(service, MEANT)
    assert len(broken) == 8
    assert "GET /health is 200" in broken
    assert "rides: only wrong records are 422" in broken
    assert "rides: the API document has the model (KeyError)" in broken


def test_every_model_that_is_meant_is_asked(server: Answers, service: Service) -> None:
    fares = ExpectedModel("fares", "2.0.0", "b" * 64, {"row": {"distance": 1}, "prediction": 7.0})
    both = Expected((fares, RIDES), "c0ffee")
    assert str(both) == f"fares 2.0.0, artefact {'b' * 64}; rides 1.2.3, artefact {'a' * 64}, commit c0ffee"
    server.answers["/version"] = (
        200,
        with_models(rides=LINEAGE, fares={"version": "2.0.0", "artifact_sha256": "b" * 64}),
    )
    server.answers["/v1/predict/fares"] = (200, {"predictions": [7.0]})
    assert faults(service, both) == []
    server.answers["/v1/predict/fares"] = (200, {"predictions": [8.0]})
    (fault,) = faults(service, both)
    assert fault.startswith("the golden row of fares is answered with 200")
    named = {promise.partition(":")[0] for promise in contract_faults(service, both) if ":" in promise}
    assert named == {"fares", "rides"}


@pytest.mark.parametrize(
    ("prediction", "stays", "is_right"),
    [("stays", 0.7500001, True), ("leaves", 0.75, False), ("stays", 0.7501, False), (None, None, False)],
)
def test_golden_row_of_classes_is_held_to_class_and_probabilities(
    server: Answers, service: Service, prediction: str | None, stays: float | None, is_right: bool
) -> None:
    golden = {"row": {"hours": 1}, "prediction": "stays", "probabilities": {"stays": 0.75, "leaves": 0.25}}
    model = ExpectedModel("rides", "1.2.3", "a" * 64, golden)
    probable = None if stays is None else {"stays": stays, "leaves": 1 - stays}
    answer = {"predictions": [prediction], "probabilities": [probable]}
    server.answers["/v1/predict/rides?probabilities=true"] = (200, answer)
    found = faults(service, Expected((model,), "c0ffee"))
    assert found == [] if is_right else "where 'stays' was meant" in found[0]
