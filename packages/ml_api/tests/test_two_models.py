"""Two model packages installed at once, by their entry points, behind a real gunicorn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW
from openapi_spec_validator import OpenAPIV31SpecValidator

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

REGRESSION = "[ml_api.models]\nregression = rides_package:load\n"
BOAT = {"length": 7.5}


@pytest.fixture(scope="module")
def both(serve: Serve) -> Server:
    return serve(entry_points=REGRESSION, boats=True)


@pytest.fixture(scope="module")
def sunk(serve: Serve) -> Server:
    """One of the two is broken."""
    return serve(entry_points=REGRESSION, boats=True, BOATS_SUNK="1")


def get(server: Server, path: str) -> tuple[int, Any]:
    response, document = server.request("GET", path)
    return response.status, document


def test_each_has_its_route_and_its_validation(both: Server) -> None:
    assert both.predict(GOLDEN_ROW, "regression")[1]["predictions"] == [GOLDEN_PREDICTION]
    assert both.predict(BOAT, "boats")[1] == {"predictions": [7500.0], "errors": None, "version": "2.0.0"}
    assert both.predict(BOAT, "regression")[0] == 422
    assert both.predict({"length": 1}, "boats")[1]["errors"] == {
        "0": {"length": ["Must be greater than or equal to 2."]}
    }
    status, document = both.predict(BOAT, "trains")
    assert (status, document["detail"]) == (404, "There is no model of that name; installed: boats, regression.")


def test_other_address_of_a_model_receives_bodies(both: Server) -> None:
    rows = [BOAT] * 3000
    headers = {"Content-Type": "application/json"}
    response, document = both.request("POST", "/api/v1/boats", json.dumps(rows), headers)
    assert (response.status, document["predictions"]) == (200, [7500.0] * 3000)
    assert both.request("POST", "/api/v1/trains", json.dumps(rows), headers)[0].status == 404


def test_version_is_that_of_the_default_model_and_all_are_named(both: Server, serve: Serve) -> None:
    document = get(both, "/version")[1]
    assert document["model_version"] == "1.2.3"
    assert {name: lineage["version"] for name, lineage in document["models"].items()} == {
        "boats": "2.0.0",
        "regression": "1.2.3",
    }
    other = serve(entry_points=REGRESSION, boats=True, DEFAULT_MODEL="boats")
    assert get(other, "/version")[1]["model_version"] == "2.0.0"
    other.stop()
    alone = serve(entry_points="", boats=True)
    assert get(alone, "/version")[1]["model_version"] == "2.0.0"
    alone.stop()


def test_both_are_ready_and_listed(both: Server) -> None:
    assert get(both, "/health/ready") == (200, {"status": "ready"})
    listed = get(both, "/v1/models")[1]["models"]
    assert [(entry["name"], entry["status"], entry["target"]) for entry in listed] == [
        ("boats", "ready", {"name": "price", "unit": "GBP"}),
        ("regression", "ready", {"name": "fare", "unit": "EUR"}),
    ]
    for entry in listed:
        status, document = get(both, entry["links"]["self"])
        assert (status, document["version"]) == (200, entry["version"])
        status, records = get(both, entry["links"]["sample"])
        assert both.predict(records, entry["name"])[1]["errors"] is None


def test_document_has_both(both: Server) -> None:
    document = get(both, "/openapi.json")[1]
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert set(document["components"]["schemas"]["boats.Record"]["properties"]) == {"length", "rig"}
    assert set(document["components"]["schemas"]["regression.Record"]["properties"]) == set(GOLDEN_ROW)
    for name in ("boats", "regression"):
        answers = document["paths"][f"/v1/predict/{name}"]["post"]["responses"]
        assert set(answers) == {"200", "400", "404", "405", "406", "408", "413", "414", "415", "422", "500", "503"}
    identities = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(identities) == len(set(identities))


def test_one_broken_is_not_ready_says_why_and_leaves_the_other_alone(sunk: Server) -> None:
    assert get(sunk, "/health")[0] == 200
    status, document = get(sunk, "/health/ready")
    assert (status, document["models"]) == (503, {"boats": "the boats have sunk"})
    assert sunk.predict(GOLDEN_ROW, "regression")[0] == 200
    for path in ("/v1/models/boats", "/v1/models/boats/sample"):
        response, document = sunk.request("GET", path)
        assert (response.status, response.headers["Retry-After"]) == (503, "30")
        assert document["detail"] == "Model boats cannot answer: the boats have sunk"
    assert sunk.predict(BOAT, "boats")[0] == 503
    broken, sound = get(sunk, "/v1/models")[1]["models"]
    assert (broken["status"], broken["reason"], broken["version"]) == ("broken", "the boats have sunk", None)
    assert (sound["status"], sound["reason"], sound["version"]) == ("ready", None, "1.2.3")
    document = get(sunk, "/version")[1]
    assert (document["model_version"], document["models"]["boats"]) == ("1.2.3", {"error": "the boats have sunk"})


def test_document_says_of_the_broken_one_that_it_cannot_answer(sunk: Server) -> None:
    document = get(sunk, "/openapi.json")[1]
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    predict = document["paths"]["/v1/predict/boats"]["post"]
    assert predict["description"] == "Unavailable: the boats have sunk"
    assert set(predict["responses"]) == {"404", "405", "500", "503"}
    assert "boats.Record" not in document["components"]["schemas"]
    assert "regression.Record" in document["components"]["schemas"]
