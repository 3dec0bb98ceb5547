"""The MLflow export, by MLflow: loaded and served where nothing of ours is installed, and pickles are forbidden."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

PATIENCE = 120


@pytest.fixture(scope="module")
def folder(export: Callable[[str], Path]) -> Path:
    assert find_spec("model_kit") is None
    return export("mlflow")


@pytest.fixture(scope="module", autouse=True)
def no_pickles() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        yield


def compare(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["error"] == other["error"]
        for name in {"prediction", *one} - {"error"}:
            assert one[name] == (None if other[name] is None else pytest.approx(other[name], rel=1e-9)), name


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def test_load_model_predicts_every_row_and_tells_which_cannot_be(folder: Path, houses: Any) -> None:
    model = mlflow.pyfunc.load_model(str(folder))
    frame = pd.DataFrame(houses.rows)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("number"), "float64"))
    compare(records(model.predict(frame)), houses.predicted)
    compare(records(model.predict(frame, params={"interval": 0.9})), houses.predicted)


def test_signature_has_optional_fields_and_an_example(folder: Path, houses: Any) -> None:
    model = mlflow.models.Model.load(str(folder))
    columns = {column.name: column for column in model.signature.inputs}
    required = {"OverallQual", "GrLivArea", "YearBuilt", "Neighborhood"}
    assert {name for name, column in columns.items() if column.required} == required
    assert {param.name for param in model.signature.params} == {"interval", "probabilities", "warnings"}
    example = model.load_input_example(str(folder))
    golden = json.loads((houses.bundle / "golden.json").read_text())
    found = mlflow.pyfunc.load_model(str(folder)).predict(example)
    assert found["prediction"].tolist() == [pytest.approx(golden["prediction"], rel=1e-5)]
    with pytest.raises(mlflow.exceptions.MlflowException, match="OverallQual"):
        mlflow.pyfunc.load_model(str(folder)).predict(example.drop(columns="OverallQual"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Generator[str]:
    """The address of `mlflow models serve`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    # MLflow starts a uvicorn that it looks for on PATH.
    environ = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen([*command, "--port", str(port)], env=environ, start_new_session=True) as process:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, "the server has ended"
                    assert time.monotonic() < deadline, "the server does not answer"
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def invoke(url: str, document: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


def test_mlflow_models_serve_answers_each_envelope(server: str, folder: Path, houses: Any) -> None:
    names = sorted(houses.rows[0])
    split = {"columns": names, "data": [[row[name] for name in names] for row in houses.rows]}
    compare(invoke(server, {"dataframe_split": split})["predictions"], houses.predicted)
    asked = {"dataframe_records": houses.rows, "params": {"interval": 0.9}}
    compare(invoke(server, asked)["predictions"], houses.predicted)
    example = json.loads((folder / "serving_input_example.json").read_text())
    assert invoke(server, example)["predictions"][0]["error"] is None
