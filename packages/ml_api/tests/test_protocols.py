"""Other protocols on a real server: keys, rates, metrics and logs are those of all predictions."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml_api.keys import new_key
from ml_api.prediction_log.database import Database
from ml_api.settings import LogSettings

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

CALLER, READER = new_key("caller", ("predict", "read", "metrics")), new_key("reader", ("read",))
RECORDS = [{"distance": 3.5, "zone": "A"}, {"distance": "far", "zone": "A"}, {"distance": 8, "zone": "B"}]
TENSORS = [
    {"name": "distance", "shape": [3], "datatype": "FP64", "data": [3.5, -1, 8]},
    {"name": "zone", "shape": [3], "datatype": "BYTES", "data": ["A", "A", "B"]},
]
INFER = "/v2/models/rides/infer"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "log.db"


@pytest.fixture(scope="module")
def server(serve: Serve, place: Path) -> Server:
    Database(LogSettings(f"sqlite:///{place}")).migrate()
    return serve(
        V2="true",
        INVOCATIONS="mlflow",
        DEFAULT_MODEL="rides",
        API_KEYS=f"{CALLER[1]} {READER[1]}",
        TEST_API_KEY=CALLER[0],
        RATE_LIMIT="100000/day",
        METRICS="true",
        PREDICTION_LOG=str(place),
        MAX_BODY_BYTES="2000000",
    )


def remaining(headers: Any) -> int:
    (found,) = re.findall(r";r=(\d+);", headers["RateLimit"])
    return int(found)


@pytest.mark.parametrize(
    ("path", "document", "route"),
    [
        (INFER, {"inputs": TENSORS}, "/v2/models/<name>/infer"),
        ("/v2/models/rides/versions/1.2.3/infer", {"inputs": TENSORS}, "/v2/models/<name>/versions/<version>/infer"),
        ("/invocations", {"dataframe_records": RECORDS}, "/invocations"),
    ],
)
def test_prediction_is_charged_counted_and_logged_as_all_are(
    server: Server, place: Path, path: str, document: Any, route: str
) -> None:
    def metric() -> float:
        return float(re.findall(r'^ml_api_rows_total\{.*result="scored".*\} (\S+)$', metrics(server), re.MULTILINE)[0])

    def ask(sent: Any) -> Any:
        response, found = server.request("POST", path, json.dumps(sent), {"Content-Type": "application/json"})
        assert response.status == 200
        return response, found

    before = ask(document)[0]
    counted = metric()
    response, found = ask(document)
    assert remaining(before.headers) - remaining(response.headers) == 3
    assert metric() - counted == 2
    predicted = found["predictions"] if "predictions" in found else found["outputs"][0]["data"]
    identity = response.headers["Prediction-Id"]
    with closing(sqlite3.connect(place)) as log:
        rows = log.execute(
            "SELECT row, prediction, errors, inputs FROM predictions WHERE prediction_id = ? ORDER BY row", (identity,)
        ).fetchall()
    assert [row[:2] for row in rows] == list(enumerate(predicted))
    assert [row[2] is None for row in rows] == [True, False, True]
    assert json.loads(rows[2][3]) == {"distance": 8, "zone": "B"}
    line = server.line_of(response.headers["X-Request-ID"])
    assert (line["route"], line["model"], line["rows"], line["errors"], line["key"]) == (route, "rides", 3, 1, "caller")


def metrics(server: Server) -> str:
    connection = server.connect()
    connection.request("GET", "/metrics", headers=server.key)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_keys_and_scopes_are_those_of_other_routes(server: Server) -> None:
    for path in ("/ping", "/v2/health/live", "/v2/health/ready"):
        assert server.request("GET", path, headers={"X-API-Key": ""})[0].status == 200
    body, json_type = json.dumps({"inputs": TENSORS}), {"Content-Type": "application/json"}
    response, document = server.request("POST", INFER, body, json_type | {"X-API-Key": "wrong"})
    assert (response.status, list(document)) == (401, ["error"])
    assert response.headers["WWW-Authenticate"]
    response, document = server.request("POST", INFER, body, json_type | {"X-API-Key": READER[0]})
    assert (response.status, document) == (403, {"error": "The key reader lacks the scope predict."})
    assert server.request("POST", "/invocations", body, json_type | {"X-API-Key": READER[0]})[0].status == 403
    assert server.request("GET", "/v2/models/rides", headers={"X-API-Key": READER[0]})[0].status == 200


def test_large_and_binary_bodies_are_received(server: Server) -> None:
    n = 5000
    zones = struct.pack("<IB", 1, 65) * n
    document = {
        "inputs": [
            TENSORS[0] | {"shape": [n], "data": [1.5] * n},
            {"name": "zone", "shape": [n], "datatype": "BYTES", "parameters": {"binary_data_size": len(zones)}},
        ]
    }
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    response, found = server.request("POST", INFER, text + zones, headers)
    assert (response.status, len(set(found["outputs"][0]["data"]))) == (200, 1)
    assert len(found["outputs"][0]["data"]) == n
    response, found = server.request("POST", INFER, b" " * 2_000_001, {"Content-Type": "application/json"})
    assert (response.status, list(found)) == (413, ["error"])
