"""Metrics: what is counted, and that sums are right over workers that are killed, replaced and reloaded."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient
from model_kit.scoring.predictor import Answer
from model_kit.spec import Field, Target, fit_spec
from model_kit.testing import GOLDEN_ROW, load_rides, write_ride_bundle
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from ml_api.app import create_app
from ml_api.metrics.recorder import Recorder
from ml_api.settings import Settings
from ml_api.shared_folder import Place, SharedFolder
from ml_api.worker_loads import WorkerLoads
from operated import wait_until

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

FOLDER = Path(__file__).parents[1]
URL = "/v1/predict/rides"
JSON = {"Content-Type": "application/json"}
NAPS = "[ml_api.models]\nrides = rides_package:load\nnaps = rides_package:load_naps\n"
#: Fares of the golden row and of one of 32 km: 20.1 and 700.
FAR_ROW = {**GOLDEN_ROW, "distance": 32.0}
EDGES = [10.0, 20.0, 40.0]


def parse(text: str) -> dict[str, float]:
    """``name{label="value"}`` -> value; labels in alphabetical order."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def read(folder: Path) -> dict[str, float]:
    """The sums over the files of a folder."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return parse(generate_latest(registry).decode())


def scrape(server: Server, port: int | None = None) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=20)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parse(text)


def ask(port: int, method: str, path: str, body: str | None = None) -> int:
    """The status of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, JSON)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Path], FlaskClient]]:
    """Creates clients of applications that count in a folder of their own."""
    monkeypatch.setattr("ml_api.shared_folder.place", Place(tmp_path, 0))
    recorders = []

    def create(bundle: Path) -> FlaskClient:
        app = create_app(Settings(metrics=True), {"rides": lambda: load_rides(bundle)})
        recorders.append(app.metrics)
        return app.test_client()

    yield create
    for recorder in recorders:
        assert recorder is not None
        recorder.close()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.close()


@pytest.fixture
def counted(counting: Callable[[Path], FlaskClient], tmp_path: Path) -> FlaskClient:
    write_ride_bundle(tmp_path / "rides", target_distribution={"edges": EDGES, "shares": [0.5, 0.5]})
    return counting(tmp_path / "rides")


def metrics(client: FlaskClient) -> dict[str, float]:
    return parse(client.get("/metrics").text)


def test_responses_are_counted_by_route_and_status(counted: FlaskClient) -> None:
    for path in ("/health", "/health", "/nowhere", "/elsewhere", "/v1/models/boats"):
        counted.get(path)
    counted.post(URL, data="{", content_type="application/json")
    for method, path in (("GET", URL), ("CANARY", URL), ("POST", "/health"), ("PUT", "/nowhere")):
        counted.open(path, method=method)
    found = metrics(counted)
    assert {key: value for key, value in found.items() if key.startswith("ml_api_requests_total")} == {
        'ml_api_requests_total{route="/health",status="200"}': 2,
        'ml_api_requests_total{route="(unknown)",status="404"}': 3,
        'ml_api_requests_total{route="/v1/models/<name>",status="404"}': 1,
        'ml_api_requests_total{route="/v1/predict/<name>",status="400"}': 1,
        # A path that exists, for other methods.
        'ml_api_requests_total{route="/v1/predict/<name>",status="405"}': 2,
        'ml_api_requests_total{route="/health",status="405"}': 1,
        # The documentation of the responses, which these tests hold them to.
        'ml_api_requests_total{route="/openapi.json",status="200"}': 1,
    }
    assert metrics(counted)['ml_api_requests_total{route="/metrics",status="200"}'] == 1


def test_rows_of_tables_are_counted_as_records_are(counted: FlaskClient) -> None:
    body = "zone,distance\nA,8\nA,far\nB\n"
    counted.post(URL, data=body, content_type="text/csv", headers={"Accept": "text/csv"})
    found = metrics(counted)
    assert found['ml_api_rows_total{model="rides",result="scored"}'] == 1
    assert found['ml_api_rows_total{model="rides",result="rejected"}'] == 2
    assert found['ml_api_rejected_fields_total{field="distance",model="rides"}'] == 1
    assert found['ml_api_rejected_fields_total{field="(record)",model="rides"}'] == 1


def test_records_are_counted_and_rejected_ones_by_field(counted: FlaskClient) -> None:
    counted.post(URL, json=[GOLDEN_ROW, {"distance": "x", "zone": 1}, {"distance": 1}, 5, FAR_ROW])
    counted.post(URL, json=GOLDEN_ROW)
    counted.post(f"{URL}?warnings=true", json=GOLDEN_ROW)
    found = metrics(counted)
    assert found['ml_api_rows_total{model="rides",result="scored"}'] == 4
    assert found['ml_api_rows_total{model="rides",result="rejected"}'] == 3
    assert {key: value for key, value in found.items() if "rejected_fields" in key} == {
        'ml_api_rejected_fields_total{field="distance",model="rides"}': 1,
        'ml_api_rejected_fields_total{field="zone",model="rides"}': 2,
        'ml_api_rejected_fields_total{field="(record)",model="rides"}': 1,
    }


def test_predictions_are_counted_in_the_buckets_of_training(counted: FlaskClient) -> None:
    answer = counted.post(URL, json=[GOLDEN_ROW, {"zone": "A", "distance": 0}, FAR_ROW, GOLDEN_ROW]).get_json()
    found = metrics(counted)
    buckets = [found[f'ml_api_prediction_bucket{{le="{bound}",model="rides"}}'] for bound in (*EDGES, "+Inf")]
    assert buckets == [sum(value <= bound for value in answer["predictions"]) for bound in (*EDGES, 1e9)]
    assert buckets == [0, 1, 3, 4]
    assert found['ml_api_prediction_sum{model="rides"}'] == pytest.approx(sum(answer["predictions"]))


def test_model_is_told_with_its_version_and_whether_it_is_ready(counted: FlaskClient) -> None:
    found = metrics(counted)
    (info,) = [key for key in found if key.startswith("ml_api_model_info")]
    assert info.endswith(',model="rides",version="1.2.3"}')
    assert found['ml_api_model_ready{model="rides"}'] == 1


def test_broken_model_is_not_ready(counting: Callable[[Path], FlaskClient], tmp_path: Path) -> None:
    assert metrics(counting(tmp_path))['ml_api_model_ready{model="rides"}'] == 0


def any_model(**changes: Any) -> Any:
    """A model as far as it is counted."""
    fields = (Field("a\ud800", "number", "of a strange name"),)
    target = Target("t", **changes)
    return SimpleNamespace(spec=fit_spec(fields, target, [{"a\ud800": 1.0}], rare_below=1), card={})


def test_classes_are_counted_by_name(recorder: Recorder, tmp_path: Path) -> None:
    model = any_model(kind="class", classes=(False, True))
    recorder.answer("m", model, Answer([True, True, None, False], {2: {"a\ud800": ["no"]}}, 0))
    found = read(tmp_path)
    assert found['ml_api_predicted_class_total{class="true",model="m"}'] == 2
    assert found['ml_api_predicted_class_total{class="false",model="m"}'] == 1
    assert found['ml_api_rejected_fields_total{field="a\\ud800",model="m"}'] == 1


def test_model_without_a_distribution_has_count_and_sum(recorder: Recorder, tmp_path: Path) -> None:
    recorder.answer("m", any_model(unit="EUR"), Answer([1.5, 2.5], {}, 0))
    found = read(tmp_path)
    assert (found['ml_api_prediction_count{model="m"}'], found['ml_api_prediction_sum{model="m"}']) == (2, 4)


def test_refusals_are_counted_by_reason(recorder: Recorder, tmp_path: Path) -> None:
    recorder.refusal(503, "in_flight")
    recorder.refusal(400, None)
    recorder.request("/v1/predict/<name>", 503, {}, "long_requests")
    found = read(tmp_path)
    refused = {key: value for key, value in found.items() if "refused" in key}
    assert {key: value for key, value in refused.items() if value} == {
        'ml_api_requests_refused_total{reason="in_flight"}': 1,
        'ml_api_requests_refused_total{reason="long_requests"}': 1,
    }
    assert 'ml_api_requests_refused_total{reason="memory"}' in refused
    assert found['ml_api_requests_total{route="(server)",status="503"}'] == 1
    assert found['ml_api_requests_total{route="(server)",status="400"}'] == 1


def test_rows_that_wait_are_summed_over_workers_and_end_with_their_worker(tmp_path: Path) -> None:
    first, second = Recorder(tmp_path, 0), Recorder(tmp_path, 1)
    assert "ml_api_prediction_log_queued_rows" not in read(tmp_path)
    first.queued(7)
    first.queued(5)
    second.queued(2)
    assert read(tmp_path)["ml_api_prediction_log_queued_rows"] == 7
    first.close()
    # Its successor has nothing that waits yet.
    successor = Recorder(tmp_path, 0)
    successor.queued(0)
    assert read(tmp_path)["ml_api_prediction_log_queued_rows"] == 2
    for recorder in (second, successor):
        recorder.close()


def test_threads_lose_no_count(recorder: Recorder, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def count() -> None:
        together.wait()
        for number in range(2000):
            recorder.request(f"/{number}", 200, {}, None)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    found = {key: value for key, value in read(tmp_path).items() if key.startswith("ml_api_requests_total")}
    assert (len(found), set(found.values())) == (2000, {4})


def test_more_series_than_a_new_file_has_room_for(recorder: Recorder, tmp_path: Path) -> None:
    for number in range(1000):
        recorder.request(f"/{number:0100d}", 200, {}, None)
    found = read(tmp_path)
    assert sum(value for key, value in found.items() if key.startswith("ml_api_requests_total")) == 1000


def kill_workers(folder: Path, times: int) -> None:
    """Start so many processes that count three requests each and kill themselves; sums must never fall meanwhile."""
    loads = WorkerLoads(2)
    alive: list[tuple[int, Any]] = []
    before: dict[str, float] = {}
    for number in range(times):
        slot = loads.acquire()
        child = os.fork()
        if child == 0:
            recorder = Recorder(folder, slot.number)
            for _ in range(3):
                recorder.request("/x", 200, {}, None)
            os.kill(os.getpid(), signal.SIGKILL)
        alive.append((child, slot))
        if len(alive) == 3:  # the third begins before the first is gone, as in a reload
            child, slot = alive.pop(0)
            os.waitpid(child, 0)
            slot.release()
        if number % 100 == 99:
            after = read(folder)
            assert all(after[key] >= value for key, value in before.items())
            before = after
    for child, _ in alive:
        os.waitpid(child, 0)


def test_thousand_workers_that_are_killed_leave_the_sums_and_no_files(tmp_path: Path) -> None:
    # In a process of its own: a fork of pytest with all that it has loaded takes ten times as long.
    script = "import sys, pathlib, test_metrics; test_metrics.kill_workers(pathlib.Path(sys.argv[1]), 1000)"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, check=True)
    found = read(tmp_path)
    assert found['ml_api_requests_total{route="/x",status="200"}'] == 3000
    assert found["ml_api_worker_starts_total"] == 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{kind}_{slot}.db" for kind in ("counter", "histogram") for slot in range(3)
    ]


def test_nothing_is_imported_while_metrics_are_off() -> None:
    script = (
        "import sys; from ml_api.app import create_app; from ml_api.settings import Settings; import ml_api.worker\n"
        "create_app(Settings(), {})\n"
        "assert not [name for name in sys.modules if name.startswith(('prometheus_client', 'ml_api.metrics'))]"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", script], cwd=FOLDER, env={**os.environ, "PYTHONPATH": path}, check=True)


def test_metrics_are_off_by_default(client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 404


def test_server_without_the_library_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ModuleNotFoundError('no', name='prometheus_client')")
    environ = {**os.environ, "METRICS": "true", "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "gunicorn.conf.py"], cwd=FOLDER, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "ml_api does not start: METRICS needs prometheus_client, which is not installed; "
        "pip install --no-deps -r requirements/operations.txt\n"
    )


def test_folder_of_a_server_that_was_killed_is_deleted_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ml_api.shared_folder._MEMORY", tmp_path)
    living = SharedFolder()
    child = os.fork()
    if child == 0:
        (SharedFolder().path / "counter_0.db").touch()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 2
    other = SharedFolder()
    assert set(tmp_path.iterdir()) == {living.path, other.path}
    living.remove()
    other.remove()
    assert list(tmp_path.iterdir()) == []


class Load:
    """Sends requests from threads until it is stopped, and counts the answers."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.server = server
        self.answers: Counter[tuple[str, int]] = Counter()
        self.rows = 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        turn = number
        while not self.stopped.is_set():
            turn += 1
            rows = [GOLDEN_ROW] * (1 + turn % 3)
            path, body = (URL, json.dumps(rows)) if turn % 4 else ("/nowhere", "")
            # A connection of its own: one that is kept may be closed by a worker that ends, before it is used.
            connection = self.server.connect()
            connection.request("POST", path, body, JSON)
            status = connection.getresponse().status
            connection.close()
            with self._lock:
                self.answers[path, status] += 1
                self.rows += len(rows) * (path == URL)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join()


def workers(server: Server) -> set[int]:
    """The processes of the workers that live."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return set(map(int, children))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sums_are_those_of_the_clients_over_kills_and_reloads(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="2", METRICS="true", LOG_LEVEL="info")
    seen: list[Mapping[str, float]] = [scrape(server)]
    answers: Counter[tuple[str, int]] = Counter()
    rows, starts = 0, 2

    def wait_for_starts() -> None:
        give_up = time.monotonic() + 30
        while (found := scrape(server)["ml_api_worker_starts_total"]) < starts:
            assert time.monotonic() < give_up, found
            time.sleep(0.05)

    for event in ("reload", "kill", "reload", "kill"):
        wait_for_starts()
        old = workers(server)
        load = Load(server)
        time.sleep(0.3)
        if event == "reload":
            server.process.send_signal(signal.SIGHUP)
            # Two of each take requests at times, and are scraped.
            while old & workers(server):
                seen.append(scrape(server))
        load.stop()
        if event == "kill":  # one that is idle: a request that it computes would be counted, and not answered
            os.kill(min(old), signal.SIGKILL)
        starts += 2 if event == "reload" else 1
        wait_for_starts()
        answers += load.answers
        rows += load.rows
        seen.append(scrape(server))
    for before, after in pairwise(seen):
        fallen = [key for key, value in before.items() if "_info{" not in key and after.get(key, -1) < value]
        assert not fallen
    found = seen[-1]
    assert set(answers) == {(URL, 200), ("/nowhere", 404)}
    assert found['ml_api_requests_total{route="/v1/predict/<name>",status="200"}'] == answers[URL, 200]
    assert found['ml_api_requests_total{route="(unknown)",status="404"}'] == answers["/nowhere", 404]
    assert found['ml_api_request_duration_seconds_count{route="/v1/predict/<name>"}'] == answers[URL, 200]
    assert found['ml_api_rows_total{model="rides",result="scored"}'] == rows
    assert found['ml_api_prediction_count{model="rides"}'] == rows
    # Two to begin with, two for each reload, one for each kill; at most four at a time.
    assert found["ml_api_worker_starts_total"] == starts == 8
    slots = {path.stem.partition("_")[2] for path in folder_of(server).iterdir()}
    assert slots <= {"0", "1", "2", "3", "master"}
    server.process.terminate()
    assert server.process.wait(10) == 0


def folder_of(server: Server) -> Path:
    """The folder that the workers share."""
    (lock,) = {
        target
        for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir()
        if "/ml-api-" in (target := os.readlink(descriptor)) and Path(target).is_dir()
    }
    return Path(lock)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_port_of_its_own_and_a_folder_that_ends_with_the_server(serve: Serve) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = serve(METRICS_PORT=str(port))
    assert server.request("GET", "/metrics")[0].status == 404
    assert server.predict(GOLDEN_ROW)[0] == 200
    assert scrape(server, port)['ml_api_rows_total{model="rides",result="scored"}'] == 1
    assert [ask(port, "GET", path) for path in ("/", "/version", "/v1/models", "/nowhere")] == [404] * 4
    assert ask(port, "POST", URL, json.dumps(GOLDEN_ROW)) == 404
    assert [ask(port, "GET", path) for path in ("/health", "/health/ready")] == [200, 200]
    assert scrape(server, port)['ml_api_rows_total{model="rides",result="scored"}'] == 1
    folder = folder_of(server)
    assert sorted(path.name for path in folder.iterdir()) == ["counter_0.db", "counter_master.db", "histogram_0.db"]
    server.stop()
    assert not folder.exists()


def test_what_the_server_refuses_is_counted_while_it_refuses(serve: Serve) -> None:
    server = serve(entry_points=NAPS, METRICS="true", MAX_IN_FLIGHT="2", THREADS="1")
    sleeping = threading.Thread(target=server.predict, args=([{**GOLDEN_ROW, "passengers": 8}], "naps"))
    sleeping.start()
    time.sleep(0.3)
    head = b"POST /v1/predict/naps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(head + b"[]")
        time.sleep(0.1)
    assert server.predict(GOLDEN_ROW)[0] == 503
    found = scrape(server)
    sleeping.join()
    # An overload that has just ended may have this one refused too.
    wait_until(lambda: server.predict(GOLDEN_ROW)[0] == 200)
    assert scrape(server)['ml_api_requests_total{route="(server)",status="499"}'] == 1
    assert found['ml_api_requests_total{route="(server)",status="503"}'] == 1
    assert found['ml_api_requests_refused_total{reason="in_flight"}'] == 1
    refused = [line for line in server.lines if line.get("status") == 503]
    assert {line["refused"] for line in refused} == {"in_flight"}
