# ruff: noqa: DTZ001 - fields without time zones
from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from ml_client.errors import DataError
from ml_client.values import KindsNeededError, cell, encode, record, to_json

KINDS = {"day": "date", "start": "datetime"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (float("nan"), "null"),
        (np.float64("nan"), "null"),
        (np.float32("nan"), "null"),
        (pd.NA, "null"),
        (pd.NaT, "null"),
        (np.datetime64("NaT"), "null"),
        (Decimal("NaN"), "null"),
        (True, "true"),
        (np.bool_(False), "false"),
        (7, "7"),
        (np.int64(-7), "-7"),
        (np.uint8(7), "7"),
        (2**80, str(2**80)),
        (1.5, "1.5"),
        (np.float32(0.5), "0.5"),
        (Decimal("0.10"), "0.10"),
        (float("inf"), "1e999"),
        (-np.inf, "-1e999"),
        (Decimal("-Infinity"), "-1e999"),
        ("é", '"é"'),
        (np.str_("a"), '"a"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ([1, np.int64(2), float("nan")], "[1,2,null]"),
        ({"a": np.int64(1)}, '{"a":1}'),
    ],
)
def test_a_value_is_written_as_what_it_means(value: Any, text: str) -> None:
    assert encode(to_json(value, "x", {})).decode() == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("day", date(2024, 2, 3), "2024-02-03"),
        ("day", datetime(2024, 2, 3), "2024-02-03"),
        ("day", pd.Timestamp("2024-02-03"), "2024-02-03"),
        ("day", np.datetime64("2024-02-03", "ns"), "2024-02-03"),
        ("day", datetime(2024, 2, 3, 4), "2024-02-03T04:00:00"),  # which the server refuses
        ("start", date(2024, 2, 3), "2024-02-03T00:00:00"),
        ("start", datetime(2024, 2, 3), "2024-02-03T00:00:00"),
        ("start", pd.Timestamp("2024-02-03 04:05:06.000000007"), "2024-02-03T04:05:06.000000007"),
        ("start", datetime(2024, 2, 3, tzinfo=UTC), "2024-02-03T00:00:00+00:00"),
        ("other", datetime(2024, 2, 3), "2024-02-03"),
    ],
)
def test_a_date_is_written_by_the_kind_of_its_field(name: str, value: Any, text: str) -> None:
    assert to_json(value, name, KINDS) == text
    with pytest.raises(KindsNeededError):
        to_json(value, name, None)


@pytest.mark.parametrize("value", [b"x", timedelta(1), np.timedelta64(1, "s"), 1j, object(), {1, 2}])
def test_a_value_without_words_is_named(value: Any) -> None:
    with pytest.raises(DataError, match="^x: a value of "):
        to_json(value, "x", {})


def test_a_text_that_is_not_unicode_is_told() -> None:
    with pytest.raises(DataError, match="not Unicode"):
        encode(to_json("\ud800", "x", {}))


def test_names_of_a_record_are_text_and_what_is_no_record_is_left_to_the_server() -> None:
    assert record({1: np.int64(2), "a": None}, {}) == {"1": 2, "a": None}
    assert record([1, "a"], {}) == [1, "a"]
    assert record("a", {}) == "a"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (None, "number", None),
        (" NA ", "number", None),
        ("", "category", None),
        ("12", "number", 12),
        (" 12.50 ", "number", 12.5),
        ("1e3", "integer", 1000.0),
        ("1e999", "number", "1e999"),
        ("12,5", "number", "12,5"),
        ("Yes", "boolean", True),
        ("0", "boolean", False),
        ("maybe", "boolean", "maybe"),
        ("007", "category", "007"),
        ("7", None, "7"),
    ],
)
def test_a_cell_is_read_as_the_server_reads_it(text: str | None, kind: str | None, value: Any) -> None:
    found = cell(text, kind)
    assert found == value
    assert type(found) is type(value)
