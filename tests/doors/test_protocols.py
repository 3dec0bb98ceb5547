"""Our server asked by the clients of others: Triton's, MLflow's, and what SageMaker's SDK sends; docs/protocols.md."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from sagemaker.core.deserializers import CSVDeserializer, JSONDeserializer
from sagemaker.core.serializers import CSVSerializer, JSONSerializer

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv/bin"
PATIENCE = 120
TRAIN = "import sys, pathlib, service; service.train_houses(pathlib.Path(sys.argv[1]))"
FIELDS = ["OverallQual", "GrLivArea", "YearBuilt", "Neighborhood"]
HOUSES = [[6, 1500.0, 1995, "Gilbert"], [8, 2100.0, 2005, "NridgHt"], [5, -1.0, 1960, "NAmes"]]
DATATYPES = {"i": "INT64", "f": "FP64", "O": "BYTES"}
WRONG = "GrLivArea: Must be greater than or equal to 0."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a house-price model, trained on the synthetic sample."""
    folder = tmp_path_factory.mktemp("models")
    paths = os.pathsep.join(str(ROOT / name) for name in ("tests/helpers", "scripts"))
    command = [str(OURS / "python"), "-c", TRAIN, str(folder / "regression")]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}, check=True)
    return folder


Start = Callable[..., int]


@pytest.fixture(scope="module")
def start(models: Path) -> Generator[Start]:
    """Starts run.sh with arguments and settings; returns the port."""
    running = []

    def start(*arguments: str, **settings: str) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        settings |= {"HOST": "127.0.0.1", "PORT": str(port), "MODEL_DIR": str(models), "WEB_CONCURRENCY": "1"}
        path = {"PATH": f"{OURS}:{os.environ['PATH']}"}
        running.append(subprocess.Popen(["sh", ROOT / "run.sh", *arguments], env=os.environ | path | settings))
        give_up = time.monotonic() + PATIENCE
        while running[-1].poll() is None and time.monotonic() < give_up:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping"):
                    return port
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server is not ready")

    yield start
    for process in running:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def port(start: Start) -> int:
    return start(V2="true", INVOCATIONS="mlflow")


@pytest.fixture(scope="module")
def expected(port: int) -> list[float | None]:
    """What the service's own protocol predicts."""
    records = [dict(zip(FIELDS, row, strict=True)) for row in HOUSES]
    url, headers = f"http://127.0.0.1:{port}/v1/predict/regression", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(records).encode(), headers)) as response:
        found: list[float | None] = json.loads(response.read())["predictions"]
    assert [value is None for value in found] == [False, False, True]
    return found


@pytest.fixture(scope="module")
def client(port: int) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"127.0.0.1:{port}")


def tensors(shape: tuple[int, ...], *, binary: bool, rows: Any = HOUSES) -> list[triton.InferInput]:
    found = []
    for name, column in zip(FIELDS, zip(*rows, strict=True), strict=True):
        values = np.array(column, dtype=object if isinstance(column[0], str) else None).reshape(shape)
        found.append(triton.InferInput(name, list(values.shape), DATATYPES[values.dtype.kind]))
        found[-1].set_data_from_numpy(values, binary_data=binary)
    return found


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("binary", [True, False])
def test_triton_sends_and_receives_tensors(
    client: triton.InferenceServerClient, expected: list[float | None], binary: bool, shape: tuple[int, ...]
) -> None:
    inputs = tensors(shape, binary=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("prediction", "errors")]
    for outputs in (None, wanted):
        result = client.infer("regression", inputs, outputs=outputs, request_id="42")
        assert result.get_response()["id"] == "42"
        predictions = result.as_numpy("prediction")
        assert predictions.shape == shape
        assert predictions.ravel().tolist() == [*expected[:2], pytest.approx(np.nan, nan_ok=True)]
        errors = [one.decode() if isinstance(one, bytes) else one for one in result.as_numpy("errors").ravel()]
        assert errors == ["", "", WRONG]


def test_triton_asks_for_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_model_ready("regression")
    version = client.get_model_metadata("regression")["versions"][0]
    assert client.is_model_ready("regression", version)
    assert not client.is_model_ready("regression", "0")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    inputs = {one["name"]: one["datatype"] for one in client.get_model_metadata("regression", version)["inputs"]}
    assert {name: inputs[name] for name in FIELDS} == dict(
        zip(FIELDS, ["INT64", "FP64", "INT64", "BYTES"], strict=True)
    )


@pytest.mark.parametrize("binary", [True, False])
def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient, binary: bool) -> None:
    area = triton.InferInput("GrLivArea", [1], "BYTES")
    area.set_data_from_numpy(np.array(["big"], dtype=object), binary_data=binary)
    with pytest.raises(triton.InferenceServerException, match="'GrLivArea' has the datatype BYTES"):
        client.infer("regression", [area])
    with pytest.raises(triton.InferenceServerException, match=f"No row could be scored. Row 0: {WRONG}"):
        client.infer("regression", tensors((1,), binary=binary, rows=HOUSES[2:]))
    with pytest.raises(triton.InferenceServerException, match="There is no model of that name"):
        client.infer("boats", tensors((3,), binary=binary))


def test_mlflow_scores_a_frame(port: int, expected: list[float | None]) -> None:
    client = ScoringServerClient("127.0.0.1", port)
    client.ping()
    assert "regression" in client.get_version()
    frame = pd.DataFrame(HOUSES, columns=FIELDS)
    found = client.invoke(frame)
    assert found["predictions"] == expected
    assert found["errors"] == {"2": {"GrLivArea": [WRONG.partition(": ")[2]]}}
    assert client.invoke(frame[:2]).get_predictions()[0].tolist() == expected[:2]
    with pytest.raises(Exception, match="no NaN in JSON"):
        client.invoke(frame.assign(YearBuilt=np.nan))


def test_sagemaker_serializes_rows_and_reads_the_answers(start: Start, expected: list[float | None]) -> None:
    url = f"http://127.0.0.1:{start('serve')}/invocations"

    def ask(serializer: Any, deserializer: Any, data: Any) -> Any:
        headers = {"Content-Type": serializer.CONTENT_TYPE, "Accept": deserializer.ACCEPT[0]}
        sent = urllib.request.Request(url, serializer.serialize(data).encode(), headers)
        with urllib.request.urlopen(sent) as response:
            return deserializer.deserialize(io.BytesIO(response.read()), response.headers["Content-Type"])

    records = [dict(zip(FIELDS, row, strict=True)) for row in HOUSES]
    for data in (records, {"instances": records}):
        assert ask(JSONSerializer(), JSONDeserializer(), data)["predictions"] == expected
    rows = [FIELDS, *HOUSES]
    assert ask(CSVSerializer(), CSVDeserializer(), rows) == [
        ["" if value is None else repr(value)] for value in expected
    ]
    assert ask(CSVSerializer(), JSONDeserializer(), rows)["errors"] == {"2": {"GrLivArea": [WRONG.partition(": ")[2]]}}


def test_clients_of_the_page_predict(port: int, expected: list[float | None]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/protocols.md").read_text("utf-8"), re.DOTALL)
    found = []
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block.replace("5000", str(port)), names)
        found.append(list(names["prices"]))
    assert found == [expected[:2], expected[:1]]
