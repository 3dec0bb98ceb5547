"""CSV rows and records."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from model_kit.errors import DataError
from model_kit.spec import Field, Value
from model_kit.tabular import parse_cell, parse_number, read_records, replacing
from model_kit.testing import FIELDS, SPEC_OF_RIDES
from model_kit.validation import Validator

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS
HEADER = "distance,passengers,zone,comfort\n"


def records_of(text: str) -> list[dict[str, Value]]:
    return [record for _, record in read_records(io.StringIO(text, newline=""), SPEC_OF_RIDES)]


def refusal(text: str) -> str:
    with pytest.raises(DataError) as caught:
        records_of(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("856", 856),
        (" 856 ", 856),
        ("-3", -3),
        ("+3", 3),
        ("856.0", 856.0),
        ("3.75", 3.75),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("9" * 20, 1e20),
        # No finite number: left for the validator.
        ("nan", "nan"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("1_000", "1_000"),
        ("1,000", "1,000"),
        ("٣", "٣"),
        ("0x1F", "0x1F"),
        ("big", "big"),
    ],
)
def test_only_finite_numbers_become_numbers(text: str, number: float | str) -> None:
    parsed = parse_number(text)
    assert parsed == number
    assert type(parsed) is type(number)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
@pytest.mark.parametrize("text", ["", "NA", " ", " NA "])
def test_empty_and_na_are_null_for_every_kind(field: Field, text: str) -> None:
    assert parse_cell(field, text) is None


@pytest.mark.parametrize("level", ["None", "nan", "null", "N/A", "1Story", " A", "20.0"])
def test_level_of_a_category_is_kept_as_it_is(level: str) -> None:
    assert parse_cell(ZONE, level) == level


@pytest.mark.parametrize(("text", "code"), [("20", 20), ("20.0", 20), ("020", 20), ("20.5", "20.5"), ("x", "x")])
def test_code_that_pandas_wrote_as_a_float_is_the_same_level(text: str, code: int | str) -> None:
    parsed = parse_cell(COMFORT, text)
    assert parsed == code
    assert type(parsed) is type(code)


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
    ],
    ids=["mark", "mark before a quote", "CRLF", "no newline at the end", "blank lines", "another order"],
)
def test_harmless_differences_between_files_do_not_matter(text: str) -> None:
    assert records_of(text) == [{"distance": 1, "zone": "A"}]


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
        ("PK\x03\x04\0\0,\n", "input: a binary file, not CSV text"),
        ("<!DOCTYPE html>\n", "input: an HTML or XML page, not CSV; was it downloaded without signing in?"),
        ("passengers,comfort\n1,2\n", "input: the header lacks the required columns distance, zone"),
        (
            "distance;zone\n1;A\n",
            "input: the header lacks the required columns distance, zone; cells must be separated by commas",
        ),
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
    with pytest.raises(DataError, match="^houses.csv: not UTF-8 text$"):
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
