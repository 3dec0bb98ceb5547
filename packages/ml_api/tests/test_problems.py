from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.testing import load_rides

from ml_api.app import API, create_app
from ml_api.settings import Settings

URL = "/v1/predict/rides"


@pytest.fixture
def failing(bundle: Path) -> API:
    """An application whose model raises, naming what it was given."""
    model = load_rides(bundle)
    app = create_app(Settings(), {"rides": lambda: model})

    def score(encoded: Any) -> Any:
        raise ValueError(f"cannot score {encoded.tolist()}")

    model.score = score  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "title"),
    [
        ("GET", "/nowhere", {}, 404, "Not Found"),
        ("GET", "/health/", {}, 404, "Not Found"),
        ("POST", "/v1/predict/", {}, 404, "Not Found"),
        ("POST", "/v1/predict/boats", {"json": []}, 404, "Not Found"),
        ("POST", "/health", {}, 405, "Method Not Allowed"),
        ("GET", URL, {}, 405, "Method Not Allowed"),
        ("POST", URL, {"data": "[", "content_type": "application/json"}, 400, "Bad Request"),
        ("POST", URL, {"data": "[]"}, 415, "Unsupported Media Type"),
        ("POST", URL, {"json": [1] * 10_001}, 413, "Request Entity Too Large"),
    ],
)
def test_every_problem_has_the_one_shape(
    client: FlaskClient, method: str, path: str, options: Any, status: int, title: str
) -> None:
    response = client.open(path, method=method, headers={"X-Request-ID": "r1"}, **options)
    document = response.get_json(force=True)
    assert response.status_code == status
    assert response.headers.getlist("Content-Type") == ["application/problem+json"]
    assert response.headers.getlist("X-Request-ID") == ["r1"]
    assert list(document) == ["type", "title", "status", "detail", "request_id"]
    assert document["detail"]
    assert document | {"detail": ""} == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": "",
        "request_id": "r1",
    }


def test_method_not_allowed_says_what_is(client: FlaskClient) -> None:
    response = client.post("/health")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_unforeseen_error_shows_no_internals(failing: API, log: list[dict[str, Any]]) -> None:
    record = {"distance": 77.25, "zone": "secret"}
    response = failing.test_client().post(URL, json=[record], headers={"X-Request-ID": "r1"})
    assert response.status_code == 500
    assert response.headers["X-Request-ID"] == "r1"
    assert response.get_json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "The server encountered an internal error and was unable to complete your request."
        " Either the server is overloaded or there is an error in the application.",
        "request_id": "r1",
    }
    trace, line = log
    assert (trace["level"], trace["message"], trace["request_id"]) == ("error", "unhandled exception", "r1")
    assert trace["exceptions"][0]["type"] == "ValueError"
    assert trace["exceptions"][0]["stack"][-1].endswith("in score")
    assert (line["message"], line["status"], line["request_id"]) == ("request", 500, "r1")
    assert "77.25" not in json.dumps(log)
    assert "secret" not in json.dumps(log)


def test_prediction_that_json_cannot_say_is_the_error_of_its_own_row(bundle: Path) -> None:
    model = load_rides(bundle)
    app = create_app(Settings(), {"rides": lambda: model})
    score = model.score
    model.score = lambda encoded: score(encoded) * float("nan")  # type: ignore[method-assign]
    response = app.test_client().post(URL, json=[{"distance": 1, "zone": "A"}])
    assert response.status_code == 422
    message = "The model gives no finite prediction for this row."
    assert response.get_json()["errors"] == {"0": {"_schema": [message]}}


def test_what_json_cannot_say_is_an_error_of_the_server(bundle: Path) -> None:
    model = load_rides(bundle)
    model.lineage["metrics"] = {"r2": float("nan")}
    response = create_app(Settings(), {"rides": lambda: model}).test_client().get("/version")
    assert response.status_code == 500
    assert b"NaN" not in response.data


def test_debugger_gets_the_exception(failing: API) -> None:
    failing.debug = True
    with pytest.raises(ValueError, match="cannot score"):
        failing.test_client().post(URL, json=[{"distance": 1, "zone": "A"}])
