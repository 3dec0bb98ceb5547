"""Parquet in and out."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_kit.batch import parquet
from model_kit.batch.parquet import ParquetTable
from model_kit.batch.rows import Format
from model_kit.batch.scoring import predict_table
from model_kit.batch.tables import reading, writing
from model_kit.errors import DataError
from model_kit.records.validation import Validator
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import NO_DETAILS, Added
from model_kit.testing import SPEC_OF_RIDES, load_rides, write_ride_bundle

ADDED: Added = {"prediction": "number", "error": "text"}
RIDES: dict[str, Any] = {"distance": [8.0, 16.0], "zone": ["A", "B"]}
#: exp(2.5 + distance / 8 + 1 / 16 - [zone is B] / 4)
FARES = [35.25121511458854, 74.62682298320091]


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "rides"
    write_ride_bundle(folder)
    return Predictor(load_rides(folder))


def parquet_file(columns: dict[str, Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    file.seek(0)
    return file


def table_of(columns: dict[str, Any]) -> ParquetTable:
    return ParquetTable(parquet_file(columns), SPEC_OF_RIDES, "rides.parquet")


def price(predict: Predictor, columns: dict[str, Any], target: Path, as_format: Format = "parquet") -> None:
    source = target.with_name("source.parquet")
    pq.write_table(pa.table(columns), source)
    with reading(str(source), predict.model.spec) as table, writing(str(target), table, as_format, ADDED) as writer:
        for _, _, rendered in predict_table(table, predict, writer, NO_DETAILS, 1):
            writer.write(rendered)


def test_rows_come_in_order_over_groups_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH", 7)
    file = parquet_file({"distance": range(50), "zone": ["A"] * 50}, row_group_size=10)
    table = ParquetTable(file, SPEC_OF_RIDES, "rides.parquet")
    assert (table.columns, table.total) == (("distance", "zone"), 50)
    entries = list(table.entries)
    assert table.position() == 50
    assert [entry.number for entry in entries] == list(range(1, 51))
    assert [dict(entry.original) for entry in entries] == [{"distance": number, "zone": "A"} for number in range(50)]


TYPED: dict[str, Any] = {
    "distance": pa.array([Decimal("1.5"), Decimal("2.5"), None]),
    "passengers": pa.array([1.0, float("nan"), 2.0]),
    "zone": pa.array(["A", "B", "A"]).dictionary_encode(),
    "comfort": pa.array([1, None, 3], pa.int8()),
    "when": pa.array([date(2026, 1, 2)] * 3),
}


def test_values_are_as_a_validator_takes_them() -> None:
    validated = Validator(SPEC_OF_RIDES)([entry.record for entry in table_of(TYPED).entries])
    assert validated.rows == [
        {"distance": 1.5, "passengers": 1, "zone": "A", "comfort": "1"},
        {"distance": 2.5, "passengers": None, "zone": "B", "comfort": None},
    ]
    assert validated.errors == {2: {"distance": ["Field may not be null."]}}


def test_text_is_read_as_cells_of_csv_are() -> None:
    [first, second] = table_of({"distance": ["8", "far"], "zone": ["A", "NA"], "passengers": ["NA", ""]}).entries
    assert first.record == {"distance": 8, "zone": "A", "passengers": None}
    assert second.record == {"distance": "far", "zone": None, "passengers": None}


@pytest.mark.parametrize(
    "columns",
    [
        TYPED,
        {"distance": [str(n) for n in range(60)], "zone": ["A", "B ", "NA"] * 20},
        {"distance": range(60), "zone": ["A"] * 60, "passengers": pa.array([*range(59), None], pa.int16())},
        {"distance": [*["8", " 9 ", "-0", "1e1", "far", "nan", "+3"] * 9], "zone": ["A"] * 63},
        {"distance": pa.array([1.5, None, -1.0, float("inf")] * 20), "zone": pa.array(["A"] * 80, pa.large_string())},
        {"distance": [True, False], "zone": [1, 2], "comfort": ["2", "20.0"]},
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_matrix_is_what_validator_and_encoder_make_of_the_records(
    columns: dict[str, Any], first: int, predict: Predictor
) -> None:
    table = table_of(columns)
    content = pa.RecordBatch.from_pydict(pa.table(columns).to_pydict(), schema=table.schema)[first:]
    batch = table.parse((1, content))
    encoded, certain = batch.encode()
    records = [batch.entry(row).record for row in range(batch.n_rows)]
    validated = Validator(SPEC_OF_RIDES)(records)
    assert certain.nonzero()[0].tolist() == validated.positions
    if validated.positions:
        valid = [records[place] for place in validated.positions]
        assert encoded[certain].tobytes() == predict.encoded(valid).tobytes()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"distance": [1.0]}, "rides.parquet: lacks the required columns zone"),
        (
            {"comfort": [1.0], "Zone": ["A"]},
            "rides.parquet: lacks the required columns distance, zone (there is 'Zone')",
        ),
    ],
)
def test_missing_required_column_is_refused(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        table_of(columns)
    assert str(caught.value) == reason


def test_columns_twice_are_refused() -> None:
    file = io.BytesIO()
    names = ["zone", "zone", "id", "note", "id"]
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 5, names=names), file)
    with pytest.raises(DataError, match="^rides.parquet: has a column more than once: id, zone$"):
        ParquetTable(file, SPEC_OF_RIDES, "rides.parquet")


@pytest.mark.parametrize("content", [b"", b"distance,zone\n1,A\n", b"PAR1" + bytes(40) + b"PAR1"])
def test_what_is_no_parquet_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="^rides.parquet: not a Parquet file: .+$"):
        ParquetTable(io.BytesIO(content), SPEC_OF_RIDES, "rides.parquet")


def test_damage_in_the_middle_is_one_sentence() -> None:
    content = bytearray(parquet_file({"distance": [float(x) for x in range(9000)], "zone": ["A"] * 9000}).getvalue())
    content[4:3000] = bytes(2996)
    table = ParquetTable(io.BytesIO(bytes(content)), SPEC_OF_RIDES, "rides.parquet")
    with pytest.raises(DataError, match="^rides.parquet, after row 0: damaged: .+$"):
        list(table.entries)


#: Columns that the model does not use, of values that Python or this machine has nothing for.
CARRIED: dict[str, pa.Array] = {
    "for ever": pa.array([253402300799000000] * 2, pa.timestamp("us", "Asia/Tokyo")),
    "no date": pa.array([-62135596800000000] * 2, pa.timestamp("us", "America/New_York")),
    "event": pa.array([1700000000123456789] * 2, pa.timestamp("ns")),
    "zone unknown here": pa.array([1700000000000000, None], pa.timestamp("us", "US/Pacific-New")),
    "year 10183": pa.array([259200000000000000] * 2, pa.timestamp("us")),
    "clock": pa.array([45296123456789] * 2, pa.time64("ns")),
    "span": pa.array([1234567891, None], pa.duration("ns")),
    "bytes": pa.array([b"\xff\x00", None]),
    "price": pa.array([Decimal("12.50"), Decimal("3.00")]),
    "list": pa.array([[1, 2], None]),
    "level": pa.array(["x", "y"]).dictionary_encode(),
}


def test_columns_that_the_model_does_not_use_are_carried_bit_for_bit(predict: Predictor, tmp_path: Path) -> None:
    price(predict, {**RIDES, **CARRIED}, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    before = pq.read_table(tmp_path / "source.parquet")
    assert found.drop_columns(["prediction", "error"]).equals(before)
    assert found.schema.remove_metadata().names == [*RIDES, *CARRIED, *ADDED]
    assert [found.schema.field(name).type for name in CARRIED] == [before.schema.field(name).type for name in CARRIED]
    assert found.column("prediction").to_pylist() == FARES
    assert found.column("error").to_pylist() == [None, None]


@pytest.mark.parametrize("name", CARRIED)
def test_carried_columns_are_told_as_text_in_other_formats(name: str, predict: Predictor, tmp_path: Path) -> None:
    price(predict, {**RIDES, name: CARRIED[name]}, tmp_path / "out.jsonl", "jsonl")
    price(predict, {**RIDES, name: CARRIED[name]}, tmp_path / "out.csv", "csv")
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [first["prediction"], second["prediction"]] == FARES
    expected = {
        "for ever": "9999-12-31 23:59:59.000000Z",
        "no date": "0001-01-01 00:00:00.000000Z",
        "event": "2023-11-14 22:13:20.123456789",
        "zone unknown here": "2023-11-14 22:13:20.000000Z",
        "year 10183": "10183-09-21 00:00:00.000000",
        "clock": "12:34:56.123456789",
        "span": "1234567891 ns",
        "bytes": "/wA=",
        "price": 12.5,
        "list": [1, 2],
        "level": "x",
    }
    assert first[name] == expected[name]
    assert (second[name] is None) == (CARRIED[name].null_count == 1)
    assert str(expected[name]) in (tmp_path / "out.csv").read_text().splitlines()[1].replace('"', "")


def test_strange_value_in_a_field_is_this_rows_error(predict: Predictor, tmp_path: Path) -> None:
    price(predict, {"distance": CARRIED["for ever"], "zone": ["A", "B"]}, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("error").to_pylist() == ["distance: Not a valid number."] * 2


def test_no_rows_are_a_file_too(predict: Predictor, tmp_path: Path) -> None:
    price(predict, {"distance": pa.array([], pa.float64()), "zone": pa.array([], pa.string())}, tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet").column_names == ["distance", "zone", "prediction", "error"]


def test_metadata_is_kept_but_for_lists_of_the_columns(predict: Predictor, tmp_path: Path) -> None:
    source, target = tmp_path / "rides.parquet", tmp_path / "priced.parquet"
    metadata = {b"owner": "taxis é".encode(), b"pandas": b"{}", b"huggingface": b"{}"}
    pq.write_table(pa.table({"distance": [8.0], "zone": ["A"]}).replace_schema_metadata(metadata), source)
    with (
        reading(str(source), predict.model.spec) as table,
        writing(str(target), table, "parquet", ADDED) as writer,
    ):
        for scored in predict_table(table, predict, writer, NO_DETAILS, 1):
            writer.write(scored.rendered)
    assert pq.read_schema(target).metadata == {b"owner": "taxis é".encode()}


def test_rows_are_written_in_groups(predict: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH", 10)
    monkeypatch.setattr(parquet, "GROUP", 20)
    price(predict, {"distance": range(45), "zone": ["A"] * 45}, tmp_path / "out.parquet")
    content = pq.ParquetFile(tmp_path / "out.parquet")
    assert [content.metadata.row_group(group).num_rows for group in range(content.num_row_groups)] == [20, 20, 5]
    assert content.read().column("distance").to_pylist() == list(range(45))
    assert content.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()])
def test_text_in_binary_columns_is_text(kind: pa.DataType) -> None:
    zones = pa.array(["A", "B ", "NA"]).cast(kind)
    table = table_of({"distance": pa.array(["8", " 9 ", "10"]).cast(kind), "zone": zones})
    [(_, content)] = list(table.blocks())
    encoded, certain = table.parse((1, content)).encode()
    assert certain.tolist() == [True, True, False]
    assert encoded[:2, 0].tolist() == [8.0, 9.0]
    records: list[Any] = [entry.record for entry in table_of({"distance": [1] * 3, "zone": zones}).entries]
    assert [record["zone"] for record in records] == ["A", "B", None]


@pytest.mark.parametrize(
    "values", [pa.array([["A"]]), pa.array([{"a": 1}]), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))]
)
def test_nested_value_of_a_field_is_an_error_of_its_row(values: pa.Array, predict: Predictor, tmp_path: Path) -> None:
    price(predict, {"distance": [8.0], "zone": values}, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column("error").to_pylist() == ["zone: Not a valid string."]


def test_decimals_keep_their_digits_in_other_formats(predict: Predictor, tmp_path: Path) -> None:
    values = [Decimal("0.12345678901234567890"), Decimal("12.50000000000000000000")]
    price(predict, {**RIDES, "d": values, "l": [[values[0]], None]}, tmp_path / "out.jsonl", "jsonl")
    price(predict, {**RIDES, "d": values}, tmp_path / "out.csv", "csv")
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert '"d": 0.12345678901234567890, "l": [0.12345678901234567890]' in first
    assert '"d": 12.5, "l": null' in second
    assert [line.split(",")[2] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]] == [*map(str, values)]


SPELLED = [0.0, -0.0, 1.0, -35.0, 0.1, 1e-3, 0.00099, 1e-5, 123456.789, 1e9, 1e15, 1e16, 1e22, 5e-324, 1.7e308, 1e-7]


def test_csv_of_parquet_is_spelled_as_python_does(predict: Predictor, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    floats = [*SPELLED, *random.normal(0, 1, 50), *(10.0 ** random.uniform(-20, 20, 200))]
    texts = ["plain", 'say "so"', "a, b", "two\nlines", "", None, "é"]
    n = len(floats)
    columns = {
        "distance": [8.0] * n,
        "zone": ["A"] * n,
        "float": floats,
        "single": pa.array(np.array([0.1, 1e-30, 3.0] * n, np.float32)[:n]),
        "text": [texts[row % len(texts)] for row in range(n)],
        "long": pa.array([texts[row % len(texts)] for row in range(n)], pa.large_string()),
        "whole": pa.array([None, *range(n - 1)], pa.int16()),
        "flag": pa.array([True, None, *[False] * (n - 2)]),
        "day": [date(2026, 1, 2)] * n,
        "level": pa.array(["x", "y, z", None] * n)[:n].dictionary_encode(),
    }
    price(predict, columns, tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        _, *found = csv.reader(file)
    expected = zip(
        *(pa.array(column).to_pylist() for column in columns.values()), [FARES[0]] * n, [None] * n, strict=True
    )
    assert found == [[said(value) for value in row] for row in expected]


def said(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_texts_of_few_kinds_stay_dictionaries_on_the_way_and_are_texts_in_the_file(
    predict: Predictor, tmp_path: Path
) -> None:
    columns = {
        "distance": [8.0, 16.0] * 5000,
        "zone": pa.array(["A", "B"] * 5000, pa.large_string()),
        "note": [f"note {row}" for row in range(10_000)],
        "kind": ["x", None] * 5000,
    }
    price(predict, columns, tmp_path / "out.parquet")
    with reading(str(tmp_path / "source.parquet"), predict.model.spec) as table:
        (_, block), *_ = table.blocks()
    assert [pa.types.is_dictionary(kind) for kind in block.schema.types] == [False, True, False, True]
    found, before = pq.read_table(tmp_path / "out.parquet"), pq.read_table(tmp_path / "source.parquet")
    assert found.drop_columns(["prediction", "error"]).equals(before)
    assert found.column("prediction").to_pylist() == FARES * 5000
    price(predict, columns, tmp_path / "out.csv", "csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == f"16.0,B,note 1,,{FARES[1]!r},"
