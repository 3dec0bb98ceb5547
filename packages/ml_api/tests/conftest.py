"""Fixtures: the model of rides behind a test client, and behind a real gunicorn that finds it by its entry point."""

from __future__ import annotations

import http.client
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import pytest
from flask import Flask
from flask.testing import FlaskClient
from model_kit.testing import load_rides, write_ride_bundle
from werkzeug.test import TestResponse

from documented import Documented
from installed import hide_other_models, install
from ml_api.app import API, create_app
from ml_api.logs import LOGGER, JSONFormatter
from ml_api.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).parents[1]
BOOT_SECONDS = 30
STOP_SECONDS = 10
#: Within which a page must show what is expected of it, on a machine that does other things too.
EXPECT_SECONDS = 20

#: As a card has them: fares below 20 and above; each next level is .02 and .01 wider on the logarithmic scale.
INTERVALS = {
    "rows": 100,
    "levels": [round(0.5 + 0.05 * step, 2) for step in range(10)],
    "edges": [20.0],
    "widths": [[round(0.02 * step, 2) for step in range(1, 11)], [round(0.01 * step, 2) for step in range(1, 11)]],
}
VARIABLES = (
    "HOST",
    "PORT",
    "WEB_CONCURRENCY",
    "THREADS",
    "MAX_ROWS",
    "MAX_EXPLAINED",
    "MAX_WARNED",
    "MAX_BODY_BYTES",
    "MAX_HELD_BYTES",
    "MAX_IN_FLIGHT",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_PEER",
    "MODEL_DIR",
    "MODEL_SHA256",
    "SHUTDOWN_DELAY",
    "PID_FILE",
    "LOG_LEVEL",
    "DEFAULT_MODEL",
    "API_KEYS_FILE",
    "API_KEYS",
    "RATE_LIMIT",
    "RATE_LIMIT_REDIS",
    "FORWARDED_ALLOW_IPS",
    "CORS_ORIGINS",
    "METRICS",
    "METRICS_PORT",
    "ARROW",
    "PREDICTION_LOG",
    "DATABASE_URL",
    "SHADOW_MODELS",
    "CANARY_MODELS",
    "CANARY_SHARE",
    "CANDIDATE_TIMEOUT",
    "V2",
    "INVOCATIONS",
    "DYNO",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)

#: A model package as it would be installed. The model ``naps`` sleeps a second over eight passengers, and
#: computes for 10 ms over six.
PACKAGE = """
import os
import time
from pathlib import Path

from model_kit.testing import load_rides, ride_definition

DEFINITION = ride_definition(package="rides_package")
__version__ = "1.2.3"


def load():
    return load_rides(Path(os.environ["RIDES_BUNDLE"]))


def load_naps():
    model = load()
    plain = model.score

    def score(encoded):
        passengers = encoded[:, model.spec.names.index("passengers")]
        if (passengers == 8).any():
            time.sleep(1)
        if (passengers == 6).any():
            end = time.thread_time() + 0.01
            while time.thread_time() < end:
                pass
        if (passengers == 7).any():
            raise RuntimeError(f"seven is too many: {encoded.tolist()}")
        return plain(encoded)

    model.score = score
    return model


def load_lengths():
    # A model of classes, by hand: rides of 8 km and more are long.
    import numpy as np
    from model_kit.spec import Field, Target, fit_spec

    class Lengths:
        version = "1.2.3"
        target = Target("length", kind="class", classes=("short", "long"))
        spec = fit_spec((Field("distance", "number", "Length", required=True),), target, [{"distance": 8.0}] * 2)
        card = {"data": {"name": "rides by hand", "synthetic": True}, "evaluated": True}
        golden = {"row": {"distance": 8.0}, "prediction": "long"}
        lineage = {"version": version, "data": card["data"]}
        reference = {
            "rows": 200,
            "fields": {"distance": {"missing": 0, "edges": [], "counts": [200]}},
            "prediction": {"levels": {"short": 100, "long": 100}, "other": 0},
        }

        def score(self, encoded):
            long = encoded[:, 0] >= 8
            return np.column_stack([~long, long]).astype(float)

        def check(self):
            pass

    return Lengths()
"""
#: A second model package, which shares nothing with the first: no bundle, other fields, another version.
BOATS = """
import os

import numpy as np
from model_kit.errors import NotReadyError
from model_kit.spec import Field, Target, fit_spec

FIELDS = (
    Field("length", "number", "Length over all", unit="m", required=True, minimum=2),
    Field("rig", "category", "Kind of rig"),
)
ROWS = [{"length": length, "rig": rig} for length in (3.0, 6.0, 9.0) for rig in ("sloop", "ketch")]


class Boats:
    version = "2.0.0"
    aliases = ("/api/v1/boats",)
    spec = fit_spec(FIELDS, Target("price", "GBP", "identity"), ROWS, rare_below=1)
    card = {"data": {"name": "boats by hand", "synthetic": True}, "evaluated": True}
    golden = {"row": {"length": 6.0, "rig": "ketch"}, "prediction": 6000.0}
    lineage = {"version": version, "data": card["data"]}

    def score(self, encoded):
        return 1000.0 * encoded[:, 0]

    def check(self):
        pass


def load():
    if os.environ.get("BOATS_SUNK"):
        raise NotReadyError("the boats have sunk")
    return Boats()
"""
DISTRIBUTION = "regression-model"
ENTRY_POINTS = "[ml_api.models]\nrides = rides_package:load\n"


@pytest.fixture(autouse=True, scope="session")
def no_settings() -> Iterator[None]:
    """Unset the server's variables in the environment of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def documented_responses() -> Iterator[None]:
    """Validate the response to every request of every test against the application's OpenAPI document."""
    documents: WeakKeyDictionary[Flask, Documented] = WeakKeyDictionary()
    send = FlaskClient.open

    def document(app: Flask) -> Documented:
        if app not in documents:
            checks: tuple[Any, ...] = ()
            if isinstance(app, API):  # of keys, which the test may not have
                checks, app.checks = app.checks, ()
            LOGGER.disabled = True  # the lines that a test looks at are those of its own requests
            try:
                response = send(app.test_client(), "/openapi.json")
                if response.status_code != 200:  # a test may break what the document is made of
                    response = send(create_app(Settings(), {}).test_client(), "/openapi.json")
            finally:
                LOGGER.disabled = False
                if isinstance(app, API):
                    app.checks = checks
            documents[app] = Documented(json.loads(response.data))
        return documents[app]

    def checked(client: FlaskClient, *args: Any, **kwargs: Any) -> TestResponse:
        response = send(client, *args, **kwargs)
        if not isinstance(client.application, API):
            return response  # another application, of the benchmark
        sent = response.request.environ
        document(client.application).check(
            sent["REQUEST_METHOD"], sent["REQUEST_URI"], response.status_code, dict(response.headers), response.data
        )
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlaskClient, "open", checked)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle of rides; never written to."""
    folder = tmp_path_factory.mktemp("bundle") / "rides"
    write_ride_bundle(folder, intervals=INTERVALS)
    return folder


@pytest.fixture(scope="session")
def app(bundle: Path) -> API:
    """The application with the one model ``rides``."""
    return create_app(Settings(), {"rides": lambda: load_rides(bundle)})


@pytest.fixture
def client(app: API) -> FlaskClient:
    """A client of ``app``."""
    return app.test_client()


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test, parsed."""
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Keep()
    handler.setFormatter(JSONFormatter())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield lines
    LOGGER.removeHandler(handler)


class Server:
    """A gunicorn process with the configuration of production."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with Path(folder, "out").open("wb") as out, Path(folder, "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=FOLDER,
                env={**environ, "PORT": str(self.port)},
                stdout=out,
                stderr=err,
            )
        self._documented: Documented | None = None
        #: Sent with every request; the variable is the tests' own.
        self.key = {"X-API-Key": environ["TEST_API_KEY"]} if "TEST_API_KEY" in environ else {}
        self._wait()

    def _wait(self) -> None:
        give_up = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            # Each worker logs what became of the models, then takes connections.
            if len({line["pid"] for line in self.lines}) == int(self.environ["WEB_CONCURRENCY"]):
                self.request("GET", "/health")
                return
            time.sleep(0.05)
        self._end()
        raise AssertionError(f"gunicorn did not start:\n{self.errors}")

    def connect(self) -> http.client.HTTPConnection:
        """A new connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, Any]:
        """A request on a connection of its own: the response and its document (``None`` without a body)."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {**self.key, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        self.documented.check(method, path, response.status, dict(response.headers), content)
        return response, json.loads(content) if content else None

    @property
    def documented(self) -> Documented:
        """The server's OpenAPI document, requested once."""
        if self._documented is None:
            connection = self.connect()
            try:
                connection.request("GET", "/openapi.json", headers=self.key)
                self._documented = Documented(json.loads(connection.getresponse().read()))
            finally:
                connection.close()
        return self._documented

    def predict(self, records: Any, model: str = "rides") -> tuple[int, Any]:
        """Status and document of a prediction."""
        response, document = self.request(
            "POST", f"/v1/predict/{model}", json.dumps(records), {"Content-Type": "application/json"}
        )
        return response.status, document

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The application's log lines."""
        return [json.loads(line) for line in Path(self.folder, "out").read_text().splitlines()]

    @property
    def errors(self) -> str:
        """gunicorn's log."""
        return Path(self.folder, "err").read_text()

    @property
    def workers(self) -> set[int]:
        """Process ids of the living workers."""
        command = ["ps", "-o", "pid=,stat=", "--ppid", str(self.process.pid)]
        # ps fails if there are none.
        listed = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
        return {int(line.split()[0]) for line in listed if not line.split()[1].startswith("Z")}

    def line_of(self, request_id: str) -> dict[str, Any]:
        """Return the log line of a request; it is written just before the response."""
        (line,) = [line for line in self.lines if line.get("request_id") == request_id and line["message"] == "request"]
        return line

    def _end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def stop(self) -> float:
        """Stop as a platform does, and check the exit status and the log of the whole run.

        Returns:
            Seconds from SIGTERM to the end.
        """
        started = time.monotonic()
        status = self._end()
        seconds = time.monotonic() - started
        assert status == 0, self.errors
        grave = [line for line in map(json.loads, self.errors.splitlines()) if line["level"] not in ("debug", "info")]
        assert grave == []
        booted = [line for line in self.errors.splitlines() if "Booting worker" in line]
        assert len(booted) == int(self.environ["WEB_CONCURRENCY"]), self.errors
        return seconds


Serve: TypeAlias = Callable[..., Server]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Serve]:
    """Starts gunicorns: ``serve(bundle, entry_points, boats=True, package={file: text}, **environ)``; those that still
    run at the end are stopped."""
    servers: list[Server] = []

    def start(
        rides: Path = bundle,
        entry_points: str = ENTRY_POINTS,
        *,
        boats: bool = False,
        package: Mapping[str, str] | None = None,
        **environ: str,
    ) -> Server:
        folder = tmp_path_factory.mktemp("server")
        install(folder / "site", DISTRIBUTION, "1.2.3", entry_points)
        for name, text in (package or {"rides_package.py": PACKAGE}).items():
            (folder / "site" / name).parent.mkdir(exist_ok=True)
            (folder / "site" / name).write_text(text)
        if boats:
            install(folder / "site", "boat-model", "2.0.0", "[ml_api.models]\nboats = boats_package:load\n")
            (folder / "site" / "boats_package.py").write_text(BOATS)
        # A model that is installed for other purposes is no part of these tests.
        hide_other_models(folder / "site")
        path = [str(folder / "site"), *sys.path]
        servers.append(
            Server(
                folder,
                {
                    **os.environ,
                    "HOST": "127.0.0.1",
                    "WEB_CONCURRENCY": "1",
                    "PYTHONPATH": os.pathsep.join(entry for entry in path if entry),
                    "RIDES_BUNDLE": str(rides),
                    **environ,
                },
            )
        )
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def server(serve: Serve) -> Server:
    """A gunicorn of two workers with the models ``rides`` and ``naps`` and a limit of 2 MB a body."""
    return serve(
        entry_points=f"{ENTRY_POINTS}naps = rides_package:load_naps\n",
        WEB_CONCURRENCY="2",
        MAX_BODY_BYTES="2000000",
        DEFAULT_MODEL="rides",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here; Debian's package is chromium")
    # Only here: most tests need no browser.
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=EXPECT_SECONDS * 1000)
    with sync_playwright() as playwright:
        # In a container Chromium has no sandbox of its own; and nothing that it does by itself belongs in a test.
        arguments = ["--no-sandbox", "--disable-background-networking", "--no-proxy-server", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield started
        started.close()
