"""Tables over HTTP: CSV and Arrow in, any type out, with the answers that records in JSON have."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW, load_rides
from werkzeug.test import TestResponse

from bookings import BOOKING, Bookings
from ml_api.app import create_app
from ml_api.settings import Settings
from ml_api.views import media_types
from ml_api.views.media_types import ARROW, CSV, JSON
from ml_api.views.requests import VALUES_PER_ROW
from ml_api.views.tables import arrow_table
from text_cases import TEXT_CASES

URL = "/v1/predict/rides"
HEADER = "zone,distance,passengers,comfort\n"
#: Valid and invalid records, and what must come of them by any door.
RECORDS: list[dict[str, Any]] = [
    GOLDEN_ROW,
    {"zone": "B", "distance": 8, "passengers": 2, "comfort": "1"},
    {"zone": "A", "distance": -1, "passengers": None, "comfort": None},
    {"zone": None, "distance": 4.5, "passengers": 9, "comfort": "7"},
    {"zone": "Q", "distance": 400, "passengers": 1, "comfort": "1"},
]
SUFFIXES = [None, CSV, ARROW]


def to_csv(records: Sequence[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode()


def stream(table: pa.Table, compression: str | None = None, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue())


def to_arrow(records: Sequence[dict[str, Any]]) -> bytes:
    return stream(pa.Table.from_pylist(list(records)))


BODIES: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {
    JSON: lambda records: json.dumps(records).encode(),
    CSV: to_csv,
    ARROW: to_arrow,
}


def send(
    client: FlaskClient, body: bytes | str, sent: str = CSV, wanted: str | None = None, query: str = "", **headers: str
) -> TestResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    names |= {"Content-Type": sent} | ({"Accept": wanted} if wanted else {})
    return client.post(URL + query, data=body, headers=names)


def rows(response: TestResponse) -> list[dict[str, Any]]:
    """The rows of an answer in any type."""
    if response.mimetype == ARROW:
        found: list[dict[str, Any]] = pa.ipc.open_stream(response.data).read_all().to_pylist()
        return found
    if response.mimetype == CSV:
        lines = csv.DictReader(io.StringIO(response.text, newline=""))
        return [{"prediction": float(row["prediction"] or "nan"), "error": row["error"] or None} for row in lines]
    body = response.get_json()
    errors = body["errors"] or {}
    in_words = {
        row: "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.items()) for row, error in errors.items()
    }
    return [
        {"prediction": prediction, "error": in_words.get(str(row))}
        for row, prediction in enumerate(body["predictions"])
    ]


def said(response: TestResponse, status: int) -> str:
    assert (response.status_code, response.content_type) == (status, "application/problem+json"), response.data
    detail: str = response.get_json()["detail"]
    return detail


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> FlaskClient:
    """A client of an application that finds no pyarrow."""
    monkeypatch.setattr(media_types, "find_spec", lambda _: None)
    monkeypatch.setattr("ml_api.views.tables.reading.has_arrow", lambda: False)
    return create_app(Settings(), {"rides": lambda: load_rides(bundle)}).test_client()


# What is answered


@pytest.mark.parametrize(("sent", "wanted"), list(product(BODIES, BODIES)))
def test_every_type_is_answered_in_every_type_with_the_same(client: FlaskClient, sent: str, wanted: str) -> None:
    response = send(client, BODIES[sent](RECORDS), sent, wanted)
    assert response.status_code == 200
    assert response.mimetype == wanted
    expected = rows(client.post(URL, json=RECORDS))
    found = rows(response)
    assert [row["error"] for row in found] == [
        None,
        None,
        "distance: Must be greater than or equal to 0.",
        "passengers: Must be greater than or equal to 1 and less than or equal to 8.; zone: Field may not be null.",
        None,
    ]
    for row, other in zip(found, expected, strict=True):
        assert row["error"] == other["error"]
        assert row["prediction"] == other["prediction"] or math.isnan(row["prediction"]) == (
            other["prediction"] is None
        )
    assert found[0]["prediction"] == GOLDEN_PREDICTION
    assert response.headers["X-Prediction-Warnings"] == "distance, zone"
    if wanted != JSON:
        assert response.headers["Model-Version"] == "1.2.3"
        assert "Accept" in response.vary


def test_table_is_written_like_this(client: FlaskClient) -> None:
    response = send(client, to_csv(RECORDS[:3]), CSV, CSV)
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.text.splitlines()[2:] == [
        response.text.splitlines()[2],
        ",distance: Must be greater than or equal to 0.",
    ]
    assert response.text.startswith(f"prediction,error\r\n{GOLDEN_PREDICTION!r},\r\n")
    table = pa.ipc.open_stream(send(client, to_csv(RECORDS[:3]), CSV, ARROW).data).read_all()
    assert [(field.name, field.type) for field in table.schema] == [
        ("prediction", pa.float64()),
        ("error", pa.string()),
    ]
    assert table.schema.metadata == {b"model_version": b"1.2.3"}


@pytest.mark.parametrize("sent", [CSV, ARROW])
def test_no_row_is_no_error_and_none_that_is_valid_is_one(client: FlaskClient, sent: str) -> None:
    none = HEADER.encode() if sent == CSV else stream(pa.table({"zone": pa.array([], pa.string())}))
    for wanted in BODIES:
        assert (send(client, none, sent, wanted).status_code, rows(send(client, none, sent, wanted))) == (200, [])
    response = send(client, BODIES[sent]([{"zone": "A", "distance": "far"}]), sent, ARROW)
    assert (response.status_code, rows(response)) == (
        422,
        [{"prediction": None, "error": "distance: Not a valid number."}],
    )


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("application/json;q=.5, text/csv", CSV),
        ("application/json, text/csv", JSON),
        (f"{ARROW}, application/json;q=0.9", ARROW),
        ("application/json;q=0, */*", CSV),
        ("text/html", None),
        ("text/csv;q=0", None),
    ],
)
def test_accept_decides(client: FlaskClient, accept: str | None, found: str | None) -> None:
    response = send(client, to_csv(RECORDS), CSV, accept)
    if found is None:
        assert said(response, 406) == f"The response can be {JSON} or {CSV} or {ARROW}; Accept asks for another type."
    else:
        assert (response.status_code, response.mimetype) == (200, found)


def test_details_are_columns_named_as_in_files(client: FlaskClient) -> None:
    query = "?interval=0.9&explain=1&warnings=true"
    body = client.post(URL + query, json=RECORDS[:3]).get_json()
    for sent in (CSV, ARROW):
        table = pa.ipc.open_stream(send(client, BODIES[sent](RECORDS[:3]), sent, ARROW, query).data).read_all()
        found = table.to_pylist()
        assert list(found[0]) == [
            *("prediction", "error", "prediction_low", "prediction_high", "explain_baseline"),
            *(f"explain_1_{name}" for name in ("field", "value", "percent", "amount")),
            *("explain_rest_percent", "explain_rest_amount", "warnings"),
        ]
        assert [found[1]["prediction_low"], found[1]["prediction_high"]] == body["intervals"][1]
        assert found[1]["explain_1_field"] == body["explanations"][1]["contributions"][0]["field"]
        assert found[1]["explain_rest_amount"] == body["explanations"][1]["rest"]["amount"]
        assert found[2] == dict.fromkeys(found[2]) | {"error": "distance: Must be greater than or equal to 0."}


@pytest.mark.parametrize(("sent", "wanted"), list(product([CSV, ARROW], [CSV, ARROW])))
def test_echo_puts_what_was_sent_first(client: FlaskClient, sent: str, wanted: str) -> None:
    records = [{"Id": "x,1", **RECORDS[0]}, {"Id": 'a "b"', **RECORDS[2]}]
    response = send(client, BODIES[sent](records), sent, wanted, "?echo=true")
    text = response.text if wanted == CSV else ""
    table = (
        pa.ipc.open_stream(response.data).read_all().to_pylist()
        if wanted == ARROW
        else [*csv.DictReader(text.splitlines())]
    )
    assert list(table[0]) == [*records[0], "prediction", "error"]
    assert [row["Id"] for row in table] == ["x,1", 'a "b"']
    assert float(table[0]["distance"]) == RECORDS[0]["distance"]
    assert float(table[0]["prediction"]) == GOLDEN_PREDICTION
    assert table[1]["error"] == "distance: Must be greater than or equal to 0."


def test_echo_of_arrow_has_its_types_and_what_is_nested(client: FlaskClient) -> None:
    table = pa.table({
        "zone": pa.array(["A", "B", "A"]).dictionary_encode(),
        "distance": pa.array([8, 9, 10], pa.int16()),
        "tags": [["a"], [], None],
    })  # fmt: skip
    body = stream(table, chunk=2)
    found = pa.ipc.open_stream(send(client, body, ARROW, ARROW, "?echo=true").data).read_all()
    assert found.select(["zone", "distance", "tags"]).cast(table.schema).equals(table)
    assert found.schema.types[:3] == table.schema.types
    assert said(send(client, body, ARROW, CSV, "?echo=true"), 400).startswith("echo: the column 'tags' has a type")


def test_echo_is_for_tables_that_are_answered_with_tables(client: FlaskClient) -> None:
    for sent, wanted in ((JSON, CSV), (CSV, JSON), (JSON, JSON)):
        plain, echo = (send(client, BODIES[sent](RECORDS), sent, wanted, query) for query in ("", "?echo=true"))
        assert (echo.status_code, echo.data) == (200, plain.data)
    detail = said(send(client, to_csv(RECORDS), CSV, CSV, "?echo=1"), 400)
    assert detail == "The query parameter echo must be true or false."


def test_echo_does_not_make_two_columns_of_one_name(client: FlaskClient) -> None:
    body = to_csv([RECORDS[0] | {"prediction": 1}])
    assert send(client, body, CSV, CSV).status_code == 200
    detail = said(send(client, body, CSV, CSV, "?echo=true"), 400)
    assert detail == "echo: the table has a column 'prediction' already, which the answer would add."


# One reading of text


def check_texts(client: FlaskClient, body: bytes, sent: str) -> None:
    found = send(client, body, sent).get_json()
    for position, case in enumerate(TEXT_CASES):
        error = case.error_of(typed=False)
        assert (found["errors"].get(str(position)) or {}) == ({case.field: [error]} if error else {}), case
        if not error:
            [fare] = client.post(URL, json=GOLDEN_ROW | {case.field: case.value}).get_json()["predictions"]
            assert found["predictions"][position] == fare, case


TEXTS = [{name: str(value) for name, value in (GOLDEN_ROW | {case.field: case.text}).items()} for case in TEXT_CASES]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_texts_in_csv_mean_what_they_mean_in_files(
    client: FlaskClient, without_pyarrow: FlaskClient, quoting: Any
) -> None:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(GOLDEN_ROW), quoting=quoting)
    writer.writeheader()
    writer.writerows(TEXTS)
    for each in (client, without_pyarrow):
        check_texts(each, file.getvalue().encode(), CSV)


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary", "binary"])
def test_texts_in_arrow_mean_what_they_mean_in_files(client: FlaskClient, kind: str) -> None:
    table = pa.Table.from_pylist(TEXTS)
    types = {"string": pa.string(), "large_string": pa.large_string(), "binary": pa.binary()}
    columns = [
        column.dictionary_encode() if kind == "dictionary"
        # Arrow casts no text to views.
        else pa.array(column.to_pylist(), pa.string_view()) if kind == "string_view"
        else column.cast(types[kind])
        for column in table.columns
    ]  # fmt: skip
    check_texts(client, stream(pa.table(columns, table.column_names)), ARROW)


CELLS = st.text(st.sampled_from('A1.,"\n\r -é\ufeff'), max_size=5) | st.sampled_from(["A", "NA", "8", "1.5", "far"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans()
)
def test_csv_is_read_the_same_with_and_without_pyarrow(
    client: FlaskClient, without_pyarrow: FlaskClient, table: list[list[str]], end: str, raw: bool
) -> None:
    file = io.StringIO(newline="")
    file.write("zone,distance" + end)
    if raw:
        file.write(end.join(",".join(row) for row in table))
    else:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(table)
    body = file.getvalue().encode()
    first, second = (send(each, body) for each in (client, without_pyarrow))
    assert first.status_code == second.status_code
    assert first.get_json() | {"request_id": ""} == second.get_json() | {"request_id": ""}
    if not raw:
        assert len(first.get_json()["predictions"]) == len(table)


@pytest.mark.parametrize(
    "body",
    [
        HEADER + "A,8,2,1\nB,3,,\n",
        "\ufeff" + HEADER + "A,8,2,1\nB,3,,",
        HEADER.replace("\n", "\r\n") + "A,8,2,1\r\n\r\nB,3,,\r\n",
        HEADER.replace("\n", "\r") + "A,8,2,1\rB,3,,\r",
        '"zone","distance","passengers","comfort"\n"A","8","2","1"\n\n"B","3","",""\n',
        '\n\nzone,distance,passengers,comfort,"note, long"\nA,8,2,1,"two\nlines, ""quoted"""\nB,3,,,\n',
    ],
)
def test_csv_as_programs_write_it(client: FlaskClient, without_pyarrow: FlaskClient, body: str) -> None:
    expected = client.post(
        URL, json=[{"zone": "A", "distance": 8, "passengers": 2, "comfort": 1}, {"zone": "B", "distance": 3}]
    )
    for each in (client, without_pyarrow):
        assert send(each, body).get_json() == expected.get_json()


def test_row_with_another_number_of_cells_is_in_error_and_keeps_its_place(
    client: FlaskClient, without_pyarrow: FlaskClient
) -> None:
    for each, quote in product((client, without_pyarrow), ("", '"')):
        body = f"zone,distance\nA,8\nA\n{quote}B{quote},8,9\nB,4\n"
        found = send(each, body).get_json()
        assert found["errors"] == {
            "1": {"_schema": ["The row has 1 cells where the header has 2."]},
            "2": {"_schema": ["The row has 3 cells where the header has 2."]},
        }
        assert [value is None for value in found["predictions"]] == [False, True, True, False]
        assert send(each, body, CSV, CSV, "?echo=true").text.splitlines()[2].startswith("A,,,_schema: The row has 1")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "The body is empty; the first line of CSV has the names of the columns."),
        (b"\n\n", "The body is empty; the first line of CSV has the names of the columns."),
        (b"zone,zone\nA,B\n", "The table has a column more than once: 'zone'."),
        (b"place,length\nA,8\n", "The table has no field of the model, such as 'distance'."),
        (b"zone;distance\nA;8\n", "The header has one column; the cells must be separated by commas."),
        (b"zone\n\xff\n", "The body is not UTF-8: invalid byte at offset 5."),
        (b'zone\n"A\n', "The body is not CSV: unexpected end of data, in the record that begins on line 2."),
        (b'zone\nA\n"A"b\n', "The body is not CSV: ',' expected after '\"', in the record that begins on line 3."),
    ],
)
def test_what_is_no_csv_is_refused(client: FlaskClient, body: bytes, detail: str) -> None:
    assert said(send(client, body), 400) == detail


def test_column_that_a_table_lacks_is_one_that_each_record_lacks(
    client: FlaskClient, log: list[dict[str, Any]]
) -> None:
    missing = {"distance": ["Missing data for required field."]}
    for sent in (CSV, ARROW):
        response = send(client, BODIES[sent]([{"zone": "A", "Distance": 8}] * 3), sent)
        assert response.get_json()["errors"] == {str(row): missing for row in range(3)}
        assert response.headers["X-Prediction-Warnings"] == "distance"
        assert log[-1]["unusual"] == {"distance": 3}
        assert log[-1]["rows"] == 3


# Values of Arrow


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (pa.array([8], pa.int8()), 8),
        (pa.array([8], pa.uint64()), 8),
        (pa.array([8.5], pa.float32()), 8.5),
        (pa.array([np.float16(8.5)], pa.float16()), 8.5),
        (pa.array([Decimal("8.50")]), 8.5),
        (pa.array([Decimal(8)], pa.decimal256(40)), 8),
        (pa.array([8], pa.int32()).dictionary_encode(), 8),
        (pa.array([None], pa.null()), None),
        (pa.array([math.nan]), None),
        (pa.array([True]), True),
        (pa.array([math.inf]), "1e999"),
        (pa.array([-math.inf], pa.float32()), "-1e999"),
        (pa.array([b"8"], pa.binary(1)), 8),
        (pa.array([b"\xff"]), "\ufffd"),
        (pa.array([date(2024, 2, 3)]), "2024-02-03"),
        (pa.array([timedelta(seconds=5)], pa.duration("ns")), "5000000000 ns"),
    ],
    ids=str,
)
def test_value_of_any_type_is_what_it_is_in_json(client: FlaskClient, column: pa.Array, value: Any) -> None:
    text = json.dumps([{"zone": "A", "distance": value}]).replace('"1e999"', "1e999").replace('"-1e999"', "-1e999")
    expected = client.post(URL, data=text, content_type=JSON).get_json()
    assert send(client, stream(pa.table({"zone": ["A"], "distance": column})), ARROW).get_json() == expected


def test_dates_and_times_of_arrow() -> None:
    client = create_app(Settings(), {"bookings": Bookings}).test_client()
    zone = timezone(timedelta(hours=2))
    record: dict[str, Any] = {
        **BOOKING,
        "breakfast": True,
        "arrival": date(2024, 7, 1),
        "booked": datetime(2024, 5, 1, 18, 30),  # noqa: DTZ001 - the field has no time zone
        "paid": datetime(2024, 6, 1, 18, tzinfo=zone),
    }
    sent = {name: value.isoformat() if isinstance(value, date) else value for name, value in record.items()}
    expected = client.post("/v1/predict/bookings", json=[sent]).get_json()
    assert expected["errors"] is None
    body = to_arrow([record])
    assert client.post("/v1/predict/bookings", data=body, content_type=ARROW).get_json() == expected


def test_batches_of_a_stream_are_one_table(client: FlaskClient) -> None:
    table = pa.table({"zone": pa.array(["A", "B", "A", "C"]).dictionary_encode(), "distance": [8, 9, None, 10]})
    expected = client.post(URL, json=table.to_pylist()).get_json()
    for compression, chunk in product((None, "lz4", "zstd"), (1, 3, 4)):
        assert send(client, stream(table, compression, chunk), ARROW).get_json() == expected
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        for row, level in enumerate("ABAC"):
            zone = pa.DictionaryArray.from_arrays([["A", "B", "C"].index(level)], ["A", "B", "C"][: 2 + row // 3])
            writer.write_batch(pa.record_batch([zone, table["distance"].chunk(0).slice(row, 1)], schema=table.schema))
    assert send(client, bytes(sink.getvalue()), ARROW).get_json() == expected


# What would take too much, and what leads astray


def test_limits_are_those_of_json(bundle: Path) -> None:
    client = create_app(Settings(max_rows=3, max_body_bytes=2000), {"rides": lambda: load_rides(bundle)}).test_client()
    for sent, write in BODIES.items():
        detail = said(send(client, write(RECORDS[:4]), sent), 413)
        assert detail == "The body has 4 records; at most 3 are taken at a time."
        detail = said(send(client, write([RECORDS[0] | {"note": "x" * 2000}]), sent), 413)
        assert detail == "The body is longer than the 2000 bytes that are taken."
        assert send(client, write(RECORDS[:3]), sent).status_code == 200


def test_cells_are_as_many_as_values_of_json(client: FlaskClient) -> None:
    most = VALUES_PER_ROW * 10_000
    for body in (b"zone\n" + b"," * (most + 1), b"\n" * (most + 1), b"\r" * (most + 1)):
        assert said(send(client, body), 413) == f"The body has more than {most} values."


@pytest.fixture(scope="module")
def limited(bundle: Path) -> FlaskClient:
    """A client of a server that takes bodies of 100,000 bytes."""
    return create_app(Settings(max_body_bytes=100_000), {"rides": lambda: load_rides(bundle)}).test_client()


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_count_unpacked(limited: FlaskClient, codec: str) -> None:
    for n_rows, is_taken in ((5_000, True), (10_000, False)):
        body = stream(pa.table({"distance": np.ones(n_rows), "passengers": np.ones(n_rows)}), codec)
        assert len(body) < 5000
        response = send(limited, body, ARROW)
        if is_taken:
            assert response.status_code == 422
        else:
            assert said(response, 413) == "The body is unpacked to more than the 100000 bytes that are taken."


def bomb(texts: Sequence[str], n_rows: int, kind: pa.DataType | None = None) -> pa.Table:
    """Many rows with one long text."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array(texts, kind or pa.string()))
    return pa.table({"zone": column, "distance": np.ones(n_rows)})


def test_texts_of_a_dictionary_count_as_often_as_they_are_meant(limited: FlaskClient) -> None:
    assert send(limited, stream(bomb(["x" * 50], 1_000)), ARROW).status_code == 200
    view = np.frombuffer(np.array([500, 0x78787878, 0, 0], np.int32).tobytes() * 1_000, np.uint8)
    buffers = [None, pa.py_buffer(view), pa.py_buffer(b"x" * 500)]
    views = pa.table({"zone": pa.Array.from_buffers(pa.string_view(), 1_000, buffers)})
    bombs = [bomb(["x" * 500], 1_000), bomb(["x" * 500], 1_000, pa.string_view()), views]
    for table in bombs:
        detail = said(send(limited, stream(table), ARROW), 413)
        assert detail == "The table has more than the 100000 bytes that are taken."


def test_values_of_dictionaries_are_limited(client: FlaskClient) -> None:
    most = VALUES_PER_ROW * 10_000
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(np.zeros(most + 1, bool)))
    detail = said(send(client, stream(pa.table({"zone": column})), ARROW), 413)
    assert detail == f"The dictionaries have more than {most} values."


def test_dictionary_that_is_longer_than_the_table_is_not_read_whole(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([3, 3], pa.int32()), pa.array([str(one) for one in range(500)]))
    seen: list[int] = []
    plain = arrow_table._plain

    def observed(column: pa.ChunkedArray) -> pa.Array:
        found = plain(column)
        seen.append(len(found.dictionary) if pa.types.is_dictionary(found.type) else len(found))
        return found

    monkeypatch.setattr(arrow_table, "_plain", observed)
    response = send(client, stream(pa.table({"zone": column, "distance": [8, 8]})), ARROW)
    assert response.status_code == 200
    assert seen == [2, 2]


def test_batches_are_limited(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_table, "MAX_MESSAGES", 3)
    table = pa.table({"zone": ["A"] * 4, "distance": [8] * 4})
    assert send(client, stream(table, chunk=2), ARROW).status_code == 200
    detail = said(send(client, stream(table, chunk=1), ARROW), 413)
    assert detail == "The stream has more than 3 batches; send fewer, larger ones."


def test_nulls_without_bytes_are_rows_too(client: FlaskClient) -> None:
    nulls = pa.Array.from_buffers(pa.null(), 2**30, [None])
    body = stream(pa.table({"note": nulls}))
    assert said(send(client, body, ARROW), 413) == f"The body has {2**30} records; at most 10000 are taken at a time."


NESTED = pa.array([[1]], pa.list_(pa.int8()))


@pytest.mark.parametrize(
    "column",
    [
        NESTED,
        pa.array([{"a": 1}]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.RunEndEncodedArray.from_arrays([1], [8]),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([8])]),
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.nulls(1)),
        pa.array([b"0" * 16], pa.uuid()),
        pa.array(["8"], pa.json_()),
        pa.array([1], pa.bool8()),
    ],
    ids=lambda column: str(column.type),
)
def test_field_has_no_nested_or_extension_type(client: FlaskClient, column: pa.Array) -> None:
    assert said(send(client, stream(pa.table({"zone": ["A"], "distance": column})), ARROW), 400).startswith(
        "The column 'distance' has the type "
    )
    # What is no field is nobody's business.
    response = send(client, stream(pa.table({"zone": ["A"], "distance": [8], "other": column})), ARROW)
    assert response.get_json() == client.post(URL, json=[{"zone": "A", "distance": 8}]).get_json()


def test_extension_that_is_unknown_here_is_refused(client: FlaskClient) -> None:
    field = pa.field("distance", pa.int8(), metadata={"ARROW:extension:name": "geo"})
    body = stream(
        pa.table([pa.array(["A"]), pa.array([8], pa.int8())], pa.schema([pa.field("zone", pa.string()), field]))
    )
    assert "has the type 'geo'" in said(send(client, body, ARROW), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff" * 64,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\0" * 64,
        b"ARROW1\0\0" + b"\0" * 64,
        b"PAR1" + b"\0" * 64,
        to_arrow(RECORDS)[:-16][:200],
    ],
)
def test_what_is_no_stream_is_refused(client: FlaskClient, body: bytes) -> None:
    assert said(send(client, body, ARROW), 400).startswith("The body is ")


def test_file_that_is_no_stream_is_named(client: FlaskClient) -> None:
    detail = said(send(client, b"ARROW1\0\0" + b"\0" * 64, ARROW), 400)
    assert detail == "The body is an Arrow file (Feather), not a stream of Arrow (pyarrow.ipc.new_stream)."


def test_names_that_occur_twice_and_those_of_another_table_are_refused(client: FlaskClient) -> None:
    body = stream(pa.table([pa.array(["A"]), pa.array(["B"])], ["zone", "zone"]))
    assert said(send(client, body, ARROW), 400) == "The table has a column more than once: 'zone'."
    body = stream(pa.table({"place": ["A"]}))
    assert said(send(client, body, ARROW), 400) == "The table has no field of the model, such as 'distance'."


HOSTILE = [
    stream(pa.Table.from_pylist(RECORDS), codec).ljust(0) for codec in (None, "lz4")
] + [
    stream(pa.table({
        "zone": pa.array(["A", None, "B"]).dictionary_encode(),
        "distance": pa.array(["8", "9", "10"], pa.string_view()),
        "passengers": pa.array([1, 2, None], pa.int8()),
        "other": [[1], [], None],
    }), "zstd"),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=["plain", "lz4", "zstd"])
def test_stream_that_is_cut_anywhere_is_refused_or_whole(client: FlaskClient, body: bytes) -> None:
    whole = send(client, body, ARROW).get_json()
    for end in range(0, len(body), 7):
        response = send(client, body[:end], ARROW)
        assert response.status_code in (200, 400, 422), end
        if response.status_code == 200:  # of whole batches
            assert len(response.get_json()["predictions"]) in (0, len(whole["predictions"]))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(HOSTILE), st.data())
def test_damaged_stream_is_never_an_error_of_the_server(client: FlaskClient, body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        size = min(data.draw(st.sampled_from([1, 4, 8])), len(body) - place)
        values = [
            b"\0" * size,
            b"\xff" * size,
            b"\xff" * (size - 1) + b"\x7f",
            data.draw(st.binary(min_size=size, max_size=size)),
        ]
        changed[place : place + size] = data.draw(st.sampled_from(values))
    for wanted, query in ((JSON, ""), (CSV, "?echo=true"), (ARROW, "?echo=true")):
        assert send(client, bytes(changed), ARROW, wanted, query).status_code in (200, 400, 413, 422)


# Types and encodings of the body


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        ("text/plain", media_types.wrong_type([JSON, CSV, ARROW])),
        ("text/csv; charset=latin-1", "CSV is taken in UTF-8 only."),
        (
            "text/csv; header=absent",
            "CSV without a header line is not taken: its first line has the names of the columns.",
        ),
    ],
)
def test_other_types_are_refused(client: FlaskClient, content_type: str, detail: str) -> None:
    assert said(send(client, to_csv(RECORDS), content_type), 415) == detail


@pytest.mark.parametrize("content_type", ["text/csv; charset=UTF-8", "TEXT/CSV;header=present"])
def test_types_may_have_parameters(client: FlaskClient, content_type: str) -> None:
    assert send(client, to_csv(RECORDS), content_type).status_code == 200


@pytest.mark.parametrize("sent", [CSV, ARROW])
def test_compressed_bodies_are_refused(client: FlaskClient, sent: str) -> None:
    body = gzip.compress(BODIES[sent](RECORDS))
    assert said(send(client, body, sent, Content_Encoding="gzip"), 415) == media_types.COMPRESSED


def test_without_pyarrow_arrow_is_refused_in_words(without_pyarrow: FlaskClient) -> None:
    detail = (
        "This server takes no Arrow streams: pyarrow, the extra ml_api[tables], is not installed; send JSON or CSV."
    )
    assert said(send(without_pyarrow, to_arrow(RECORDS), ARROW), 415) == detail
    assert said(send(without_pyarrow, to_csv(RECORDS), CSV, ARROW), 406) == (
        f"The response can be {JSON} or {CSV}; Accept asks for another type."
    )
    document = without_pyarrow.get("/openapi.json").get_json()["paths"][URL]["post"]
    assert list(document["requestBody"]["content"]) == [JSON, CSV]


def test_pyarrow_is_imported_for_a_table_only(bundle: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from model_kit.testing import load_rides
from ml_api.app import create_app
from ml_api.settings import Settings
client = create_app(Settings(), {{"rides": lambda: load_rides(Path({str(bundle)!r}))}}).test_client()
assert client.post("{URL}", json=[], headers={{"Accept": "text/csv"}}).status_code == 200
assert "pyarrow" not in sys.modules and "model_kit.records.columns" not in sys.modules
assert client.post("{URL}", data="zone\\nA\\n", content_type="{CSV}").status_code == 422
assert "pyarrow" in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True, capture_output=True)


# Compression of responses


@pytest.mark.parametrize("wanted", list(BODIES))
def test_large_answers_are_compressed_where_asked_for(client: FlaskClient, wanted: str) -> None:
    body = to_csv([RECORDS[0], RECORDS[1], RECORDS[2]] * 400)
    plain = send(client, body, CSV, wanted)
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.vary
    packed = send(client, body, CSV, wanted, Accept_Encoding="deflate, gzip;q=0.5")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.vary
    assert gzip.decompress(packed.data) == plain.data
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 2
    assert "Content-Encoding" not in send(client, body, CSV, wanted, Accept_Encoding="gzip;q=0, identity").headers


def test_small_answers_are_not_compressed(client: FlaskClient) -> None:
    response = client.post(URL, json=GOLDEN_ROW, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers
    assert not response.vary


def test_head_has_the_headers_of_get_and_what_has_an_etag_keeps_its_own(client: FlaskClient) -> None:
    headers = {"Accept-Encoding": "gzip"}
    get, head = (
        client.open("/v1/models/rides/sample?n=100&seed=1", method=method, headers=headers)
        for method in ("GET", "HEAD")
    )
    assert get.headers["Content-Encoding"] == head.headers["Content-Encoding"] == "gzip"
    assert get.headers["Content-Length"] == head.headers["Content-Length"] == str(len(get.data))
    assert head.data == b""
    page = client.get("/openapi.json", headers=headers)
    assert page.headers["ETag"].endswith('-gzip"')
    assert json.loads(gzip.decompress(page.data))["openapi"] == "3.1.0"
    plain = client.get("/openapi.json")
    assert "Content-Encoding" not in plain.headers
    assert not plain.headers["ETag"].endswith('-gzip"')
