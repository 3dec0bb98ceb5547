"""Dates and times: ISO 8601 or a file's own format in, days since 1970-01-01 out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from model_kit.errors import SpecError

if TYPE_CHECKING:
    from model_kit.spec.fields import Field

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are naive here, in UTC where zones are used
MS_PER_DAY: Final = 86_400_000
#: The first and the last day that a datetime can be, in days since the epoch.
_FIRST: Final = -719_162.0
_LAST: Final = 2_932_896.0
#: Directives of strptime that a format may have -> how they are written in messages.
DIRECTIVES: Final = {
    "%Y": "YYYY",
    "%y": "YY",
    "%m": "MM",
    "%b": "Mon",
    "%B": "Month",
    "%d": "DD",
    "%a": "Day",
    "%A": "Weekday",
    "%H": "hh",
    "%I": "hh",
    "%M": "mm",
    "%S": "ss",
    "%f": "ffffff",
    "%p": "AM/PM",
    "%z": "+hh:mm",
    "%%": "%",
}
_DIRECTIVE: Final = re.compile(r"%.?", re.DOTALL)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)


class TimeZoneError(ValueError):
    """A datetime lacks the time zone that the field has, or has one where the field has none."""


def parse_iso(field: Field, text: str) -> datetime:
    """Read ISO 8601: ``2026-12-31``; ``2026-12-31T18:30:00``, with a blank for the T or without seconds too.

    Returns:
        A naive datetime, in UTC if the field has time zones.

    Raises:
        TimeZoneError: it has a time zone and the field has none, or the other way round.
        ValueError: it is not ISO 8601, or no such day or time exists.
    """
    if not (_DATE if field.kind == "date" else _DATETIME).fullmatch(text):
        raise ValueError(f"not ISO 8601: {text!r}")
    return normalize(field, datetime.fromisoformat(text))


def parse_text(field: Field, text: str) -> datetime:
    """Read a file's text: in the field's format if it has one, otherwise as :func:`parse_iso`; errors are its."""
    if field.format is not None:
        try:
            return normalize(field, datetime.strptime(text, field.format))  # noqa: DTZ007 - a field may have no zones
        except TimeZoneError:
            raise
        except ValueError:
            pass  # ISO 8601 is taken in files too; check_format makes sure that no text can be both
    return parse_iso(field, text)


def normalize(field: Field, moment: datetime) -> datetime:
    """A datetime as the field has it: naive, in UTC if the field has time zones, at midnight for a date.

    Raises:
        TimeZoneError: as :func:`parse_iso`.
        ValueError: a date has a time of day; or the year in UTC is not 1 to 9999.
    """
    if (moment.tzinfo is not None) != field.time_zone:
        raise TimeZoneError(moment.isoformat())
    if field.time_zone:
        try:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise ValueError(moment.isoformat()) from error
    if field.kind == "date" and moment != datetime(moment.year, moment.month, moment.day):  # noqa: DTZ001 - see above
        raise ValueError(moment.isoformat())
    return moment


def to_iso(field: Field, moment: datetime) -> str:
    """The canonical text of a normalized datetime: ``2026-12-31``, ``2026-12-31T18:30:00``, with ``Z`` for zones."""
    if field.kind == "date":
        return moment.date().isoformat()
    return moment.isoformat() + ("Z" if field.time_zone else "")


def to_days(moment: datetime) -> float:
    """Days since 1970-01-01 of a normalized datetime, cut to milliseconds, so that its parts can be told exactly."""
    since = moment - EPOCH
    return since.days + (since.seconds * 1000 + since.microseconds // 1000) / MS_PER_DAY


def days_to_iso(field: Field, days: float) -> str:
    """The canonical text of a number of days since 1970-01-01, between the years 1 and 9999."""
    milliseconds = round(min(max(days, _FIRST), _LAST) * MS_PER_DAY)
    return to_iso(field, EPOCH + timedelta(milliseconds=milliseconds))


def iso_to_days(field: Field, text: str) -> float:
    """Days since 1970-01-01 of a valid text."""
    return to_days(parse_iso(field, text))


def expected(field: Field) -> str:
    """How a date or datetime is to be written, in words."""
    if field.kind == "date":
        iso = "YYYY-MM-DD"
    else:
        iso = "YYYY-MM-DDThh:mm:ss" + (" with Z or an offset such as +01:00" if field.time_zone else "")
    if field.format is None or _is_iso(field, field.format):
        return iso
    return f"{iso}, in files also {format_in_words(field.format)}"


def _is_iso(field: Field, format_: str) -> bool:
    """Whether a format writes what is taken without it, with a blank for the T for instance."""
    try:
        parse_iso(field, datetime(2001, 2, 3, 16, tzinfo=UTC).strftime(format_))
    except ValueError:
        return False
    return True


def format_in_words(format_: str) -> str:
    """``"%d/%m/%Y"`` as ``"DD/MM/YYYY"``."""
    return _DIRECTIVE.sub(lambda found: DIRECTIVES.get(found[0], found[0]), format_)


def check_format(field: Field) -> None:
    """Make sure that a field's format can be used.

    Raises:
        SpecError: it has an unknown directive, does not tell the whole date, or reads ISO 8601 as another date.
    """
    if field.format is None:
        return
    directives = _DIRECTIVE.findall(field.format)
    if unknown := [found for found in directives if found not in DIRECTIVES]:
        raise SpecError(f"{field.name}: format {field.format!r} has {unknown[0]}; known are {' '.join(DIRECTIVES)}")
    zone = UTC if field.time_zone else None
    probe = datetime(2001, 2, 3, 0 if field.kind == "date" else 16, tzinfo=zone)
    # Without a year strptime warns from Python 3.13 on.
    has_year = not {"%Y", "%y"}.isdisjoint(directives)
    try:
        same = has_year and parse_text(field, probe.strftime(field.format)) == probe.replace(tzinfo=None)
    except ValueError:
        same = False
    if not same:
        raise SpecError(
            f"{field.name}: format {field.format!r} does not tell year, month and day"
            + ("" if field.kind == "date" else ", the hour")
            + (" and time zone (%z)" if field.time_zone else "")
        )
    spellings = [probe.isoformat(mark, spec) for mark in "T " for spec in ("minutes", "seconds", "milliseconds")]
    for iso in ["2001-02-03"] if field.kind == "date" else spellings:
        if parse_text(field, iso) != probe.replace(tzinfo=None):
            raise SpecError(f"{field.name}: format {field.format!r} reads the ISO 8601 text {iso} as another date")
