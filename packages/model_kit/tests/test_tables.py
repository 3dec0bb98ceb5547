"""Tables in and out, whatever the format."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from model_kit.batch import blocks
from model_kit.batch.tables import STANDARD, format_of, name_of, reading, writing
from model_kit.errors import DataError
from model_kit.testing import SPEC_OF_RIDES

RIDES = "distance,zone,note\n8,A,x\n,B,NA\n"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.b.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.txt", "jsonl"),
        ("-", "jsonl"),
    ],
)
def test_name_says_the_format(path: str, found: str) -> None:
    assert format_of(path, "jsonl") == found


def test_without_a_telling_name_it_is_csv() -> None:
    assert format_of("rides") == format_of(STANDARD) == "csv"


def test_name_of_a_table() -> None:
    assert (name_of("-"), name_of("folder/a.csv")) == ("standard input", "a.csv")


def test_position_reaches_the_total(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    with reading(str(path), SPEC_OF_RIDES) as table:
        assert [entry.number for entry in table.entries] == [2, 3]
        assert table.position() == table.total == len(RIDES)


def test_table_tells_what_it_is(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    line = '{"distance": 8, "zone": "A"}\n'
    (tmp_path / "rides.csv").write_text("distance,zone\n8,A\n")
    (tmp_path / "rides.jsonl").write_text(line)
    pq.write_table(pa.table({"distance": [8], "zone": ["A"]}), tmp_path / "rides.parquet")
    columns = ("distance", "zone")
    expected = {"csv": (columns, 18), "jsonl": (None, len(line)), "parquet": (columns, 1)}
    for kind, (names, total) in expected.items():
        with reading(str(tmp_path / f"rides.{kind}"), SPEC_OF_RIDES) as table:
            assert (table.name, table.format, table.columns, table.total) == (f"rides.{kind}", kind, names, total)
            assert [entry.record for entry in table.entries] == [{"distance": 8, "zone": "A"}]
            assert table.position() == total


def test_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(blocks, "LONGEST_LINE", 20)
    (tmp_path / "a.csv").write_text("distance,zone,a-very-long-note")
    (tmp_path / "a.jsonl").write_text("[\n")
    pq.write_table(pa.table({"zone": ["A"]}), tmp_path / "a.parquet")
    for name, reason in {
        "a.csv": ", line 1: longer than 20 bytes: no row of a table",
        "a.jsonl": ": a JSON array, not JSON Lines; write one object a line",
        "a.parquet": ": lacks the required columns distance",
    }.items():
        with pytest.raises(DataError) as caught, reading(str(tmp_path / name), SPEC_OF_RIDES) as table:
            list(table.entries)
        assert str(caught.value) == name + reason


SPREADSHEET = '\ufeffdistance;zone;note\r\n8;A;"é\r\nü; x"\r\n'.encode()


def test_csv_comes_out_as_it_went_in(tmp_path: Path) -> None:
    source, target = tmp_path / "rides.csv", tmp_path / "out.csv"
    source.write_bytes(SPREADSHEET)
    with reading(str(source), SPEC_OF_RIDES) as table, writing(str(target), table, "csv", {}) as writer:
        for entry in table.entries:
            writer.write(table.row(entry, "csv"))
    assert target.read_bytes() == SPREADSHEET


def test_standard_output_is_utf_8_with_its_own_line_ends_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "rides.csv", io.BytesIO()
    source.write_bytes(SPREADSHEET)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii", errors="replace", newline="\r"))
    with reading(str(source), SPEC_OF_RIDES) as table, writing(STANDARD, table, "csv", {}) as writer:
        for entry in table.entries:
            writer.write(table.row(entry, "csv"))
        with pytest.raises(UnicodeEncodeError):
            writer.write({"distance": "\ud800", "zone": "A", "note": ""})
    assert output.getvalue() == SPREADSHEET


def test_pipe_has_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RIDES.encode())))
    with reading(STANDARD, SPEC_OF_RIDES) as table:
        assert table.total is None
        assert [dict(entry.original) for entry in table.entries] == [
            {"distance": "8", "zone": "A", "note": "x"},
            {"distance": "", "zone": "B", "note": "NA"},
        ]
        assert table.position() == 0


def test_device_has_no_total() -> None:
    with pytest.raises(DataError, match="^null: the file is empty$"), reading(os.devnull, SPEC_OF_RIDES):
        pass


@pytest.mark.parametrize("path", ["nowhere.csv", "."])
def test_what_cannot_be_opened_is_refused(path: str) -> None:
    with pytest.raises(DataError, match="cannot be read"), reading(path, SPEC_OF_RIDES):
        pass


def test_error_of_whoever_uses_the_rows_is_not_mistaken_for_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    with pytest.raises(OSError, match="disk full"), reading(str(path), SPEC_OF_RIDES):
        raise OSError("disk full")


def test_csv_becomes_json_with_types(tmp_path: Path) -> None:
    source, target = tmp_path / "rides.csv", tmp_path / "rides.jsonl"
    source.write_text(RIDES)
    with reading(str(source), SPEC_OF_RIDES) as table, writing(str(target), table, "jsonl", {}) as writer:
        for entry in table.entries:
            writer.write(table.row(entry, "jsonl"))
    assert target.read_text() == (
        '{"distance": 8, "zone": "A", "note": "x"}\n{"distance": null, "zone": "B", "note": "NA"}\n'
    )


def test_json_becomes_nothing_but_json(tmp_path: Path) -> None:
    source = tmp_path / "rides.jsonl"
    source.write_text("{}\n")
    with (
        pytest.raises(DataError, match="JSON Lines can only become JSON Lines"),
        reading(str(source), SPEC_OF_RIDES) as table,
        writing(str(tmp_path / "x.csv"), table, "csv", {}),
    ):
        pass
    assert os.listdir(tmp_path) == ["rides.jsonl"]


def test_key_that_is_going_to_be_added_is_refused_where_it_occurs(tmp_path: Path) -> None:
    source = tmp_path / "rides.jsonl"
    source.write_text('{}\n{"error": 1}\n')
    with reading(str(source), SPEC_OF_RIDES) as table:
        table.refuse(["prediction", "error"])
        assert next(table.entries).number == 1
        with pytest.raises(DataError, match="^rides.jsonl, line 2: has a key error already$"):
            next(table.entries)


def test_columns_that_are_going_to_be_added_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "rides.csv"
    source.write_text("distance,error,zone,prediction\n")
    with reading(str(source), SPEC_OF_RIDES) as table:
        table.refuse(["price", "errors"])
        with pytest.raises(DataError, match="^rides.csv: has a column prediction and error already$"):
            table.refuse(["prediction", "error"])


def test_parquet_goes_through_pipes(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    source = tmp_path / "rides.parquet"
    pq.write_table(pa.table({"distance": [8.0, 9.0], "zone": ["A", "B"]}), source)
    read_end, write_end = os.pipe()
    os.write(write_end, source.read_bytes())
    os.close(write_end)
    with (
        os.fdopen(read_end, "r") as pipe,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", pipe)
        with (
            reading(STANDARD, SPEC_OF_RIDES, "parquet") as table,
            writing(STANDARD, table, "parquet", {"prediction": "number", "error": "text"}) as writer,
        ):
            assert (table.total, table.position()) == (2, 0)
            for entry in table.entries:
                writer.write({**entry.original, "prediction": 1.0, "error": None})
            assert table.position() == 2
    assert pq.read_table(io.BytesIO(capsysbinary.readouterr().out)).to_pylist() == [
        {"distance": 8.0, "zone": "A", "prediction": 1.0, "error": None},
        {"distance": 9.0, "zone": "B", "prediction": 1.0, "error": None},
    ]


def test_parquet_becomes_csv_and_csv_becomes_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet")
    source, middle, end = (str(tmp_path / name) for name in ("a.csv", "b.parquet", "c.csv"))
    Path(source).write_text(RIDES)
    for first, second in ((source, middle), (middle, end)):
        with reading(first, SPEC_OF_RIDES) as table, writing(second, table, format_of(second), {}) as writer:
            for entry in table.entries:
                writer.write(table.row(entry, format_of(second)))
    assert pq.read_table(middle).to_pylist()[1] == {"distance": "", "zone": "B", "note": "NA"}
    assert Path(end).read_text() == RIDES
