"""Tables in and out, whatever the format."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_kit.batch import csv_files, rows
from model_kit.batch.file_systems import STANDARD
from model_kit.batch.rows import Answers, Format
from model_kit.batch.sources import name_of
from model_kit.batch.tables import format_of, output_format, reading, writing
from model_kit.errors import DataError, MissingLibraryError
from model_kit.scoring.table_columns import Added
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
    line = '{"distance": 8, "zone": "A"}\n'
    (tmp_path / "rides.csv").write_text("distance,zone\n8,A\n")
    (tmp_path / "rides.jsonl").write_text(line)
    pq.write_table(pa.table({"distance": [8], "zone": ["A"]}), tmp_path / "rides.parquet")
    columns = ("distance", "zone")
    expected = {"csv": (columns, 18), "jsonl": ((), len(line)), "parquet": (columns, 1)}
    for kind, (names, total) in expected.items():
        with reading(str(tmp_path / f"rides.{kind}"), SPEC_OF_RIDES) as table:
            assert (table.name, table.format, table.columns, table.total) == (f"rides.{kind}", kind, names, total)
            assert [entry.record for entry in table.entries] == [{"distance": 8, "zone": "A"}]
            assert table.position() == total


def test_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "LONGEST_LINE", 20)
    monkeypatch.setattr(rows, "LONGEST_LINE", 20)
    (tmp_path / "a.csv").write_text("distance,zone,a-very-long-note\n")
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
ADDED: Added = {"prediction": "number", "error": "text"}


def convert(source: Path | str, target: Path | str, as_format: Format) -> None:
    """Write a table in another format, with a prediction of 1.5 for each row."""
    with reading(str(source), SPEC_OF_RIDES) as table, writing(str(target), table, as_format, ADDED) as writer:
        for batch in map(table.parse, table.blocks()):
            answers = Answers(np.full(batch.n_rows, 1.5), {}, np.empty((0, 4)), [])
            writer.write(writer.render(batch, answers))


def test_standard_output_is_utf_8_with_its_own_line_ends_whatever_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "rides.csv", io.BytesIO()
    source.write_bytes(SPREADSHEET)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii", errors="replace", newline="\r"))
    convert(source, STANDARD, "csv")
    expected = SPREADSHEET.replace(b"note\r", b"note;prediction;error\r").replace(b'x"', b'x";1.5;')
    assert output.getvalue() == expected


def test_compressed_text_is_read_and_written(tmp_path: Path) -> None:
    for suffix, text in (("csv", RIDES), ("jsonl", '{"distance": 8, "zone": "A"}\n')):
        source, target = tmp_path / f"rides.{suffix}.gz", tmp_path / f"out.{suffix}.gz"
        source.write_bytes(gzip.compress(text.encode()))
        convert(source, target, format_of(str(target)))
        with reading(str(target), SPEC_OF_RIDES) as table:
            assert next(table.entries).record == {"distance": 8, "zone": "A", **({} if suffix == "csv" else PRICED)}


PRICED = {"prediction": 1.5, "error": None}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.json", ".json"),
        ("a.XLSX", ".XLSX"),
        ("a.csv.zip", ".zip"),
        ("a.xls.gz", ".xls"),
        ("a.parquet.gz", "compressed Parquet"),
    ],
)
def test_output_of_a_format_that_is_not_written_is_refused(name: str, suffix: str) -> None:
    with pytest.raises(DataError) as caught:
        output_format(name, "csv")
    known = ".csv .tsv .jsonl .ndjson .parquet .pq"
    assert (
        str(caught.value)
        == f"{name}: {suffix} is not written; known are {known}, text with .gz .bz2 .xz .zst .lz4 after it"
    )


@pytest.mark.parametrize(
    ("name", "expected"), [("a.csv.gz", "csv"), ("a.jsonl.GZ", "jsonl"), ("a.txt", "jsonl"), ("v1.0", "jsonl")]
)
def test_output_has_the_format_that_its_name_says(name: str, expected: str) -> None:
    assert output_format(name, "jsonl") == expected


def test_pipe_has_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(RIDES.encode()))))
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


def test_what_cannot_be_opened_is_refused() -> None:
    with pytest.raises(DataError, match=r"^nowhere\.csv: cannot be read"), reading("nowhere.csv", SPEC_OF_RIDES):
        pass


def test_error_of_whoever_uses_the_rows_is_not_mistaken_for_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(RIDES)
    with pytest.raises(OSError, match="disk full"), reading(str(path), SPEC_OF_RIDES):
        raise OSError("disk full")


def test_csv_becomes_json_with_types(tmp_path: Path) -> None:
    source, target = tmp_path / "rides.csv", tmp_path / "rides.jsonl"
    source.write_text(RIDES)
    convert(source, target, "jsonl")
    assert [json.loads(line) for line in target.read_text().splitlines()] == [
        {"distance": 8, "zone": "A", "note": "x", **PRICED},
        {"distance": None, "zone": "B", "note": "NA", **PRICED},
    ]


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


def test_key_that_is_going_to_be_added_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "rides.jsonl"
    source.write_text('{}\n{"error": 1}\n')
    with reading(str(source), SPEC_OF_RIDES) as table:
        table.refuse(["prediction", "error"])
        with pytest.raises(DataError, match="^rides.jsonl, line 2: has a key error already; --prefix model_ "):
            next(table.entries)


def test_columns_that_are_going_to_be_added_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "rides.csv"
    source.write_text("distance,error,zone,prediction\n")
    with reading(str(source), SPEC_OF_RIDES) as table:
        table.refuse(["price", "errors"])
        with pytest.raises(DataError, match="^rides.csv: has a column prediction and error already; --prefix model_"):
            table.refuse(["prediction", "error"])


def test_gzip_is_known_by_its_first_byte_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    packed = gzip.compress(b"distance,zone\n8,A\n")
    os.write(write, packed[:1])

    def give_the_rest() -> None:
        os.write(write, packed[1:])
        os.close(write)

    # When the first byte has been read.
    late = threading.Timer(0.05, give_the_rest)
    late.start()
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with reading("-", SPEC_OF_RIDES) as table:
            assert [entry.record for entry in table.entries] == [{"distance": 8, "zone": "A"}]
    late.join()


def test_parquet_goes_through_pipes(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    source = tmp_path / "rides.parquet"
    pq.write_table(pa.table({"distance": [8.0, 9.0], "zone": ["A", "B"]}), source)
    read_end, write_end = os.pipe()
    os.write(write_end, source.read_bytes())
    os.close(write_end)
    with os.fdopen(read_end, "r") as pipe, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", pipe)
        with (
            reading(STANDARD, SPEC_OF_RIDES, "parquet") as table,
            writing(STANDARD, table, "parquet", ADDED) as writer,
        ):
            assert (table.total, table.position()) == (2, 0)
            for batch in map(table.parse, table.blocks()):
                writer.write(writer.render(batch, Answers(np.ones(2), {}, np.empty((0, 4)), [])))
            assert table.position() == 2
    assert pq.read_table(io.BytesIO(capsysbinary.readouterr().out)).to_pylist() == [
        {"distance": 8.0, "zone": "A", "prediction": 1.0, "error": None},
        {"distance": 9.0, "zone": "B", "prediction": 1.0, "error": None},
    ]


def test_csv_becomes_parquet_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(RIDES)
    convert(tmp_path / "a.csv", tmp_path / "b.parquet", "parquet")
    assert pq.read_table(tmp_path / "b.parquet").to_pylist() == [
        {"distance": "8", "zone": "A", "note": "x", **PRICED},
        {"distance": "", "zone": "B", "note": "NA", **PRICED},
    ]


def test_without_pyarrow_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(MissingLibraryError, match="^CSV and Parquet files need pyarrow, which is not installed$"),
        reading("rides.csv", SPEC_OF_RIDES),
    ):
        pass


@pytest.mark.parametrize("damage", [lambda content: content[:-12], lambda content: content + b"junk"])
def test_damaged_gzip_is_refused_in_one_line(damage: Any, tmp_path: Path) -> None:
    source = tmp_path / "rides.csv.gz"
    source.write_bytes(damage(gzip.compress(RIDES.encode())))
    with (
        pytest.raises(DataError, match=r"^rides\.csv\.gz: compressed by gzip, and damaged or cut off: "),
        reading(str(source), SPEC_OF_RIDES) as table,
    ):
        list(table.entries)
