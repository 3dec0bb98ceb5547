"""ARFF as OpenML writes it, as CSV."""

from __future__ import annotations

import pytest
from model_kit.errors import DataError
from regression_model import arff

HEAD = "% A comment, with 'quotes\n%\n@RELATION houses\n\n@ATTRIBUTE Id INTEGER\n@ATTRIBUTE 'Lot Area' REAL\n"
TAIL = "@ATTRIBUTE MasVnrType STRING\n\n@DATA\n"


def csv_of(rows: str, head: str = HEAD + TAIL) -> str:
    return arff.to_csv((head + rows).encode(), "houses.arff").decode()


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        arff.to_csv(content, "houses.arff")
    return str(caught.value)


def test_rows_become_csv_with_nulls_and_whole_numbers_as_kaggle_writes_them() -> None:
    rows = "1,65.0,BrkFace\n2,?,None\n\n% between\n3,65.5,?\n"
    assert csv_of(rows) == "Id,Lot Area,MasVnrType\n1,65,BrkFace\n2,NA,None\n3,65.5,NA\n"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("'Wd Sdng'", "Wd Sdng"),
        ('"Wd Sdng"', "Wd Sdng"),
        ("'a, b'", '"a, b"'),
        (r"'O\'Neil'", "O'Neil"),
        (r"'100\%'", "100%"),
        (r"'a\\b'", r"a\b"),
        (r"'a\tb'", "a\tb"),
        (r"'\u00e9'", "é"),
        ("'?'", "?"),
        ("''", ""),
        ("  Stone  ", "Stone"),
        ("1.0", "1.0"),
        ("NA", "NA"),
    ],
)
def test_value_is_read_by_the_rules_of_the_format(cell: str, text: str) -> None:
    assert csv_of(f"1,2,{cell}\n").splitlines()[1] == f"1,2,{text}"


def test_nominal_attributes_lower_case_and_other_line_ends_are_read() -> None:
    head = "@relation x\r\n@attribute zone {A, 'B C'}\r\n@attribute \"area\" numeric\r\n@data\r\n"
    assert csv_of("'B C', -7.00\r\n", head) == "zone,area\nB C,-7\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEAD.encode(), "houses.arff: it has no data section: the file is cut off"),
        ((HEAD + TAIL + "1,2,A\n1,2\n").encode(), "houses.arff, line 11: 2 values where there are 3 attributes"),
        ((HEAD + TAIL + "1,2,'A\n").encode(), "houses.arff, line 10: a quote is not closed"),
        ((HEAD + TAIL + "1,2,'A'B\n").encode(), "houses.arff, line 10: a quote is not closed"),
        ((HEAD + TAIL + "{0 1}\n").encode(), "houses.arff, line 10: sparse ARFF, which is not read here"),
        ((HEAD + "@attribute Id real\n").encode(), "houses.arff, line 7: attribute Id occurs before"),
        (
            (HEAD + "@attribute when date yyyy\n").encode(),
            "houses.arff, line 7: not an attribute of a kind that is read here: @attribute when date yyyy",
        ),
        (b"@relation \xff\n", "houses.arff: not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(content: bytes, reason: str) -> None:
    assert refusal(content) == reason


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (HEAD.encode(), True),
        (b"\xef\xbb\xbf@relation x\n", True),
        (b"Id,SalePrice\n1,2\n", False),
        (b"% only a comment\n", False),
        (b"", False),
    ],
)
def test_format_is_recognised_by_its_first_statement(content: bytes, found: bool) -> None:
    assert arff.is_arff(content) is found
