from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from marshmallow import Schema

from ml_api.views.schemas import PredictionSchema, ProblemSchema, StatusSchema, VersionSchema

URL = "/v1/predict/rides"
GOOD = {"distance": 1, "zone": "A"}


@pytest.mark.parametrize(
    ("method", "path", "body", "schema"),
    [
        ("GET", "/health", None, StatusSchema()),
        ("GET", "/health/ready", None, StatusSchema()),
        ("GET", "/version", None, VersionSchema()),
        ("POST", URL, [], PredictionSchema()),
        ("POST", URL, [GOOD], PredictionSchema()),
        ("POST", URL, [GOOD, {}, 1], PredictionSchema()),
        ("POST", URL, {}, PredictionSchema()),
        ("POST", URL, 1, ProblemSchema()),
        ("GET", "/nowhere", None, ProblemSchema()),
    ],
)
def test_responses_have_the_documented_shape(
    client: FlaskClient, method: str, path: str, body: Any, schema: Schema
) -> None:
    document = client.open(path, method=method, json=body).get_json()
    assert schema.validate(document) == {}
    assert list(document) == [name for name, field in schema.fields.items() if field.required]


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (PredictionSchema(), {"predictions": [1.0], "errors": {"x": {"a": ["b"]}}, "version": "1"}),
        (PredictionSchema(), {"predictions": [1.0], "version": "1"}),
        (StatusSchema(), {"status": "so-so"}),
        (ProblemSchema(), {"type": "about:blank", "title": "x", "status": "400", "detail": "x", "request_id": "x"}),
    ],
)
def test_other_shapes_are_noticed(schema: Schema, document: Any) -> None:
    assert schema.validate(document) != {}
