"""Whole files in blocks: the same bytes as row by row, wherever the file is cut."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_kit.batch import blocks, bulk, tables
from model_kit.batch.blocks import Block
from model_kit.batch.bulk import BatchJob, BlockResult, block_predictor, predict_blocks
from model_kit.batch.csv_files import CsvWriter
from model_kit.batch.details import iter_details
from model_kit.errors import DataError
from model_kit.scoring.predictor import Predictor
from model_kit.testing import SPEC_OF_RIDES, load_rides, rides_block_predictor, write_ride_bundle

#: What becomes of a file: its output, rows with a prediction, with an error, decimal commas; or why it is refused.
Outcome = tuple[str, int, int, int] | str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "rides"
    write_ride_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def predict(folder: Path) -> Predictor:
    return Predictor(load_rides(folder))


def lines_of(content: bytes) -> blocks.Lines:
    return blocks.Lines(io.BufferedReader(io.BytesIO(content)), "x")


def reading(content: bytes, monkeypatch: pytest.MonkeyPatch) -> tables.Table:
    class Standard:
        buffer = io.BufferedReader(io.BytesIO(content))

    monkeypatch.setattr("sys.stdin", Standard)
    with tables.reading(tables.STANDARD, SPEC_OF_RIDES, "csv") as table:
        return table


def row_by_row(predict: Predictor, content: bytes) -> Outcome:
    """With a CSV reader, the validator and a CSV writer, as the file has its rows."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            table = reading(content, patch)
            assert table.csv is not None
            output = io.StringIO(newline="")
            writer = CsvWriter(output, (*table.csv.columns, "prediction", "error"), table.csv.dialect)
            scored = failed = 0
            for entry in table.entries:
                [(prediction, error)] = iter_details(predict, [entry])
                writer.write({**entry.original, "prediction": prediction, "error": error or None})
                scored += not error
                failed += bool(error)
        except DataError as error:
            return str(error)
        return output.getvalue(), scored, failed, table.csv.decimal_commas


def by_blocks(predict: Predictor, content: bytes, size: int) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", size)
        try:
            table = reading(content, patch)
            assert table.csv is not None
            assert table.blocks is not None
            work = block_predictor(
                predict, BatchJob(table.name, "prediction", "error", table.columns, table.csv.dialect)
            )
            header = io.StringIO(newline="")
            CsvWriter(header, (*table.csv.columns, "prediction", "error"), table.csv.dialect)
            done = [work(block) for block in table.blocks]
        except DataError as error:
            return str(error)
        output = header.getvalue() + b"".join(part.content for part in done).decode()
        return (
            output,
            sum(part.scored for part in done),
            sum(part.failed for part in done),
            sum(part.decimal_commas for part in done),
        )


CELLS = st.sampled_from(
    [
        *("", "NA", " ", "8", "16.0", " 8 ", "08", "-1", "+8", "1e1", "0.25", "9", "1234.5678", "12345678.25", "nan"),
        *("A", "B", "C", "never seen before", "2", "2.0", "3", "x", "é", "12,5", "1.234,5", "1;5", "a, b", "a;b"),
        *('"', '5" pipe', 'say "so"', "two\nlines", "two\r\nlines", "a\rb", "\0", "A\0", "\x1f", "\x1e", "'", "\ufeff"),
        *("\u2028", "\x0b", "\x85", "x" * 300),
    ]
)
GOOD = st.tuples(
    st.sampled_from(["8", "16.0", "0.125", "1234567.5", "100000000", "8.000000001"]),
    st.sampled_from(["1", "2", "", "NA", "8.0"]),
    st.sampled_from(["A", "B", "Z", "a place"]),
    st.sampled_from(["1", "2", "2.0", "", "7"]),
).map(list)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """CSV files: good and hostile cells, rows too short and too long, quoted as anybody might, in every dialect."""
    columns = draw(st.permutations(["distance", "passengers", "zone", "comfort", "id"]))
    columns = columns[: draw(st.integers(3, 5))]
    for required in ("distance", "zone"):
        if required not in columns:
            columns.append(required)
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"], ["\n", "\r", "\r\n"]]))
    order = {"distance": 0, "passengers": 1, "zone": 2, "comfort": 3}
    lines = []
    for row in draw(st.lists(GOOD | st.lists(CELLS, min_size=4, max_size=4), max_size=12)):
        cells = [row[order[name]] if name in order else draw(CELLS) for name in columns]
        change = draw(st.sampled_from([0] * 12 + [-1, 1]))
        cells = cells[:change] if change < 0 else cells + [draw(CELLS)] * change
        if draw(st.integers(0, 5)) == 0:
            lines.append(delimiter.join(cells))
        else:
            output = io.StringIO(newline="")
            writers = (
                csv.writer(output, delimiter=delimiter, lineterminator=""),
                csv.writer(output, delimiter=delimiter, lineterminator="", quoting=csv.QUOTE_ALL),
            )
            draw(st.sampled_from(writers)).writerow(cells)
            lines.append(output.getvalue())
        if draw(st.integers(0, 15)) == 0:
            lines.append(draw(st.sampled_from(["", " ", "\n", '""'])))
    text = "".join(line + draw(st.sampled_from(ends)) for line in [delimiter.join(columns), *lines])
    if draw(st.integers(0, 5)) == 0:
        text = text[: len(text) - draw(st.integers(0, 6))]
    return (draw(st.sampled_from(["", "", "\ufeff"])) + text).encode()


@settings(deadline=None, max_examples=600)
@given(content=files(), size=st.sampled_from([1, 7, 40, 1 << 18]))
@example(content=b'zone,distance\nA,8\n"B",16\n', size=5)
@example(content=b'zone,distance,n\n"A","8","x, y"\n"A, B",8,""\n"B","16","",\n"A","8","z"\n', size=1000)
@example(content=b'n;zone;distance\r\n"x;y;z";"A";"8"\r\n"";"A";"1\r\n2"\r\n"";"A";"far"\r\n', size=1000)
@example(content=b"zone,distance\nA,8\nB", size=5)
@example(content=b"zone,distance\nA,8\nB\n", size=5)
@example(content=b'zone,distance,n\nA,8,5" pipe\nB,16,"two\nlines"\nB,1,5" pipe\n', size=5)
@example(content=b'zone,distance\nA,8\n"B,16\n', size=5)
@example(content=b'zone,distance\nA,8\n"B"x,16\nA,8\n', size=5)
@example(content=b"zone,distance\rA,8\rB,16\r", size=5)
@example(content=b"sep=|\nzone|distance\nA|8\n", size=5)
@example(content=b"sep=e\nzondistanc\n", size=5)
@example(content=b"sep=.\nzone.distance\nA.8\nB.x\n", size=5)
@example(content="sep=é\nzoneédistance\nAé8\n".encode(), size=5)
@example(content=b"zone,distance\nA,8,surplus\nB,16,,\nA\n", size=5)
@example(content=b'zone,distance\nA\x1fB,8\nA\x1f8,""\nA\x1f8\n', size=1000)
@example(content=b'zone,distance\nA\x1f8\n"B",16\n', size=1000)
@example(content=b'zone,distance\nA,8\x1eA\x1f8\n"B",16\n', size=1000)
def test_blocks_give_the_very_bytes_that_rows_give(predict: Predictor, content: bytes, size: int) -> None:
    assert by_blocks(predict, content, size) == row_by_row(predict, content)


@settings(deadline=None, max_examples=300)
@given(text=st.text(st.sampled_from('8A,;"\n\r. x\0'), max_size=60), size=st.sampled_from([1, 7, 1 << 18]))
def test_blocks_give_what_rows_give_for_any_text_at_all(predict: Predictor, text: str, size: int) -> None:
    content = f"zone,distance\n{text}".encode()
    assert by_blocks(predict, content, size) == row_by_row(predict, content)


@pytest.mark.parametrize("size", [3, 1 << 18])
@pytest.mark.parametrize("before", [b"A,8\n", b'"A",8\n', b""])
def test_text_that_is_not_utf_8_is_refused_wherever_it_is(predict: Predictor, before: bytes, size: int) -> None:
    content = b"zone,distance\n" + before + b"A,\xe9\nA,9\n"
    assert by_blocks(predict, content, size) == row_by_row(predict, content)
    assert by_blocks(predict, content, size) == "standard input: not UTF-8 text; export it as CSV UTF-8"


@pytest.mark.parametrize("row", ["A,8,{}", '"A",8,{}', 'A,8,"{}"'])
def test_cell_longer_than_any_is_refused_with_its_line(predict: Predictor, row: str) -> None:
    content = ("zone,distance,note\n" + "A,8,x\n" * 5 + row.format("x" * 140_000) + "\nA,8,x\n").encode()
    expected = "standard input, line 7: not CSV: field larger than field limit (131072)"
    assert [by_blocks(predict, content, size) for size in (100, 1 << 18)] == [expected] * 2
    assert row_by_row(predict, content) == expected


def test_rows_of_another_width_keep_their_place_and_lose_nothing(predict: Predictor) -> None:
    content = b'zone;distance;note\nA;8;x\nA;8\n"B;1";2;y;z;"1;2"\nA;8;;;\nB;8;x\n'
    outcome = by_blocks(predict, content, 1 << 18)
    assert not isinstance(outcome, str)
    rows = list(csv.reader(io.StringIO(outcome[0], newline=""), delimiter=";"))
    assert [row[:3] for row in rows[1:]] == [
        ["A", "8", "x"],
        ["A", "8", ""],
        ["B;1", "2", "y"],
        ["A", "8", ""],
        ["B", "8", "x"],
    ]
    assert [row[3] != "" for row in rows[1:]] == [True, False, False, False, True]
    assert [row[4] for row in rows[1:]] == [
        "",
        "2 cells where the header has 3",
        '5 cells where the header has 3; beyond them: z;"1;2"',
        "5 cells where the header has 3",
        "",
    ]
    assert outcome[1:] == (2, 3, 0)


def test_a_last_line_cut_off_is_refused_and_one_that_is_short_is_not(predict: Predictor) -> None:
    whole = b"zone,distance,note\nA,8,x\nB,16"
    refusal = "standard input, line 3: 2 cells where the header has 3; it is the last line: the file is cut off"
    for content in (whole, whole.replace(b"A", b'"A"')):
        assert by_blocks(predict, content, 4) == refusal
        assert by_blocks(predict, content + b"\n", 4)[1:] == (1, 1, 0)
        assert by_blocks(predict, content + b",y", 4)[1:] == (2, 0, 0)


def test_score_that_is_no_number_is_this_rows_error(folder: Path) -> None:
    model = load_rides(folder)
    # Row by row, as the row at fault is asked about once more.
    model._features._derive = lambda encoded: np.where(encoded[:, :1] == 9, np.nan, encoded)
    content = Block(2, b"9,1,A,2\n8,1,A,2\n8,1,A,2\n")
    job = BatchJob("x", "prediction", "error", SPEC_OF_RIDES.names)
    part = block_predictor(Predictor(model), job)(content)
    lines = part.content.decode().splitlines()
    assert lines[0] == "9,1,A,2,,_schema: The model gives no finite prediction for this row."
    assert all(float(line.split(",")[4]) > 0 for line in lines[1:])
    assert (part.scored, part.failed) == (2, 1)


@pytest.mark.parametrize(
    "row",
    [
        "A,8,x",
        '"A","8","x"',
        'A,8,"x, y"',
        '"A",8,"say ""so"""',
        'A,8,"two\nlines"',
        'A,8,5" pipe',
        'A,8,"a\rb"',
        "A,8,é",
    ],
)
def test_rows_without_errors_take_the_fast_lane_however_they_are_quoted(
    row: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Predictor(load_rides(folder))

    def refuse(*_: object) -> None:
        raise AssertionError("row by row")

    monkeypatch.setattr(Predictor, "__call__", refuse)
    outcome = by_blocks(predict, f"zone,distance,note\n{row}\n{row}\n".encode(), 1 << 18)
    assert outcome[1:] == (2, 0, 0)


# JSON Lines


def test_json_lines_are_answered_in_place_with_their_line_numbers(predict: Predictor) -> None:
    work = block_predictor(predict, BatchJob("rides.jsonl", "prediction", "error"))
    part = work(Block(1, b'{"distance": 8, "zone": "A"}\n\n7\n{"distance": "far", "zone": "A"}\n'))
    rows = [json.loads(line) for line in part.content.splitlines()]
    assert [row["error"] for row in rows] == [None, "_schema: Invalid input type.", "distance: Not a valid number."]
    assert rows[0]["prediction"] > 0
    assert (part.scored, part.failed, part.size) == (1, 2, 65)
    with pytest.raises(DataError, match="^rides.jsonl, line 12: has a key error already$"):
        work(Block(11, b'{}\n{"error": 1}\n'))


def test_json_lines_are_cut_at_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SIZE", 5)
    lines = lines_of(b'{"a"\n\n{"b": "long"}\n1\n2')
    assert list(lines.line_blocks()) == [(1, b'{"a"\n'), (2, b"\n"), (3, b'{"b": "long"}\n'), (4, b"1\n2")]


# who does the work


@pytest.fixture
def lines() -> list[bytes]:
    return [f"{distance / 8},A,x\n".encode() for distance in range(40)]


@pytest.fixture
def job() -> BatchJob:
    return BatchJob("x", "prediction", "error", ("distance", "zone", "note"))


@pytest.mark.parametrize("patience", [-1.0, 100.0])
@pytest.mark.parametrize("total", [40, None])
@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_file_is_shared_if_that_pays_and_comes_out_the_same(
    patience: float,
    total: int | None,
    n_processes: int,
    folder: Path,
    lines: list[bytes],
    job: BatchJob,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "PATIENCE", patience)
    here: list[int] = []
    work = rides_block_predictor(folder, job)

    def count(block: Block) -> BlockResult:
        here.append(block.line)
        return work(block)

    source = (Block(number, line) for number, line in enumerate(lines, start=2))
    done = predict_blocks(
        source, count, partial(rides_block_predictor, folder, job), total=total, n_processes=n_processes
    )
    assert [part.content for part in done] == [work(Block(2, line)).content for line in lines]
    shared = patience < 0 and n_processes > 1
    assert here == ([2] if shared else list(range(2, 42)))


def test_an_error_shows_after_the_rows_before_it(
    folder: Path, lines: list[bytes], job: BatchJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PATIENCE", -1.0)
    lines[20] = b'"8"8,A,x\n'
    source = (Block(number, line) for number, line in enumerate(lines, start=2))
    done = predict_blocks(
        source,
        rides_block_predictor(folder, job),
        partial(rides_block_predictor, folder, job),
        total=None,
        n_processes=2,
    )
    numbers: list[int] = []
    with pytest.raises(DataError, match="^x, line 22: not CSV: ',' expected after '\"'$"):
        numbers.extend(part.size for part in done)
    assert len(numbers) == 20
