"""Shadows and canaries that hang, crash or are stopped: no caller notices, all is counted, and nothing is left."""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import requests
from model_kit.testing import GOLDEN_ROW, write_ride_bundle

from candidates import make_site, make_wheel, processes_of
from operated import ML_API, Service, wait_until
from postgres import Postgres

HANGS, CRASHES, FAILS = ({"distance": 4, "zone": "A", "passengers": n} for n in (8, 7, 6))
FAIR = {"distance": 4, "zone": "A"}


class Candidates(Service):
    """A service with candidates."""

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of a request on a connection of its own."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            sent = {"Content-Type": "application/json", **headers}
            text = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, text, sent)
            response = connection.getresponse()
            return response.status, response.read()

    def predict(self, *records: Any, model: str = "rides", **headers: str) -> Any:
        """The document of a prediction."""
        status, body = self.ask(f"/v1/predict/{model}", list(records), **headers)
        assert status == 200, body
        return json.loads(body)

    def state(self, kind: str, model: str = "rides") -> dict[str, Any]:
        """What ``/version`` says of a candidate."""
        found: dict[str, Any] = json.loads(self.ask("/version")[1])["candidates"][model][kind]
        return found

    def reaches(self, kind: str, state: str, model: str = "rides") -> None:
        """Wait until a candidate is in a state."""
        wait_until(lambda: self.state(kind, model)["state"] == state)

    def metric(self, name: str, *labels: str) -> float:
        """Sum of the samples of a metric with these labels."""
        lines = self.ask("/metrics")[1].decode().splitlines()
        found = [line for line in lines if re.match(rf"{name}(\{{|\s)", line) and all(text in line for text in labels)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def rows(self, result: str) -> float:
        """Rows of the shadow of rides."""
        return self.metric("ml_api_shadow_rows_total", 'model="rides"', f'result="{result}"')

    def shadowed(self) -> list[tuple[Any, ...]]:
        """Model, prediction, that of the shadow, their classes, errors of the shadow and version, in order."""
        with closing(sqlite3.connect(self.environ["PREDICTION_LOG"])) as connection:
            return connection.execute(
                "SELECT p.model, p.prediction, s.prediction, json_extract(p.detail, '$.class'), "
                "json_extract(s.detail, '$.class'), s.errors, s.version FROM predictions p "
                "JOIN shadow_predictions s USING (prediction_id, row) ORDER BY p.prediction_id, p.row"
            ).fetchall()

    def send_table(self, query: str = "", **headers: str) -> requests.Response:
        """Have a record in CSV predicted, and answered in CSV."""
        url = f"http://127.0.0.1:{self.port}/v1/predict/rides{query}"
        lines = [",".join(FAIR), ",".join(map(str, FAIR.values()))]
        types = {"Content-Type": "text/csv", "Accept": "text/csv"}
        return requests.post(url, data="\n".join(lines), headers=types | headers, timeout=20)

    def candidates(self, module: str) -> list[int]:
        """Process ids of the runners, or of the scorers."""
        found = processes_of(self.process.pid, self.port)
        return sorted(pid for pid, command in found.items() if f"ml_api.candidates.{module}" in command)

    def is_gone(self) -> bool:
        """Whether no process of the service is left."""
        return not processes_of(self.process.pid, self.port)


ServeCandidates: TypeAlias = Callable[..., Candidates]


@pytest.fixture
def serve_candidates(tmp_path: Path) -> Generator[ServeCandidates]:
    """Starts services with a log and these settings."""
    environ = os.environ | make_site(tmp_path / "site", tmp_path / "bundles")
    environ |= {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)]),
        "WEB_CONCURRENCY": "2",
        "METRICS": "true",
        "CANDIDATE_TIMEOUT": "1",
    }
    started: list[Candidates] = []

    def start(place: str | None = None, **settings: str) -> Candidates:
        folder = tmp_path / f"service{len(started)}"
        folder.mkdir()
        run = [sys.executable, "-m", "ml_api.cli", "migrate"]
        log = place or f"{folder}/log.db"
        subprocess.run(run, cwd=ML_API, env=environ | {"PREDICTION_LOG": log}, check=True, capture_output=True)
        started.append(Candidates(folder, log, environ | settings))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.stop()
        wait_until(service.is_gone)


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    """A wheel of another version, with the modules' names of the installed one."""
    return make_wheel(tmp_path, "2.0.0")


def test_shadow_changes_no_answer_and_its_own_is_beside_it(serve_candidates: ServeCandidates, wheel: str) -> None:
    plain = serve_candidates()
    service = serve_candidates(SHADOW_MODELS=f"rides={wheel}, lengths={wheel}")
    service.reaches("shadow", "ready", "rides")
    service.reaches("shadow", "ready", "lengths")
    asked: list[tuple[str, Any]] = [
        ("rides", FAIR),
        ("rides", [FAIR, {"distance": "x"}, GOLDEN_ROW]),
        ("rides?interval=0.9", [FAIR]),  # the model has no intervals
        ("rides?explain=2&warnings=true", [FAIR]),
        ("rides", [FAIR] * 3000),  # in several packets
        ("rides", []),
        ("lengths?probabilities=true", [{"distance": 10}, {"distance": 20}]),
    ]
    for path, body in asked:
        same = {"X-Request-ID": "same"}
        assert service.ask(f"/v1/predict/{path}", body, **same) == plain.ask(f"/v1/predict/{path}", body, **same), path
    assert service.send_table().text == plain.send_table().text
    n_rides = 1 + 3 + 1 + 3000 + 1
    wait_until(lambda: len(service.shadowed()) == n_rides + 2)
    rides = [row for row in service.shadowed() if row[0] == "rides"]
    assert {row[-1] for row in rides} == {"2.0.0"}
    errors = [row for row in rides if row[1] is None]
    assert [json.loads(row[5]).keys() for row in errors] == [{"distance", "zone"}]
    assert {row[2] / row[1] for row in rides if row[1] is not None} == {1.0, 2.0}  # the golden row is the same
    assert [row[3:5] for row in service.shadowed() if row[0] == "lengths"] == [("long", "short"), ("long", "long")]
    assert service.rows("sent") == service.rows("scored") == service.rows("recorded") == n_rides
    report = json.loads(service.command("shadow-report", "--json"))["comparisons"]
    found = [(one["model"], one["candidate"], one["rows"], one["agreeing"]) for one in report]
    assert found == [("lengths", "2.0.0", 2, 1), ("rides", "2.0.0", n_rides - 1, 1)]


def test_shadow_that_hangs_or_crashes_is_replaced_and_then_cut_off(
    serve_candidates: ServeCandidates, wheel: str
) -> None:
    service = serve_candidates(SHADOW_MODELS=f"rides={wheel}", CANDIDATE_TIMEOUT="3")
    service.reaches("shadow", "ready")
    service.predict(FAILS, FAIR)
    wait_until(lambda: service.rows("recorded") == 2)
    assert service.rows("failed") == 1
    assert json.loads(service.shadowed()[0][5]) == {"_schema": ["The candidate failed: RuntimeError."]}
    for number, record in enumerate((HANGS, CRASHES, CRASHES, CRASHES), 1):
        service.predict(record)
        if record is HANGS:
            assert service.rows("failed") == 1  # it hangs still
        wait_until(lambda number=number: service.rows("failed") == 1 + number)  # type: ignore[misc]
        if number < 4:
            service.reaches("shadow", "ready")
    state = service.state("shadow")
    assert (state["state"], state["version"]) == ("cut off", "2.0.0")
    assert state["reason"] == "it failed 4 times in a row; the last time: its process has died"
    (line, *_) = service.lines("candidate restarting")
    assert line["reason"] == "it has not answered within 3 s (CANDIDATE_TIMEOUT)"
    assert service.metric("ml_api_candidate_restarts_total", 'kind="shadow"') == 3
    assert service.metric("ml_api_candidate_ready") == 0
    service.predict(FAIR)
    wait_until(lambda: service.rows("dropped") == 1)
    assert service.candidates("scorer") == []


def test_rows_beyond_the_queue_are_dropped_and_counted(serve_candidates: ServeCandidates, wheel: str) -> None:
    service = serve_candidates(SHADOW_MODELS=f"rides={wheel}", PREDICTION_LOG_REQUIRED="false")
    service.reaches("shadow", "ready")
    (runner,) = service.candidates("runner")
    os.kill(runner, signal.SIGSTOP)
    # A field that the model does not have: a large packet with one row.
    for _ in range(100):
        assert len(service.predict(FAIR | {"note": "x" * 50_000})["predictions"]) == 1
    os.kill(runner, signal.SIGCONT)
    # The next packet of each worker tells what was dropped.
    wait_until(lambda: bool(service.predict(FAIR)) and service.rows("sent") > 100)
    wait_until(lambda: service.rows("sent") == service.rows("dropped") + service.rows("recorded"))
    dropped = service.rows("dropped")
    assert 10 < dropped < 100
    service.stop()
    (line,) = service.lines("shadow stopped")
    assert line["dropped"] == dropped


def test_canary_serves_the_same_callers_and_the_installed_version_stands_in(
    serve_candidates: ServeCandidates, wheel: str
) -> None:
    # With traces the line has a version too, and it must be that of the canary.
    service = serve_candidates(
        CANARY_MODELS=f"rides={wheel}",
        CANARY_SHARE="0.5",
        CANDIDATE_TIMEOUT="3",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    service.reaches("canary", "ready")
    installed = json.loads(service.ask("/v1/models/rides")[1])["version"]
    assert service.state("canary") == {"version": "2.0.0", "state": "ready", "reason": None, "share": 0.5}
    summary = {one["name"]: one for one in json.loads(service.ask("/v1/models")[1])["models"]}
    assert summary["rides"]["canary"]["version"] == "2.0.0"
    assert "canary" not in summary["lengths"]
    callers = [f"caller {number}" for number in range(40)]
    versions: dict[str, str] = {}
    for caller in callers * 2:
        found = service.predict(FAIR, **{"Inference-Id": caller})
        assert versions.setdefault(caller, found["version"]) == found["version"]
        factor = 2 if found["version"] == "2.0.0" else 1
        assert found["predictions"][0] == pytest.approx(21.381 * factor, rel=1e-4)
    of_canary = [caller for caller in callers if versions[caller] == "2.0.0"]
    assert 8 <= len(of_canary) <= 32
    assert set(versions.values()) == {"2.0.0", installed}
    own = {"Inference-Id": of_canary[0]}
    detailed = json.loads(service.ask("/v1/predict/rides?explain=1&warnings=true", [FAIR], **own)[1])
    assert (detailed["version"], len(detailed["explanations"]), len(detailed["warnings"])) == ("2.0.0", 1, 1)
    response = service.send_table("?explain=1&warnings=true", **own)
    assert (response.status_code, response.headers["Model-Version"]) == (200, "2.0.0")
    (contribution,) = detailed["explanations"][0]["contributions"]
    (row,) = csv.DictReader(response.text.splitlines())
    assert (row["explain_1_field"], float(row["explain_1_amount"])) == (contribution["field"], contribution["amount"])
    logged = [json.loads(line) for line in service.command("log", "export").splitlines()]
    assert {row["inference_id"]: row["version"] for row in logged} == versions
    lines = [line for line in service.lines("request") if line.get("canary")]
    assert {(line["canary"], line["version"]) for line in lines} == {("answered", "2.0.0")}
    # A failure, a crash, and a process that hangs.
    outcomes = (FAILS, "failed", 0), (CRASHES, "not_ready", 1), (HANGS, "timeout", 2)
    for record, result, n_restarts in outcomes:
        assert service.predict(record, **own)["version"] == installed
        labels = (f'version="{installed}"', f'result="{result}"')
        assert service.metric("ml_api_canary_requests_total", *labels) == 1, result
        wait_until(lambda n=n_restarts: service.metric("ml_api_candidate_restarts_total") == n)  # type: ignore[misc]
        service.reaches("canary", "ready")
    assert service.predict(FAIR, **own)["version"] == "2.0.0"
    assert service.metric("ml_api_canary_requests_total", 'result="answered"') == 2 * len(of_canary) + 3


def test_other_protocols_have_candidates_too(serve_candidates: ServeCandidates, wheel: str) -> None:
    both = f"rides={wheel}, lengths={wheel}"
    settings = {"V2": "true", "INVOCATIONS": "mlflow", "DEFAULT_MODEL": "rides", "CANARY_SHARE": "1"}
    service = serve_candidates(SHADOW_MODELS=f"rides={wheel}", CANARY_MODELS=both, **settings)
    service.reaches("shadow", "ready")
    service.reaches("canary", "ready")
    service.reaches("canary", "ready", "lengths")
    answer = service.predict(FAIR)
    assert answer["version"] == "2.0.0"
    columns = {"distance": [4, -1], "zone": ["A", "A"]}
    status, body = service.ask("/invocations", {"inputs": columns})
    assert (status, json.loads(body)["predictions"]) == (200, [*answer["predictions"], None])
    datatypes = {"distance": "FP64", "zone": "BYTES"}
    inputs = [{"name": n, "shape": [2], "datatype": datatypes[n], "data": data} for n, data in columns.items()]
    found = json.loads(service.ask("/v2/models/rides/infer", {"inputs": inputs})[1])
    assert (found["model_version"], found["outputs"][0]["data"]) == ("2.0.0", [*answer["predictions"], None])
    installed = json.loads(service.ask("/v1/models/rides")[1])["version"]
    pinned = json.loads(service.ask(f"/v2/models/rides/versions/{installed}/infer", {"inputs": inputs})[1])
    assert pinned["model_version"] == installed
    assert pinned["outputs"][0]["data"][0] == pytest.approx(answer["predictions"][0] / 2)
    lengths = {"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [10]}]}
    found = json.loads(service.ask("/v2/models/lengths/infer", lengths)[1])
    assert (found["model_version"], len(found["outputs"][1]["data"])) == ("2.0.0", 2)
    wait_until(lambda: service.rows("recorded") == 7)


def test_candidates_that_cannot_be_used_are_told_and_the_service_serves(
    serve_candidates: ServeCandidates, wheel: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    write_ride_bundle(damaged)
    (damaged / "card.json").write_text("{}")
    service = serve_candidates(SHADOW_MODELS=f"rides={damaged}", CANARY_MODELS=f"boats={wheel}", WEB_CONCURRENCY="1")
    service.reaches("shadow", "refused")
    service.reaches("canary", "refused", "boats")
    assert service.state("shadow")["reason"].startswith("card.json: sha256 is ")
    assert service.state("canary", "boats")["reason"] == (
        "the wheel announces no model boats; it announces: lengths, rides"
    )
    assert service.predict(FAIR)["predictions"]
    wait_until(lambda: service.rows("dropped") == 1)
    assert {line["level"] for line in service.lines("candidate refused")} == {"error"}
    # Put right, it is read again with the models.
    write_ride_bundle(damaged, version="1.2.4")
    service.process.send_signal(signal.SIGHUP)
    service.reaches("shadow", "ready")
    assert service.state("shadow")["version"].startswith("1.2.3+")
    service.predict(FAIR)
    wait_until(lambda: len(service.shadowed()) == 1)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(serve_candidates: ServeCandidates, wheel: str, end: signal.Signals) -> None:
    service = serve_candidates(SHADOW_MODELS=f"rides={wheel}", CANDIDATE_TIMEOUT="60", WEB_CONCURRENCY="1")
    service.reaches("shadow", "ready")
    (scorer,) = service.candidates("scorer")
    os.kill(scorer, signal.SIGSTOP)
    service.predict(FAIR)
    service.process.send_signal(end)
    assert service.process.wait(60) == (0 if end is signal.SIGTERM else -signal.SIGKILL)
    wait_until(service.is_gone)


def test_runner_that_dies_is_started_again(serve_candidates: ServeCandidates, wheel: str, postgres: Postgres) -> None:
    service = serve_candidates(postgres.url, SHADOW_MODELS=f"rides={wheel}", WEB_CONCURRENCY="1")
    service.reaches("shadow", "ready")
    service.predict(FAIR)
    wait_until(lambda: service.rows("recorded") == 1)
    (runner,), scorers = service.candidates("runner"), service.candidates("scorer")
    os.kill(runner, signal.SIGKILL)
    wait_until(lambda: service.candidates("runner") not in ([], [runner]))
    wait_until(lambda: bool(service.predict(FAIR)) and service.rows("recorded") > 1)
    assert scorers[0] not in service.candidates("scorer")

    def is_reported() -> bool:
        (found,) = json.loads(service.command("shadow-report", "--json"))["comparisons"]
        return (found["rows"], found["mean_difference"]) == (service.rows("recorded"), 1.0)

    wait_until(is_reported)  # the last rows may still be written
