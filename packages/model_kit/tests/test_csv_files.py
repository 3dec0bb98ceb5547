"""CSV rows and records."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from model_kit.batch.csv_files import CsvWriter, Dialect, read_records, replacing
from model_kit.errors import DataError
from model_kit.records.validation import Validator
from model_kit.spec import Value
from model_kit.testing import FIELDS, SPEC_OF_RIDES

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS
HEADER = "distance,passengers,zone,comfort\n"


def records_of(text: str) -> list[dict[str, Value]]:
    return [record for _, record in read_records(io.StringIO(text, newline=""), SPEC_OF_RIDES)]


def refusal(text: str) -> str:
    with pytest.raises(DataError) as caught:
        records_of(text)
    return str(caught.value)


def test_rows_keep_their_cells_and_become_records() -> None:
    text = 'id,distance,zone,note\n7,3.50,A,"a, ""b"""\n8,4,B,\n'
    records = read_records(io.StringIO(text, newline=""), SPEC_OF_RIDES)
    assert records.columns == ("id", "distance", "zone", "note")
    assert list(records) == [
        ({"id": "7", "distance": "3.50", "zone": "A", "note": 'a, "b"'}, {"distance": 3.5, "zone": "A"}),
        ({"id": "8", "distance": "4", "zone": "B", "note": ""}, {"distance": 4, "zone": "B"}),
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


def test_line_is_counted_after_a_declared_separator() -> None:
    records = read_records(io.StringIO("sep=;\nzone;distance\nA;1\nA;2;3\n", newline=""), SPEC_OF_RIDES)
    with pytest.raises(DataError, match="^input, line 4: 3 cells where the header has 2"):
        list(records)


def test_comma_within_a_cell_does_not_make_it_the_delimiter() -> None:
    assert records_of('zone;"distance";"a, b, c"\nA;1;"x, y"\n') == [{"zone": "A", "distance": 1}]


def test_decimal_comma_is_refused_and_counted() -> None:
    records = read_records(
        io.StringIO("distance;zone;note\n12,5;A;1,5\n1.234,5;A;\n-3,0;A;\n1;1,5;\n", newline=""), SPEC_OF_RIDES
    )
    validated = Validator(SPEC_OF_RIDES)([record for _, record in records])
    assert list(validated.errors) == [0, 1, 2]
    assert validated.errors[0] == {"distance": ["Not a valid number."]}
    assert records.decimal_commas == 3


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("distance,zone\n", Dialect(",", bom=False, line_end="\n")),
        ("\ufeffdistance;zone\r\n", Dialect(";", bom=True, line_end="\r\n")),
        ("distance\tzone", Dialect("\t", bom=False, line_end="\n")),
    ],
)
def test_file_is_written_as_the_one_that_was_read(text: str, dialect: Dialect) -> None:
    records = read_records(io.StringIO(text, newline=""), SPEC_OF_RIDES)
    assert records.dialect == dialect
    output = io.StringIO(newline="")
    CsvWriter(output, records.columns, records.dialect).write({"distance": 1.5, "zone": None})
    assert output.getvalue() == text.rstrip() + dialect.line_end + f"1.5{dialect.delimiter}{dialect.line_end}"


def test_nan_is_written_as_an_empty_cell() -> None:
    output = io.StringIO(newline="")
    CsvWriter(output, ["a", "b"]).write({"a": float("nan"), "b": True})
    assert output.getvalue() == "a,b\n,True\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04\x14\xff", "a workbook (.xlsx) or zip archive, not CSV text; export the sheet as CSV UTF-8"),
        (b"\x1f\x8b\x08\x00", "compressed by gzip, not CSV text; unpack it first"),
        ("distance,zone\n".encode("utf-16"), "UTF-16, not UTF-8 text; export it as CSV UTF-8"),
        (b"distance,zon\xe9\n", "not UTF-8 text; export it as CSV UTF-8"),
        (b"distance,zone\n1,A\nPK\x03\x04\xff", "not UTF-8 text; export it as CSV UTF-8"),
    ],
)
def test_file_of_another_kind_is_named_by_its_first_bytes(content: bytes, reason: str) -> None:
    file = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    with pytest.raises(DataError) as caught:
        list(read_records(file, SPEC_OF_RIDES))
    assert str(caught.value) == f"input: {reason}"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04"])
def test_bytes_far_down_do_not_make_it_a_file_of_another_kind(content: bytes) -> None:
    """A text file is decoded in pieces of 8 KiB; this one's second begins like a workbook."""
    content = (b"distance,zone\n" + b"1,A\n" * 5000)[: 8192 - 1] + b"\n" + content + b"\xff\n"
    file = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    with pytest.raises(DataError, match="^input: not UTF-8 text; export it as CSV UTF-8$"):
        for _ in read_records(file, SPEC_OF_RIDES):
            pass


def test_header_of_several_lines_may_not_be_utf_8_either() -> None:
    content = b'distance,zone,"note\n' + b"x" * 20_000 + b'\xe9"\n1,A,\n'
    file = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    with pytest.raises(DataError, match="^input: not UTF-8 text; export it as CSV UTF-8$"):
        read_records(file, SPEC_OF_RIDES)


def test_cell_longer_than_any_is_refused() -> None:
    assert refusal("distance,zone\n1," + "A" * 200_000 + "\n").startswith("input, line 2: not CSV: field larger than")
    assert refusal("distance," + "z" * 200_000 + "\n").startswith("input, line 1: not CSV: field larger than")


def test_header_alone_is_a_file_of_no_rows() -> None:
    assert records_of(HEADER) == []


def test_line_is_where_a_row_begins() -> None:
    text = 'distance,zone,note\n1,A,"two\nlines"\n\n2,B,\n'
    records = read_records(io.StringIO(text, newline=""), SPEC_OF_RIDES)
    assert [records.line for _ in records] == [2, 5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "input: the file is empty"),
        ("\n\n", "input: the file is empty"),
        ("a\0\0,\n", "input: a binary file, not CSV text"),
        (
            "PK\x03\x04\0\0,\n",
            "input: a workbook (.xlsx) or zip archive, not CSV text; export the sheet as CSV UTF-8",
        ),
        ("PAR1\0\0,\n", "input: a Parquet file, not CSV text"),
        ('{"distance": 1}\n', "input: JSON, not CSV"),
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
        ("distance|km,note\n", "input: the header lacks the required columns distance, zone"),
        ("passengers\n", "input: the header lacks the required columns distance, zone"),
        ("distance,zone,,\n1,A,,\n", "input: the header has 2 columns without a name"),
        ("distance;zone\n1;A;7\n", "input, line 2: 3 cells where the header has 2"),
        ("distance,zone,distance\n1,A,2\n", "input: the header has a column more than once: distance"),
        ("distance,zone\n1,A\n2,B,3\n4,A\n", "input, line 3: 3 cells where the header has 2"),
        ("distance,zone\n1,A\n2\n4,A\n", "input, line 3: 1 cell where the header has 2"),
        (
            "distance,zone\n1,A\n2",
            "input, line 3: 1 cell where the header has 2; it is the last line: the file is cut off",
        ),
        ('distance,zone\n1,"A\n2,B\n', "input, line 2: not CSV: unexpected end of data"),
    ],
)
def test_unusable_file_is_refused_with_the_reason(text: str, reason: str) -> None:
    assert refusal(text) == reason


def test_text_that_is_not_utf_8_is_refused() -> None:
    file = io.TextIOWrapper(io.BytesIO(b"distance,zone\n1,\xe9\n"), encoding="utf-8", newline="")
    with pytest.raises(DataError, match="^houses.csv: not UTF-8 text; export it as CSV UTF-8$"):
        list(read_records(file, SPEC_OF_RIDES, "houses.csv"))


def test_file_is_replaced_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new\r\n")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == b"new\r\n"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_file_stays_as_it_was_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("new")
            raise failure

    with pytest.raises(failure):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_link_keeps_pointing_at_the_replaced_file(tmp_path: Path) -> None:
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    path.write_text("old")
    link.symlink_to(path)
    with replacing(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_device_is_written_to_and_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("renamed")

    monkeypatch.setattr(Path, "replace", refuse)
    with replacing(Path(os.devnull)) as file:
        file.write("new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_columns_twice_are_listed() -> None:
    assert refusal("zone,distance,zone,distance\n").endswith("more than once: zone, distance")


def test_only_a_row_that_is_too_short_can_be_cut_off() -> None:
    assert "cut off" not in refusal("distance,zone\n3,A,B\n")
    assert "cut off" in refusal("distance,zone\n3\n")
    assert "cut off" not in refusal("distance,zone\n3\n4,B\n")


def test_byte_order_mark_is_passed_over_at_the_beginning_only() -> None:
    assert records_of("\ufeffdistance,zone\n3,\ufeffA\n")[0]["zone"] == "\ufeffA"
    assert records_of("distance,zone\n3,A\n\ufeff4,B\n")[1]["distance"] == "\ufeff4"


def test_space_before_markup_is_passed_over() -> None:
    assert "HTML" in refusal("  <html>\n")
