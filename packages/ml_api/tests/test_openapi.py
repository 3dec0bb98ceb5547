from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from model_kit.scoring.model import BundleModel
from model_kit.spec import Field, InputSpec, Learned, Level, Target
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, SPEC_OF_RIDES, load_rides
from openapi_spec_validator import OpenAPIV31SpecValidator

import ml_api
from documented import Documented
from ml_api.app import API, create_app
from ml_api.settings import Settings
from ml_api.views.openapi.components import identifier
from ml_api.views.openapi.examples import REQUEST_ID, Predictions
from ml_api.views.openapi.record import describe
from ml_api.worker import OUT_OF_MEMORY, Worker
from openapi_examples import answers, assert_is, examples, send, send_all

URL = "/v1/predict/rides"


@pytest.fixture(scope="module")
def document(app: API) -> dict[str, Any]:
    found: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return found


def test_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_document_without_a_model_is_valid() -> None:
    document = create_app(Settings(), {}).test_client().get("/openapi.json").get_json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert list(document["paths"]) == [
        "/v1/models",
        "/health",
        "/health/ready",
        "/version",
        "/openapi.json",
    ]


def test_document_says_what_it_is_of(document: dict[str, Any]) -> None:
    assert document["info"]["version"] == ml_api.__version__
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert document["servers"] == [{"url": ".", "description": "This server"}]
    assert [tag["name"] for tag in document["tags"]] == ["rides", "Models", "Service"]
    identities = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(identities)) == len(identities)
    assert "predict_rides" in identities


def test_identifiers_keep_all_that_may_be_in_one() -> None:
    assert identifier("Rides-2_b é/") == "Rides-2_b___"


def test_every_route_and_method_is_in_the_document_except_pages(app: API, document: dict[str, Any]) -> None:
    pages = {"/", "/docs", "/redoc", "/try/{model}", "/card/{model}", "/assets/{digest}/{file}", "/docs/assets/{file}"}
    routes = {
        (rule.rule.replace("<name>", "rides").replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert routes - documented == {(path, "get") for path in pages} | {("/try/{model}", "post")}
    assert documented <= routes


def test_every_answer_has_the_request_id(document: dict[str, Any]) -> None:
    for path, method, status, found in answers(document):
        assert "X-Request-ID" in found["headers"], (path, method, status)


def test_whatever_has_a_parameter_may_be_too_long(document: dict[str, Any]) -> None:
    """Found by Schemathesis, after thousands of cases."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert ("parameters" in operation) == ("414" in operation["responses"]), (path, method)
    assert "414" in document["paths"]["/v1/models/rides/sample"]["get"]["responses"]


def test_every_json_answer_has_an_example(document: dict[str, Any]) -> None:
    lacking = [
        (path, status)
        for path, _, status, found in answers(document)
        for content_type, content in found.get("content", {}).items()
        if "json" in content_type and not content.get("examples")
    ]
    assert lacking == [("/openapi.json", "200")]


def test_examples_that_say_what_was_sent_are_what_is_answered(client: FlaskClient, document: dict[str, Any]) -> None:
    assert send_all(client, document) >= 30


def test_examples_that_cannot_be_sent_are_these(document: dict[str, Any]) -> None:
    """Each is tested below, or over a real server where only that can answer so."""
    places = {place for place, example in examples(document).items() if "x-request" not in example}
    own = {
        f"post {URL} {end}" for end in ("408 slow", "413 rows", "413 explained", "413 warned", "503 broken", "503 busy")
    }
    own |= {"get /v1/models/rides 503 broken", "get /v1/models/rides/sample 503 broken", "get /health/ready 503 broken"}
    server = {
        f"{name} refused"
        for name in ("MalformedRequest", "RequestTimeout", "URITooLong", "ExpectationFailed", "HeadersTooLarge")
    }
    server |= {"get /v1/models/rides/sample 414 refused", f"post {URL} 414 refused"}
    internal = {place for place in places if place.endswith("500 internal")} | {"InternalServerError internal"}
    assert places == own | server | internal


def shown(document: dict[str, Any], place: str) -> Any:
    return examples(document)[place]["value"]


def test_example_of_too_many_records_is_answered(client: FlaskClient, document: dict[str, Any]) -> None:
    response = client.post(URL, json=[0] * 10_001, headers={"X-Request-ID": REQUEST_ID})
    assert (response.status_code, response.get_json()) == (413, shown(document, f"post {URL} 413 rows"))


def test_example_of_too_many_to_explain_is_answered(client: FlaskClient, document: dict[str, Any]) -> None:
    response = client.post(f"{URL}?explain=1", json=[0] * 101, headers={"X-Request-ID": REQUEST_ID})
    assert (response.status_code, response.get_json()) == (413, shown(document, f"post {URL} 413 explained"))


def test_example_of_too_many_large_requests_is_answered(document: dict[str, Any]) -> None:
    example = shown(document, f"post {URL} 503 busy")
    found = json.loads(Worker.problem(object.__new__(Worker), OUT_OF_MEMORY).partition(b"\r\n\r\n")[2])
    assert found | {"request_id": REQUEST_ID} == example


def test_example_of_an_unforeseen_error_is_answered(bundle: Path, document: dict[str, Any]) -> None:
    model = load_rides(bundle)
    app = create_app(Settings(), {"rides": lambda: model})

    def score(encoded: Any) -> Any:
        raise ValueError

    model.score = score  # type: ignore[method-assign]
    response = app.test_client().post(URL, json=GOLDEN_ROW, headers={"X-Request-ID": REQUEST_ID})
    assert (response.status_code, response.get_json()) == (500, shown(document, f"post {URL} 500 internal"))


def test_examples_of_a_broken_model_are_answered_but_for_the_reason(bundle: Path, document: dict[str, Any]) -> None:
    client = create_app(Settings(), {"rides": lambda: load_rides(bundle / "nowhere")}).test_client()
    for method, path in (("post", URL), ("get", "/v1/models/rides"), ("get", "/v1/models/rides/sample")):
        found = client.open(path, method=method, json=[], headers={"X-Request-ID": REQUEST_ID}).get_json()
        example = shown(document, f"{method} {path} 503 broken")
        assert found | {"detail": ""} == example | {"detail": ""}
        assert found["detail"].split(":")[0] == example["detail"].split(":")[0]
    found = client.get("/health/ready", headers={"X-Request-ID": REQUEST_ID}).get_json()
    example = shown(document, "get /health/ready 503 broken")
    assert found | {"detail": "", "models": {}} == example | {"detail": "", "models": {}}
    (name,) = found["models"]
    assert found["detail"] == f"{name}: {found['models'][name]}"
    (name,) = example["models"]
    assert example["detail"] == f"{name}: {example['models'][name]}"


def test_examples_of_a_model_that_is_broken_now_are_answered(bundle: Path) -> None:
    client = create_app(Settings(), {"rides": lambda: load_rides(bundle / "nowhere")}).test_client()
    document = client.get("/openapi.json").get_json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    for place, example in examples(document).items():
        if "503" in place and "x-request" in example:
            assert send(client, example["x-request"]).get_json() == example["value"], place


def test_first_example_of_a_body_is_the_golden_row_and_scores_as_recorded(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    bodies = document["paths"][URL]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert next(iter(bodies.values()))["value"] == [GOLDEN_ROW]
    response = client.post(URL, json=[GOLDEN_ROW])
    assert response.get_json()["predictions"] == [pytest.approx(GOLDEN_PREDICTION)]
    for name, example in bodies.items():
        response = client.post(URL, json=example["value"])
        assert response.status_code == (422 if name == "wrong" else 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 200),
        (GOLDEN_ROW, 200),
        ([GOLDEN_ROW], 200),
        ([{**GOLDEN_ROW, "passengers": 2.0, "comfort": 2, "more": [1]}], 200),
        ([{**GOLDEN_ROW, "passengers": None, "comfort": None}], 200),
        ([{**GOLDEN_ROW, "comfort": 10**15, "zone": "N/A"}], 200),
        ([{**GOLDEN_ROW, "comfort": "", "zone": " A"}], 200),
        ({}, 422),
        ([{}], 422),
        ([[]], 422),
        ([3, None], 422),
        ({**GOLDEN_ROW, "distance": -1}, 422),
        ({**GOLDEN_ROW, "distance": None}, 422),
        ({**GOLDEN_ROW, "distance": "1"}, 422),
        ({**GOLDEN_ROW, "passengers": 1.5}, 422),
        ({**GOLDEN_ROW, "passengers": 9}, 422),
        ({**GOLDEN_ROW, "passengers": True}, 422),
        ({**GOLDEN_ROW, "zone": 1}, 422),
        ({**GOLDEN_ROW, "zone": ""}, 422),
        ({**GOLDEN_ROW, "zone": " NA\n"}, 422),
        ({**GOLDEN_ROW, "comfort": 1.5}, 422),
        ({**GOLDEN_ROW, "comfort": 10**15 + 1}, 422),
        (3, 400),
        ("x", 400),
        (None, 400),
        ([0] * 10_001, 413),
        ([GOLDEN_ROW] * 10_001, 413),
    ],
)
def test_body_is_valid_where_every_record_is_scored(
    client: FlaskClient, document: dict[str, Any], body: Any, status: int
) -> None:
    """An array with valid and invalid records breaks the schema as well, though the valid ones are scored."""
    response = client.post(URL, data=json.dumps(body), content_type="application/json")
    assert response.status_code == status
    schema = document["paths"][URL]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": document["components"]})
    assert validator.is_valid(body) == (status == 200)
    if isinstance(body, list) and status == 422:
        # An invalid record does not affect the others: the document says in words that this returns 200.
        assert client.post(URL, json=[*body, GOLDEN_ROW]).status_code == 200
        assert not validator.is_valid([*body, GOLDEN_ROW])


def test_every_field_is_described(document: dict[str, Any]) -> None:
    record = document["components"]["schemas"]["rides.Record"]
    assert record["required"] == ["distance", "zone"]
    assert record["additionalProperties"] is True
    assert record["properties"] == {
        "distance": {
            "type": "number",
            "minimum": 0,
            "description": "Length of the ride. Number, in km. Bounds: at least 0. Range in training: 0.4 to 32; values"
            " outside are scored too. Typical: `3.5`. Required.",
            "examples": [3.5],
            "x-group": "Ride",
            "x-kind": "number",
            "x-typical": 3.5,
            "x-unit": "km",
            "x-training-range": [0.4, 32.0],
        },
        "passengers": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 8,
            "description": "People on board. Whole number. Bounds: 1 to 8. Range in training: 1 to 4; values outside"
            " are scored too. Typical: `1`. Optional: imputed if missing or null.",
            "examples": [1],
            "x-group": "Ride",
            "x-kind": "integer",
            "x-typical": 1,
            "x-training-range": [1, 4],
        },
        "zone": {
            "type": "string",
            "pattern": r"^(?!\s*(NA)?\s*$)",
            "description": "Tariff zone. Category. Typical: `A`. Required. A level that does not occur in training"
            " is scored as unknown.\n\nLevels:\n\n- `A`: Centre\n- `B`: Suburbs",
            "examples": ["A", "B"],
            "x-group": "Ride",
            "x-kind": "category",
            "x-typical": "A",
            "x-levels": [
                {"value": "A", "meaning": "Centre", "seen": True},
                {"value": "B", "meaning": "Suburbs", "seen": True},
            ],
            "x-ordered": False,
        },
        "comfort": {
            "type": ["string", "integer", "null"],
            "minimum": -(10**15),
            "maximum": 10**15,
            "description": "Class of the car. Category of whole-number codes. Typical: `2`. Optional: missing,"
            " null, blank or `NA` means not asked for. A level that does not occur in training is scored as unknown."
            "\n\nLevels, lowest first:\n\n- `1`: Basic\n- `2`: Standard\n- `3`: Luxury",
            "examples": ["2", "1", "3"],
            "x-group": "Car",
            "x-kind": "category",
            "x-typical": "2",
            "x-levels": [
                {"value": "1", "meaning": "Basic", "seen": True},
                {"value": "2", "meaning": "Standard", "seen": True},
                {"value": "3", "meaning": "Luxury", "seen": False},
            ],
            "x-ordered": True,
        },
    }


@pytest.mark.parametrize("field", SPEC_OF_RIDES.fields, ids=lambda field: field.name)
def test_null_is_what_a_missing_field_counts_as(client: FlaskClient, document: dict[str, Any], field: Field) -> None:
    told = document["components"]["schemas"]["rides.Record"]["properties"][field.name]
    # Generators of types make a property with a default required.
    assert "default" not in told
    assert ("null" in told["type"]) != field.required
    if not field.required:
        missing = {name: value for name, value in GOLDEN_ROW.items() if name != field.name}
        left_out, null = client.post(URL, json=[missing, {**missing, field.name: None}]).get_json()["predictions"]
        assert left_out == null is not None


@pytest.mark.parametrize(
    ("field", "learned", "found"),
    [
        (
            Field("x", "number", "X", maximum=2.5),
            Learned(0.0, None),
            {
                "description": "X. Number. Bounds: at most 2.5. Optional: imputed if missing or null.",
            },
        ),
        (
            Field("x", "integer", "X", null_means="no x", unit="year"),
            Learned(0.0, 2001, 1990, 2010),
            {
                "description": "X. Whole number, in year. Range in training: 1990 to 2010; values outside are scored"
                " too. Typical: `2001`. Optional: missing or null means no x.",
                "examples": [2001],
                "x-unit": "year",
                "x-training-range": [1990, 2010],
            },
        ),
        (
            Field("x", "category", "X", required=True),
            Learned(0.0, None, codes={}),
            {
                "description": "X. Category. Required. A level that does not occur in training is scored as unknown.",
                "pattern": r"^(?!\s*(NA)?\s*$)",
            },
        ),
        (
            Field("x", "category", "X", required=True, numeric_codes=True, levels=(Level("1", "one"),)),
            Learned(0.0, "1"),
            {
                "type": ["string", "integer"],
                "minimum": -(10**15),
                "maximum": 10**15,
                "pattern": r"^(?!\s*(NA)?\s*$)",
                "description": "X. Category of whole-number codes. Typical: `1`. Required. A level that does not"
                " occur in training is scored as unknown.\n\nLevels:\n\n- `1`: one",
                "examples": ["1"],
                "x-levels": [{"value": "1", "meaning": "one", "seen": False}],
                "x-ordered": False,
            },
        ),
    ],
)
def test_fields_of_other_kinds(field: Field, learned: Learned, found: dict[str, Any]) -> None:
    always = {"x-group": "Fields", "x-kind": field.kind, "x-typical": learned.typical}
    assert describe(field, learned, "string") == found | always


def test_examples_of_a_model_without_numbers(bundle: Path) -> None:
    model: BundleModel = load_rides(bundle)
    field = Field("colour", "category", "Colour")
    model.spec = InputSpec((field,), {"colour": Learned(0.0, "red", codes={"red": 1})}, Target("y", "EUR"))
    model.golden = {"row": {"colour": "red"}, "prediction": 1.0}
    (example,) = Predictions("colours", model, Settings()).unprocessable().values()
    assert example["value"]["errors"] == {"0": {"colour": ["Not a valid string."]}}


def test_names_that_no_component_can_have(bundle: Path) -> None:
    client = create_app(Settings(), {"my rides": lambda: load_rides(bundle), "unknown-model": dict}).test_client()  # type: ignore[dict-item]
    document = client.get("/openapi.json").get_json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert "my_rides.Record" in document["components"]["schemas"]
    for example in examples(document).values():
        if "x-request" in example and not re.search("health", example["x-request"]["path"]):
            assert_is(send(client, example["x-request"]), example["value"], example["summary"])


def documented() -> Documented:
    return Documented(create_app(Settings(), {}).test_client().get("/openapi.json").get_json())


OK = {"X-Request-ID": "r", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status", "headers", "body", "said"),
    [
        ("GET", "/health", 201, OK, b'{"status":"ok"}', "GET /health -> 201 is not in the document"),
        ("GET", "/nowhere", 200, OK, b"{}", "GET /nowhere -> 200 is not in the document"),
        ("PUT", "/health", 200, OK, b"{}", "PUT /health -> 200 is not in the document"),
        ("OPTIONS", "/health", 204, OK, b"", "OPTIONS /health -> 204 is not in the document"),
        ("GET", "/v1/predict/x", 200, OK, b"{}", "GET /v1/predict/x -> 200 is not in the document"),
        ("GET", "/health", 200, {"Content-Type": "application/json"}, b'{"status":"ok"}', "has no X-Request-ID"),
        ("GET", "/health", 200, OK | {"Content-Type": "text/html"}, b'{"status":"ok"}', "is text/html, where"),
        ("GET", "/health", 200, {"X-Request-ID": "r"}, b'{"status":"ok"}', "is None, where"),
        ("HEAD", "/health", 200, OK, b'{"status":"ok"}', "has a body"),
        ("GET", "/health", 200, OK, b'{"status":"so-so"}', "GET /health -> 200: $.status: 'so-so' is not one of"),
        ("GET", "/health", 200, OK, b'{"status":"ok","x":1}', "GET /health -> 200: $: Additional properties"),
    ],
)
def test_response_that_is_not_in_the_document_is_noticed(
    method: str, path: str, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        documented().check(method, path, status, headers, body)
    assert said in str(caught.value)


def test_responses_that_are_in_the_document_are_seen() -> None:
    held = documented()
    held.check("GET", "/health?x=1", 200, OK, b'{"status":"ok"}')
    held.check("HEAD", "/health", 200, OK, b"")
    held.check("OPTIONS", "/health", 200, {"X-Request-ID": "r", "Allow": "GET"}, b"")
    assert held.seen == {("/health", "get", "200")}
