"""The Open Inference Protocol V2: tensors in, tensors out, and what is wrong with them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flask.testing import FlaskClient
from model_kit.spec import Field, Target, fit_spec
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import TestResponse

import ml_api
from bookings import BOOKING, Bookings
from ml_api.app import create_app
from ml_api.settings import Settings
from openapi_examples import send_all

URL = "/v2/models/rides/infer"
ZONES = {"name": "zone", "shape": [2], "datatype": "BYTES", "data": ["A", "B"]}
DISTANCES = {"name": "distance", "shape": [2], "datatype": "FP64", "data": [3.5, 8]}


class Lengths:
    """A model of two classes that are whole numbers, without a required field: 8 km and more are long."""

    version = "2.0"
    target = Target("long", kind="class", classes=(0, 1))
    spec = fit_spec((Field("distance", "number", "Length", minimum=0),), target, [{"distance": 8.0}] * 2)
    card: dict[str, Any] = {"data": {"name": "by hand", "synthetic": True}, "evaluated": True}
    golden: dict[str, Any] = {"row": {"distance": 8.0}, "prediction": 1}
    lineage: dict[str, Any] = {"version": version, "data": card["data"]}

    def score(self, encoded: Any) -> Any:
        """Probabilities, shape (n_rows, 2)."""
        long = np.where(encoded[:, 0] >= 8, 0.75, 0.25)
        return np.column_stack([1 - long, long])

    def check(self) -> None:
        """There is nothing to check."""


@pytest.fixture(scope="module")
def client(bundle: Path) -> FlaskClient:
    models: dict[str, Any] = {"rides": lambda: load_rides(bundle), "bookings": Bookings, "lengths": Lengths}
    return create_app(Settings(v2=True, max_rows=50), models).test_client()


def tensor(name: str, datatype: str, *data: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data)} | more


def infer(client: FlaskClient, *inputs: Any, model: str = "rides", **more: Any) -> tuple[int, Any]:
    response = client.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs)} | more)
    return response.status_code, response.get_json()


def predictions(client: FlaskClient, model: str, *records: Any) -> Any:
    return client.post(f"/v1/predict/{model}", json=list(records)).get_json()["predictions"]


def test_one_tensor_for_each_field_is_predicted_as_records_are(client: FlaskClient) -> None:
    expected = predictions(client, "rides", {"distance": 3.5, "zone": "A"}, {"distance": 8, "zone": "B"})
    assert infer(client, DISTANCES, ZONES, id="42") == (
        200,
        {
            "model_name": "rides",
            "model_version": "1.2.3",
            "id": "42",
            "outputs": [{"name": "prediction", "datatype": "FP64", "shape": [2], "data": expected}],
        },
    )


@pytest.mark.parametrize(
    ("shape", "data"), [([2, 1], [[3.5], [8]]), ([2, 1], [3.5, 8]), ([2], [3.5, 8])], ids=["nested", "flat", "plain"]
)
def test_columns_are_taken_nested_and_flat_and_answered_in_their_shape(
    client: FlaskClient, shape: list[int], data: Any
) -> None:
    status, document = infer(client, DISTANCES | {"shape": shape, "data": data}, ZONES | {"shape": shape})
    plain = infer(client, DISTANCES, ZONES)[1]["outputs"][0]
    assert (status, document["outputs"]) == (200, [plain | {"shape": shape}])


def test_documented_request_of_mlserver_for_a_table(client: FlaskClient) -> None:
    """A column of each type, with MLServer's content types."""
    text = {"parameters": {"content_type": "str"}}
    inputs = [
        tensor("zone", "BYTES", "A", "B", **text),
        tensor("passengers", "INT32", 3, 1),
        tensor("distance", "FP32", 3.5, 8.0),
    ]
    status, document = infer(client, *inputs, parameters={"content_type": "pd"})
    rows = [{"zone": "A", "passengers": 3, "distance": 3.5}, {"zone": "B", "passengers": 1, "distance": 8.0}]
    assert (status, document["outputs"][0]["data"]) == (200, predictions(client, "rides", *rows))
    single = [tensor("distance", "FP64", 3.5), tensor("zone", "BYTES", "A", **text) | {"data": "A"}]
    assert infer(client, *single)[1]["outputs"][0]["data"] == predictions(
        client, "rides", {"zone": "A", "distance": 3.5}
    )


class Sums:
    """A model of three numbers, of which it predicts the weighted sum; the last may be missing."""

    version = "3.0"
    target = Target("sum", unit="points")
    fields = (Field("a", "number", "A"), Field("b", "integer", "B"), Field("c", "boolean", "C"))
    spec = fit_spec(fields, target, [{"a": 1.0, "b": 2, "c": True}, {"a": 2.0, "b": 3, "c": False}] * 2)
    card = Lengths.card
    golden: ClassVar[dict[str, Any]] = {"row": {"a": 1.0, "b": 2, "c": True}, "prediction": 121.0}
    lineage = Lengths.lineage

    def score(self, encoded: Any) -> Any:
        """Sums, shape (n_rows,)."""
        return np.nan_to_num(encoded) @ np.array([1.0, 10.0, 100.0])

    def check(self) -> None:
        """There is nothing to check."""


@pytest.mark.parametrize("data", [[[1.5, 2, 1], [0.5, 3, None]], [1.5, 2, 1, 0.5, 3, None]], ids=["nested", "flat"])
def test_one_matrix_has_the_fields_in_their_order(data: Any) -> None:
    client = create_app(Settings(v2=True, max_rows=50), {"sums": Sums}).test_client()
    matrix = {"name": "predict", "shape": [2, 3], "datatype": "FP64", "data": data}
    status, document = infer(client, matrix, model="sums")
    assert (status, document["outputs"][0]["data"]) == (200, [121.5, 30.5])
    assert document["outputs"][0]["shape"] == [2]
    values = np.array([[1.5, 2, 1], [0.5, 3, 0]], "<f4")
    document = {"name": "predict", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
    head = json.dumps({"inputs": [document]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    response = client.post("/v2/models/sums/infer", data=head + values.tobytes(), headers=headers)
    assert response.get_json()["outputs"][0]["data"] == [121.5, 30.5]
    for wrong, told in (
        (matrix | {"data": [1.5, 2, 1]}, "has 3 elements, and by its shape 6"),
        (matrix | {"data": [[1.5, 2], [0.5, 3, 1]]}, "rows of data that are no arrays of 3 elements"),
        (matrix | {"shape": [2, 4]}, "a single input may have [n, 3], the fields in their order"),
        (matrix | {"datatype": "BYTES"}, "the field 'a' is of kind number"),
        (matrix | {"shape": [20, 3], "data": [1] * 60}, None),
        (matrix | {"shape": [51, 3], "data": [1] * 153}, "51"),
    ):
        status, document = infer(client, wrong, model="sums")
        assert told is None or told in document["error"]
        assert (status == 200) == (told is None)
    status, document = infer(client, matrix, tensor("a", "FP64", 1, 2), model="sums")
    assert (status, "has the shape [2, 3]" in document["error"]) == (400, True)


def test_every_kind_of_field_has_its_tensor(client: FlaskClient) -> None:
    inputs = client.get("/v2/models/bookings").get_json()["inputs"]
    assert {one["name"]: one["datatype"] for one in inputs} == {
        "nights": "INT64",
        "breakfast": "BOOL",
        "arrival": "BYTES",
        "booked": "BYTES",
        "paid": "BYTES",
        "left": "BYTES",
        "area": "FP64",
        "room": "BYTES",
    }
    sent = [tensor(one["name"], one["datatype"], BOOKING[one["name"]], None) for one in inputs]
    status, document = infer(client, *sent, model="bookings")
    prediction, errors = document["outputs"]
    assert (status, prediction["data"]) == (200, [Bookings().golden["prediction"], None])
    assert errors == {
        "name": "errors",
        "datatype": "BYTES",
        "shape": [2],
        "data": ["", "nights: Field may not be null.; arrival: Field may not be null."],
    }


@pytest.mark.parametrize("datatype", ["INT8", "UINT16", "FP16", "FP32"])
def test_numbers_and_booleans_are_taken_in_every_datatype_of_numbers(client: FlaskClient, datatype: str) -> None:
    booking = {**BOOKING, "nights": 2, "breakfast": True, "area": 18}
    inputs = [tensor(name, "BYTES", BOOKING[name]) for name in ("arrival", "booked", "paid", "left", "room")]
    inputs += [tensor("nights", datatype, 2), tensor("breakfast", datatype, 1), tensor("area", datatype, 18)]
    document = infer(client, *inputs, model="bookings")[1]
    assert document["outputs"][0]["data"] == predictions(client, "bookings", booking)


def test_codes_of_a_category_are_numbers_or_texts(client: FlaskClient) -> None:
    expected = predictions(client, "rides", {"distance": 3.5, "zone": "A", "comfort": 3})
    for comfort in (tensor("comfort", "INT64", 3), tensor("comfort", "BYTES", "3"), tensor("comfort", "FP64", 3.0)):
        inputs = (tensor("distance", "FP64", 3.5), tensor("zone", "BYTES", "A"), comfort)
        assert infer(client, *inputs)[1]["outputs"][0]["data"] == expected


def test_request_of_which_no_row_is_scored_says_why(client: FlaskClient) -> None:
    status, document = infer(client, tensor("distance", "FP64", -1.0))
    assert status == 422
    assert document["outputs"][0]["data"] == [None]
    assert document["outputs"][1]["data"] == [document["error"].partition("Row 0: ")[2]]
    assert "distance: Must be greater than or equal to 0" in document["error"]
    assert "zone: Missing data for required field." in document["error"]


def test_outputs_are_those_that_are_asked_for(client: FlaskClient) -> None:
    def names(*wanted: str) -> list[str]:
        outputs = [{"name": name} for name in wanted]
        return [one["name"] for one in infer(client, DISTANCES, ZONES, outputs=outputs)[1]["outputs"]]

    assert names("errors") == ["errors"]
    assert names("errors", "prediction") == ["prediction", "errors"]
    assert names() == ["prediction"]


def test_classes_are_texts_with_their_probabilities(client: FlaskClient) -> None:
    status, document = infer(client, tensor("distance", "FP64", 9.0, -1.0, 2.0), model="lengths")
    assert (status, {one["name"]: (one["datatype"], one["shape"], one["data"]) for one in document["outputs"]}) == (
        200,
        {
            "prediction": ("BYTES", [3], ["1", None, "0"]),
            "probabilities": ("FP64", [3, 2], [0.25, 0.75, None, None, 0.75, 0.25]),
            "errors": ("BYTES", [3], ["", "distance: Must be greater than or equal to 0.", ""]),
        },
    )
    only = infer(client, tensor("distance", "FP64", 9.0), model="lengths", outputs=[{"name": "prediction"}])[1]
    assert [one["name"] for one in only["outputs"]] == ["prediction"]


def test_no_rows_are_answered(client: FlaskClient) -> None:
    assert infer(client, tensor("distance", "FP64"))[1]["outputs"] == [
        {"name": "prediction", "datatype": "FP64", "shape": [0], "data": []}
    ]


def wrong(**changes: Any) -> list[dict[str, Any]]:
    return [DISTANCES | changes, ZONES]


@pytest.mark.parametrize(
    ("inputs", "status", "told"),
    [
        (
            wrong(datatype="BYTES", data=["1", "2"]),
            400,
            "'distance' has the datatype BYTES; the field is of kind number, and takes FP64, BF16",
        ),
        (wrong(datatype="FP128"), 400, "'distance' must have one of the datatypes"),
        (wrong(datatype=None), 400, "'distance' must have one of the datatypes"),
        (wrong(data=["a", 1]), 400, "'distance' has the datatype FP64; its element 0 is of type string"),
        (wrong(data=[1, True]), 400, "'distance' has the datatype FP64; its element 1 is of type boolean"),
        (wrong(datatype="INT64", data=[1, 2.5]), 400, "its element 1 is a number with decimals"),
        (wrong(datatype="UINT8", data=[1, 256]), 400, "'distance': element 1 is beyond the datatype UINT8"),
        (
            [DISTANCES, ZONES | {"data": ["A", 7]}],
            400,
            "'zone' has the datatype BYTES; its element 1 is of type number",
        ),
        ([DISTANCES, ZONES | {"datatype": "INT64", "data": [1, 2]}], 400, "'zone' has the datatype INT64; the field"),
        (wrong(shape=[2, 2], data=[1, 2, 3, 4]), 400, "'distance' has the shape [2, 2]"),
        (wrong(shape=[1, 2]), 400, "'distance' has the shape [1, 2]"),
        (wrong(shape=[]), 400, "'distance' has the shape []"),
        (wrong(shape=[1] * 100_000), 400, "'distance' has the shape of 100000 dimensions"),
        (wrong(shape=[-2]), 400, "'distance' must have a shape"),
        (wrong(shape=[True]), 400, "'distance' must have a shape"),
        (wrong(shape="2"), 400, "'distance' must have a shape"),
        (wrong(shape=[10**9]), 400, "'distance' and 'zone' have 1000000000 and 2 rows"),
        ([wrong(shape=[10**9])[0]], 413, "1000000000 records"),
        ([wrong(shape=[10**30])[0]], 413, "records; at most 50"),
        (wrong(data=[1]), 400, "'distance' has 1 elements, and by its shape 2"),
        (wrong(data=[[1], [2]]), 400, "'distance' has the datatype FP64; its element 0 is of type array"),
        (wrong(shape=[2, 1], data=[[1], [2, 3]]), 400, "'distance' has rows of data"),
        (wrong(shape=[2, 1], data=[[1], 2]), 400, "'distance' has rows of data"),
        (wrong(data=None), 400, "'distance' has no data"),
        (wrong(data={"0": 1}), 400, "'distance' has no data"),
        ([DISTANCES, DISTANCES], 400, "'distance' is there twice"),
        ([{"shape": [1], "datatype": "FP64", "data": [1]}], 400, "position 0 has no name"),
        ([DISTANCES | {"name": "predict"}], 400, "'predict' is no field of the model"),
        ([DISTANCES | {"name": "\ud800" * 99}], 400, "is no field of the model"),
        (wrong(parameters={"shared_memory_region": "x"}), 400, "'distance' has the parameter shared_memory_region"),
        (wrong(parameters={"content_type": "base64"}), 400, "'distance' has the content type base64"),
        (wrong(parameters=[]), 400, "parameters of the input 'distance'"),
        (wrong(parameters={"binary_data_size": 16}, data=None), 400, "'distance' must have as binary_data_size"),
        ([], 400, "no inputs"),
        ([7], 400, "inputs must be an array of objects"),
        ([tensor("distance", "FP64", *[1.0] * 51)], 413, "51 records; at most 50"),
    ],
)
def test_malformed_tensor_is_refused_by_name(client: FlaskClient, inputs: Any, status: int, told: str) -> None:
    found, document = infer(client, *inputs)
    assert (found, list(document)) == (status, ["error"])
    assert told in document["error"]
    assert len(document["error"]) < 500


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"id": 7}, "member id"),
        ({"id": "\ud800"}, "member id"),
        ({"parameters": 1}, "parameters of the request"),
        ({"outputs": {}}, "outputs must be an array"),
        ({"outputs": [{"name": "price"}]}, "There is no output 'price'; the model has prediction, errors"),
        ({"outputs": [{}]}, "There is no output without a name"),
        ({"outputs": [{"name": "errors"}] * 2}, "'errors' is asked for twice"),
        ({"outputs": [{"name": "errors", "parameters": {"classification": 1}}]}, "parameter classification"),
    ],
)
def test_malformed_request_is_refused(client: FlaskClient, more: dict[str, Any], told: str) -> None:
    status, document = infer(client, DISTANCES, ZONES, **more)
    assert (status, list(document)) == (400, ["error"])
    assert told in document["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [NaN]}]}', "no NaN in JSON"),
        ("[1]", "must be a JSON object"),
        ('{"inputs": ', "not JSON"),
        ('{"inputs": "\xff"}', "not UTF-8"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_body_that_is_no_document_is_refused(client: FlaskClient, body: str, told: str) -> None:
    response = client.post(URL, data=body.encode("latin-1"), content_type="application/json")
    assert (response.status_code, list(response.get_json())) == (400, ["error"])
    assert told in response.get_json()["error"]


def test_number_beyond_all_is_the_error_of_its_row(client: FlaskClient) -> None:
    body = (
        '{"inputs": [{"name": "distance", "shape": [3], "datatype": "FP64", "data": [1e400, 1, 1%s]},'
        '{"name": "zone", "shape": [3], "datatype": "BYTES", "data": ["A", "A", "A"]}]}'
    ) % ("0" * 5000)
    document = client.post(URL, data=body, content_type="application/json").get_json()
    assert [value is None for value in document["outputs"][0]["data"]] == [True, False, True]
    assert "nan or infinity" in document["outputs"][1]["data"][0]


# Binary tensors


def send_binary(client: FlaskClient, document: Any, data: bytes, length: Any = None, path: str = URL) -> TestResponse:
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text) if length is None else length)}
    return client.post(path, data=text + data, headers=headers)


def binary(name: str, datatype: str, n: int, size: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [n], "parameters": {"binary_data_size": size}}


def packed(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16", "INT8", "UINT16", "INT64"])
def test_binary_tensors_are_those_of_numpy(client: FlaskClient, datatype: str) -> None:
    types = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "i1", "UINT16": "<u2", "INT64": "<i8"}
    values = np.array([3, 8])
    if datatype == "BF16":
        numbers = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        numbers = values.astype(types[datatype]).tobytes()
    zones = packed("A", "B")
    inputs = [binary("distance", datatype, 2, len(numbers)), binary("zone", "BYTES", 2, len(zones))]
    document = send_binary(client, {"inputs": inputs}, numbers + zones).get_json()
    rows = [{"distance": 3, "zone": "A"}, {"distance": 8, "zone": "B"}]
    assert document["outputs"][0]["data"] == predictions(client, "rides", *rows)


def test_outputs_are_binary_where_they_are_asked_for_so(client: FlaskClient) -> None:
    inputs = [tensor("distance", "FP64", 9.0, -1.0)]
    response = send_binary(
        client, {"inputs": inputs, "parameters": {"binary_data_output": True}}, b"", path="/v2/models/lengths/infer"
    )
    assert response.content_type == "application/octet-stream"
    length = int(response.headers["Inference-Header-Content-Length"])
    outputs, data = json.loads(response.data[:length])["outputs"], response.data[length:]
    error = packed("", "distance: Must be greater than or equal to 0.")
    sizes = [one["parameters"]["binary_data_size"] for one in outputs]
    assert sizes == [len(packed("1", "")), 4 * 8, len(error)]
    assert not any("data" in one for one in outputs)
    assert data[: sizes[0]] == packed("1", "")
    assert np.frombuffer(data[sizes[0] : sizes[0] + 32]).tolist() == pytest.approx(
        [0.25, 0.75, np.nan, np.nan], nan_ok=True
    )
    assert data[-sizes[2] :] == error
    mixed: dict[str, Any] = {"inputs": [DISTANCES, ZONES], "parameters": {"binary_data_output": True}}
    mixed["outputs"] = [{"name": "prediction", "parameters": {"binary_data": False}}, {"name": "errors"}]
    response = client.post(URL, json=mixed)
    length = int(response.headers["Inference-Header-Content-Length"])
    assert ["data" in one for one in json.loads(response.data[:length])["outputs"]] == [True, False]
    assert response.data[length:] == packed("", "")
    inputs = [tensor("distance", "FP64", -1.0)]
    failed = client.post(URL, json=mixed | {"inputs": inputs})
    assert (failed.status_code, "Row 0" in failed.get_json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("inputs", "data", "length", "told"),
    [
        ([binary("distance", "FP64", 2, 16)], bytes(8), None, "'distance' must have as binary_data_size"),
        (
            [binary("distance", "FP64", 2, 8)],
            bytes(8),
            None,
            "'distance' has 8 bytes, and by its shape and datatype 16",
        ),
        ([binary("distance", "FP64", 2, 16)], bytes(17), None, "1 bytes behind the tensors"),
        ([binary("distance", "FP64", 1, -8)], bytes(8), None, "'distance' must have as binary_data_size"),
        ([binary("distance", "FP64", 1, True)], bytes(8), None, "'distance' must have as binary_data_size"),
        ([binary("distance", "FP64", 1, "8")], bytes(8), None, "'distance' must have as binary_data_size"),
        ([binary("distance", "FP64", 1, 8) | {"data": [1]}], bytes(8), None, "'distance' has both data and"),
        ([binary("distance", "FP64", 1, 8)], struct.pack("<d", float("nan")), None, "'distance': element 0 is NaN"),
        ([binary("zone", "BYTES", 1, 6)], b"\xff\xff\xff\xff\x00A", None, "'zone' has bytes that are not 1 texts"),
        ([binary("zone", "BYTES", 2, 5)], packed("A"), None, "'zone' has bytes that are not 2 texts"),
        ([binary("zone", "BYTES", 1, 7)], packed("A") + b"\x01\x00", None, "'zone' has bytes that are not 1 texts"),
        ([binary("zone", "BYTES", 1, 5)], b"\x01\x00\x00\x00\xff", None, "'zone': element 0 is not UTF-8"),
        ([binary("zone", "BYTES", 1, 0)], b"", None, "'zone' has bytes that are not 1 texts"),
        ([DISTANCES], b"", 10**6, "Inference-Header-Content-Length must be a whole number up to"),
        ([DISTANCES], b"", "-1", "Inference-Header-Content-Length must be a whole number up to"),
        ([DISTANCES], b"", 10, "not JSON"),
    ],
)
def test_lying_sizes_are_refused(client: FlaskClient, inputs: Any, data: bytes, length: Any, told: str) -> None:
    response = send_binary(client, {"inputs": inputs}, data, length)
    assert (response.status_code, list(response.get_json())) == (400, ["error"])
    assert told in response.get_json()["error"]


def test_many_binary_values_are_refused_before_they_are_made(client: FlaskClient) -> None:
    """Small tensors of one byte a value take thirty times as much as objects."""
    n = 40
    inputs = [binary("distance", "UINT8", n, n), *(binary(f"x{i}", "UINT8", n, n) for i in range(50_000))]
    response = send_binary(client, {"inputs": inputs}, bytes(n * len(inputs)))
    assert (response.status_code, list(response.get_json())) == (413, ["error"])


# Metadata, versions, health


def test_server_and_models_are_described(client: FlaskClient) -> None:
    assert client.get("/v2").get_json() == {
        "name": "ml_api",
        "version": ml_api.__version__,
        "extensions": ["binary_tensor_data"],
    }
    assert client.get("/v2/health/live").get_json() == {"live": True}
    assert client.get("/v2/health/ready").get_json() == {"ready": True}
    assert client.get("/v2/models/rides/ready").get_json() == {"name": "rides", "ready": True}
    assert client.get("/v2/models/lengths/versions/2.0").get_json() == {
        "name": "lengths",
        "versions": ["2.0"],
        "platform": "model_kit_onnx",
        "inputs": [{"name": "distance", "datatype": "FP64", "shape": [-1]}],
        "outputs": [
            {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]},
            {"name": "errors", "datatype": "BYTES", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
@pytest.mark.parametrize(
    ("model", "told"),
    [("boats", "There is no model of that name; installed: bookings, lengths, rides."), ("rides/versions/9", "1.2.3")],
)
def test_unknown_model_and_version_are_not_found(client: FlaskClient, model: str, path: str, told: str) -> None:
    url = f"/v2/models/{model}{path}"
    response = client.post(url, json={"inputs": [DISTANCES, ZONES]}) if path == "/infer" else client.get(url)
    assert (response.status_code, list(response.get_json())) == (404, ["error"])
    assert told in response.get_json()["error"]


def test_version_that_is_served_is_found(client: FlaskClient) -> None:
    document = {"inputs": [DISTANCES, ZONES]}
    response = client.post("/v2/models/rides/versions/1.2.3/infer", json=document)
    assert (response.status_code, response.get_json()["model_version"]) == (200, "1.2.3")
    assert client.get("/v2/models/rides/versions/1.2.3/ready").status_code == 200


def test_model_that_is_broken_is_not_ready() -> None:
    def load() -> Any:
        raise ValueError

    client = create_app(Settings(v2=True), {"boats": load}).test_client()
    response = client.get("/v2/health/ready")
    assert (response.status_code, response.get_json()) == (503, {"ready": False})
    assert response.headers["Retry-After"]
    for path in ("", "/ready"):
        response = client.get(f"/v2/models/boats{path}")
        assert (response.status_code, list(response.get_json())) == (503, ["error"])


def test_media_types(client: FlaskClient) -> None:
    body = json.dumps({"inputs": [DISTANCES, ZONES]})
    for content_type, status in ((None, 200), ("application/json; charset=utf-8", 200), ("text/plain", 415)):
        assert client.post(URL, data=body, content_type=content_type).status_code == status
    response = client.post(URL, data=body, content_type="application/json", headers={"Content-Encoding": "gzip"})
    assert (response.status_code, list(response.get_json())) == (415, ["error"])


def test_document_has_the_protocol_and_its_examples_are_true(client: FlaskClient) -> None:
    document: Any = client.get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    assert {"/v2", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"} < set(document["paths"])
    assert send_all(client, document) > 20


def test_nothing_is_there_and_nothing_is_imported_by_default(bundle: Path) -> None:
    client = create_app(Settings(), {"rides": lambda: load_rides(bundle)}).test_client()
    for path in ("/v2", "/v2/health/live", "/v2/models/rides", "/ping"):
        assert client.get(path).status_code == 404
    assert client.post(URL, json={"inputs": [DISTANCES]}).status_code == 404
    assert client.post("/invocations", json=[GOLDEN_ROW]).status_code == 404
    program = (
        "import sys; from ml_api.app import create_app; client = create_app(models={}).test_client();"
        "client.get('/openapi.json'); print(*sys.modules)"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(ml_api.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split()[-2000:])
    assert "ml_api.views.openapi.document" in imported
    assert not [name for name in imported if name.endswith((".v2", ".invocations", ".envelopes", ".protocol_paths"))]


def test_golden_row_is_its_recorded_prediction(client: FlaskClient) -> None:
    datatypes = {one["name"]: one["datatype"] for one in client.get("/v2/models/rides").get_json()["inputs"]}
    inputs = [tensor(name, datatypes[name], value) for name, value in GOLDEN_ROW.items()]
    assert infer(client, *inputs)[1]["outputs"][0]["data"] == [pytest.approx(GOLDEN_PREDICTION)]
