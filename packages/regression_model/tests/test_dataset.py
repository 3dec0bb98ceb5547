"""Training files: read exactly, or refused with the reason."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_kit.errors import DataError
from model_kit.training import dataset
from regression_model import DEFINITION, sample
from regression_model.fields import FIELDS

AMES = Path(os.environ.get("AMES_DATA", Path(__file__).parents[4] / "shared" / "data" / "ames"))
N_ROWS = 60

Table = list[list[str]]


@pytest.fixture
def table() -> Table:
    """A small file as cells: the header, then ``N_ROWS`` rows whose identifiers are not the sample's."""
    rows = list(csv.reader(io.StringIO(sample.csv_bytes(N_ROWS, seed=1).decode())))
    for number, row in enumerate(rows[1:], start=1):
        row[0] = str(number)
    return rows


def as_csv(rows: Table) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def put(rows: Table, line: int, column: str, cell: str) -> Table:
    rows[line - 1][rows[0].index(column)] = cell
    return rows


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        dataset.parse(DEFINITION, content, "houses.csv")
    return str(caught.value)


def test_file_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(sample.csv_bytes())
    data = dataset.load(DEFINITION, path)
    frame = pd.read_csv(path, keep_default_na=False, na_values=["NA"])
    assert data.ids == tuple(frame["Id"].astype(str))
    assert data.target.tolist() == frame["SalePrice"].tolist()
    assert data.target.dtype == np.float64
    for field in FIELDS:
        column = [row[field.name] for row in data.rows]
        expected = [None if pd.isna(value) else value for value in frame[field.name]]
        if field.numeric_codes:
            expected = [str(value) for value in expected]
        assert column == expected, field.name


def test_values_are_as_the_validator_yields_them(table: Table) -> None:
    put(table, 2, "MSSubClass", "20.0")
    put(table, 2, "OverallQual", "7.0")
    put(table, 2, "LotFrontage", "")
    put(table, 2, "MasVnrType", "None")
    put(table, 2, "Alley", "NA")
    row = dataset.parse(DEFINITION, as_csv(table), "houses.csv").rows[0]
    assert row["MSSubClass"] == "20"
    assert (row["OverallQual"], type(row["OverallQual"])) == (7, int)
    assert row["LotFrontage"] is None
    assert row["MasVnrType"] == "None"
    assert row["Alley"] is None
    assert list(row) == [field.name for field in FIELDS]


def test_dataset_says_which_bytes_it_is_made_of(tmp_path: Path, table: Table) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(as_csv(table))
    data = dataset.load(DEFINITION, path)
    assert data.name == "houses.csv"
    assert data.sha256 == hashlib.sha256(as_csv(table)).hexdigest()
    assert data.synthetic is False
    assert data.ids == tuple(str(number) for number in range(1, N_ROWS + 1))


def test_synthetic_sample_is_recognised_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(sample.csv_bytes(100, seed=3))
    data = dataset.load(DEFINITION, path)
    assert (data.name, data.synthetic) == ("synthetic sample", True)


def test_one_made_up_house_makes_the_file_synthetic(table: Table) -> None:
    data = dataset.parse(DEFINITION, as_csv(put(table, 7, "Id", "9000001")), "houses.csv")
    assert (data.name, data.synthetic) == ("houses.csv", True)


def test_generated_sample_is_the_written_one(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(sample.csv_bytes())
    assert dataset.synthetic(DEFINITION).sha256 == dataset.load(DEFINITION, path).sha256


def test_columns_may_come_in_any_order(table: Table) -> None:
    straight = dataset.parse(DEFINITION, as_csv(table), "houses.csv")
    turned = dataset.parse(DEFINITION, as_csv([row[::-1] for row in table]), "houses.csv")
    assert [dict(row) for row in turned.rows] == [dict(row) for row in straight.rows]
    assert turned.ids == straight.ids


def test_file_as_a_spreadsheet_writes_it_is_the_same(table: Table) -> None:
    straight = dataset.parse(DEFINITION, as_csv(table), "houses.csv")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows(table)
    other = dataset.parse(DEFINITION, text.getvalue().encode("utf-8-sig"), "houses.csv")
    assert (other.rows, other.ids, other.target.tolist()) == (straight.rows, straight.ids, straight.target.tolist())


def test_identifier_that_pandas_wrote_as_a_float_is_the_same(table: Table) -> None:
    assert dataset.parse(DEFINITION, as_csv(put(table, 2, "Id", "524.0")), "houses.csv").ids[0] == "524"


def test_unknown_nominal_level_is_accepted(table: Table) -> None:
    row = dataset.parse(DEFINITION, as_csv(put(table, 2, "Neighborhood", "Atlantis")), "houses.csv").rows[0]
    assert row["Neighborhood"] == "Atlantis"


def test_other_columns_are_ignored_with_a_note(table: Table) -> None:
    notes: list[str] = []
    wider = [[*row, "x"] for row in table]
    wider[0][-1] = "Agent"
    data = dataset.parse(DEFINITION, as_csv(wider), "houses.csv", report=notes.append)
    assert notes == ["houses.csv: ignoring column Agent, which the model does not use"]
    assert "Agent" not in data.rows[0]


@pytest.mark.parametrize("cut", [1, 2])
def test_last_line_without_a_line_break_is_reported(table: Table, cut: int) -> None:
    reported: list[str] = []
    data = dataset.parse(DEFINITION, as_csv(table)[:-cut], "houses.csv", report=reported.append)
    assert len(data.rows) == N_ROWS
    assert reported == [
        "houses.csv: the last line has no line break; if the file was cut off, its last value may be wrong"
    ]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("GrLivArea", "big", "Not a valid number; found 'big'"),
        ("GrLivArea", "x" * 50, f"Not a valid number; found '{'x' * 20}...'"),
        ("GrLivArea", "nan", "Not a valid number; found 'nan'"),
        ("GrLivArea", "-1", "Must be greater than or equal to 0; found '-1'"),
        ("GrLivArea", "NA", "Field may not be null; found nothing"),
        ("Neighborhood", "", "Field may not be null; found nothing"),
        ("GarageCars", "3.7", "Not a valid integer; found '3.7'"),
        ("MoSold", "13", "Must be greater than or equal to 1 and less than or equal to 12; found '13'"),
        ("MSSubClass", "20.5", None),
        ("ExterQual", "Super", "Not a documented level of this ordered category; found 'Super'"),
        ("Id", "1", "Occurs before, in line 2; found '1'"),
        ("Id", "", "missing"),
        ("SalePrice", "NA", "missing"),
        ("SalePrice", "cheap", "Not a finite number; found 'cheap'"),
        ("SalePrice", "inf", "Not a finite number; found 'inf'"),
        ("SalePrice", "0", "Must be greater than 0; found '0'"),
        ("SalePrice", "-5", "Must be greater than 0; found '-5'"),
    ],
)
def test_wrong_cell_is_refused_with_line_and_column(table: Table, column: str, cell: str, reason: str | None) -> None:
    content = as_csv(put(table, 5, column, cell))
    if reason is None:
        assert dataset.parse(DEFINITION, content, "houses.csv").rows[3][column] == cell
    else:
        assert refusal(content) == f"houses.csv, line 5, column {column}: {reason}"


def test_first_wrong_line_is_named(table: Table) -> None:
    put(put(table, 9, "GrLivArea", "late"), 4, "LotArea", "early")
    assert refusal(as_csv(table)) == "houses.csv, line 4, column LotArea: Not a valid number; found 'early'"


def without(column: str) -> Callable[[Table], Table]:
    def drop(rows: Table) -> Table:
        index = rows[0].index(column)
        return [row[:index] + row[index + 1 :] for row in rows]

    return drop


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("SalePrice", "houses.csv: the header lacks column SalePrice"),
        ("Id", "houses.csv: the header lacks column Id"),
        ("Fence", "houses.csv: the header lacks column Fence"),
        ("GrLivArea", "houses.csv: the header lacks the required columns GrLivArea"),
    ],
)
def test_missing_column_is_named(table: Table, column: str, reason: str) -> None:
    assert refusal(as_csv(without(column)(table))) == reason


def test_many_missing_columns_are_named_and_counted(table: Table) -> None:
    keep = [table[0].index(name) for name in ("OverallQual", "GrLivArea", "YearBuilt", "Neighborhood")]
    assert refusal(as_csv([[row[index] for index in keep] for row in table])) == (
        "houses.csv: the header lacks columns Id, MSSubClass, MSZoning, LotFrontage, LotArea, Street, Alley, LotShape, "
        "LandContour, Utilities and 67 more"
    )


def test_column_that_occurs_twice_is_named(table: Table) -> None:
    assert refusal(as_csv([[*row, row[1]] for row in table])) == (
        "houses.csv: the header has a column more than once: MSSubClass"
    )


def test_file_cut_off_is_refused(table: Table) -> None:
    content = as_csv(table)
    last = content.rstrip(b"\n").rindex(b"\n") + 40
    reason = refusal(content[:last])
    assert reason.startswith(f"houses.csv, line {N_ROWS + 1}: ")
    assert reason.endswith("cells where the header has 81; it is the last line: the file is cut off")


def test_few_rows_are_refused(table: Table) -> None:
    assert refusal(as_csv(table[:50])) == "houses.csv: 49 rows; training needs at least 50"
    assert len(dataset.parse(DEFINITION, as_csv(table[:51]), "houses.csv").rows) == 50
    assert refusal(as_csv(table[:1])) == "houses.csv: 0 rows; training needs at least 50"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "houses.csv: the file is empty"),
        (b"<html><body>Sign in</body></html>", "houses.csv: an HTML or XML page, not CSV"),
        (b"PK\x03\x04\x00\x00,\n", "houses.csv: a workbook (.xlsx) or zip archive, not CSV text"),
        (b"\x1f\x8b\x08\x00", "houses.csv: compressed by gzip, not CSV text"),
        (b"Id,MSZoning\n1,RL\n2,\xe9\n", "houses.csv, line 3: not UTF-8 text"),
    ],
)
def test_file_of_another_kind_is_refused(content: bytes, reason: str) -> None:
    assert refusal(content).startswith(reason)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.csv"
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read: No such file or directory"):
        dataset.load(DEFINITION, path)


@pytest.mark.skipif(not (AMES / "train.csv").exists(), reason="the Kaggle files are not there (AMES_DATA)")
def test_real_training_file_is_read() -> None:
    notes: list[str] = []
    data = dataset.load(DEFINITION, AMES / "train.csv", report=notes.append)
    assert (data.name, data.synthetic, len(data.rows), notes) == ("train.csv", False, 1460, [])
    assert {"524", "1299"} < set(data.ids)
    assert (data.target.min(), data.target.max()) == (34900.0, 755000.0)
    assert sum(value is None for row in data.rows for value in row.values()) == 6965
