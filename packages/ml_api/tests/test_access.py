from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

URL = "/v1/predict/rides"


def test_one_line_for_a_prediction(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    records = [{"distance": 3.5, "zone": "A"}, {"distance": "x"}, {"distance": 1, "zone": "B"}]
    response = client.post(f"{URL}?warnings=true", json=records, headers={"X-Request-ID": "r1"})
    (line,) = log
    assert line.pop("duration_ms") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("pid") > 0
    assert line == {
        "level": "info",
        "logger": "ml_api",
        "message": "request",
        "request_id": "r1",
        "method": "POST",
        "route": "/v1/predict/<name>",
        "status": 200,
        "request_bytes": len(json.dumps(records)),
        "response_bytes": len(response.data),
        "model": "rides",
        "rows": 3,
        "errors": 1,
        "fast": 2,
    }


def test_one_line_for_a_request_without_records(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    client.get("/health")
    (line,) = log
    assert (line["route"], line["status"], line["request_bytes"]) == ("/health", 200, None)
    assert not {"model", "rows", "errors"} & set(line)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", URL, 405), ("POST", URL, 415), ("GET", "/" + "a" * 5000, 404)],
)
def test_one_line_for_a_refusal(
    client: FlaskClient, log: list[dict[str, Any]], method: str, path: str, status: int
) -> None:
    response = client.open(path, method=method)
    (line,) = log
    assert (line["status"], line["request_id"]) == (status, response.headers["X-Request-ID"])
    assert path not in (set(line.values()) - {line["route"]})
    assert line["method"] == method
    assert line["route"] == ("/v1/predict/<name>" if path == URL else None)


def test_word_that_is_no_method_is_not_logged(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    client.open(URL, method="CANARY")
    (line,) = log
    assert (line["method"], line["status"]) == (None, 405)


def test_line_holds_no_value_that_was_sent(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    records = [
        {"distance": 41.8125, "zone": "canary"},
        {"distance": "canary", "zone": 41.8125},
        {"canary": 1},
        "canary",
    ]
    client.post(f"{URL}?canary=canary", json=records)
    client.post(URL, data='{"canary": 41.8125', content_type="application/json")
    client.post(URL, data="canary", content_type="canary/canary")
    client.post("/v1/predict/canary", headers={"X-Request-ID": "canary canary"})
    assert len(log) == 4
    assert "canary" not in json.dumps(log)
    assert "41.8125" not in json.dumps(log)


@pytest.mark.parametrize("path", ["/health", "/nowhere", URL])
def test_every_response_has_the_callers_id_or_a_new_one(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"X-Request-ID": "abc.1-2_3"}).headers.getlist("X-Request-ID") == ["abc.1-2_3"]
    (fresh,) = client.get(path, headers={"X-Request-ID": "no good"}).headers.getlist("X-Request-ID")
    assert re.fullmatch("[0-9a-f]{32}", fresh)
