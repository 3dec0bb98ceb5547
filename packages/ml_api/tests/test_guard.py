"""API keys over HTTP: which requests need which scope, and what is answered without it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides
from werkzeug.test import Client

from ml_api.app import create_app
from ml_api.cli.main import main
from ml_api.keys import SCOPES, new_key
from ml_api.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.conftest import Serve

FOLDER = Path(__file__).parents[1]
URL = "/v1/predict/rides"
KEYS = {scope: new_key(f"only-{scope}", (scope,)) for scope in SCOPES}
ENTRIES = " ".join(str(key) for _, key in KEYS.values())


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[scope][0]}"}


@pytest.fixture
def guarded(bundle: Path) -> FlaskClient:
    return create_app(Settings(api_keys=ENTRIES), {"rides": lambda: load_rides(bundle)}).test_client()


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health_needs_no_key(guarded: FlaskClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", URL, "predict"),
        ("GET", "/version", "read"),
        ("GET", "/v1/models", "read"),
        ("GET", "/v1/models/rides", "read"),
        ("GET", "/v1/models/rides/sample", "read"),
        ("GET", "/", "read"),
        ("GET", "/card/rides", "read"),
        ("GET", "/docs", "read"),
        ("GET", "/openapi.json", "read"),
    ],
)
def test_each_route_needs_its_scope(guarded: FlaskClient, method: str, path: str, scope: str) -> None:
    options: dict[str, Any] = {"method": method} | ({"json": GOLDEN_ROW} if method == "POST" else {})
    assert guarded.open(path, headers=bearer(scope), **options).status_code == 200
    refused = guarded.open(path, **options)
    assert refused.status_code == 401
    assert refused.content_type == "application/problem+json"
    assert refused.get_json()["detail"] == "Send an API key as Authorization: Bearer KEY."
    assert refused.headers.getlist("WWW-Authenticate") == [
        'Bearer realm="ml_api"',
        'Basic realm="ml_api", charset="UTF-8"',
    ]
    for other in set(SCOPES) - {scope}:
        refused = guarded.open(path, headers=bearer(other), **options)
        assert (refused.status_code, refused.get_json()["detail"]) == (
            403,
            f"The key only-{other} lacks the scope {scope}.",
        )
        assert refused.headers["WWW-Authenticate"] == (
            f'Bearer realm="ml_api", error="insufficient_scope", scope="{scope}"'
        )


def test_metrics_need_their_scope(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ml_api.shared_folder import Place

    monkeypatch.setattr("ml_api.shared_folder.place", Place(tmp_path, 0))
    app = create_app(Settings(api_keys=ENTRIES, metrics=True), {"rides": lambda: load_rides(bundle)})
    client = app.test_client()
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer("read")).status_code == 403
    text = client.get("/metrics", headers=bearer("metrics")).text
    assert 'ml_api_requests_refused_total{reason="no_key"} 1.0' in text
    assert 'ml_api_requests_refused_total{reason="scope"} 1.0' in text
    assert app.metrics is not None
    app.metrics.close()


def test_what_a_port_does_not_serve_is_not_found_with_any_key_or_none(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_api.shared_folder import Place

    monkeypatch.setattr("ml_api.shared_folder.place", Place(tmp_path, 0))
    app = create_app(Settings(api_keys=ENTRIES, metrics=True, metrics_port=9100), {"rides": lambda: load_rides(bundle)})
    client = Client(app)  # the document is that of the other port

    def statuses(path: str, headers: dict[str, str]) -> list[int]:
        ports = ("http://localhost:5000", "http://localhost:9100")
        return [client.get(path, base_url=base, headers=headers).status_code for base in ports]

    assert statuses("/version", {}) == [401, 404]
    assert statuses("/version", bearer("read")) == [200, 404]
    assert statuses("/metrics", {}) == [404, 401]
    assert statuses("/metrics", bearer("metrics")) == [404, 200]
    assert statuses("/health", {}) == [200, 200]
    assert app.metrics is not None
    app.metrics.close()


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


SECRET = KEYS["read"][0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": f"bearer  {SECRET} "},
        {"X-API-Key": SECRET},
        {"X-API-Key": SECRET, "Authorization": "Bearer of-the-proxy"},
        basic(f"anyone:{SECRET}"),
        basic(f":{SECRET}"),
    ],
)
def test_key_may_be_sent_in_three_ways(guarded: FlaskClient, headers: Mapping[str, str]) -> None:
    assert guarded.get("/version", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}x"},
        {"Authorization": f"Bearer {SECRET[:-1]}"},
        {"Authorization": "Bearer"},
        {"Authorization": SECRET},
        {"Authorization": f"Digest {SECRET}"},
        {"Authorization": "Basic \xff\xff"},
        {"Authorization": "Basic /w=="},
        {"X-API-Key": "\xe9"},
        basic(SECRET),
        basic(f"{SECRET}:"),
        {"X-API-Key": KEYS["read"][1].digest},
    ],
)
def test_other_text_is_no_key(guarded: FlaskClient, headers: Mapping[str, str]) -> None:
    response = guarded.get("/version", headers=headers)
    assert response.status_code == 401
    assert SECRET not in response.text


@pytest.mark.parametrize("path", ["/nowhere", "/version"])
def test_what_does_not_exist_is_told_to_callers_with_a_key_only(guarded: FlaskClient, path: str) -> None:
    assert guarded.put(path).status_code == 401
    assert guarded.put(path, headers=bearer("predict")).status_code == (404 if path == "/nowhere" else 405)


def test_log_line_has_the_name_of_the_key_and_never_the_key(guarded: FlaskClient, log: list[dict[str, Any]]) -> None:
    guarded.post(URL, json=GOLDEN_ROW, headers=bearer("predict"))
    guarded.post(URL, json=GOLDEN_ROW, headers=bearer("read"))
    guarded.post(URL, json=GOLDEN_ROW)
    lines = [line for line in log if line["route"] == "/v1/predict/<name>"]
    assert [(line.get("key"), line.get("refused")) for line in lines] == [
        ("only-predict", None),
        ("only-read", "scope"),
        (None, "no_key"),
    ]
    assert not any(secret in str(log) for secret, _ in KEYS.values())


def test_key_name_is_at_hand_for_views(guarded: FlaskClient) -> None:
    from flask import g

    with guarded:
        guarded.post(URL, json=GOLDEN_ROW, headers=bearer("predict"))
        assert g.key_name == "only-predict"


def test_document_describes_the_keys(guarded: FlaskClient, client: FlaskClient) -> None:
    document = guarded.get("/openapi.json", headers=bearer("read")).get_json()
    assert sorted(document["components"]["securitySchemes"]) == ["basic", "bearer", "header"]
    security = {path: operations[next(iter(operations))]["security"] for path, operations in document["paths"].items()}
    assert security["/health"] == []
    assert security[URL] == [{"bearer": ["predict"]}, {"header": ["predict"]}, {"basic": ["predict"]}]
    assert security["/version"][0] == {"bearer": ["read"]}
    assert "securitySchemes" not in client.get("/openapi.json").get_json()["components"]


def test_revoked_key_is_refused_by_every_worker_within_five_seconds(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secret, key = new_key("house-app", ("predict", "read"))
    path.write_text(f"{key}\n")
    server = serve(WEB_CONCURRENCY="2", API_KEYS_FILE=str(path), API_KEYS=ENTRIES, TEST_API_KEY=SECRET)

    def statuses(key: str) -> set[int]:
        found = set()
        for _ in range(20):
            connection = server.connect()
            connection.request("GET", "/version", headers={"X-API-Key": key})
            found.add(connection.getresponse().status)
            connection.close()
        return found

    assert statuses(secret) == {200}
    assert main(["keys", "revoke", "house-app", "--file", str(path)]) == 0
    time.sleep(5)
    assert statuses(secret) == {401}
    assert statuses(SECRET) == {200}


def test_body_without_a_key_is_not_received(serve: Serve) -> None:
    """It takes no memory, and is refused before it has been sent."""
    server = serve(API_KEYS=ENTRIES, TEST_API_KEY=SECRET)
    head = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30000000\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(f"{head}\r\n[".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 401 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.5) as sock:
        sock.sendall(f"{head}X-Api-Key: {KEYS['predict'][0]}\r\n\r\n[".encode())
        with pytest.raises(TimeoutError):
            sock.recv(100)
    connection = server.connect()
    connection.request("POST", URL, b"[]", {"Content-Type": "application/json", **bearer("predict")})
    assert connection.getresponse().status == 200
    connection.close()


def test_browser_asks_for_the_key_once(serve: Serve, browser: Browser) -> None:
    from playwright.sync_api import Error

    secret, key = new_key("person", ("predict", "read"))
    server = serve(API_KEYS=str(key), TEST_API_KEY=secret, DEFAULT_MODEL="rides")
    url = f"http://127.0.0.1:{server.port}/"
    # It would ask a person, so it has understood the challenge.
    with browser.new_context() as context, pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(url)
    with browser.new_context(http_credentials={"username": "me", "password": secret}) as context:
        page = context.new_page()
        refused: list[str] = []
        page.on("requestfailed", lambda request: refused.append(request.url))
        page.goto(url)
        answer = page.evaluate(
            """async (row) => (await fetch("v1/predict/rides", {method: "POST", body: JSON.stringify([row]),
               headers: {"Content-Type": "application/json"}})).json()""",
            GOLDEN_ROW,
        )
        assert answer["predictions"] == [pytest.approx(GOLDEN_PREDICTION)]
        assert refused == []
    credentials: Any = {"username": "me", "password": secret}
    with browser.new_context(http_credentials=credentials, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_role("button", name="Predict").click()
        assert page.locator("#prediction").text_content() == f"€{GOLDEN_PREDICTION:.2f}"


@pytest.mark.parametrize(
    ("environ", "is_told"),
    [({}, True), ({"API_KEYS": ENTRIES}, False), ({"HOST": "127.0.0.1"}, False)],
)
def test_public_address_without_keys_is_told_at_the_start(
    tmp_path: Path, environ: dict[str, str], is_told: bool
) -> None:
    script = """
import logging, runpy, sys, types
logging.basicConfig(format="%(levelname)s %(message)s")
server = types.SimpleNamespace(stop=None, log=logging.getLogger(), systemd=False, murder_workers=None)
runpy.run_path("gunicorn.conf.py")["when_ready"](server)
"""
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=FOLDER,
        env={**os.environ, "PYTHONPATH": path, "PID_FILE": str(tmp_path / "pid"), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("WARNING LISTENING ON 0.0.0.0:5000 WITHOUT API KEYS: ") is is_told
    assert (done.stderr == "") is not is_told


@pytest.mark.parametrize("variable", ["API_KEYS", "API_KEYS_FILE"])
def test_server_does_not_start_with_invalid_keys(variable: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("nonsense")
    value = {"API_KEYS": "nonsense", "API_KEYS_FILE": str(tmp_path / "keys")}[variable]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), variable: value}
    done = subprocess.run(
        [sys.executable, "-m", "ml_api"], cwd=FOLDER, env=environ, capture_output=True, text=True, check=False
    )
    where = "API_KEYS, entry 1" if variable == "API_KEYS" else f"{value}, line 1"
    assert done.returncode == 1
    assert done.stderr == (
        f"ml_api does not start: {where} is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it\n"
    )
