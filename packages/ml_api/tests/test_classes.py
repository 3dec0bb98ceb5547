"""Models of classes over HTTP: predictions, probabilities, sets, explanations, the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flask.testing import FlaskClient
from model_kit.errors import DefinitionError
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.model import BundleModel
from model_kit.spec import Field, Target
from model_kit.training.dataset import Dataset
from model_kit.training.train import train
from openapi_spec_validator import OpenAPIV31SpecValidator
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from generated_client import generate, import_client
from ml_api.app import create_app
from ml_api.settings import Settings
from openapi_examples import send_all
from staff import THREE, TWO, definition, make_dataset, make_rows

FLAGS = Target("left", kind="class", classes=(False, True), threshold=0.3)
#: A model of one text and nothing else: every text is valid.
REMARKS = ModelDefinition(
    "remarks",
    TWO,
    (Field("remark", "text", "what they say"),),
    make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), "remark")]), LogisticRegression()),
    package="model_kit.testing",
)


def make_remarks(n: int) -> Dataset:
    words = np.random.default_rng(4).choice(["good", "bad", "pay", "boss", "kind", "late"], size=(n, 4))
    target = np.array([int("bad" in one or "late" in one) for one in words])
    rows = tuple({"remark": " ".join(one)} for one in words)
    return Dataset("made up", "0" * 64, True, tuple(map(str, range(n))), rows, target)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = tmp_path_factory.mktemp("classes")

    def load(name: str, target: Target) -> BundleModel:
        train(definition(target), make_dataset(800, len(target.classes)), folder / name)
        return definition(target).load_bundle(folder / name)

    loaders = {"two": TWO, "three": THREE, "flags": FLAGS}
    models = {name: load(name, target) for name, target in loaders.items()}
    train(REMARKS, make_remarks(300), folder / "remarks")
    models["remarks"] = REMARKS.load_bundle(folder / "remarks")
    return create_app(
        Settings(),
        {name: lambda model=model: model for name, model in models.items()},  # type: ignore[misc]
    ).test_client()


def predict(client: FlaskClient, name: str, records: Any, query: str = "") -> tuple[int, Any]:
    response = client.post(f"/v1/predict/{name}?{query}", json=records)
    return response.status_code, json.loads(response.data)


@pytest.mark.parametrize(
    ("name", "classes"), [("two", TWO.classes), ("three", THREE.classes), ("flags", (False, True))]
)
def test_classes_are_as_the_data_spells_them(client: FlaskClient, name: str, classes: tuple[Any, ...]) -> None:
    status, document = predict(client, name, make_rows(60))
    assert status == 200
    assert set(document) == {"predictions", "errors", "version"}
    assert {(type(value), value) for value in document["predictions"]} == {(type(value), value) for value in classes}


def test_probabilities_are_aligned_with_the_records(client: FlaskClient) -> None:
    rows: list[Any] = [*make_rows(3), 7, *make_rows(2, seed=8)]
    for name, keys in (("two", ["stays", "leaves"]), ("three", ["1", "2", "3"]), ("flags", ["false", "true"])):
        status, document = predict(client, name, rows, "probabilities=true")
        assert status == 200
        assert [one is None for one in document["probabilities"]] == [False, False, False, True, False, False]
        for found in filter(None, document["probabilities"]):
            assert list(found) == keys
            assert sum(found.values()) == pytest.approx(1, abs=1e-9)
        assert set(document["errors"]) == {"3"}


def test_threshold_of_the_definition_decides(client: FlaskClient) -> None:
    _, document = predict(client, "flags", make_rows(200), "probabilities=true")
    probable = [found["true"] for found in document["probabilities"]]
    assert document["predictions"] == [one >= 0.3 for one in probable]
    assert any(0.3 <= one < 0.5 for one in probable)


def test_interval_is_a_set_of_classes(client: FlaskClient) -> None:
    _, narrow = predict(client, "three", make_rows(100), "interval=0.5")
    _, wide = predict(client, "three", make_rows(100), "interval=0.95")
    for one, other, predicted in zip(narrow["intervals"], wide["intervals"], narrow["predictions"], strict=True):
        assert predicted in one
        assert set(one) <= set(other) <= {1, 2, 3}
    assert sum(map(len, wide["intervals"])) > sum(map(len, narrow["intervals"]))


def test_explanation_is_of_the_class_that_is_asked_for(client: FlaskClient) -> None:
    row = make_rows(1)
    _, of_leaving = predict(client, "two", row, "explain=3&class=leaves")
    _, of_staying = predict(client, "two", row, "explain=3&class=stays")
    (one,), (other,) = of_leaving["explanations"], of_staying["explanations"]
    assert one["baseline"]["prediction"] == pytest.approx(1 - other["baseline"]["prediction"])
    for mine, opposite in zip(one["contributions"], other["contributions"], strict=True):
        assert mine["field"] == opposite["field"]
        assert mine["effect"] == pytest.approx(-opposite["effect"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "spellings"),
    [("two", ("leaves", "Leaves")), ("three", ("2", "2.0")), ("flags", ("true", "True", "yes", "1"))],
)
def test_class_is_read_as_the_target_of_a_file_is(client: FlaskClient, name: str, spellings: tuple[str, ...]) -> None:
    answers = [predict(client, name, make_rows(1), f"explain=3&class={spelling}") for spelling in spellings]
    assert answers[0][0] == 200
    assert answers == [answers[0]] * len(spellings)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("explain=2&class=gone", "The query parameter class must be one of stays, leaves."),
        ("class=stays", "The query parameter class says whose probability is explained; it needs explain."),
        ("probabilities=1", "The query parameter probabilities must be true or false."),
        (
            "why=1",
            (
                "There is no query parameter 'why'; it takes "
                "interval, explain, against, warnings, probabilities, class, echo."
            ),
        ),
    ],
)
def test_wrong_parameter_is_named(client: FlaskClient, query: str, detail: str) -> None:
    status, document = predict(client, "two", make_rows(1), query)
    assert (status, document["detail"]) == (400, detail)


def test_models_and_their_document_name_the_classes(client: FlaskClient) -> None:
    listed = client.get("/v1/models").get_json()["models"]
    assert {model["name"]: model["target"]["classes"] for model in listed} == {
        "two": ["stays", "leaves"],
        "three": [1, 2, 3],
        "flags": [False, True],
        "remarks": ["stays", "leaves"],
    }
    assert client.get("/v1/models/two").get_json()["golden"]["prediction"] in TWO.classes
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    predictions = schemas["ClassPrediction_two"]["properties"]["predictions"]["items"]
    assert set(predictions["enum"]) >= {"stays", "leaves"}
    assert client.get("/health/ready").status_code == 200


def test_examples_of_classes_and_texts_are_what_is_answered(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert send_all(client, document) >= 60
    wrong = document["paths"]["/v1/predict/remarks"]["post"]["responses"]["422"]["content"]["application/json"]
    assert wrong["examples"]["wrong"]["value"]["errors"] == {"0": {"remark": ["Not a valid string."]}}


@pytest.mark.parametrize("name", ["two", "three", "flags", "remarks"])
def test_generated_client_predicts_classes(
    client: FlaskClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the API answers the client's types keep everything: classes, probabilities, sets, explanations."""
    package = f"{name}_client"
    generate(client.get("/openapi.json").get_json(), tmp_path, package)
    module = import_client(monkeypatch, tmp_path, f"{package}.api.{name}.predict_{name}")
    records: list[Any] = client.get(f"/v1/models/{name}/sample?n=3").get_json()
    record = getattr(import_client(monkeypatch, tmp_path, f"{package}.models"), f"RecordOf{name.title()}")
    query = "probabilities=true&interval=0.8&explain=2&warnings=true"
    many = [record.from_dict(one) for one in records]
    bodies: list[tuple[Any, Any]] = [(many, records), (many[0], records[0])]

    generated = import_client(monkeypatch, tmp_path, package).Client(base_url="http://api")
    with httpx.Client(transport=httpx.WSGITransport(app=client.application), base_url="http://api") as transport:
        generated.set_httpx_client(transport)
        for body, sent in bodies:
            status, document = predict(client, name, sent, query)
            assert status == 200
            found = module.sync(client=generated, body=body, probabilities=True, interval=0.8, explain=2, warnings=True)
            assert found.to_dict() == document
            assert sum(found.probabilities[0].to_dict().values()) == pytest.approx(1)


def test_alias_is_the_same_address(tmp_path: Path) -> None:
    train(definition(TWO), make_dataset(300), tmp_path / "two", cv=False)
    aliased = definition(TWO, aliases=("/api/v1/staff",))
    model = aliased.load_bundle(tmp_path / "two")
    loaders: Any = {"two": lambda: model, "twin": lambda: aliased.load_bundle(tmp_path / "two")}
    both = create_app(Settings(), loaders).test_client()
    # The second by name finds the address taken.
    assert both.get("/health/ready").status_code == 503
    alone = create_app(Settings(), {"two": loaders["two"]}).test_client()
    rows = make_rows(3)
    response = alone.post("/api/v1/staff?probabilities=true", json=rows)
    assert response.get_json() == predict(alone, "two", rows, "probabilities=true")[1]
    assert alone.get("/api/v1/staff").status_code == 405
    assert (
        alone.get("/openapi.json").get_json()["paths"]["/api/v1/staff"]["post"]["operationId"] == "predict_two_alias_1"
    )


@pytest.mark.parametrize("alias", ["api", "/v1/predict/other", "/health", "/a b", "/"])
def test_alias_that_is_no_address_of_its_own_is_refused(alias: str) -> None:
    with pytest.raises(DefinitionError, match="is no address of its own"):
        definition(TWO, aliases=(alias,))
