"""The OpenAPI document serves generators of clients: a generated client predicts, and has fields of any name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient
from model_kit.scoring.model import BundleModel
from model_kit.spec import Field, InputSpec, Learned, Target
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides

from generated_client import generate, import_client
from ml_api.settings import Settings
from ml_api.views.openapi.document import build

if TYPE_CHECKING:
    from tests.conftest import Server

NAMES = ("is.promo", 'it\'s "quoted"', "Meta", "größe", "two words", "1st", "class", "fields", "#x", "日本", "a\\d")


def test_client_has_fields_of_any_name(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: BundleModel = load_rides(bundle)
    fields = tuple(Field(name, "number", name, required=index < 2) for index, name in enumerate(NAMES))
    model.spec = InputSpec(fields, {name: Learned(0.0, 1.0) for name in NAMES}, Target("y", "EUR"))
    row: dict[str, Any] = {name: float(index) for index, name in enumerate(NAMES)}
    model.golden = {"row": row, "prediction": 1.0}
    document = build({"odd": model}, {}, {}, Settings())
    assert list(document["components"]["schemas"]["odd.Record"]["properties"]) == list(NAMES)
    generate(document, tmp_path, "odd_client")
    record = import_client(monkeypatch, tmp_path, "odd_client.models").RecordOfOdd
    assert record.from_dict(row).to_dict() == row
    assert record.from_dict(row).additional_properties == {}


def test_client_predicts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Over HTTP: one record, several, and each detail; the numbers are those of the response as it was sent."""
    generate(server.request("GET", "/openapi.json")[1], tmp_path, "rides_client")
    predict = import_client(monkeypatch, tmp_path, "rides_client.api.rides.predict_rides").sync
    record = import_client(monkeypatch, tmp_path, "rides_client.models").RecordOfRides.from_dict(GOLDEN_ROW)
    client = import_client(monkeypatch, tmp_path, "rides_client").Client(base_url=f"http://127.0.0.1:{server.port}")
    request.addfinalizer(client.get_httpx_client().close)
    assert predict(client=client, body=record).predictions == [GOLDEN_PREDICTION]
    other = dict(GOLDEN_ROW, distance=7.25)
    bodies: list[tuple[Any, Any]] = [
        (record, GOLDEN_ROW),
        ([record, type(record).from_dict(other)], [GOLDEN_ROW, other]),
    ]
    for body, sent in bodies:
        answer = predict(client=client, body=body, interval=0.8, explain=2, warnings=True)
        path = "/v1/predict/rides?interval=0.8&explain=2&warnings=true"
        headers = {"Content-Type": "application/json"}
        assert answer.to_dict() == server.request("POST", path, json.dumps(sent), headers)[1]
        assert len(answer.intervals) == len(answer.explanations) == len(answer.predictions)
        (low, high), explanation = answer.intervals[0], answer.explanations[0]
        assert low < GOLDEN_PREDICTION < high
        amounts = [each.amount for each in explanation.contributions]
        total = explanation.baseline.prediction + sum(amounts) + explanation.rest.amount
        assert total == pytest.approx(answer.predictions[0])
    refused = predict(client=client, body=[], explain=99)
    assert (refused.status, refused.request_id != "") == (400, True)


def test_every_array_of_the_document_has_items(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()

    def arrays(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [found for item in value for found in arrays(item)]
        if not isinstance(value, dict):
            return []
        own = [value] if "array" in (value.get("type"), *(value.get("type") or ())) else []
        return own + [found for item in value.values() for found in arrays(item)]

    found = arrays(document["paths"]) + arrays(document["components"])
    assert len(found) >= 8
    assert [array for array in found if not array.get("items")] == []
