"""Many files as one table: patterns, folders, partitions, compressions, object stores."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from model_kit.batch.tables import reading
from model_kit.cli.main import main
from model_kit.errors import DataError
from model_kit.scoring.definition import ModelDefinition
from model_kit.testing import SPEC_OF_RIDES

fsspec = pytest.importorskip("fsspec")

HEADER = "id,distance,zone\n"
RIDES = [f"{HEADER}1,8,A\n2,16,B\n", f"{HEADER}3,far,A\n4,8,B\n"]


def fare(distance: float, zone: str) -> float:
    return float(np.exp(2.5 + distance / 8 + 1 / 16 - (zone == "B") / 4))


PRICED = (
    "id,distance,zone,prediction,error\n"
    f"1,8,A,{fare(8, 'A')!r},\n2,16,B,{fare(16, 'B')!r},\n"
    f"3,far,A,,distance: Not a valid number.\n4,8,B,{fare(8, 'B')!r},\n"
)


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments)], program="rides-model")


@pytest.fixture(autouse=True)
def model(installed: ModelDefinition) -> ModelDefinition:
    return installed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of rides, and what is no part of the table."""
    (tmp_path / "in").mkdir()
    for name, text in zip(["a.csv", "b.csv"], RIDES, strict=True):
        (tmp_path / "in" / name).write_text(text)
    for name in ("_SUCCESS", ".c.csv", "notes.txt"):
        (tmp_path / "in" / name).write_text("no table\n")
    return tmp_path / "in"


@pytest.fixture
def memory() -> Iterator[Callable[[str], bytes]]:
    """fsspec's memory as an object store: what an object holds."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store.cat
    store.store.clear()


@pytest.mark.parametrize("named", [["a.csv", "b.csv"], ["*.csv"], ["[ab].csv"], [""]])
def test_several_files_are_one_table(named: list[str], folder: Path, tmp_path: Path) -> None:
    assert run("predict", *(folder / name for name in named), "-o", tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == PRICED


def test_files_come_in_the_order_given(folder: Path) -> None:
    with reading([str(folder / "b.csv"), str(folder / "a.csv")], SPEC_OF_RIDES) as table:
        assert (table.name, table.total) == ("b.csv and 1 more", 2)
        assert [entry.original["id"] for entry in table.entries] == ["3", "4", "1", "2"]
        assert table.position() == 2


def test_files_may_differ_in_line_ends_marks_and_compression(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(RIDES[0])
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(("\ufeff" + RIDES[1]).replace("\n", "\r\n").encode()))
    assert run("predict", tmp_path / "a.csv", tmp_path / "b.csv.gz", "-o", tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == PRICED


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("distance,zone\n8,A\n", "b.csv: lacks the column id of a.csv"),
        ("id,distance,zone,x\n1,8,A,\n", "b.csv: has the column x, which is not in a.csv"),
        ("distance,id,zone\n8,1,A\n", "b.csv: has its columns in another order than a.csv"),
        ("id;distance;zone\n1;8;A\n", "b.csv: has ';' between its cells, the first file ','"),
    ],
)
def test_files_of_other_columns_are_no_part_of_a_table(
    second: str, reason: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.csv").write_text(second)
    (tmp_path / "out.csv").write_text("old")
    assert run("predict", folder, "-o", tmp_path / "out.csv") == 2
    assert capsys.readouterr().err == f"rides-model: {reason}\n"
    assert (tmp_path / "out.csv").read_text() == "old"


def test_a_folder_of_several_formats_is_no_table(folder: Path) -> None:
    (folder / "c.jsonl").write_text('{"distance": 8, "zone": "A"}\n')
    with (
        pytest.raises(
            DataError, match=r"in: has files of several formats, csv, jsonl: name one, like 'folder/\*.csv'$"
        ),
        reading(str(folder), SPEC_OF_RIDES),
    ):
        pass
    with reading(str(folder / "*.jsonl"), SPEC_OF_RIDES) as table:
        assert [entry.record for entry in table.entries] == [{"distance": 8, "zone": "A"}]


@pytest.mark.parametrize(
    ("path", "reason"), [("*.tsv", "there is no such file"), ("empty", "a folder without a table")]
)
def test_nothing_to_read_is_said(path: str, reason: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=f"{reason}$"), reading(str(folder / path), SPEC_OF_RIDES):
        pass


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    (folder / "a[1].csv").write_text(RIDES[1])
    with reading(str(folder / "a[1].csv"), SPEC_OF_RIDES) as table:
        assert (table.name, table.total) == ("a[1].csv", len(RIDES[1]))


# Parquet


def test_folders_of_a_partitioned_table_are_columns(tmp_path: Path) -> None:
    rides = pa.table(
        {"distance": [8.0, 16.0, 8.0, 16.0], "zone": ["B", "A", "A", None], "passengers": [2, 2, 1, 1], "id": range(4)}
    )
    ds.write_dataset(
        rides,
        tmp_path / "rides",
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("zone", pa.string()), ("passengers", pa.int64())]), flavor="hive"),
    )
    assert run("predict", tmp_path / "rides", "-o", tmp_path / "out.parquet") == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["distance", "id", "zone", "passengers", "prediction", "error"]
    rows = sorted(found.to_pylist(), key=lambda row: row["id"])
    assert [(row["zone"], row["passengers"]) for row in rows] == [("B", 2), ("A", 2), ("A", 1), (None, 1)]
    (tmp_path / "flat").mkdir()
    pq.write_table(rides, tmp_path / "flat.parquet")
    assert run("predict", tmp_path / "flat.parquet", "-o", tmp_path / "flat_out.parquet") == 0
    expected = pq.read_table(tmp_path / "flat_out.parquet").to_pylist()
    assert [(row["prediction"], row["error"]) for row in rows] == [
        (row["prediction"], row["error"]) for row in expected
    ]
    assert expected[3]["error"] == "zone: Field may not be null."


def test_a_partition_that_is_no_parquet_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rides/zone=A").mkdir(parents=True)
    (tmp_path / "rides/zone=A/a.parquet").write_bytes(b"no such file")
    assert run("predict", tmp_path / "rides", "-o", tmp_path / "out.parquet") == 2
    assert "rides: no partitioned table: " in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()


def test_types_of_several_parquet_files_are_those_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"distance": [8.0], "zone": ["A"], "n": [1.5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"distance": [16], "zone": ["B"], "n": [2]}), tmp_path / "b.parquet")
    assert run("predict", tmp_path / "*.parquet", "-o", tmp_path / "out.pq") == 0
    found = pq.read_table(tmp_path / "out.pq")
    assert found.column("n").to_pylist() == [1.5, 2.0]
    assert found.column("prediction").to_pylist() == [fare(8, "A"), fare(16, "B")]
    pq.write_table(pa.table({"distance": [16], "zone": ["B"], "n": ["x"]}), tmp_path / "b.parquet")
    assert run("predict", tmp_path / "*.parquet", "-o", tmp_path / "out.pq") == 2
    assert "rides-model: b.parquet: other types than the first file: " in capsys.readouterr().err
    assert pq.read_table(tmp_path / "out.pq").equals(found)


# Compressions

PACKED: dict[str, Callable[[bytes], Any]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    "lz4": lambda content: pa.Codec("lz4").compress(content, asbytes=True),
}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_are_read_whatever_their_name_and_written_by_it(suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / "rides.csv", tmp_path / f"out.csv.{suffix}"
    pack = PACKED[suffix]
    # Of several streams one after the other, as `cat` joins them.
    source.write_bytes(pack(RIDES[0].encode()) + pack(RIDES[1].removeprefix(HEADER).encode()))
    assert run("predict", source, "-o", target) == 0
    assert target.read_bytes()[:3] != b"id,"
    assert run("predict", target, "-o", tmp_path / "again.csv", "--prefix", "x_") == 0
    first, second = PRICED.splitlines(), (tmp_path / "again.csv").read_text().splitlines()
    assert [line.startswith(f"{priced},") for priced, line in zip(first, second, strict=True)] == [True] * 5


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_file_that_is_cut_off_is_refused(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    rows = "".join(f"{number},8,A\n" for number in random.integers(0, 1 << 60, 5000))
    (tmp_path / "rides.csv").write_bytes(PACKED[suffix]((HEADER + rows).encode())[:-2000])
    assert run("predict", tmp_path / "rides.csv", "-o", tmp_path / "out.csv") == 2
    assert "rides.csv: compressed by " in (said := capsys.readouterr().err)
    assert "and damaged or cut off: " in said
    assert not (tmp_path / "out.csv").exists()


def test_a_text_that_begins_like_a_compressed_file_is_text(tmp_path: Path) -> None:
    (tmp_path / "rides.csv").write_text("BZh,distance,zone\n1,8,A\n")
    with reading(str(tmp_path / "rides.csv"), SPEC_OF_RIDES) as table:
        assert [entry.record for entry in table.entries] == [{"distance": 8, "zone": "A"}]


# Object stores


def test_objects_are_read_and_written_by_fsspec(memory: Callable[[str], bytes], folder: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(f"{folder}/", "memory://bucket/in/", recursive=True)
    assert run("predict", "memory://bucket/in/*.csv", "-o", "memory://bucket/out.csv") == 0
    assert memory("/bucket/out.csv").decode() == PRICED
    assert run("predict", "memory://bucket/in", "-o", "memory://bucket/out.csv.gz") == 0
    assert gzip.decompress(memory("/bucket/out.csv.gz")).decode() == PRICED
    assert run("predict", "memory://bucket/out.csv", "-o", "memory://bucket/out.jsonl", "--prefix", "x_") == 0
    assert len(memory("/bucket/out.jsonl").splitlines()) == 4


def test_parquet_objects_are_tables_with_the_columns_of_their_folders(memory: Callable[[str], bytes]) -> None:
    for zone in "AB":
        with fsspec.open(f"memory://bucket/rides/zone={zone}/part.parquet", "wb") as file:
            pq.write_table(pa.table({"distance": [8.0]}), file)
    assert run("predict", "memory://bucket/rides", "-o", "memory://bucket/out.parquet") == 0
    assert pq.read_table(io.BytesIO(memory("/bucket/out.parquet"))).column("prediction").to_pylist() == [
        fare(8, "A"),
        fare(8, "B"),
    ]


def test_an_object_is_replaced_when_all_of_it_is_there(memory: Callable[[str], bytes], folder: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/out.csv", b"old")
    (folder / "b.csv").write_text(HEADER + '5,8,"A\n')
    assert run("predict", folder, "-o", "memory://bucket/out.csv") == 2
    assert memory("/bucket/out.csv") == b"old"


def test_arrows_own_file_systems_are_named_by_url(folder: Path, tmp_path: Path) -> None:
    assert run("predict", f"file://{folder}/*.csv", "-o", f"file://{tmp_path}/out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == PRICED


def test_what_nothing_installed_can_open_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "nosuch://bucket/in.csv", "-o", tmp_path / "out.csv") == 2
    assert "rides-model: nosuch://: " in capsys.readouterr().err
    assert run("predict", "memory://bucket/nowhere.csv", "-o", tmp_path / "out.csv") == 2
    assert "nowhere.csv: cannot be read: " in capsys.readouterr().err


def test_evaluate_reads_many_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.csv", "b.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([f"{lines[0]},fare", *(f"{line},40.0" for line in lines[1:])]) + "\n")
    assert run("evaluate", "--data", folder) == 0
    assert "4 rows, 3 scored, 1 failed" in capsys.readouterr().out


def test_rows_of_another_width_keep_their_reason_in_every_file(folder: Path, tmp_path: Path) -> None:
    (folder / "b.csv").write_text(HEADER + "3,8\n4,8,B,more\n")
    assert run("predict", folder, "-o", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == [
            *("", ""),
            "2 cells where the header has 3",
            "4 cells where the header has 3; beyond them: more",
        ]
