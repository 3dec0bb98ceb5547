from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.errors import NotReadyError
from model_kit.records.row_warnings import Contradiction
from model_kit.spec import Row
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides

from ml_api.app import create_app
from ml_api.settings import Settings

SAMPLE = "/v1/models/rides/sample"
LINKS = {"self": "/v1/models/rides", "predict": "/v1/predict/rides", "sample": "/v1/models/rides/sample"}


def test_models_are_listed_with_where_to_ask_them(client: FlaskClient) -> None:
    response = client.get("/v1/models")
    assert response.status_code == 200
    assert response.get_json() == {
        "models": [
            {
                "name": "rides",
                "status": "ready",
                "reason": None,
                "version": "1.2.3",
                "target": {"name": "fare", "unit": "EUR"},
                "links": LINKS,
            }
        ]
    }


def test_model_that_could_not_be_loaded_is_listed_with_its_reason(bundle: Path) -> None:
    models = {"gone": lambda: load_rides(bundle / "nowhere"), "rides": lambda: load_rides(bundle)}
    client = create_app(Settings(), models).test_client()
    gone, rides = client.get("/v1/models").get_json()["models"]
    assert (gone["name"], gone["status"], gone["version"], gone["target"]) == ("gone", "broken", None, None)
    assert gone["reason"].startswith("manifest.json: cannot be read")
    assert (rides["name"], rides["status"]) == ("rides", "ready")


def test_model_that_begins_to_miss_its_golden_value_is_listed_as_broken(bundle: Path) -> None:
    model = load_rides(bundle)
    client = create_app(Settings(), {"rides": lambda: model}).test_client()

    def check() -> None:
        raise NotReadyError("drifted")

    model.check = check  # type: ignore[method-assign]
    (entry,) = client.get("/v1/models").get_json()["models"]
    assert (entry["status"], entry["reason"], entry["version"]) == ("broken", "drifted", "1.2.3")


def test_nothing_installed_is_an_empty_list() -> None:
    assert create_app(Settings(), {}).test_client().get("/v1/models").get_json() == {"models": []}


def test_model_tells_its_spec_its_card_and_its_golden_row(client: FlaskClient, bundle: Path) -> None:
    response = client.get("/v1/models/rides")
    assert response.status_code == 200
    assert response.get_json() == {
        "name": "rides",
        "version": "1.2.3",
        "spec": json.loads((bundle / "spec.json").read_bytes()),
        "card": json.loads((bundle / "card.json").read_bytes()),
        "golden": {"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION},
        "links": LINKS,
    }


@pytest.mark.parametrize("path", ["/v1/models/boats", "/v1/models/boats/sample"])
def test_unknown_model_names_those_installed(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.get_json()["detail"] == "There is no model of that name; installed: rides."


@pytest.mark.parametrize("path", ["/v1/models/gone", "/v1/models/gone/sample?n=0"])
def test_broken_model_says_to_come_back(bundle: Path, path: str) -> None:
    client = create_app(Settings(), {"gone": lambda: load_rides(bundle / "nowhere")}).test_client()
    response = client.get(path)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "30")
    assert response.get_json()["detail"].startswith("Model gone cannot answer: manifest.json: cannot be read")


@pytest.mark.parametrize(("query", "n"), [("", 5), ("?n=1", 1), ("?n=100", 100), ("?n=7&seed=3", 7)])
def test_sample_can_be_sent_to_a_prediction_as_it_is(client: FlaskClient, query: str, n: int) -> None:
    records = client.get(SAMPLE + query).get_json()
    assert len(records) == n
    answer = client.post("/v1/predict/rides", json=records)
    assert (answer.status_code, answer.get_json()["errors"]) == (200, None)
    for record in records:
        assert set(record) == {"distance", "passengers", "zone", "comfort"}
        assert 0.4 <= record["distance"] <= 32
        assert record["zone"] in ("A", "B")
        assert record["passengers"] in (None, 1, 2, 3, 4)
        assert record["comfort"] in (None, "1", "2")


def test_sample_contradicts_nothing(bundle: Path) -> None:
    def far(row: Row) -> str | None:
        return "far" if row["zone"] == "B" and float(row["distance"] or 0) > 3.5 else None

    model = load_rides(bundle)
    model.contradictions = (Contradiction("far", ("zone", "distance"), far),)
    records = create_app(Settings(), {"rides": lambda: model}).test_client().get(f"{SAMPLE}?n=100&seed=1").get_json()
    assert [record for record in records if far(record)] == []
    assert {record["zone"] for record in records} == {"A", "B"}


def test_seed_decides_the_sample(client: FlaskClient) -> None:
    def sample(query: str) -> Any:
        return client.get(f"{SAMPLE}?n=20{query}").get_json()

    assert sample("&seed=4") == sample("&seed=4")
    assert sample("&seed=4") != sample("&seed=5")
    assert sample("") != sample("")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("n=0", "The query parameter n must be a whole number from 1 to 100."),
        ("n=101", "The query parameter n must be a whole number from 1 to 100."),
        ("n=five", "The query parameter n must be a whole number from 1 to 100."),
        ("n=", "The query parameter n must be a whole number from 1 to 100."),
        ("n=-1", "The query parameter n must be a whole number from 1 to 100."),
        ("n=5.0", "The query parameter n must be a whole number from 1 to 100."),
        ("n=%D9%A5", "The query parameter n must be a whole number from 1 to 100."),
        ("n=" + "1" * 5000, "The query parameter n must be a whole number from 1 to 100."),
        ("n=1&n=2", "The query parameter n is given 2 times; it can be given once."),
        ("m=3", "There is no query parameter 'm'; it takes n, seed."),
        ("seed=-1", "The query parameter seed must be a whole number from 0 to 4294967295."),
        ("seed=4294967296", "The query parameter seed must be a whole number from 0 to 4294967295."),
    ],
)
def test_parameter_that_cannot_be_used_is_named(client: FlaskClient, query: str, detail: str) -> None:
    response = client.get(f"{SAMPLE}?{query}")
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    assert response.get_json()["detail"] == detail


def test_log_has_the_shape_of_a_sample(client: FlaskClient, log: list[dict[str, Any]]) -> None:
    client.get(f"{SAMPLE}?n=3")
    (line,) = log
    assert (line["model"], line["rows"], line["route"]) == ("rides", 3, "/v1/models/<name>/sample")
