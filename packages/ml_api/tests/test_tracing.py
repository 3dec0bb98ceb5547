"""Spans, as a collector receives them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ml_api.settings import Settings, SettingsError

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

FOLDER = Path(__file__).parents[1]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RIDE = [{"distance": 5, "zone": "A"}]
PATIENCE = 60
JSON = {"Content-Type": "application/json"}


class Collector(ThreadingHTTPServer):
    """Receives traces (OTLP over HTTP) until it is closed."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()
        #: Cleared: it accepts what is sent, and never answers.
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, Any]:
        return attributes(self.requests[0].resource_spans[0].resource.attributes)

    def wait_for(self, count: int) -> list[Span]:
        wait_until(lambda: len(self.spans) >= count)
        return self.spans


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.answers.wait()
        self.server.paths.add(self.path)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        pass


def attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not happen within a minute"
        time.sleep(0.02)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running
        running.answers.set()
        running.shutdown()


@pytest.fixture
def traced(serve: Serve, collector: Collector) -> Callable[..., Server]:
    """Starts services that trace: sent after 100 ms."""

    def start(**environ: str) -> Server:
        return serve(**{ENDPOINT: collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **environ})

    return start


def predict(server: Server, records: Any = RIDE, **headers: str) -> Any:
    response, _ = server.request("POST", "/v1/predict/rides", json.dumps(records), JSON | headers)
    return response


def test_each_request_is_a_server_span_with_the_callers_as_parent(
    traced: Callable[..., Server], collector: Collector
) -> None:
    server = traced(WEB_CONCURRENCY="2", OTEL_SERVICE_NAME="fares", OTEL_RESOURCE_ATTRIBUTES="deployment=blue")
    response = predict(server, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1")
    request_id = response.headers["X-Request-ID"]
    wait_until(lambda: any(span.trace_id.hex() == TRACE for span in collector.spans))
    (span,) = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert (span.kind, span.name) == (Span.SPAN_KIND_SERVER, "POST /v1/predict/<name>")
    assert (span.parent_span_id.hex(), span.trace_state) == (PARENT, "vendor=1")
    assert attributes(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/predict/<name>",
        "http.response.status_code": 200,
        "url.path": "/v1/predict/rides",
        "url.scheme": "http",
        "ml_api.model": "rides",
        "ml_api.version": "1.2.3",
        "ml_api.rows": 1,
        "ml_api.errors": 0,
        "ml_api.request_id": request_id,
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    line = server.line_of(request_id)
    assert re.fullmatch(rf"00-{TRACE}-{span.span_id.hex()}-0[13]", line["traceparent"])
    # From the arrival of the request: no shorter than the line says.
    assert span.end_time_unix_nano - span.start_time_unix_nano > 0
    assert collector.paths == {"/v1/traces"}
    found = collector.resource()
    assert (found["service.name"], found["deployment"]) == ("fares", "blue")
    server.stop()
    # What had not been sent is sent at the end: each line has its span.
    assert {line["traceparent"][:-3] for line in server.lines if line["message"] == "request"} == {
        f"00-{span.trace_id.hex()}-{span.span_id.hex()}" for span in collector.spans
    }


def test_errors_and_unknown_paths_are_spans_too(traced: Callable[..., Server], collector: Collector) -> None:
    server = traced(
        entry_points="[ml_api.models]\nrides = rides_package:load\nnaps = rides_package:load_naps\n",
        **{ENDPOINT: "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/own/path"},
    )
    collector.wait_for(2)  # /health and the document
    server.request("GET", "/no/such%20path")
    assert server.predict([{"distance": 5, "zone": "A", "passengers": 7}], "naps")[0] == 500
    assert predict(server, traceparent="00-nonsense").status == 200
    found = {attributes(span.attributes)["url.path"]: span for span in collector.wait_for(5)}
    unknown, failed, sound = (found[path] for path in ("/no/such path", "/v1/predict/naps", "/v1/predict/rides"))
    assert (unknown.name, "http.route" in attributes(unknown.attributes)) == ("GET", False)
    assert attributes(unknown.attributes)["http.response.status_code"] == 404
    assert unknown.status.code == Status.STATUS_CODE_UNSET
    assert (attributes(failed.attributes)["error.type"], failed.status.code) == ("500", Status.STATUS_CODE_ERROR)
    assert sound.parent_span_id == b""
    assert collector.resource()["service.name"] == "ml_api"
    assert collector.paths == {"/own/path"}


def test_a_prediction_that_waits_for_the_log_ends_with_its_status(
    traced: Callable[..., Server], collector: Collector, tmp_path: Path
) -> None:
    place = str(tmp_path / "log.db")
    command = [sys.executable, "-m", "ml_api.cli", "migrate"]
    subprocess.run(command, cwd=FOLDER, env=os.environ | {"PREDICTION_LOG": place}, check=True, capture_output=True)
    server = traced(PREDICTION_LOG=place, PREDICTION_LOG_TIMEOUT="1")
    identity = predict(server).headers["Prediction-Id"]
    wait_until(lambda: any(span.name.startswith("POST") for span in collector.spans))
    (recorded,) = [span for span in collector.spans if span.name.startswith("POST")]
    assert attributes(recorded.attributes)["ml_api.prediction_id"] == identity
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert predict(server).status == 503
    wait_until(lambda: sum(span.name.startswith("POST") for span in collector.spans) == 2)
    (_, refused) = [attributes(span.attributes) for span in collector.spans if span.name.startswith("POST")]
    assert (refused["http.response.status_code"], refused["ml_api.refused"]) == (503, "prediction_log")


def test_sampler_decides_what_is_sent(traced: Callable[..., Server], collector: Collector) -> None:
    server = traced(OTEL_TRACES_SAMPLER="parentbased_always_off")
    line = server.line_of(predict(server).headers["X-Request-ID"])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[02]", line["traceparent"])
    predict(server, traceparent=f"00-{TRACE}-{PARENT}-01")
    collector.wait_for(1)
    server.stop()
    assert [span.trace_id.hex() for span in collector.spans] == [TRACE]


def test_collector_that_hangs_costs_no_request_and_no_stop(traced: Callable[..., Server], collector: Collector) -> None:
    collector.answers.clear()
    server = traced(OTEL_BSP_MAX_QUEUE_SIZE="20", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10", OTEL_EXPORTER_OTLP_TIMEOUT="600")
    assert {predict(server).status for _ in range(100)} == {200}
    assert collector.asked.wait(PATIENCE)
    assert {predict(server).status for _ in range(100)} == {200}
    server.stop()  # within 10 s
    assert collector.spans == []
    assert [line["message"] for line in server.lines if line["logger"].startswith("opentelemetry")] != []


def test_collector_that_is_down_costs_no_request(serve: Serve) -> None:
    server = serve(**{ENDPOINT: "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "10"})
    assert {predict(server).status for _ in range(100)} == {200}
    wait_until(lambda: any(line["logger"].startswith("opentelemetry") for line in server.lines))
    assert {predict(server).status for _ in range(100)} == {200}
    server.stop()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "fares"},
    ],
)
def test_traces_are_off_without_a_collector(environ: dict[str, str]) -> None:
    assert Settings.from_environ(environ).otlp_endpoint is None


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (ENDPOINT, "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer 5ecret"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-team=a;5ecret"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "some"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_SDK_DISABLED", "perhaps"),
    ],
)
def test_value_that_is_not_possible_is_refused_by_name(variable: str, text: str) -> None:
    environ = {ENDPOINT: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", variable: text}
    with pytest.raises(SettingsError, match=f"^{variable} ") as caught:
        Settings.from_environ(environ)
    assert "5ecret" not in str(caught.value)


def test_headers_of_the_collector_may_have_several_values_and_blanks() -> None:
    headers = "authorization=Basic%20QWxhZGRpbjpvcGVuIHNlc2FtZQ==, x-team = prices,"
    environ = {ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": headers}
    assert Settings.from_environ(environ).otlp_endpoint == "http://c:4318"


def test_nothing_is_imported_while_traces_are_off() -> None:
    script = (
        "import sys; from ml_api.app import create_app; from ml_api.settings import Settings; import ml_api.worker\n"
        "create_app(Settings(), {})\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf', 'requests'))]"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", script], cwd=FOLDER, env={**os.environ, "PYTHONPATH": path}, check=True)


def test_server_without_the_libraries_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError('no', name='opentelemetry')")
    environ = {**os.environ, ENDPOINT: "http://c:4318"}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "gunicorn.conf.py"], cwd=FOLDER, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"ml_api does not start: {ENDPOINT} needs opentelemetry, which is not installed; "
        "pip install --no-deps -r requirements/otel.txt\n"
    )
