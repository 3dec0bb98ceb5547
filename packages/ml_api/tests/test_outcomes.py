"""Outcomes over HTTP, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from model_kit.testing import SPEC_OF_RIDES, load_rides
from model_kit.training.train import train
from sqlalchemy import select, text

from ml_api.app import create_app
from ml_api.cli.main import main
from ml_api.models import registry
from ml_api.prediction_log.database import Database
from ml_api.prediction_log.schema import outcomes, replaced_outcomes
from ml_api.settings import LogSettings, Settings
from postgres import running_postgres
from staff import TWO, definition, make_dataset, make_rows

RIDE = {"distance": 2.0, "zone": "A"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as server:
        yield server.url.replace("postgres://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty log."""
    url = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    database = Database(LogSettings(url))
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM predictions"))
    yield database
    database.engine.dispose()


@pytest.fixture
def client(database: Database, bundle: Path, staff_bundle: Path) -> FlaskClient:
    models = {"rides": lambda: load_rides(bundle), "staff": lambda: definition(TWO).load_bundle(staff_bundle)}
    return create_app(Settings(prediction_log=database.settings), models).test_client()


@pytest.fixture(scope="module")
def staff_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staff") / "bundle"
    train(definition(TWO), make_dataset(800, 2), folder)
    return folder


def predict(client: FlaskClient, records: Any, model: str = "rides", query: str = "", **headers: str) -> str:
    response = client.post(f"/v1/predict/{model}{query}", json=records, headers=headers)
    return response.headers["Prediction-Id"]


def send(client: FlaskClient, items: Any, query: str = "") -> list[str]:
    response = client.post(f"/v1/outcomes{query}", json=items)
    assert response.status_code == 200, response.get_json()
    found = [result["status"] for result in response.get_json()["results"]]
    assert response.get_json()["counts"] == {
        status: found.count(status) for status in ("recorded", "unchanged", "conflict", "unknown", "invalid")
    }
    return found


def recorded(database: Database) -> dict[int, Any]:
    with database.begin() as connection:
        return {row.row: json.loads(row.value) for row in connection.execute(select(outcomes))}


def test_each_outcome_has_a_defined_answer(client: FlaskClient, database: Database) -> None:
    identity = predict(client, [RIDE] * 3)
    assert send(client, {"id": f"{identity}/0", "value": 30}) == ["recorded"]
    items = [
        {"id": f"{identity}/0", "value": 30.0},
        {"id": f"{identity}/0", "value": 31},
        {"id": f"{identity}/1", "value": 20},
        {"id": f"{identity}/1", "value": 21},
        {"id": f"{identity}/3", "value": 20},
        {"id": f"{'0' * 32}/0", "value": 20},
        {"id": f"{identity}/2", "value": "much"},
        {"id": f"{identity}/2", "value": True},
        {"id": f"{identity}/2", "value": 10**400},
        {"id": f"{identity}/2", "value": None},
        {"id": f"{identity}", "value": 1},
        {"id": f"{identity}/2"},
        {"value": 1},
        7,
    ]
    expected = ["unchanged", "conflict", "recorded", "conflict", "unknown", "unknown", *["invalid"] * 8]
    assert send(client, items) == expected
    assert recorded(database) == {0: 30.0, 1: 20.0}


def test_reasons_name_what_is_wrong(client: FlaskClient) -> None:
    identity = predict(client, RIDE)
    items = [{"id": identity, "value": 1}, {"inference_id": "a", "value": 1}, {"id": f"{identity}/0", "value": "x"}, {}]
    details = [result["detail"] for result in client.post("/v1/outcomes", json=items).get_json()["results"]]
    assert details == [
        "id: Must be <Prediction-Id>/<row>.",
        "model: Missing data for required field, beside inference_id.",
        "the value must be a number",
        "value: Missing data for required field.",
    ]


def test_replaced_values_are_kept_as_history(client: FlaskClient, database: Database) -> None:
    identity = predict(client, RIDE)
    for value in (1, 2, 3):
        assert send(client, {"id": f"{identity}/0", "value": value}, "?replace=true") == ["recorded"]
    assert send(client, {"id": f"{identity}/0", "value": 3}, "?replace=true") == ["unchanged"]
    assert recorded(database) == {0: 3.0}
    with database.begin() as connection:
        history = connection.execute(select(replaced_outcomes).order_by("number")).all()
        (current,) = connection.execute(select(outcomes)).all()
    assert [row.value for row in history] == ["1.0", "2.0"]
    assert history[0].replaced == history[1].time
    assert history[1].replaced == current.time


def test_own_id_wins_and_means_the_latest_prediction_of_its_model(client: FlaskClient, database: Database) -> None:
    first = predict(client, RIDE, **{"Inference-Id": "7"})
    predict(client, make_rows(1), "staff", **{"Inference-Id": "7"})
    predict(client, [RIDE | {"n": 8}, RIDE | {"n": 7}], query="?id_field=n")
    items = [
        {"inference_id": "7", "model": "rides", "id": f"{first}/0", "value": 1},
        {"inference_id": "8", "model": "rides", "value": 2},
        {"inference_id": "8", "model": "staff", "value": 2},
        {"inference_id": "9", "model": "rides", "value": 2},
    ]
    assert send(client, items) == ["recorded", "recorded", "unknown", "unknown"]
    assert recorded(database) == {1: 1.0, 0: 2.0}


def test_class_is_one_of_the_models(client: FlaskClient, database: Database) -> None:
    identity = predict(client, make_rows(3), "staff")
    items = [{"id": f"{identity}/{row}", "value": value} for row, value in enumerate(("leaves", "stays", "flies"))]
    assert send(client, items) == ["recorded", "recorded", "invalid"]
    assert recorded(database) == {0: "leaves", 1: "stays"}


def test_many_outcomes_at_once(client: FlaskClient, database: Database) -> None:
    identity = predict(client, [RIDE] * 1500)
    items = [{"id": f"{identity}/{row}", "value": row} for row in range(1500)]
    assert set(send(client, items)) == {"recorded"}
    assert set(send(client, items)) == {"unchanged"}
    assert recorded(database)[1499] == 1499.0


@pytest.mark.parametrize(
    ("query", "body", "status"), [("?replace=yes", "[]", 400), ("?x=1", "[]", 400), ("", "{", 400), ("", "7", 400)]
)
def test_request_that_is_none_is_refused(client: FlaskClient, query: str, body: str, status: int) -> None:
    response = client.post(f"/v1/outcomes{query}", data=body, content_type="application/json")
    assert response.status_code == status


def test_too_many_are_refused(database: Database) -> None:
    client = create_app(Settings(max_rows=2, prediction_log=database.settings), {}).test_client()
    assert client.post("/v1/outcomes", json=[{}] * 3).status_code == 413


def test_database_that_fails_is_503_and_the_reason_in_the_log(
    client: FlaskClient, database: Database, log: list[dict[str, Any]]
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE outcomes RENAME TO gone"))
    try:
        identity = predict(client, RIDE)
        response = client.post("/v1/outcomes", json={"id": f"{identity}/0", "value": 1})
    finally:
        with database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO outcomes"))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert [line["message"] for line in log if line["level"] == "error"] == ["outcomes were not recorded"]


def test_outcomes_go_with_their_prediction(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = predict(client, [RIDE] * 2), predict(client, RIDE, **{"Inference-Id": "person"})
    items = [{"id": f"{first}/1", "value": 1}, {"id": f"{second}/0", "value": 2}]
    send(client, items)
    send(client, [item | {"value": 3} for item in items], "?replace=true")
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    assert main(["log", "delete", "--inference-id", "person", "--model", "staff"]) == 1
    assert main(["log", "delete", "--inference-id", "person"]) == 0
    assert main(["log", "delete", "--prediction-id", f"{first}/0"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"Deleted {n} predictions." for n in (0, 1, 1)]
    assert recorded(database) == {1: 3.0}
    with database.begin() as connection:
        assert [row.value for row in connection.execute(select(replaced_outcomes))] == ["1.0"]
    assert send(client, items[1]) == ["unknown"]
    assert main(["log", "delete", "--prediction-id", first]) == 0
    assert recorded(database) == {}
    assert main(["log", "delete", "--prediction-id", "person"]) == 1
    assert "'person' is no prediction id: 32 hex digits, and /ROW for one row" in capsys.readouterr().err


def test_export_has_predictions_with_their_outcomes(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = predict(client, [RIDE, {}])
    predict(client, make_rows(1), "staff")
    send(client, {"id": f"{identity}/0", "value": 9})
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    capsys.readouterr()
    assert main(["log", "export", "--model", "rides", "--since", "1h"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["prediction_id"], first["row"], first["outcome"]) == (identity, 0, 9.0)
    assert first["inputs"] == RIDE
    assert first["time"].endswith("Z")
    assert first["outcome_time"].endswith("Z")
    assert second["outcome"] is second["outcome_time"] is second["prediction"] is None
    assert "distance" in second["errors"]


def test_export_for_retraining_has_known_outcomes_with_whole_records(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = predict(client, [RIDE, RIDE])
    send(client, {"id": f"{identity}/1", "value": 9})
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    # Installed for the command, as it is for the service.
    monkeypatch.setattr(registry, "installed_models", lambda: {"rides": lambda: SimpleNamespace(spec=SPEC_OF_RIDES)})
    export = ["log", "export", "--outcomes", "--model", "rides"]
    capsys.readouterr()
    monkeypatch.setenv("PREDICTION_LOG_REDACT", "name")
    assert main(export) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["row"], line["inputs"], line["outcome"]) == (1, RIDE, 9.0)
    for arguments, name, value, expected in (
        (
            export,
            "PREDICTION_LOG_REDACT",
            "comfort, name,zone",
            "PREDICTION_LOG_REDACT keeps comfort, zone out of the log",
        ),
        ([*export[:-1], "staff"], "PREDICTION_LOG_REDACT", "zone", "--model staff: it is not installed here"),
        (export, "PREDICTION_LOG_INPUTS", "false", "PREDICTION_LOG_INPUTS is false"),
        (export[:-2], "PREDICTION_LOG_REDACT", "", "--outcomes are of one model: --model NAME"),
        ([*export[:-1], "stuff"], "PREDICTION_LOG_REDACT", "", "--model stuff: the log has no prediction of it"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert main(arguments) == 1
        output = capsys.readouterr()
        assert (output.out, expected in output.err) == ("", True), output.err


def test_what_is_too_old_is_purged(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(client, [RIDE] * 2)
    with database.engine.begin() as connection:
        old = {"id": "0" * 31 + "1", "time": "2020-01-01"}
        columns = "prediction_id, row, time, request_id, model, version"
        connection.execute(
            text(f"INSERT INTO predictions ({columns}) VALUES (:id, 0, '2020-01-01', 'r', 'm', '1')"), old
        )
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    capsys.readouterr()
    assert main(["log", "purge"]) == 0
    assert main(["log", "purge", "--days", "1"]) == 0
    assert (
        capsys.readouterr().out
        == "Deleted 1 predictions older than 90 days.\nDeleted 0 predictions older than 1 days.\n"
    )
    monkeypatch.setenv("PREDICTION_LOG_DAYS", "0")
    assert main(["log", "purge"]) == 1
    assert "nothing is purged: 0 days; give --days of at least 1, or set PREDICTION_LOG_DAYS" in capsys.readouterr().err


def test_reader_of_a_pipe_may_stop(client: FlaskClient, database: Database) -> None:
    predict(client, [RIDE] * 2000)
    command = [sys.executable, "-m", "ml_api.cli", "log", "export"]
    environ = os.environ | {
        "PREDICTION_LOG": database.settings.url,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["row"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_commands_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREDICTION_LOG", raising=False)
    assert main(["log", "purge"]) == 1
    monkeypatch.setenv("PREDICTION_LOG", f"{tmp_path}/log.db")
    assert main(["log", "purge"]) == 1
    assert not (tmp_path / "log.db").exists()
    monkeypatch.setenv("PREDICTION_LOG", f"{tmp_path}/missing/log.db")
    assert main(["migrate"]) == 1
    (tmp_path / "rows.csv").write_text("distance,price\n1,2\n")
    monkeypatch.setenv("PREDICTION_LOG", f"{tmp_path}/rows.csv")
    assert [main(["migrate"]), main(["report"])] == [1, 1]
    unset, no_file, no_folder, *no_database = capsys.readouterr().err.splitlines()
    assert unset == "ml-api: PREDICTION_LOG is not set; it names the database (docs/prediction-log.md)"
    assert no_file.startswith(
        f"ml-api: the prediction log's database, {tmp_path}/log.db, has no tables yet: run `ml-api migrate`"
    )
    assert no_database == 2 * [f"ml-api: PREDICTION_LOG: {tmp_path}/rows.csv is no SQLite database; name another file"]
    assert no_folder == f"ml-api: {tmp_path}/missing/log.db: No such file or directory"


def test_outcomes_of_a_file_are_recorded(
    client: FlaskClient,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = predict(client, RIDE, **{"Inference-Id": "7"}), predict(client, make_rows(2), "staff")
    monkeypatch.setenv("PREDICTION_LOG", database.settings.url)
    capsys.readouterr()
    file = tmp_path / "outcomes.csv"
    file.write_text(f"id,inference_id,model,value\n,7,rides,12.5\n{second}/0,,,leaves\n{second}/1,,,flies\n")
    assert main(["outcomes", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "2 recorded, 0 unchanged, 0 conflict, 0 unknown, 1 invalid\n"
    assert captured.err.splitlines() == [
        f"{file}, line 4: invalid: the value must be one of stays, leaves",
        f"ml-api: not every outcome of {file} is recorded; the lines are above",
    ]
    file = tmp_path / "outcomes.jsonl"
    file.write_text(json.dumps({"id": f"{first}/0", "value": 13}) + "\n")
    assert main(["outcomes", str(file), "--replace"]) == 0
    assert capsys.readouterr().out.startswith("1 recorded")
    file.write_text(json.dumps({"id": f"{first}/0", "value": 13}) + "\n{'id': 1}\n")
    assert main(["outcomes", str(file)]) == 1
    assert f"{file}, line 2 is not JSON" in capsys.readouterr().err
    with database.begin() as connection:
        values = {row.prediction_id: row.value for row in connection.execute(select(outcomes))}
    assert values == {first: "13.0", second: '"leaves"'}
