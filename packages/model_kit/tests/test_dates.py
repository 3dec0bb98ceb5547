from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit.errors import SpecError
from model_kit.spec import Field
from model_kit.spec.dates import (
    TimeZoneError,
    days_to_iso,
    expected,
    iso_to_days,
    parse_iso,
    parse_text,
    to_days,
    to_iso,
)

DAY = Field("day", "date", "")
MOMENT = Field("moment", "datetime", "")
ZONED = Field("zoned", "datetime", "", time_zone=True)


def canonical(field: Field, text: str) -> str:
    return to_iso(field, parse_iso(field, text))


@pytest.mark.parametrize(
    ("field", "text", "expected_text"),
    [
        (DAY, "2024-02-29", "2024-02-29"),
        (DAY, "0001-01-01", "0001-01-01"),
        (DAY, "9999-12-31", "9999-12-31"),
        (MOMENT, "2024-02-29T13:45:00", "2024-02-29T13:45:00"),
        (MOMENT, "2024-02-29 13:45", "2024-02-29T13:45:00"),
        (MOMENT, "2024-02-29 13:45:00.25", "2024-02-29T13:45:00.250000"),
        (MOMENT, "2024-02-29 13:45:00.123456789", "2024-02-29T13:45:00.123456"),
        (ZONED, "2024-02-29T13:45:00Z", "2024-02-29T13:45:00Z"),
        (ZONED, "2024-03-01 01:15+11:30", "2024-02-29T13:45:00Z"),
        (ZONED, "2024-02-29T08:45:00-0500", "2024-02-29T13:45:00Z"),
    ],
)
def test_iso_text_becomes_canonical(field: Field, text: str, expected_text: str) -> None:
    assert canonical(field, text) == expected_text
    assert canonical(field, expected_text) == expected_text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *[
            (DAY, text)
            for text in ("", "2023-02-29", "2024-2-29", "20240229", "2024-W09-4", "0000-01-01", " 2024-02-29")
        ],
        *[(DAY, text) for text in ("2024-02-29T00:00:00", "29/02/2024", "2024-02-29\n", "٢٠٢٤-02-29", "10000-01-01")],
        *[(MOMENT, text) for text in ("2024-02-29", "2024-02-29t13:45", "2024-02-29T24:00", "2024-02-29T13")],
        *[(MOMENT, text) for text in ("2024-02-29T13:45:60", "2024-02-29T13:45:", "2024-02-29T13:45:00.", "now")],
        *[(ZONED, text) for text in ("0001-01-01T00:00+01:00", "9999-12-31T23:59-00:01", "2024-02-29T13:45z")],
    ],
)
def test_text_that_is_not_iso_is_refused(field: Field, text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_iso(field, text)


def test_time_zone_that_is_missing_or_not_permitted_is_told_apart() -> None:
    for field, text in ((ZONED, "2024-02-29T13:45"), (MOMENT, "2024-02-29T13:45Z"), (MOMENT, "2024-02-29T13:45+01:00")):
        with pytest.raises(TimeZoneError):
            parse_iso(field, text)


@pytest.mark.parametrize(
    ("kind", "format_", "text", "expected_text"),
    [
        ("date", "%d/%m/%Y", "31/12/2024", "2024-12-31"),
        ("date", "%d/%m/%Y", "1/2/2024", "2024-02-01"),
        ("date", "%d/%m/%Y", "2024-12-31", "2024-12-31"),
        ("date", "%d.%m.%y", "31.12.24", "2024-12-31"),
        ("date", "%b %d, %Y", "Dec 31, 2024", "2024-12-31"),
        ("date", "%d/%m/%Y %H:%M", "31/12/2024 00:00", "2024-12-31"),
        ("datetime", "%m/%d/%Y %I:%M %p", "12/31/2024 06:30 PM", "2024-12-31T18:30:00"),
        ("datetime", "%d/%m/%Y %H:%M", "2024-12-31 18:30:05", "2024-12-31T18:30:05"),
    ],
)
def test_files_write_the_declared_format_or_iso(kind: Any, format_: str, text: str, expected_text: str) -> None:
    field = Field("x", kind, "", format=format_)
    assert to_iso(field, parse_text(field, text)) == expected_text


def test_time_zone_of_a_format_is_converted() -> None:
    field = Field("x", "datetime", "", format="%d/%m/%Y %H:%M %z", time_zone=True)
    assert to_iso(field, parse_text(field, "01/01/2025 00:30 +0100")) == "2024-12-31T23:30:00Z"


@pytest.mark.parametrize("text", ["12/31/2024", "31/12/24", "31/12/2024 00:00", "31-12-2024"])
def test_text_of_another_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_text(Field("x", "date", "", format="%d/%m/%Y"), text)


def test_date_with_a_time_of_day_is_refused() -> None:
    with pytest.raises(ValueError, match="."):
        parse_text(Field("x", "date", "", format="%d/%m/%Y %H:%M"), "31/12/2024 00:01")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "number", "format": "%Y"}, "^x: only a date or datetime has a format$"),
        ({"kind": "date", "time_zone": True}, "^x: only a datetime has a time zone$"),
        ({"kind": "boolean", "minimum": 0}, "^x: a boolean has no bounds$"),
        ({"kind": "date", "maximum": 1.0}, "^x: a date has no bounds$"),
        ({"kind": "boolean", "ordered": True}, "^x: only a category has levels$"),
        ({"kind": "date", "format": "%d/%m"}, "^x: format '%d/%m' does not tell year, month and day$"),
        ({"kind": "datetime", "format": "%d/%m/%Y"}, "does not tell year, month and day, the hour$"),
        ({"kind": "datetime", "format": "%d/%m/%Y %I:%M"}, "does not tell year, month and day, the hour$"),
        ({"kind": "datetime", "format": "%d/%m/%Y %H:%M", "time_zone": True}, "the hour and time zone"),
        ({"kind": "datetime", "format": "%d/%m/%Y %H:%M %z"}, "does not tell"),
        ({"kind": "date", "format": "%j %Y"}, "^x: format '%j %Y' has %j; known are %Y "),
        ({"kind": "date", "format": "%Y-%d-%m"}, "reads the ISO 8601 text 2001-02-03 as another date$"),
        ({"kind": "datetime", "format": "%Y-%d-%m %H:%M"}, "reads the ISO 8601 text 2001-02-03 16:00 as another date$"),
    ],
)
def test_declaration_that_cannot_be_is_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Field(**({"name": "x", "description": ""} | facts))


def test_days_are_those_since_1970() -> None:
    assert iso_to_days(DAY, "1970-01-01") == 0
    assert iso_to_days(DAY, "1969-12-31") == -1
    assert iso_to_days(DAY, "2000-03-01") == 11017
    assert iso_to_days(MOMENT, "1970-01-02 18:00") == 1.75
    assert iso_to_days(ZONED, "1970-01-02T18:00:00+06:00") == 1.5


@given(st.datetimes())
def test_days_tell_every_moment_to_the_millisecond(moment: datetime) -> None:
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert days_to_iso(MOMENT, to_days(moment)) == cut.isoformat()
    assert days_to_iso(DAY, to_days(datetime.combine(moment, datetime.min.time()))) == moment.date().isoformat()


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_moment_is_the_same_in_every_time_zone(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert iso_to_days(ZONED, aware.isoformat()) == to_days(moment)


def test_days_beyond_all_years_are_taken_as_the_first_or_last_day() -> None:
    assert days_to_iso(DAY, -1e12) == "0001-01-01"
    assert days_to_iso(MOMENT, 1e12) == "9999-12-31T00:00:00"


def test_what_is_expected_is_told_in_words() -> None:
    assert expected(DAY) == "YYYY-MM-DD"
    assert expected(Field("x", "date", "", format="%d. %b %y")) == "YYYY-MM-DD, in files also DD. Mon YY"
    assert expected(ZONED) == "YYYY-MM-DDThh:mm:ss with Z or an offset such as +01:00"


def test_format_that_iso_has_too_is_not_told_as_one_of_files() -> None:
    assert expected(Field("x", "datetime", "", format="%Y-%m-%d %H:%M:%S")) == "YYYY-MM-DDThh:mm:ss"
