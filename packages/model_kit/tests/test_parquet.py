"""Parquet in and out."""

from __future__ import annotations

import io
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from model_kit.batch import parquet
from model_kit.batch.parquet import ParquetRows, ParquetWriter
from model_kit.errors import DataError, MissingLibraryError
from model_kit.records.validation import Validator
from model_kit.testing import SPEC_OF_RIDES

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet")


def parquet_file(columns: dict[str, Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    file.seek(0)
    return file


def rows_of(columns: dict[str, Any]) -> ParquetRows:
    return ParquetRows(parquet_file(columns), SPEC_OF_RIDES, "rides.parquet")


def test_rows_come_in_order_over_groups_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH", 7)
    file = parquet_file({"distance": range(50), "zone": ["A"] * 50}, row_group_size=10)
    rows = ParquetRows(file, SPEC_OF_RIDES, "rides.parquet")
    assert (rows.columns, rows.total) == (("distance", "zone"), 50)
    entries = list(rows)
    assert [entry.number for entry in entries] == list(range(1, 51))
    assert [entry.original for entry in entries] == [{"distance": number, "zone": "A"} for number in range(50)]


def test_values_are_as_a_validator_takes_them() -> None:
    rows = rows_of(
        {
            "distance": pa.array([Decimal("1.5"), Decimal("2.5"), None]),
            "passengers": pa.array([1.0, float("nan"), 2.0]),
            "zone": pa.array(["A", "B", "A"]).dictionary_encode(),
            "comfort": pa.array([1, None, 3], pa.int8()),
            "when": pa.array([date(2026, 1, 2)] * 3),
        }
    )
    validated = Validator(SPEC_OF_RIDES)([entry.record for entry in rows])
    assert validated.rows == [
        {"distance": 1.5, "passengers": 1, "zone": "A", "comfort": "1"},
        {"distance": 2.5, "passengers": None, "zone": "B", "comfort": None},
    ]
    assert validated.errors == {2: {"distance": ["Field may not be null."]}}


def test_text_is_read_as_cells_of_csv_are() -> None:
    [first, second] = rows_of({"distance": ["8", "far"], "zone": ["A", "NA"], "passengers": ["NA", ""]})
    assert first.record == {"distance": 8, "zone": "A", "passengers": None}
    assert second.record == {"distance": "far", "zone": None, "passengers": None}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"distance": [1.0]}, "rides.parquet: lacks the required columns zone"),
        ({"comfort": [1.0]}, "rides.parquet: lacks the required columns distance, zone"),
    ],
)
def test_missing_required_column_is_refused(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(columns)
    assert str(caught.value) == reason


def test_columns_twice_are_refused() -> None:
    file = io.BytesIO()
    names = ["zone", "zone", "id", "note", "id"]
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 5, names=names), file)
    with pytest.raises(DataError, match="^rides.parquet: has a column more than once: id, zone$"):
        ParquetRows(file, SPEC_OF_RIDES, "rides.parquet")


@pytest.mark.parametrize("content", [b"", b"distance,zone\n1,A\n", b"PAR1" + bytes(40) + b"PAR1"])
def test_what_is_no_parquet_is_refused(content: bytes) -> None:
    with pytest.raises((pa.ArrowException, OSError)) as reason:
        pq.ParquetFile(io.BytesIO(content))
    with pytest.raises(DataError) as caught:
        ParquetRows(io.BytesIO(content), SPEC_OF_RIDES, "rides.parquet")
    assert str(caught.value) == f"rides.parquet: not a Parquet file: {str(reason.value).splitlines()[0]}"


class Broken(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError


def test_error_without_words_is_called_by_its_kind() -> None:
    with pytest.raises(DataError, match="^rides.parquet: not a Parquet file: OSError$"):
        ParquetRows(Broken(b"PAR1" * 10), SPEC_OF_RIDES, "rides.parquet")


def test_damage_in_the_middle_is_one_sentence() -> None:
    content = bytearray(parquet_file({"distance": [float(x) for x in range(9000)], "zone": ["A"] * 9000}).getvalue())
    content[4:3000] = bytes(2996)
    with pytest.raises(DataError) as caught:
        list(ParquetRows(io.BytesIO(bytes(content)), SPEC_OF_RIDES, "rides.parquet"))
    cause = caught.value.__cause__
    assert str(caught.value) == f"rides.parquet, after row 0: damaged: {str(cause).splitlines()[0]}"


def written(rows: list[dict[str, Any]], columns: tuple[str, ...], schema: Any = None) -> Any:
    file = io.BytesIO()
    writer = ParquetWriter(file, columns, schema, {"prediction": "number", "error": "text"})
    for row in rows:
        writer.write(row)
    writer.close()
    file.seek(0)
    return pq.read_table(file)


def test_columns_keep_their_types_and_others_are_added() -> None:
    schema = pa.schema([("id", pa.int32()), ("zone", pa.dictionary(pa.int32(), pa.string()))], metadata={"pandas": "x"})
    table = written([{"id": 7, "zone": "A", "prediction": 1.5, "error": None}], ("id", "zone"), schema)
    assert table.schema.field("id").type == pa.int32()
    assert table.to_pylist() == [{"id": 7, "zone": "A", "prediction": 1.5, "error": None}]
    assert (table.schema.field("prediction").type, table.schema.field("error").type) == (pa.float64(), pa.string())
    assert table.schema.metadata is None


def test_rows_of_csv_are_text() -> None:
    table = written([{"id": "007", "prediction": None, "error": "far"}], ("id",))
    assert table.to_pylist() == [{"id": "007", "prediction": None, "error": "far"}]


def test_no_rows_are_a_file_too() -> None:
    table = written([], ("id",))
    assert table.num_rows == 0
    assert table.column_names == ["id", "prediction", "error"]


def test_rows_are_written_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH", 10)
    monkeypatch.setattr(parquet, "GROUP", 20)
    file = io.BytesIO()
    writer = ParquetWriter(file, ("id",), None, {})
    for number in range(45):
        writer.write({"id": str(number)})
    writer.close()
    content = pq.ParquetFile(file)
    assert [content.metadata.row_group(group).num_rows for group in range(content.num_row_groups)] == [20, 20, 5]
    assert content.read().column("id").to_pylist() == [str(number) for number in range(45)]
    assert content.metadata.row_group(0).column(0).compression == "ZSTD"


def test_without_pyarrow_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingLibraryError, match="^Parquet files need pyarrow, which is not installed$"):
        ParquetRows(io.BytesIO(), SPEC_OF_RIDES, "rides.parquet")
