"""The prediction log in one process: what is in a row, and what happens if it cannot be written."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from flask.testing import FlaskClient
from model_kit.testing import load_rides
from model_kit.training.train import train
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import text

import ml_api
from ml_api.app import create_app
from ml_api.cli.main import main
from ml_api.keys import new_key
from ml_api.prediction_log import schema
from ml_api.prediction_log import writer as writer_module
from ml_api.prediction_log.database import Database, Row, SchemaError, SqlSink
from ml_api.prediction_log.log import PredictionLog
from ml_api.prediction_log.schema import REVISION, metadata, new_id
from ml_api.prediction_log.startup import check
from ml_api.prediction_log.writer import Commit, LogUnavailableError, Writer
from ml_api.settings import LogSettings, Settings, SettingsError
from ml_api.views.media_types import ARROW, CSV
from staff import TWO, definition, make_dataset, make_rows

GOOD = {"distance": 2.0, "passengers": 3, "zone": "A"}
Start = Callable[..., FlaskClient]


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The URL of a database that has its tables."""
    url = f"sqlite:///{tmp_path}/log.db"
    Database(LogSettings(url)).migrate()
    return url


@pytest.fixture
def start(place: str, bundle: Path) -> Start:
    """Creates an application with a prediction log: its client."""

    def start(**settings: Any) -> FlaskClient:
        log = replace(LogSettings(place, timeout=1), **settings)
        return create_app(Settings(prediction_log=log), {"rides": lambda: load_rides(bundle)}).test_client()

    return start


def rows(place: str) -> list[dict[str, Any]]:
    with sqlite3.connect(place.removeprefix("sqlite:///")) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute("SELECT * FROM predictions ORDER BY prediction_id, row")]
    connection.close()
    return [{name: _json(name, value) for name, value in row.items()} for row in found]


def _json(name: str, value: Any) -> Any:
    return json.loads(value) if name in ("inputs", "detail", "errors") and value else value


def test_row_has_what_was_asked_answered_and_by_which_model(start: Start, place: str, bundle: Path) -> None:
    response = start().post("/v1/predict/rides", json=[GOOD, {"distance": "far"}], headers={"X-Request-ID": "mine"})
    first, second = rows(place)
    model = load_rides(bundle)
    assert first.pop("time")[:3] == "202"
    low, high = first["detail"]["interval"]
    assert low < response.get_json()["predictions"][0] < high
    assert first == {
        "prediction_id": response.headers["Prediction-Id"],
        "row": 0,
        "request_id": "mine",
        "key": None,
        "model": "rides",
        "version": "1.2.3",
        "artifact_sha256": model.lineage["artifact_sha256"],
        "inference_id": None,
        "inputs": GOOD,
        "prediction": response.get_json()["predictions"][0],
        "detail": {"interval": [low, high], "level": 0.9},
        "errors": None,
    }
    assert (second["prediction_id"], second["row"]) == (first["prediction_id"], 1)
    assert second["prediction"] is second["detail"] is None
    assert second["errors"] == response.get_json()["errors"]["1"]


def test_rows_of_tables_are_logged_as_records_with_their_ids(start: Start, place: str) -> None:
    client = start()
    sink = pa.BufferOutputStream()
    table = pa.table({"Id": [7, 8], "zone": ["A", "B"], "distance": [2, None], "tags": [["x"], None]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    lines = "Id,zone,distance,passengers\nx,A,2,3\ny,B,far,NA\nz,B\n"
    client.post("/v1/predict/rides?id_field=Id", data=bytes(sink.getvalue()), content_type=ARROW)
    response = client.post("/v1/predict/rides", data=lines, content_type=CSV, headers={"Accept": CSV})
    found = rows(place)
    assert [(row["inference_id"], row["inputs"]) for row in found] == [
        ("7", {"zone": "A", "distance": 2}),
        ("8", {"zone": "B", "distance": None}),
        (None, GOOD),
        (None, {"zone": "B", "distance": "far", "passengers": None}),
        (None, None),
    ]
    assert [row["prediction"] is None for row in found] == [False, True, False, True, True]
    assert found[4]["errors"] == {"_schema": ["The row has 2 cells where the header has 4."]}
    assert {row["prediction_id"] for row in found[2:]} == {response.headers["Prediction-Id"]}
    twice = client.post("/v1/predict/rides?id_field=zone", data="zone,distance\nA,1\nA,2\n", content_type=CSV)
    assert twice.get_json()["detail"] == "The records 0 and 1 have the same 'zone' (id_field)."


def test_every_request_has_another_id_whatever_the_caller_calls_it(start: Start, place: str) -> None:
    client = start()
    sent = [client.post("/v1/predict/rides", json=GOOD, headers={"X-Request-ID": "same"}) for _ in range(3)]
    ids = [response.headers["Prediction-Id"] for response in sent]
    assert [row["prediction_id"] for row in rows(place)] == sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize("more", ["", ', "passport": "X1"', ', "zone\\u0000": "B"'])
def test_only_fields_of_the_model_are_logged_each_as_it_was_sent(start: Start, place: str, more: str) -> None:
    body = f'[{{"distance": 2.50,\n"passengers": 3.0, "zone":   "A"{more}}}]'
    assert start().post("/v1/predict/rides", data=body, content_type="application/json").status_code == 200
    with sqlite3.connect(place.removeprefix("sqlite:///")) as connection:
        (found,) = connection.execute("SELECT inputs FROM predictions").fetchone()
    connection.close()
    assert found == '{"distance":2.50,"passengers":3.0,"zone":"A"}'


def test_what_is_no_field_is_logged_of_no_record_of_many(start: Start, place: str) -> None:
    sent = [GOOD] * 25 + [GOOD | {"passport": "X1"}] + [GOOD] * 4
    assert start().post("/v1/predict/rides", json=sent).status_code == 200
    assert [row["inputs"] for row in rows(place)] == [GOOD] * 30


def test_redacted_fields_and_inputs_that_are_off_are_not_logged(start: Start, place: str) -> None:
    start(redact=("zone",)).post("/v1/predict/rides", json=GOOD)
    start(inputs=False).post("/v1/predict/rides", json=GOOD)
    assert [row["inputs"] for row in rows(place)] == [{"distance": 2.0, "passengers": 3}, None]


def test_field_that_no_model_has_cannot_be_redacted_in_silence(start: Start, log: list[dict[str, Any]]) -> None:
    start(redact=("zoen",))
    assert [line["unknown"] for line in log if "REDACT" in line["message"]] == [["zoen"]]


@pytest.mark.parametrize(
    "record",
    [7, "x", None, [], {"distance": 10**400}, {"zone": "\ud800"}, {"comfort": "\x00"}, {"distance": {"a": []}}],
)
def test_record_of_any_shape_is_logged_with_its_error(start: Start, place: str, record: Any) -> None:
    response = start().post("/v1/predict/rides", json=[record, GOOD])
    assert response.status_code == 200
    first, second = rows(place)
    assert first["inputs"] == (record if isinstance(record, dict) else None)
    assert first["errors"] == response.get_json()["errors"]["0"]
    assert second["prediction"] == response.get_json()["predictions"][1]


def test_class_is_logged_with_its_probabilities_and_set(place: str, tmp_path: Path) -> None:
    train(definition(TWO), make_dataset(800, 2), tmp_path / "bundle")
    model = definition(TWO).load_bundle(tmp_path / "bundle")
    settings = Settings(prediction_log=LogSettings(place))
    client = create_app(settings, {"staff": lambda: model}).test_client()
    answer = client.post("/v1/predict/staff?probabilities=true&interval=0.9", json=make_rows(20)).get_json()
    for row, predicted, probabilities, plausible in zip(
        rows(place), answer["predictions"], answer["probabilities"], answer["intervals"], strict=True
    ):
        assert row["prediction"] is None
        assert row["detail"] == {"class": predicted, "probabilities": probabilities, "set": plausible, "level": 0.9}


def test_request_that_is_refused_whole_is_not_in_the_log(start: Start, place: str) -> None:
    response = start().post("/v1/predict/rides", data="{", content_type="application/json")
    assert response.status_code == 400
    assert "Prediction-Id" not in response.headers
    assert rows(place) == []


def test_answer_without_a_prediction_is_in_the_log(start: Start, place: str) -> None:
    response = start().post("/v1/predict/rides", json=[{}])
    assert response.status_code == 422
    assert [row["prediction_id"] for row in rows(place)] == [response.headers["Prediction-Id"]]


def test_callers_own_ids_are_logged(start: Start, place: str) -> None:
    client = start()
    client.post("/v1/predict/rides", json=GOOD, headers={"Inference-Id": "ride 7"})
    client.post("/v1/predict/rides?id_field=number", json=[GOOD | {"number": 8}, GOOD | {"number": "9a"}])
    client.post("/v1/predict/rides?id_field=passengers&interval=0.9", json=GOOD)
    assert [row["inference_id"] for row in rows(place)] == ["ride 7", "8", "9a", "3"]


@pytest.mark.parametrize(
    ("query", "headers", "records", "detail"),
    [
        (
            "?id_field=n",
            {},
            [GOOD | {"n": "a"}, GOOD],
            "The field 'n' (id_field) of record 1 must be a text of 1 to 128",
        ),
        ("?id_field=n", {}, [GOOD | {"n": True}], "The field 'n' (id_field) of record 0 must be a text of 1 to 128"),
        ("?id_field=n", {}, [GOOD | {"n": 1}, GOOD | {"n": "1"}], "The records 0 and 1 have the same 'n' (id_field)."),
        ("", {"Inference-Id": "a"}, [GOOD, GOOD], "The header Inference-Id is for one record; for several, name"),
        ("", {"Inference-Id": "a" * 129}, GOOD, "The header Inference-Id must be a text of 1 to 128 characters"),
        (
            "?id_field=n",
            {"Inference-Id": "a"},
            GOOD,
            "Send either the header Inference-Id or the query parameter id_fie",
        ),
        ("?id_field=n&id_field=m", {}, GOOD, "The query parameter id_field is given 2 times"),
    ],
)
def test_bad_id_is_refused_by_name(
    start: Start, place: str, query: str, headers: dict[str, str], records: Any, detail: str
) -> None:
    response = start().post(f"/v1/predict/rides{query}", json=records, headers=headers)
    assert response.status_code == 400
    assert response.get_json()["detail"].startswith(detail)
    assert rows(place) == []


def test_without_the_log_there_is_no_parameter_for_ids(client: FlaskClient) -> None:
    response = client.post("/v1/predict/rides?id_field=n", json=GOOD)
    assert (response.status_code, "Prediction-Id" in response.headers) == (400, False)


def test_nothing_is_imported_without_the_log() -> None:
    program = (
        "import sys; from ml_api.app import create_app; import ml_api.cli.main; create_app(models={});"
        "print(*sys.modules)"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(ml_api.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert roots & {"ml_api", "sqlalchemy", "alembic", "psycopg"} == {"ml_api"}


def test_request_without_records_is_answered(start: Start, place: str) -> None:
    response = start().post("/v1/predict/rides", json=[])
    assert (response.status_code, "Prediction-Id" in response.headers) == (200, False)
    assert rows(place) == []


def test_document_has_outcomes_and_ids_only_with_the_log(start: Start, client: FlaskClient) -> None:
    document: Any = start().get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    predict = document["paths"]["/v1/predict/rides"]["post"]
    assert {"Inference-Id", "id_field"} < {parameter["name"] for parameter in predict["parameters"]}
    assert "Prediction-Id" in predict["responses"]["200"]["headers"]
    assert document["paths"]["/v1/outcomes"]["post"]["operationId"] == "record_outcomes"
    text = client.get("/openapi.json").get_data(as_text=True)
    assert not {word for word in ("/v1/outcomes", "Inference-Id", "id_field", "Prediction-Id") if word in text}
    assert client.post("/v1/outcomes", json=[]).status_code == 404


def test_what_is_too_old_is_deleted_by_the_server(
    place: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, log: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("ml_api.prediction_log.writer.MAINTENANCE_INTERVAL", 0.1)
    SqlSink(Database(LogSettings(place))).write([_row(prediction_id="0" * 32), _row(model="new")])
    PredictionLog(LogSettings(place), {})
    give_up = time.monotonic() + 30
    while len(rows(place)) > 1 and time.monotonic() < give_up:
        time.sleep(0.05)
    assert [row["model"] for row in rows(place)] == ["new"]


# What cannot be written


def broken(place: str) -> None:
    """Take a table away, which the next commit needs."""
    with sqlite3.connect(place.removeprefix("sqlite:///")) as connection:
        connection.execute("ALTER TABLE predictions RENAME TO gone")
    connection.close()


def test_prediction_that_is_not_recorded_is_not_given(start: Start, place: str, log: list[dict[str, Any]]) -> None:
    client = start()
    broken(place)
    response = client.post("/v1/predict/rides", json=GOOD)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert "predictions" not in response.get_json()
    assert [line["reason"] for line in log if line["message"] == "the prediction log fails"] == [
        "OperationalError: no such table: predictions"
    ]


def test_metrics_count_what_became_of_rows(place: str, bundle: Path) -> None:
    settings = Settings(metrics=True, prediction_log=LogSettings(place, timeout=1))
    client = create_app(settings, {"rides": lambda: load_rides(bundle)}).test_client()
    client.post("/v1/predict/rides", json=[GOOD, GOOD])
    broken(place)
    statuses = [client.post("/v1/predict/rides", json=GOOD).status_code for _ in range(2)]
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    assert statuses == [503, 503]
    for result, rows in (("recorded", 2), ("failed", 1), ("refused", 1)):
        assert f'ml_api_prediction_log_rows_total{{result="{result}"}} {rows}.0' in lines
    assert 'ml_api_requests_refused_total{reason="prediction_log"} 2.0' in lines


def test_key_is_in_the_row_and_outcomes_by_own_id_are_the_callers_own(place: str, bundle: Path) -> None:
    (app, app_key), (other, other_key) = (new_key(name, ("predict", "outcomes")) for name in ("app", "other"))
    settings = Settings(api_keys=f"{app_key} {other_key}", prediction_log=LogSettings(place))
    client = create_app(settings, {"rides": lambda: load_rides(bundle)}).test_client()
    for secret in (app, other):
        headers = {"X-API-Key": secret, "Inference-Id": "7"}
        assert client.post("/v1/predict/rides", json=GOOD, headers=headers).status_code == 200
    assert [row["key"] for row in rows(place)] == ["app", "other"]
    own = client.post(
        "/v1/outcomes", json={"model": "rides", "inference_id": "7", "value": 1}, headers={"X-API-Key": app}
    )
    assert own.get_json()["counts"]["recorded"] == 1
    with sqlite3.connect(place.removeprefix("sqlite:///")) as connection:
        found = connection.execute("SELECT key FROM outcomes JOIN predictions USING (prediction_id, row)").fetchall()
    connection.close()
    assert found == [("app",)]
    assert client.get("/report", headers={"X-API-Key": app}).status_code == 403


def test_without_the_requirement_it_is_given_and_counted(start: Start, place: str) -> None:
    client = start(required=False)
    broken(place)
    assert client.post("/v1/predict/rides", json=GOOD).get_json()["predictions"][0] > 0


class TestSink:
    """Keeps rows; hangs, fails or refuses as it is told."""

    __test__ = False

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.groups: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.is_interrupted = False

    def write(self, rows: Sequence[Row]) -> None:
        self.entered.set()
        self.go.wait()
        if self.is_interrupted:
            self.is_interrupted = False
            raise ConnectionError
        if self.error is not None and any(row["row"] == 13 for row in rows):
            raise self.error
        self.groups.append(len(rows))
        self.rows += rows

    def interrupt(self) -> None:
        self.is_interrupted = True
        self.go.set()


def commit(writer: Writer, *numbers: int, size: int = 10) -> Commit:
    made = Commit(new_id(), "request", [{"row": number} for number in numbers], size, writer.flush)
    writer.submit(made)
    return made


def flush_elsewhere(made: Commit) -> None:
    threading.Thread(target=made.flush, daemon=True).start()


def test_sink_that_hangs_is_given_up_and_cut_off() -> None:
    sink = TestSink()
    sink.go.clear()
    writer = Writer(sink, timeout=0.2, queue_bytes=1000)
    held = commit(writer, 1, 2)
    flush_elsewhere(held)
    with pytest.raises(BaseException):  # noqa: B017  cancelled
        held.result(timeout=5)
    assert not held.is_kept()
    deadline = threading.Event()
    for _ in range(100):
        try:
            later = commit(writer, 3)
            break
        except LogUnavailableError:
            deadline.wait(0.05)
    later.flush()
    later.result(timeout=5)
    assert [row["row"] for row in sink.rows] == [3]
    assert (writer.counts.recorded, writer.counts.failed) == (1, 2)
    assert writer.counts.refused >= 1


def test_queue_is_bounded_but_takes_a_large_request_alone() -> None:
    sink = TestSink()
    sink.go.clear()
    writer = Writer(sink, timeout=60, queue_bytes=100)
    large = commit(writer, *range(5), size=500)
    with pytest.raises(LogUnavailableError):
        commit(writer, 6)
    assert (writer.counts.queued, writer.counts.refused) == (5, 1)
    sink.go.set()
    large.flush()
    large.result(timeout=5)
    writer.close(5)
    assert (writer.counts.queued, writer.counts.recorded) == (0, 5)


def test_what_comes_during_a_commit_is_one_group() -> None:
    sink = TestSink()
    sink.go.clear()
    writer = Writer(sink, timeout=60, queue_bytes=1000)
    flush_elsewhere(commit(writer, 0))
    assert sink.entered.wait(5)
    for number in range(1, 9):
        commit(writer, number).flush()
    sink.go.set()
    writer.close(5)
    assert sink.groups == [1, 8]


def test_rows_that_the_database_refuses_fail_alone() -> None:
    sink = TestSink()
    sink.error = UnicodeError()
    sink.go.clear()
    writer = Writer(sink, timeout=60, queue_bytes=1000)
    flush_elsewhere(commit(writer, 0))
    assert sink.entered.wait(5)
    good, bad, other = commit(writer, 1), commit(writer, 13), commit(writer, 2)
    other.flush()
    sink.go.set()
    other.result(timeout=5)
    assert (good.is_kept(), bad.is_kept(), other.is_kept()) == (True, False, True)
    assert commit(writer, 4) is not None  # the database is not taken to be down


def test_what_nobody_flushes_is_written_but_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(writer_module, "time", clock)
    monkeypatch.setattr(writer_module, "WATCH_INTERVAL", 0.01)
    looks: SimpleQueue[int] = SimpleQueue()
    sink = TestSink()
    writer = Writer(sink, timeout=60, queue_bytes=1000, report_queue=looks.put)
    first, second = commit(writer, 1), commit(writer, 2)
    for _ in range(50):
        looks.get(timeout=60)
    assert sink.groups == []  # whoever has something to flush takes it along
    clock.monotonic = lambda: 101.0
    first.result(timeout=60)
    second.result(timeout=60)
    assert sink.groups == [2]
    writer.close(5)


def test_rows_that_wait_are_told() -> None:
    told: SimpleQueue[int] = SimpleQueue()
    sink = TestSink()
    sink.go.clear()
    writer = Writer(sink, timeout=60, queue_bytes=1000, report_queue=told.put)
    flush_elsewhere(commit(writer, 1, 2, 3))
    while told.get(timeout=60) != 3:
        pass
    sink.go.set()
    while told.get(timeout=60) != 0:
        pass
    writer.close(5)


def test_what_is_queued_is_written_before_the_end(place: str, bundle: Path) -> None:
    log = PredictionLog(LogSettings(place, required=False), {})
    made = Commit(new_id(), "r", [_row()], 10, log.writer.flush)
    log.writer.submit(made)
    log.close()
    assert [row["model"] for row in rows(place)] == ["m"]
    with pytest.raises(LogUnavailableError):
        log.writer.submit(made)


def _row(**changes: Any) -> dict[str, Any]:
    from datetime import UTC, datetime

    names = ("key", "artifact_sha256", "inference_id", "inputs", "prediction", "detail", "errors")
    row = dict.fromkeys(names) | {"row": 0, "request_id": "r", "model": "m", "version": "1"}
    return row | {"prediction_id": new_id(), "time": datetime.now(UTC).replace(tzinfo=None)} | changes


def test_rows_are_inserted_once(place: str) -> None:
    sink, row = SqlSink(Database(LogSettings(place))), _row(prediction=0.1)
    sink.write([row])
    sink.write([row | {"prediction": 0.2}, _row(prediction=0.3)])
    assert [row["prediction"] for row in rows(place)] == [0.1, 0.3]


def test_rows_of_a_shadow_count_where_their_prediction_is_in_the_log(place: str) -> None:
    database, row = Database(LogSettings(place)), _row()
    SqlSink(database).write([row])
    own = {name: row[name] for name in ("prediction_id", "row", "version", "prediction", "detail", "errors")}
    sink = SqlSink(database, database.insert_shadow)
    assert sink.write([own | {"prediction_id": new_id()}, own, own | {"prediction_id": new_id()}]) == 1
    assert sink.write([own]) == 0


def test_full_disk_is_said_and_passes(place: str) -> None:
    database = Database(LogSettings(place))
    sink = SqlSink(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 20")
    with pytest.raises(Exception, match="database or disk is full"):
        sink.write([_row(inputs="x" * 200_000)])
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    sink.write([_row()])
    assert len(rows(place)) == 1


def test_rows_reach_the_database_itself_without_a_writer_that_waits_for_the_disk(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_api.prediction_log.database.CHECKPOINT_INTERVAL", 0.05)
    log = PredictionLog(LogSettings(place), {})
    log._sink.write([_row()])
    copy = tmp_path / "copy.sqlite"

    def is_there() -> bool:
        copy.write_bytes(Path(place.removeprefix("sqlite:///")).read_bytes())
        uri = f"file:{copy}?immutable=1"
        # The tables are not there either, at first.
        with closing(sqlite3.connect(uri, uri=True)) as connection, suppress(sqlite3.OperationalError):
            return bool(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])
        return False

    deadline = time.monotonic() + 30
    while not is_there():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    log.close()


# Schema


def test_migrations_make_the_tables_of_the_code(place: str) -> None:
    with Database(LogSettings(place)).engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_file_is_its_owners_alone(place: str) -> None:
    assert Path(place.removeprefix("sqlite:///")).stat().st_mode & 0o777 == 0o600


def test_server_without_tables_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no tables yet: run `ml-api migrate` \(`make migrate`\)"):
        check(LogSettings(f"sqlite:///{tmp_path}/new.db"))


def test_server_does_not_take_another_file_for_a_database(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("distance,price\n" * 100)
    with pytest.raises(
        SettingsError, match=f"^PREDICTION_LOG: {tmp_path}/rows.csv is no SQLite database; name another"
    ):
        check(LogSettings(f"sqlite:///{tmp_path}/rows.csv"))
    assert (tmp_path / "rows.csv").read_text() == "distance,price\n" * 100


@pytest.mark.parametrize(
    ("revision", "minimum", "message"),
    [
        ("0000", "0000", f"has schema 0000, and this code needs {REVISION}: run `ml-api migrate`"),
        ("0009", REVISION, None),
        (
            "0009",
            "0005",
            f"has schema 0009, for code of 0005 or later, and this code is of {REVISION}: install a newer ml-api",
        ),
    ],
)
def test_code_runs_on_a_newer_schema_whose_minimum_it_meets(
    place: str, revision: str, minimum: str, message: str | None
) -> None:
    database = Database(LogSettings(place))
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        connection.execute(text("UPDATE compatibility SET minimum = :to"), {"to": minimum})
    if message is None:
        check(LogSettings(place))
        SqlSink(database).write([_row()])
        return
    with pytest.raises(SettingsError, match=message):
        check(LogSettings(place))
    with pytest.raises(SchemaError):
        SqlSink(database).write([_row()])


def test_migrate_alone_refuses_a_newer_schema(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREDICTION_LOG", place)
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == f"The prediction log has schema {REVISION}.\n"
    with Database(LogSettings(place)).engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    assert main(["migrate"]) == 1
    message = f"the schema is 0009, which is newer than this code's {REVISION}: use a newer ml-api"
    assert message in capsys.readouterr().err
    # As after a rollback: if the newer schema is one that this code can use.
    assert main(["migrate", "--keep-newer"]) == 0
    assert capsys.readouterr().out == "The prediction log has schema 0009.\n"
    with Database(LogSettings(place)).engine.begin() as connection:
        connection.execute(text("UPDATE compatibility SET minimum = '0009'"))
    assert main(["migrate", "--keep-newer"]) == 1
    assert "for code of 0009 or later" in capsys.readouterr().err


def test_older_schema_is_expanded_and_older_code_may_still_use_it(tmp_path: Path) -> None:
    database = Database(LogSettings(f"sqlite:///{tmp_path}/old.db"))
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).with_name("migrations")))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        database.insert(connection.connection.dbapi_connection, [_row()])
    assert database.migrate() == REVISION
    with database.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM predictions")) == 1
        assert connection.scalar(text("SELECT minimum FROM compatibility")) == "0001"


def test_database_that_does_not_answer_does_not_keep_the_server_from_starting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(LogSettings("postgresql+psycopg://u:secret@127.0.0.1:9/d"))
    said = capsys.readouterr().err
    assert "does not answer; the server starts all the same" in said
    assert "secret" not in said
