"""``/invocations`` of MLflow and SageMaker; and their envelopes where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.spec import Field, Target, fit_spec
from model_kit.testing import load_rides
from openapi_spec_validator import OpenAPIV31SpecValidator

from ml_api.app import create_app
from ml_api.settings import Settings

FULL = {"distance": 3.5, "passengers": 2, "zone": "A", "comfort": "2"}
SHORT = {"distance": 8, "zone": "B"}
NO_NUMBER = {"distance": ["Not a valid number."]}


class Words:
    """A model of one text-like field, which is optional: whether it is "good"."""

    version = "1"
    target = Target("good", kind="class", classes=(False, True))
    spec = fit_spec((Field("word", "category", "A word"),), target, [{"word": "good"}] * 2, rare_below=1)
    card: dict[str, Any] = {"data": {"name": "by hand", "synthetic": True}, "evaluated": True}
    golden: dict[str, Any] = {"row": {"word": "good"}, "prediction": True}
    lineage: dict[str, Any] = {"version": version, "data": card["data"]}

    def score(self, encoded: Any) -> Any:
        """Probabilities, shape (n_rows, 2)."""
        import numpy as np

        good = (encoded[:, 0] == 1).astype(float)
        return np.column_stack([1 - good, good])

    def check(self) -> None:
        """There is nothing to check."""


@pytest.fixture(scope="module")
def models(bundle: Path) -> dict[str, Any]:
    return {"rides": lambda: load_rides(bundle), "words": Words}


@pytest.fixture(scope="module")
def mlflow(models: dict[str, Any]) -> FlaskClient:
    settings = Settings(invocations="mlflow", default_model="rides", max_rows=20)
    return create_app(settings, models).test_client()


@pytest.fixture(scope="module")
def sagemaker(models: dict[str, Any]) -> FlaskClient:
    settings = Settings(invocations="sagemaker", default_model="rides", max_rows=20)
    return create_app(settings, models).test_client()


@pytest.fixture(scope="module")
def words(models: dict[str, Any]) -> FlaskClient:
    """The only model is the default one, whatever it is called."""
    return create_app(Settings(invocations="sagemaker"), {"words": Words}).test_client()


def invoke(client: FlaskClient, document: Any) -> tuple[int, Any]:
    response = client.post("/invocations", json=document)
    return response.status_code, response.get_json()


def predictions(client: FlaskClient, *records: Any) -> list[Any]:
    found: list[Any] = client.post("/v1/predict/rides", json=list(records)).get_json()["predictions"]
    return found


def split(*rows: Any, columns: Any = ("distance", "zone")) -> dict[str, Any]:
    return {"dataframe_split": {"index": list(range(len(rows))), "columns": list(columns), "data": list(rows)}}


@pytest.mark.parametrize(
    "document",
    [
        split([3.5, 2, "A", "2"], [8, None, "B", None], columns=FULL),
        {"dataframe_split": {"data": [[3.5, 2, "A", "2"], [8, None, "B", None]]}},
        {"dataframe_records": [FULL, SHORT]},
        {"instances": [FULL, SHORT]},
        {"instances": [[3.5, 2, "A", "2"], [8, None, "B", None]], "params": None},
        {"inputs": [FULL, SHORT], "params": {}},
        {
            "inputs": {
                "distance": [3.5, 8],
                "passengers": [[2], [None]],
                "zone": ["A", "B"],
                "comfort": ["2", None],
                "more": [1, 2],
            }
        },
    ],
    ids=["split", "split without columns", "records", "instances", "rows", "inputs", "columns"],
)
def test_envelopes_of_mlflow_are_predicted_as_records_are(mlflow: FlaskClient, document: Any) -> None:
    assert invoke(mlflow, document) == (200, {"predictions": predictions(mlflow, FULL, SHORT)})


def test_row_with_an_error_stays_in_its_place(mlflow: FlaskClient, sagemaker: FlaskClient) -> None:
    good = predictions(mlflow, SHORT)
    expected = {"predictions": [None, *good], "errors": {"0": NO_NUMBER}}
    assert invoke(mlflow, split(["far", "B"], [8, "B"])) == (200, expected)
    status, document = invoke(sagemaker, [{"distance": "far", "zone": "B"}, SHORT])
    assert (status, document) == (200, expected | {"version": "1.2.3"})
    assert invoke(mlflow, split(["far", "B"])) == (422, {"predictions": [None], "errors": {"0": NO_NUMBER}})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([FULL], "exactly one of the members dataframe_split, dataframe_records, instances, inputs"),
        (FULL, "exactly one of the members"),
        ({"instances": [], "inputs": []}, "exactly one of the members"),
        ({"instances": [], "signature_name": "x"}, "the member 'signature_name' beside instances"),
        ({"instances": [], "params": {"interval": 0.9}}, "params must be empty"),
        ({"instances": FULL}, "instances must be an array."),
        ({"inputs": "text"}, "inputs must be an array or an object"),
        ({"dataframe_records": 3}, "dataframe_records must be an array"),
        ({"dataframe_split": [[1]]}, "dataframe_split must be an object"),
        ({"dataframe_split": {"columns": ["a"]}}, "dataframe_split must be an object"),
        ({"dataframe_split": {"columns": [1], "data": []}}, "must be an array of names"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "has a name twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [], "rows": 1}}, "has the member 'rows'"),
        (split([1]), "Row 0 has 1 values; its columns are 2: distance, zone"),
        (split([8, "B"], {"distance": 1}), "Row 1 has no array of values"),
        ({"instances": [[1, 2]]}, "Row 0 has 2 values; its columns are 4"),
        ({"inputs": {"distance": 3.5}}, "'distance' of inputs must be an array"),
        ({"inputs": {"distance": [1, 2], "zone": ["A"]}}, "different lengths"),
    ],
)
def test_malformed_envelope_is_refused_by_name(mlflow: FlaskClient, document: Any, told: str) -> None:
    status, problem = invoke(mlflow, document)
    assert status == 400
    assert told in problem["detail"]


def test_limits_are_those_of_other_predictions(mlflow: FlaskClient, sagemaker: FlaskClient) -> None:
    assert invoke(mlflow, {"instances": [SHORT] * 21})[0] == 413
    assert invoke(sagemaker, [SHORT] * 21)[0] == 413
    many = "distance,zone\n" + "8,B\n" * 21
    response = sagemaker.post("/invocations", data=many, content_type="text/csv")
    assert (response.status_code, "21 records" in response.get_json()["detail"]) == (413, True)
    wide = ",".join(["1"] * 2_000_001)
    assert sagemaker.post("/invocations", data=f"distance,zone\n{wide}", content_type="text/csv").status_code == 413
    nan = mlflow.post("/invocations", data='{"instances": [[NaN]]}', content_type="application/json")
    assert (nan.status_code, "no NaN in JSON" in nan.get_json()["detail"]) == (400, True)
    assert mlflow.post("/invocations", data="a", content_type="text/plain").status_code == 415


@pytest.mark.parametrize(
    "document",
    [
        [FULL, SHORT],
        [[3.5, 2, "A", "2"], [8, None, "B", None]],
        {"instances": [FULL, SHORT]},
        {"instances": [{"features": [3.5, 2, "A", "2"]}, {"features": [8, None, "B", None]}]},
    ],
    ids=["records", "rows", "instances", "features"],
)
def test_json_of_sagemaker_is_predicted_as_records_are(sagemaker: FlaskClient, document: Any) -> None:
    expected = predictions(sagemaker, FULL, SHORT)
    assert invoke(sagemaker, document) == (200, {"predictions": expected, "errors": None, "version": "1.2.3"})


def test_one_record_of_sagemaker_is_one_row(sagemaker: FlaskClient) -> None:
    assert invoke(sagemaker, SHORT)[1]["predictions"] == predictions(sagemaker, SHORT)
    assert invoke(sagemaker, 7)[0] == 400


@pytest.mark.parametrize(
    "text",
    [
        "3.5,2,A,2\n8,,B,\n",
        "3.5,2,A,2\r\n8, ,B,NA\r\n\r\n",
        "distance,passengers,zone,comfort\n3.5,2,A,2\n8,,B,",
        'zone,"distance",passengers,comfort,more\nA,3.5,2.0,2.0,x\n"B",8,,,\n',
        "\ufeffdistance,passengers,zone,comfort\n3.5,2,A,2\n8,,B,\n",
    ],
    ids=["without a header", "blanks", "with a header", "another order", "byte order mark"],
)
def test_csv_is_taken_with_and_without_a_header(sagemaker: FlaskClient, mlflow: FlaskClient, text: str) -> None:
    expected = predictions(sagemaker, FULL, SHORT)
    for client in (sagemaker, mlflow):
        response = client.post("/invocations", data=text.encode(), content_type="text/csv; charset=utf-8")
        assert (response.status_code, response.get_json()["predictions"]) == (200, expected)


def test_value_that_is_spelt_as_a_field_makes_no_header() -> None:
    fields = (
        Field("sales", "category", "Department"),
        Field("hours", "number", "Hours"),
        Field("age", "number", "Age"),
    )

    class Staff(Words):
        spec = fit_spec(fields, Words.target, [{"sales": "good", "hours": 1.0, "age": 1.0}] * 2, rare_below=1)

    client = create_app(Settings(invocations="sagemaker"), {"staff": Staff}).test_client()
    for text, n_rows in (("sales,1,2\n", 1), ("sales,hours,other\ngood,1,2\n", 1), ("sales,other\ngood,1\n", 1)):
        document = client.post("/invocations", data=text, content_type="text/csv").get_json()
        assert (len(document["predictions"]), document["errors"]) == (n_rows, None)


def test_ragged_row_of_csv_is_an_error_of_its_row(sagemaker: FlaskClient) -> None:
    text = "distance,zone\n8,B\n8\n8,B,1\nfar,B\n"
    document = sagemaker.post("/invocations", data=text, content_type="text/csv").get_json()
    assert document["predictions"] == [*predictions(sagemaker, SHORT), None, None, None]
    faults = [f"The row has {n} cells where the header has 2." for n in (1, 3)]
    assert document["errors"] == {
        "1": {"_schema": [faults[0]]},
        "2": {"_schema": [faults[1]]},
        "3": NO_NUMBER,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"8" * 200_000, "CSV"),
        (b"8,B\n", "has 2 columns and no header; without one its columns are the 4 fields"),
        (b"distance,zone,zone\n8,B,B\n", "a column more than once: 'zone'"),
        (b'distance,zone\n8,"B\n', "not CSV"),
        (b"distance,zone\n8,\xff\n", "not UTF-8: invalid byte at offset 16"),
    ],
)
def test_malformed_csv_is_refused(sagemaker: FlaskClient, text: bytes, told: str) -> None:
    response = sagemaker.post("/invocations", data=text, content_type="text/csv")
    assert response.status_code == 400
    assert told in response.get_json()["detail"]


def test_csv_is_answered_where_it_is_asked_for(sagemaker: FlaskClient, words: FlaskClient) -> None:
    def ask(client: FlaskClient, text: str, accept: str) -> Any:
        return client.post("/invocations", data=text, content_type="text/csv", headers={"Accept": accept})

    response = ask(sagemaker, "distance,zone\n8,B\nfar,B\n", "text/csv")
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.text == f'{predictions(sagemaker, SHORT)[0]!r}\n""\n'
    assert ask(words, "good\nbad\n\n", "text/csv").text == "true\nfalse\n"
    assert ask(sagemaker, "distance,zone\n8,B\n", "*/*").content_type == "application/json"
    assert ask(sagemaker, "distance,zone\n8,B\n", "application/json").content_type == "application/json"
    assert ask(sagemaker, "distance,zone\n8,B\n", "image/png").status_code == 406


def test_model_of_one_field_is_asked_with_its_values(words: FlaskClient) -> None:
    assert invoke(words, {"instances": ["good", "bad", None]})[1]["predictions"] == [True, False, False]


def test_ping_is_readiness(mlflow: FlaskClient, bundle: Path) -> None:
    assert (mlflow.get("/ping").status_code, mlflow.get("/ping").get_json()) == (200, {"status": "ready"})

    def load() -> Any:
        raise ValueError

    for name, status in (("rides", 503), ("words", 200), ("boats", 503)):
        settings = Settings(invocations="mlflow", default_model=name)
        client = create_app(settings, {"rides": load, "words": Words}).test_client()
        assert (client.get("/ping").status_code, client.get("/health/ready").status_code) == (status, 503)
    assert invoke(client, {"instances": []})[0] == 404


def test_default_model_that_is_not_installed_is_not_found(models: dict[str, Any]) -> None:
    client = create_app(Settings(invocations="mlflow", default_model="boats"), models).test_client()
    status, problem = invoke(client, {"instances": []})
    assert (status, problem["detail"]) == (404, "There is no model of that name; installed: rides, words.")


def test_documents_are_valid(mlflow: FlaskClient, sagemaker: FlaskClient) -> None:
    for client in (mlflow, sagemaker):
        document: Any = client.get("/openapi.json").get_json()
        OpenAPIV31SpecValidator(document).validate()
        assert {"/invocations", "/ping"} < set(document["paths"])


# At the wrong door


@pytest.mark.parametrize(
    ("document", "door"),
    [
        ({"instances": [FULL]}, "/invocations of SageMaker or MLflow (setting INVOCATIONS=sagemaker or mlflow)"),
        ({"dataframe_split": {"columns": [], "data": []}}, "MLflow's /invocations (setting INVOCATIONS=mlflow)"),
        ({"dataframe_records": [FULL]}, "MLflow's /invocations"),
        ({"inputs": {"distance": [1]}}, "MLflow's /invocations"),
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [1]}]}, "/v2/models/NAME/infer"),
        ({"columns": ["distance"], "index": [0], "data": [[1]]}, "as its member dataframe_split"),
        ({"input_data": {"columns": [], "data": []}}, "model-kit export azure"),
        ({"data": [FULL]}, "model-kit export azure"),
    ],
)
@pytest.mark.parametrize("model", ["rides", "words"])
def test_foreign_envelope_is_told_where_it_belongs(
    mlflow: FlaskClient, model: str, document: dict[str, Any], door: str
) -> None:
    response = mlflow.post(f"/v1/predict/{model}", json=document)
    assert response.status_code == 400
    assert (
        f"has the member {next(iter(document))} and no field of the model: it is for" in response.get_json()["detail"]
    )
    assert door in response.get_json()["detail"]


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        ("rides", {"instances": [1], **SHORT}, 200),
        ("rides", {"instances": [1], "zone": "B"}, 422),
        ("rides", [{"instances": [1]}], 422),
        ("rides", {"data": "text"}, 422),
        ("rides", {"columns": ["a"]}, 422),
        ("words", {"instances": [1], "word": "good"}, 200),
        ("words", {"data": "text"}, 200),
        ("words", {}, 200),
    ],
)
def test_record_with_such_a_member_stays_a_record(mlflow: FlaskClient, model: str, body: Any, status: int) -> None:
    assert (
        mlflow.post(f"/v1/predict/{model}", data=json.dumps(body), content_type="application/json").status_code
        == status
    )
