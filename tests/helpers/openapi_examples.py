"""The examples of an OpenAPI document: found, sent, and compared with what is answered."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ml_api.views.openapi.examples import REQUEST_ID


def resolve(document: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in found:
        return found
    for part in found["$ref"].split("/")[1:]:
        document = document[part]
    return document


def answers(document: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Path, method, status and Response Object of every answer of every operation."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, found in operation["responses"].items():
                yield path, method, status, resolve(document, found)


def examples(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Where it is -> Example Object with the status it is for, of every answer there is."""
    everywhere = [(f"{method} {path} {status}", status, found) for path, method, status, found in answers(document)]
    everywhere += [(name, "", found) for name, found in document["components"]["responses"].items()]
    return {
        f"{place} {name}": {**example, "status": status, "content_type": content_type}
        for place, status, found in everywhere
        for content_type, content in found.get("content", {}).items()
        for name, example in content.get("examples", {}).items()
    }


def send(client: FlaskClient, request: dict[str, Any]) -> Any:
    body = json.dumps(request["json"]) if "json" in request else request.get("text")
    return client.open(request["path"], method=request["method"], headers=request["headers"], data=body)


def almost(value: Any) -> Any:
    """The same but for the last digits of predictions."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-5)
    if isinstance(value, dict):
        return {key: almost(item) for key, item in value.items()}
    return [almost(item) for item in value] if isinstance(value, list) else value


def rows_of(text: str) -> list[list[float | str]]:
    """The cells of CSV, numbers as such."""
    return [
        [float(cell) if re.fullmatch(r"[0-9.]+", cell) else cell for cell in row]
        for row in csv.reader(text.splitlines())
    ]


def assert_is(response: TestResponse, value: Any, place: str) -> None:
    """Compare the content of a response with that of an example."""
    if response.is_json:
        assert response.get_json() == almost(value), place
    else:
        assert rows_of(response.text) == almost(rows_of(value)), place


def send_all(client: FlaskClient, document: dict[str, Any]) -> int:
    """Send every example that has a request; each is answered as the document says. Returns how many were sent."""
    sent = 0
    for place, example in examples(document).items():
        if "x-request" in example:
            response = send(client, example["x-request"])
            assert str(response.status_code) == (example["status"] or str(example["value"]["status"])), place
            assert response.content_type == example["content_type"], place
            assert_is(response, example["value"], place)
            assert response.headers["X-Request-ID"] == REQUEST_ID
            sent += 1
    return sent
