"""CSV rows and records, whatever the blocks in which a file is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_kit.batch import csv_files, rows
from model_kit.batch.csv_files import Dialect, csv_table
from model_kit.batch.details import iter_details
from model_kit.batch.rows import InputRow
from model_kit.batch.scoring import in_order
from model_kit.errors import DataError
from model_kit.records.number_format import NumberFormat
from model_kit.records.validation import Validator
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Learned
from model_kit.testing import LEARNED, SPEC_OF_RIDES, load_rides, write_ride_bundle

HEADER = "distance,passengers,zone,comfort\n"
PriceCsv = Callable[..., tuple[bytes, int, int]]


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("bundle") / "rides"
    write_ride_bundle(folder)
    return Predictor(load_rides(folder))


def entries(content: str | bytes) -> list[InputRow]:
    return list(csv_table(content.encode() if isinstance(content, str) else content, SPEC_OF_RIDES).entries)


def records_of(content: str | bytes) -> list[object]:
    return [entry.record for entry in entries(content)]


def refusal(content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        entries(content)
    return str(caught.value)


def test_table_without_any_field_is_refused_although_none_is_required() -> None:
    spec = replace(SPEC_OF_RIDES, fields=tuple(replace(field, required=False) for field in SPEC_OF_RIDES.fields))
    with pytest.raises(DataError, match="^input: the header has no field of the model, such as distance$"):
        csv_table(b"foo,bar\n1,2\n", spec)
    assert [row.record for row in csv_table(b"foo,zone\n1,A\n", spec).entries] == [{"zone": "A"}]


def test_rows_keep_their_cells_and_become_records() -> None:
    table = csv_table(b'id,distance,zone,note\n7,3.50,A,"a, ""b"""\n8,4,B,\n', SPEC_OF_RIDES)
    assert table.columns == ("id", "distance", "zone", "note")
    assert list(table.entries) == [
        InputRow({"id": "7", "distance": "3.50", "zone": "A", "note": 'a, "b"'}, 2, {"distance": 3.5, "zone": "A"}),
        InputRow({"id": "8", "distance": "4", "zone": "B", "note": ""}, 3, {"distance": 4, "zone": "B"}),
    ]


def test_integers_that_pandas_wrote_as_floats_are_valid() -> None:
    validated = Validator(SPEC_OF_RIDES)(records_of(HEADER + "856.0,2.0,A,1.0\n"))
    assert validated.errors == {}
    assert validated.rows == [{"distance": 856.0, "passengers": 2, "zone": "A", "comfort": "1"}]


def test_what_does_not_fit_is_left_for_the_validator_to_name() -> None:
    validated = Validator(SPEC_OF_RIDES)(records_of(HEADER + "far,2.5,A,1\ninf,,NA,x\n"))
    assert validated.errors == {
        0: {"distance": ["Not a valid number."], "passengers": ["Not a valid integer."]},
        1: {"distance": ["Not a valid number."], "zone": ["Field may not be null."]},
    }


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffdistance,zone\n1,A\n",
        '\ufeff"distance","zone"\n1,A\n',
        "distance,zone\r\n1,A\r\n",
        "distance,zone\n1,A",
        "\n\ndistance,zone\n\n1,A\n\n",
        "zone,distance\nA,1\n",
        "zone;distance\nA;1\n",
        "zone\tdistance\nA\t1\n",
        '\ufeff"zone";"distance"\r\n"A";"1"\r\n',
        "sep=;\r\nzone;distance\r\nA;1\r\n",
        '\ufeff"sep=|"\n\nzone|distance\nA|1\n',
    ],
    ids=[
        "mark",
        "mark before a quote",
        "CRLF",
        "no newline at the end",
        "blank lines",
        "another order",
        "semicolons",
        "tabs",
        "all that a spreadsheet does",
        "separator declared",
        "any separator declared",
    ],
)
def test_harmless_differences_between_files_do_not_matter(text: str) -> None:
    assert records_of(text) == [{"distance": 1, "zone": "A"}]


def test_line_is_where_a_row_begins() -> None:
    assert [entry.number for entry in entries('distance,zone,note\n1,A,"two\nlines"\n\n2,B,\n')] == [2, 5]
    assert [entry.number for entry in entries("sep=;\nzone;distance\nA;1\nA;2\n")] == [3, 4]
    assert [entry.number for entry in entries("zone,distance\rA,1\rB,2\r")] == [2, 3]


def test_comma_within_a_cell_does_not_make_it_the_delimiter() -> None:
    assert records_of('zone;"distance";"a, b, c"\nA;1;"x, y"\n') == [{"zone": "A", "distance": 1}]


def test_numbers_as_other_countries_write_them_are_refused_and_counted() -> None:
    table = csv_table(b"distance;zone;note\n12,5;A;1,5\n1.234,5;A;\n-3,0;A;\n1;1,5;\n1.234.567;A;\n", SPEC_OF_RIDES)
    validated = Validator(SPEC_OF_RIDES)([entry.record for entry in table.entries])
    assert list(validated.errors) == [0, 1, 2, 4]
    assert validated.errors[0] == {"distance": ["Not a valid number."]}
    assert table.local_numbers == 4


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("distance,zone\n", Dialect(",", bom=False, line_end="\n")),
        ("\ufeffdistance;zone\r\n", Dialect(";", bom=True, line_end="\r\n")),
        ("distance\tzone", Dialect("\t", bom=False, line_end="\n")),
    ],
)
def test_dialect_is_found_in_the_header(text: str, dialect: Dialect) -> None:
    assert csv_table(text.encode(), SPEC_OF_RIDES).dialect == dialect


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04\x14\xff", "a workbook (.xlsx) or zip archive, not CSV; export the sheet as CSV UTF-8"),
        ("distance,zone\n".encode("utf-16"), "UTF-16, not UTF-8 text; export it as CSV UTF-8"),
        (b'[{"distance": 1}]\n', "a JSON array, not CSV; write one object a line, and name it .jsonl"),
        (b"[\n", "a JSON array, not CSV; write one object a line, and name it .jsonl"),
    ],
)
def test_file_of_another_kind_is_named_by_its_first_bytes(content: bytes, reason: str) -> None:
    assert refusal(content) == f"input: {reason}"


@pytest.mark.parametrize("size", [3, 1 << 18])
@pytest.mark.parametrize("before", [b"A,8\n", b'"A",8\n', b'A,5" x\n'])
def test_text_that_is_not_utf_8_is_refused_with_its_line(
    size: int, before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "SIZE", size)
    content = b"zone,distance\n" + before + b"A,\xe9\nA,9\n"
    assert refusal(content) == "input, line 3: not UTF-8 text; export it as CSV UTF-8"


def test_header_may_not_be_utf_8_either() -> None:
    content = b'distance,zone,"note\n' + b"x" * 20_000 + b'\xe9"\n1,A,\n'
    assert refusal(content) == "input, line 2: not UTF-8 text; export it as CSV UTF-8"


@pytest.mark.parametrize("row", ["A,8,{}", '"A",8,{}', 'A,8,"{}"', "{},8,x", 'A,8,{}"'])
@pytest.mark.parametrize("size", [100, 1 << 18])
def test_cell_may_be_as_long_as_a_line(
    row: str, size: int, monkeypatch: pytest.MonkeyPatch, predict: Predictor, price_csv: PriceCsv
) -> None:
    monkeypatch.setattr(csv_files, "SIZE", size)
    content = "zone,distance,note\n" + "A,8,x\n" * 5 + row.format("x" * 140_000) + "\nA,8,x\n"
    output, scored, failed = price_csv(predict, content.encode())
    assert (scored, failed) == (7, 0)
    assert output.decode().splitlines()[6].startswith(row.format("x" * 140_000) + ",")


def test_line_that_does_not_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "LONGEST_LINE", 100)
    monkeypatch.setattr(rows, "LONGEST_LINE", 100)
    monkeypatch.setattr(csv_files, "SIZE", 10)
    assert refusal(HEADER + "8,1,A,1\n" + "x" * 200_000) == "input, line 3: longer than 100 bytes: no row of a table"


def test_header_alone_is_a_file_of_no_rows() -> None:
    assert entries(HEADER) == []
    assert entries(HEADER + "\n\n") == []


def test_end_of_text_as_dos_writes_it_is_no_row() -> None:
    assert records_of("zone,distance\nA,1\n\x1a") == [{"zone": "A", "distance": 1}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "input: the file is empty"),
        ("\n\n", "input: the file is empty"),
        ("a\0\0,\n", "input: a binary file, not CSV text"),
        (
            "PK\x03\x04\0\0,\n",
            "input: a workbook (.xlsx) or zip archive, not CSV; export the sheet as CSV UTF-8",
        ),
        ("PAR1\0\0,\n", "input: a Parquet file, not CSV"),
        ('{"distance": 1}\n', "input: JSON, not CSV; JSON Lines: --format jsonl"),
        ("<!DOCTYPE html>\n", "input: an HTML or XML page, not CSV; was it downloaded without signing in?"),
        ("passengers,comfort\n1,2\n", "input: the header lacks the required columns distance, zone"),
        (
            "distance|zone\n1|A\n",
            (
                "input: the header lacks the required columns distance, zone; cells must be separated by commas, "
                "semicolons or tabs"
            ),
        ),
        ("distance;passengers\n1;2\n", "input: the header lacks the required columns zone"),
        # Cells may hold other marks; a column alone may be all that there is.
        ("distance|km,note\n", "input: the header lacks the required columns distance (there is 'distance|km'), zone"),
        ("passengers\n", "input: the header lacks the required columns distance, zone"),
        ("distance,zone,,\n1,A,,\n", "input: the header has 2 columns without a name"),
        ("distance,zone,distance\n1,A,2\n", "input: the header has a column more than once: distance"),
        (
            "distance,zone\n1,A\n2",
            "input, line 3: 1 cell where the header has 2; it is the last line: the file is cut off",
        ),
        ('distance,zone\n1,"A\n2,B\n', "input, line 2: not CSV: unexpected end of data"),
    ],
)
def test_unusable_file_is_refused_with_the_reason(text: str, reason: str) -> None:
    assert refusal(text) == reason


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("Distance, zone ", "distance (there is 'Distance'), zone (there is ' zone ')"),
        ("Distance;ZONE", "distance (there is 'Distance'), zone (there is 'ZONE')"),
        ("Distnace,zone", "distance (there is 'Distnace')"),
    ],
)
def test_column_that_nearly_has_a_fields_name_is_named(header: str, columns: str) -> None:
    assert refusal(f"{header}\n1,A\n") == f"input: the header lacks the required columns {columns}"


def test_byte_order_mark_is_passed_over_at_the_beginning_only() -> None:
    assert records_of("\ufeffdistance,zone\n3,\ufeffA\n") == [{"distance": 3, "zone": "\ufeffA"}]


# Predictions


def reference(predict: Predictor, content: bytes) -> tuple[list[list[str]], int, int] | str:
    """Cells of the output, by a CSV reader and the validator, row by row."""
    try:
        table = csv_table(content, SPEC_OF_RIDES)
        list(table.entries)
        text = content.decode()
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=table.dialect.delimiter, strict=True)
        _, *found = [
            cells for cells in lines if cells and not (len(cells) < 3 and cells[0].startswith(("sep=", "\ufeffsep=")))
        ]
    except DataError as fault:
        return str(fault)
    output, scored, failed = [], 0, 0
    for cells in found:
        kept, wrong = csv_files.fitted(cells, len(table.columns), table.dialect)
        whole = len(cells) == len(table.columns)
        record = table.record(kept) if whole else {}
        [(prediction, error)] = iter_details(predict, [InputRow({}, 0, record, "" if whole else wrong)])
        output.append([*kept, "" if prediction is None else repr(prediction), str(error or "")])
        scored += not error
        failed += bool(error)
    return output, scored, failed


def priced(predict: Predictor, price: PriceCsv, content: bytes, size: int) -> tuple[list[list[str]], int, int] | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "SIZE", size)
        try:
            dialect = csv_table(content, SPEC_OF_RIDES).dialect
            output, scored, failed = price(predict, content)
        except DataError as error:
            return str(error)
    lines = csv.reader(
        io.StringIO(output.decode().removeprefix("\ufeff"), newline=""), delimiter=dialect.delimiter, strict=True
    )
    return [*lines][1:], scored, failed


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


@settings(deadline=None, max_examples=200)
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
@example(content=b"sep=.\nzone.distance\nA.8\nB.x\n", size=5)
@example(content="sep=é\nzoneédistance\nAé8\n".encode(), size=5)
@example(content=b"zone,distance\nA,8,surplus\nB,16,,\nA\n", size=5)
@example(content=b"passengers,distance,zone\n\xef\xbb\xbf,8,8\n", size=1)
@example(content=b'zone,distance\nA\x1fB,8\nA\x1f8,""\nA\x1f8\n', size=1000)
@example(content=b'zone,distance\nA\x1f8\n"B",16\n', size=1000)
@example(content=b'zone,distance\nA,8\x1eA\x1f8\n"B",16\n', size=1000)
def test_blocks_of_any_size_give_what_single_rows_give(
    predict: Predictor, price_csv: PriceCsv, content: bytes, size: int
) -> None:
    assert priced(predict, price_csv, content, size) == reference(predict, content)


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.sampled_from('8A,;"\n\r. x\0'), max_size=60), size=st.sampled_from([1, 7, 1 << 18]))
def test_any_text_at_all_gives_what_single_rows_give(
    predict: Predictor, price_csv: PriceCsv, text: str, size: int
) -> None:
    content = f"zone,distance\n{text}".encode()
    assert priced(predict, price_csv, content, size) == reference(predict, content)


def test_cells_are_written_as_they_came(predict: Predictor, price_csv: PriceCsv) -> None:
    lines = ['"A";8;"";x', "A; 8 ;;x", '"A";"8";"two\r\nlines";"say ""so"""', 'A;8;5" pipe;', '"A";8;;""']
    content = "\ufeffzone;distance;note;more\r\n" + "".join(f"{line}\r\n" for line in lines)
    [fare] = predict([{"distance": 8, "zone": "A"}]).predictions
    output, *_ = price_csv(predict, content.encode())
    expected = "".join(f"{line};{fare!r};\r\n" for line in lines)
    assert output.decode() == f"\ufeffzone;distance;note;more;prediction;error\r\n{expected}"


def test_rows_of_another_width_keep_their_place_and_lose_nothing(predict: Predictor, price_csv: PriceCsv) -> None:
    content = b'zone;distance;note\nA;8;x\nA;8\n"B;1";2;y;z;"1;2"\nA;8;;;\nB;8;x\n'
    output, *counts = price_csv(predict, content)
    found = list(csv.reader(io.StringIO(output.decode()), delimiter=";"))[1:]
    assert [row[:3] for row in found] == [
        ["A", "8", "x"],
        ["A", "8", ""],
        ["B;1", "2", "y"],
        ["A", "8", ""],
        ["B", "8", "x"],
    ]
    assert [row[3] != "" for row in found] == [True, False, False, False, True]
    assert [row[4] for row in found] == [
        "",
        "2 cells where the header has 3",
        '5 cells where the header has 3; beyond them: z;"1;2"',
        "5 cells where the header has 3",
        "",
    ]
    assert counts == [2, 3]


def test_a_last_line_cut_off_is_refused_and_one_that_is_short_is_not(predict: Predictor, price_csv: PriceCsv) -> None:
    whole = b"zone,distance,note\nA,8,x\nB,16"
    for content in (whole, whole.replace(b"A", b'"A"')):
        with pytest.raises(DataError, match="^input, line 3: 2 cells where the header has 3; it is the last line: the"):
            price_csv(predict, content)
        assert price_csv(predict, content + b"\n")[1:] == (1, 1)
        assert price_csv(predict, content + b",y")[1:] == (2, 0)


def test_score_that_is_no_number_is_this_rows_error(tmp_path: Path, price_csv: PriceCsv) -> None:
    write_ride_bundle(tmp_path / "rides")
    model = load_rides(tmp_path / "rides")
    # Row by row, as the row at fault is asked about once more.
    vars(model._runtime)["_features"]._derive = lambda encoded: np.where(encoded[:, :1] == 9, np.nan, encoded)
    output, *counts = price_csv(Predictor(model), f"{HEADER}9,1,A,2\n8,1,A,2\n8,1,A,2\n".encode())
    lines = output.decode().splitlines()[1:]
    assert lines[0] == "9,1,A,2,,_schema: The model gives no finite prediction for this row."
    assert all(float(line.split(",")[4]) > 0 for line in lines[1:])
    assert counts == [2, 1]


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
def test_rows_without_errors_are_scored_as_a_matrix_however_they_are_quoted(
    row: str, predict: Predictor, price_csv: PriceCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("row by row")

    monkeypatch.setattr(Predictor, "__call__", refuse)
    assert price_csv(predict, f"zone,distance,note\n{row}\n{row}\n".encode())[1:] == (2, 0)


def test_threads_give_the_very_bytes_that_one_gives(
    predict: Predictor, price_csv: PriceCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "SIZE", 500)
    lines = [f'{n / 8},{n % 8 + 1 if n % 5 else ""},{"AB"[n % 2]},{n % 4},"a, {n}"' for n in range(600)]
    lines[::30] = ["8,1,A"] * 20
    content = "\n".join([f"{HEADER.strip()},note", *lines, ""]).encode()
    one = price_csv(predict, content)
    assert one[1:] == (580, 20)
    assert price_csv(predict, content, threads=3) == one


def test_error_of_a_later_block_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(9)
        raise DataError("torn")

    found: list[int] = []
    with pytest.raises(DataError, match="^torn$"):
        found.extend(in_order(lambda item: item * 2, items(), 2))
    assert found == list(range(0, 18, 2))


# Numbers


@pytest.mark.parametrize(
    ("numbers", "text", "expected"),
    [
        (NumberFormat(",", "."), "1.234.567,5", 1234567.5),
        (NumberFormat(",", "."), " 9.600 ", 9600),
        (NumberFormat(",", "."), "850", 850),
        (NumberFormat(",", "."), "-1,5e3", -1500.0),
        (NumberFormat(",", ""), "12,5", 12.5),
        (NumberFormat(None, ","), "208,500.75", 208500.75),
        (NumberFormat(",", "\u202f"), "1\u202f234,5", 1234.5),
        (NumberFormat(None, " "), "1\u202f234\u00a0567", 1234567),
        (NumberFormat(None, "\u00a0"), "1 234.5", 1234.5),
        (NumberFormat(None, " "), "1 23", None),
        (NumberFormat(",", "."), "9.60", None),
        (NumberFormat(",", "."), "1.5", None),
        (NumberFormat(",", ""), "12.5", None),
        (NumberFormat(",", "."), ",", None),
    ],
)
def test_numbers_are_read_as_they_are_declared(
    numbers: NumberFormat, text: str, expected: float | None, predict: Predictor, price_csv: PriceCsv
) -> None:
    content = f"zone;distance\nA;{text}\n".encode()
    [entry] = csv_table(content, SPEC_OF_RIDES, numbers=numbers).entries
    valid = Validator(SPEC_OF_RIDES)([entry.record])
    output, scored, failed = price_csv(predict, content, numbers=numbers)
    if expected is None or expected < 0:
        assert list(valid.errors) == [0]
        assert (scored, failed) == (0, 1)
    else:
        assert valid.rows == [{"zone": "A", "distance": expected}]
        assert output.splitlines()[1] == f"A;{text};{predict(valid.rows).predictions[0]!r};".encode()


def test_missing_numbers_are_missing_however_numbers_are_declared() -> None:
    table = csv_table(b"zone;distance;passengers\nA;8;NA\nA;8;\n", SPEC_OF_RIDES, numbers=NumberFormat(",", "."))
    assert [entry.record for entry in table.entries] == [{"zone": "A", "distance": 8, "passengers": None}] * 2


def rides(*distances: str, delimiter: str = ";") -> bytes:
    return "".join(
        f"{delimiter.join(row)}\n" for row in [("zone", "distance"), *(("A", one) for one in distances)]
    ).encode()


@pytest.mark.parametrize("distances", [["1.500"], ["9.600", "10.500", "85"], ["100.000"] * 95 + ["1.5"] * 5])
def test_points_between_thousands_are_refused_with_the_way_out(distances: list[str]) -> None:
    spec = replace(SPEC_OF_RIDES, learned={**LEARNED, "distance": Learned(0.0, 3500, 334, 32000)})
    table = csv_table(rides(*distances), spec, "in.csv")
    example, whole = distances[0], distances[0].replace(".", "")
    with pytest.raises(DataError) as caught:
        list(table.entries)
    assert str(caught.value) == (
        f"in.csv, column distance: numbers like {example} have three digits after the point, and lie outside the range "
        f"of training as decimals; if {example} means {whole}: --thousands . (and --decimal , if there are decimals); "
        f"if it means {float(example):g}: --decimal ."
    )


@pytest.mark.parametrize(
    ("distances", "delimiter", "numbers"),
    [
        (["1.500"], ",", NumberFormat()),
        (["1.500"], ";", NumberFormat(".")),
        (["0.125", "1234.500"], ";", NumberFormat()),
        (["1.500"] * 5 + ["1.5"] * 5, ";", NumberFormat()),
        (["1.500", "4.250"], ";", NumberFormat()),
    ],
    ids=["comma file", "declared", "no thousands", "mixed", "too few where no range is known"],
)
def test_points_that_may_be_decimal_are_taken_as_such(
    distances: list[str], delimiter: str, numbers: NumberFormat
) -> None:
    spec = replace(SPEC_OF_RIDES, learned={**LEARNED, "distance": Learned(0.0, 3500, 334, 32000)})
    if len(distances) == 2 and distances[0] == "1.500":
        spec = replace(SPEC_OF_RIDES, learned={**LEARNED, "distance": Learned(0.0, None)})
    table = csv_table(rides(*distances, delimiter=delimiter), spec, numbers=numbers)
    assert [entry.record for entry in table.entries] == [{"zone": "A", "distance": float(one)} for one in distances]


def test_points_within_the_training_range_are_decimal() -> None:
    table = csv_table(rides("1.500", "3.250"), SPEC_OF_RIDES)
    assert [entry.record for entry in table.entries] == [
        {"distance": 1.5, "zone": "A"},
        {"distance": 3.25, "zone": "A"},
    ]


@pytest.mark.parametrize("ends", ["\r", "\r\n", "\n", "\n\r"])
def test_no_row_is_lost_where_blocks_end(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "SIZE", 100)
    lines = [f'{number},"A, {number}"' for number in range(200)]
    marks = [ends[number % len(ends)] if ends == "\n\r" else ends for number in range(len(lines) + 1)]
    content = "".join(line + mark for line, mark in zip(["distance,zone", *lines], marks, strict=True))
    found = [entry.original for entry in csv_table(content.encode(), SPEC_OF_RIDES).entries]
    assert found == [{"distance": str(number), "zone": f"A, {number}"} for number in range(200)]


@pytest.mark.parametrize("row", ["8,A,caf\xe9", "x,A,caf\xe9", "8,A,caf\xe9,more"])
def test_bytes_that_are_no_text_are_refused_in_any_column(row: str) -> None:
    content = b"distance,zone,note\n8,A,x\n" + row.encode("latin-1") + b"\n"
    with pytest.raises(DataError, match=r"^input, line 3: not UTF-8 text; export it as CSV UTF-8$"):
        list(csv_table(content, SPEC_OF_RIDES).entries)


def test_one_point_among_many_whole_numbers_is_no_thousands_separator() -> None:
    spec = replace(SPEC_OF_RIDES, learned={**LEARNED, "distance": Learned(0.0, 50, 10, 300)})
    table = csv_table(rides("9.125", *["60"] * 20), spec)
    assert [entry.record for entry in table.entries][:2] == [
        {"distance": 9.125, "zone": "A"},
        {"distance": 60, "zone": "A"},
    ]


def test_a_column_of_numbers_may_have_texts_from_some_block_on(
    predict: Predictor, price_csv: PriceCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are parsed as such until one is spelled in another way; no row may be told otherwise for that."""
    monkeypatch.setattr(csv_files, "SIZE", 300)
    spellings = ["8", "8.0", "08", "8e0", " 8", "+8", "8 "]
    lines = [f"{spellings[row // 100]},A,{row}" for row in range(700)]
    lines[50], lines[150], lines[250], lines[251] = "nan,A,50", "inf,A,150", "-0,A,250", "far,A,251"
    output, *counts = price_csv(predict, "\n".join(["distance,zone,id", *lines, ""]).encode())
    [fare] = predict([{"distance": 8, "zone": "A"}]).predictions
    found = [*csv.reader(io.StringIO(output.decode()))][1:]
    strange = {50, 150, 250, 251}
    assert {row[3] for number, row in enumerate(found) if number not in strange} == {repr(fare)}
    assert counts[1] == sum(bool(found[number][4]) for number in strange)
    for number in strange:
        alone, *_ = price_csv(predict, f"distance,zone,id\n{lines[number]}\n".encode())
        assert alone.decode().splitlines()[1] == ",".join(found[number])
    assert found[50][4] == "distance: Not a valid number."


def test_csv_becomes_columns_of_the_very_texts() -> None:
    content = 'id,distance,zone\n1,8,"A"\n"a, b",NA,\n,08," B "\n'
    batch, *_ = map(
        csv_table(content.encode(), SPEC_OF_RIDES).parse, csv_table(content.encode(), SPEC_OF_RIDES).blocks()
    )
    assert batch.arrow().to_pydict() == {
        "id": ["1", "a, b", ""],
        "distance": ["8", "NA", "08"],
        "zone": ["A", "", " B "],
    }
