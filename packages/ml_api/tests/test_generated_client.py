"""A client that openapi-python-client generates from the OpenAPI document asks the real server for predictions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW


@pytest.fixture(scope="module")
def generated(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The generated client, its predict operation and its type of a record."""
    folder = tmp_path_factory.mktemp("generated")
    connection = server.connect()
    connection.request("GET", "/openapi.json")
    (folder / "openapi.json").write_bytes(connection.getresponse().read())
    connection.close()
    (folder / "config.yaml").write_text("post_hooks: []\n")
    generator = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ["--path", "openapi.json", "--config", "config.yaml", "--output-path", "rides_client", "--meta", "none"]
    result = subprocess.run(
        [generator, "generate", *options, "--fail-on-warning"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        from rides_client import Client  # type: ignore[import-not-found]
        from rides_client.api.rides import predict_rides  # type: ignore[import-not-found]
        from rides_client.models import RecordOfRides  # type: ignore[import-not-found]
    with Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield SimpleNamespace(client=client, predict=predict_rides.sync, record=RecordOfRides)


def record(generated: SimpleNamespace, **changes: Any) -> Any:
    return generated.record.from_dict({**GOLDEN_ROW, **changes})


def test_one_record_is_predicted(generated: SimpleNamespace) -> None:
    answer = generated.predict(client=generated.client, body=record(generated))
    assert answer.predictions == [pytest.approx(GOLDEN_PREDICTION)]
    assert answer.errors is None


def test_many_records_are_predicted_with_intervals_and_explanations(generated: SimpleNamespace) -> None:
    records = [record(generated), record(generated, distance=-1), record(generated, zone="never seen")]
    answer = generated.predict(client=generated.client, body=records, interval=0.9, explain=2, warnings=True)
    assert [prediction is None for prediction in answer.predictions] == [False, True, False]
    assert answer.predictions[0] == pytest.approx(GOLDEN_PREDICTION)
    assert list(answer.errors["1"].additional_properties) == ["distance"]
    low, high = answer.intervals[0]
    assert low < answer.predictions[0] < high
    first = answer.explanations[0]
    total = first.baseline.prediction + sum(one.amount for one in first.contributions) + first.rest.amount
    assert total == pytest.approx(answer.predictions[0])
    assert answer.explanations[1] is None
    assert [(warning.code, warning.field) for warning in answer.warnings[2]] == [("unseen_level", "zone")]


def test_error_is_a_problem(generated: SimpleNamespace) -> None:
    answer = generated.predict(client=generated.client, body=[], interval=7)
    assert (answer.status, answer.title) == (400, "Bad Request")
