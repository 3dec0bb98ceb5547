"""Training files: read exactly, or refused with the line, the column and the reason."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit.errors import DataError
from model_kit.scoring.definition import ModelDefinition, Sample
from model_kit.spec import Field, Level, Target
from model_kit.training import dataset

FIELDS = (
    Field("speed", "number", "Speed of the wind", unit="m/s", required=True, minimum=0),
    Field("sails", "integer", "Sails that are set"),
    Field("sea", "category", "State of the sea", levels=(Level("calm", "Flat"), Level("rough", "High")), ordered=True),
    Field("harbour", "category", "Where from"),
)
#: What makes boats up: rows whose identifiers start with 9.
SAMPLE = Sample(lambda: as_csv(with_ids(table(), first=900)), lambda identifier: identifier.startswith("9"), "MADE UP")
HEADER = ("speed", "sails", "sea", "harbour", "gain")
N_ROWS = 60


def boats(**changes: Any) -> ModelDefinition:
    """A definition that declares no more than it must."""
    facts: dict[str, Any] = {
        "name": "boats",
        "target": Target("gain", "s", subject="leg"),
        "fields": FIELDS,
        "estimator": "sklearn.linear_model:LinearRegression",
    }
    return ModelDefinition(**facts | changes)


def table(n_rows: int = N_ROWS) -> list[list[str]]:
    """The header and its rows; the row of index i stands in line i + 1."""
    seas = ("calm", "rough")
    rows = [[f"{n / 8}", str(n % 4), seas[n % 2], "None" if n % 3 else "NA", str(n - 30)] for n in range(n_rows)]
    return [list(HEADER), *rows]


def put(rows: list[list[str]], line: int, column: str, cell: str) -> list[list[str]]:
    rows[line - 1][rows[0].index(column)] = cell
    return rows


def with_ids(rows: list[list[str]], first: int = 500) -> list[list[str]]:
    return [["leg", *rows[0]], *([str(first + number), *row] for number, row in enumerate(rows[1:]))]


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def refusal(definition: ModelDefinition, rows: Sequence[Sequence[str]]) -> str:
    with pytest.raises(DataError) as caught:
        dataset.parse(definition, as_csv(rows), "boats.csv")
    return str(caught.value)


# files


def test_dataset_says_which_bytes_it_is_made_of(tmp_path: Path) -> None:
    path = tmp_path / "boats.csv"
    path.write_bytes(as_csv(table()))
    data = dataset.load(boats(), path)
    assert (data.name, data.sha256) == ("boats.csv", hashlib.sha256(as_csv(table())).hexdigest())


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read: No such file or directory"):
        dataset.load(boats(), tmp_path / "nowhere.csv")


def test_file_as_a_spreadsheet_writes_it_is_the_same() -> None:
    straight = dataset.parse(boats(identifier="leg"), as_csv(with_ids(table())), "boats.csv")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows(row[::-1] for row in with_ids(table()))
    other = dataset.parse(boats(identifier="leg"), text.getvalue().encode("utf-8-sig"), "boats.csv")
    assert (other.rows, other.ids, other.target.tolist()) == (straight.rows, straight.ids, straight.target.tolist())


def test_values_are_as_the_validator_yields_them() -> None:
    definition = boats(fields=(*FIELDS, Field("class", "category", "Class of the boat", numeric_codes=True)))
    rows = [[*row, "20.0"] for row in table()]
    rows[0][-1] = "class"
    put(put(put(rows, 2, "sails", "3.0"), 2, "sea", ""), 2, "harbour", "None")
    row = dataset.parse(definition, as_csv(rows), "boats.csv").rows[0]
    assert row == {"speed": 0.0, "sails": 3, "sea": None, "harbour": "None", "class": "20"}
    assert type(row["sails"]) is int


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "boats.csv: the file is empty"),
        (b"<html><body>Sign in</body></html>", "boats.csv: an HTML or XML page, not CSV"),
        (b"PK\x03\x04\x00\x00,\n", "boats.csv: a workbook (.xlsx) or zip archive, not CSV;"),
        (b"\x1f\x8b\x08\x00", "boats.csv: compressed by gzip, not CSV;"),
        (as_csv(table()).replace(b"calm", b"\xe9", 1), "boats.csv, line 2: not UTF-8 text"),
    ],
)
def test_file_of_another_kind_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        dataset.parse(boats(), content, "boats.csv")
    assert str(caught.value).startswith(reason)


def test_file_cut_off_is_refused() -> None:
    content = as_csv(table())
    last = content.rstrip(b"\n").rindex(b"\n") + 4
    with pytest.raises(DataError) as caught:
        dataset.parse(boats(), content[:last], "boats.csv")
    assert str(caught.value).startswith(f"boats.csv, line {N_ROWS + 1}: ")
    assert str(caught.value).endswith("where the header has 5; it is the last line: the file is cut off")


# synthetic samples


def test_generated_sample_is_the_written_one_under_any_name() -> None:
    definition = boats(identifier="leg", sample=SAMPLE)
    written = dataset.parse(definition, SAMPLE.csv(), "train.csv")
    assert (written.name, written.synthetic) == ("synthetic sample", True)
    assert dataset.synthetic(definition).sha256 == written.sha256


def test_one_made_up_row_makes_the_file_synthetic() -> None:
    definition = boats(identifier="leg", sample=SAMPLE)
    data = dataset.parse(definition, as_csv(with_ids(table())), "boats.csv")
    assert (data.name, data.synthetic) == ("boats.csv", False)
    data = dataset.parse(definition, as_csv(put(with_ids(table()), 7, "leg", "9001")), "boats.csv")
    assert (data.name, data.synthetic) == ("boats.csv", True)


# identifiers


def test_without_an_identifier_rows_are_numbered() -> None:
    data = dataset.parse(boats(), as_csv(table()), "boats.csv")
    assert data.ids == tuple(str(number) for number in range(1, N_ROWS + 1))
    assert data.rows[1] == {"speed": 0.125, "sails": 1, "sea": "rough", "harbour": "None"}
    assert data.rows[0]["harbour"] is None
    assert (data.name, data.synthetic) == ("boats.csv", False)


def test_declared_identifier_is_read_and_is_no_feature() -> None:
    data = dataset.parse(boats(identifier="leg"), as_csv(with_ids(table())), "boats.csv")
    assert data.ids == tuple(str(500 + number) for number in range(N_ROWS))
    assert "leg" not in data.rows[0]


@pytest.mark.parametrize("cell", ["", "NA", "  "])
def test_missing_identifier_is_refused(cell: str) -> None:
    rows = put(with_ids(table()), 7, "leg", cell)
    assert refusal(boats(identifier="leg"), rows) == "boats.csv, line 7, column leg: missing"


@pytest.mark.parametrize("cell", ["502", " 502 ", "502.0"])
def test_identifier_that_occurs_twice_names_both_lines(cell: str) -> None:
    rows = put(with_ids(table()), 40, "leg", cell)
    found = f"boats.csv, line 40, column leg: Occurs before, in line 4; found {cell!r}"
    assert refusal(boats(identifier="leg"), rows) == found


# targets


def test_target_of_the_identity_scale_may_be_zero_or_negative() -> None:
    data = dataset.parse(boats(), as_csv(table()), "boats.csv")
    assert data.target.dtype == np.float64
    assert data.target.tolist() == [float(number - 30) for number in range(N_ROWS)]
    assert 0.0 in data.target


@pytest.mark.parametrize("cell", ["0", "-3.5"])
def test_target_of_the_log_scale_must_be_above_zero(cell: str) -> None:
    rows = [[*row[:-1], "1"] for row in table()]
    rows[0] = list(HEADER)
    definition = boats(target=Target("gain", "s", "log"))
    assert len(dataset.parse(definition, as_csv(rows), "boats.csv").rows) == N_ROWS
    put(rows, 12, "gain", cell)
    assert refusal(definition, rows) == f"boats.csv, line 12, column gain: Must be greater than 0; found '{cell}'"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", "missing"),
        ("NA", "missing"),
        ("fast", "Not a finite number; found 'fast'"),
        ("inf", "Not a finite number; found 'inf'"),
        ("1e999", "Not a finite number; found '1e999'"),
    ],
)
def test_target_that_is_no_number_is_refused(cell: str, reason: str) -> None:
    assert refusal(boats(), put(table(), 12, "gain", cell)) == f"boats.csv, line 12, column gain: {reason}"


# columns and lines


def test_columns_that_the_model_does_not_use_are_ignored_and_reported() -> None:
    reported: list[str] = []
    rows = [[*row, "x", "y"] for row in table()]
    rows[0][-2:] = ["crew", "boat"]
    data = dataset.parse(boats(), as_csv(rows), "boats.csv", report=reported.append)
    assert reported == ["boats.csv: ignoring columns crew, boat, which the model does not use"]
    assert data.rows == dataset.parse(boats(), as_csv(table()), "boats.csv").rows


def test_many_ignored_columns_are_counted() -> None:
    reported: list[str] = []
    rows = [[*row, *(f"more{number}" for number in range(12))] for row in table()]
    dataset.parse(boats(), as_csv(rows), "boats.csv", report=reported.append)
    [line] = reported
    assert line.endswith("more8, more9 and 2 more, which the model does not use")


def test_file_without_remarks_reports_nothing() -> None:
    reported: list[str] = []
    dataset.parse(boats(), as_csv(table()), "boats.csv", report=reported.append)
    assert reported == []


@pytest.mark.parametrize("cut", [1, 2])
def test_missing_line_break_at_the_end_is_reported_and_not_refused(cut: int) -> None:
    reported: list[str] = []
    data = dataset.parse(boats(), as_csv(table())[:-cut], "boats.csv", report=reported.append)
    assert len(data.rows) == N_ROWS
    assert reported == [
        "boats.csv: the last line has no line break; if the file was cut off, its last value may be wrong"
    ]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"gain"}, "the header lacks column gain"),
        ({"sea", "harbour"}, "the header lacks columns sea, harbour"),
        ({"leg"}, "the header lacks column leg"),
        ({"speed", "sea"}, "the header lacks the required columns speed"),
    ],
)
def test_missing_columns_are_named(missing: set[str], reason: str) -> None:
    rows = with_ids(table())
    kept = [at for at, name in enumerate(rows[0]) if name not in missing]
    cut = [[row[at] for at in kept] for row in rows]
    assert refusal(boats(identifier="leg"), cut) == f"boats.csv: {reason}"


def test_many_missing_columns_are_counted() -> None:
    definition = boats(fields=(*FIELDS, *(Field(f"more{number}", "number", "") for number in range(12))))
    assert refusal(definition, table()).endswith(
        "the header lacks columns more0, more1, more2, more3, more4, more5, more6, more7, more8, more9 and 2 more"
    )


def test_column_that_occurs_twice_is_named() -> None:
    found = "boats.csv: the header has a column more than once: sails"
    assert refusal(boats(), [[*row, row[1]] for row in table()]) == found


def test_level_of_an_ordered_category_must_be_documented_and_of_a_nominal_one_not() -> None:
    data = dataset.parse(boats(), as_csv(put(table(), 9, "harbour", "Atlantis")), "boats.csv")
    assert data.rows[7]["harbour"] == "Atlantis"
    assert refusal(boats(), put(table(), 9, "sea", "choppy")) == (
        "boats.csv, line 9, column sea: Not a documented level of this ordered category; found 'choppy'"
    )
    assert dataset.parse(boats(), as_csv(put(table(), 9, "sea", "NA")), "boats.csv").rows[7]["sea"] is None


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("speed", "big", "Not a valid number; found 'big'"),
        ("speed", "x" * 50, f"Not a valid number; found '{'x' * 20}...'"),
        ("speed", "nan", "Not a valid number; found 'nan'"),
        ("speed", "NA", "Field may not be null; found nothing"),
        ("speed", "", "Field may not be null; found nothing"),
    ],
)
def test_wrong_cell_is_repeated_in_short(column: str, cell: str, reason: str) -> None:
    assert refusal(boats(), put(table(), 5, column, cell)) == f"boats.csv, line 5, column {column}: {reason}"


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("speed", "-1", "Must be greater than or equal to 0"),
        ("sails", "1.5", "Not a valid integer"),
        ("sea", "choppy", "Not a documented level of this ordered category"),
        ("gain", "fast", "Not a finite number"),
        ("leg", "500", "Occurs before, in line 2"),
    ],
)
@pytest.mark.parametrize("line", [3, 1001, 1002, 2501])
def test_line_at_fault_is_named_in_any_chunk(line: int, column: str, cell: str, reason: str) -> None:
    rows = with_ids(table(3000))
    put(rows, line, column, cell)
    found = f"boats.csv, line {line}, column {column}: {reason}; found {cell!r}"
    assert refusal(boats(identifier="leg"), rows) == found


def test_fault_in_an_earlier_chunk_of_rows_is_named_first() -> None:
    rows = table(1500)
    put(rows, 1200, "speed", "-1")
    put(rows, 900, "gain", "fast")
    assert refusal(boats(), rows).startswith("boats.csv, line 900, column gain: ")


def test_lines_of_the_file_are_counted_and_not_rows() -> None:
    rows = put(table(), 4, "harbour", '"two\nlines"')
    put(rows, 10, "speed", "-1")
    assert refusal(boats(), rows).startswith("boats.csv, line 11, column speed: ")


def test_few_rows_are_refused() -> None:
    assert refusal(boats(), table(49)) == "boats.csv: 49 rows; training needs at least 50"
    assert len(dataset.parse(boats(), as_csv(table(50)), "boats.csv").rows) == 50


def test_model_without_a_sample_says_what_to_do() -> None:
    with pytest.raises(DataError, match="^the model boats has no synthetic sample; name a file to train on$"):
        dataset.synthetic(boats())
