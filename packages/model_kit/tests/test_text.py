"""What a cell of a file is worth."""

from __future__ import annotations

import pytest
from model_kit.records.text import parse_cell, parse_number
from model_kit.spec import Field
from model_kit.testing import FIELDS

DISTANCE, PASSENGERS, ZONE, COMFORT = FIELDS


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
