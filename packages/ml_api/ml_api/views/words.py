"""Names and numbers as a person reads them."""

from __future__ import annotations

import re
from typing import Any

from model_kit.spec import Field, Learned
from model_kit.spec.dates import days_to_iso

#: Below it no digits are grouped, so that a year stays one.
_GROUPED = 10_000


def title(name: str) -> str:
    """A column's name as words: ``TripFare`` and ``trip_fare`` are "Trip fare"; ``RMSE`` stays."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()
    spelled = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return spelled[:1].upper() + spelled[1:]


def article(noun: str) -> str:
    """``noun`` with "a" or "an"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def lead(description: str) -> tuple[str, str]:
    """What is described, and what explains it further: "Finish, from 1 to 10" is "Finish" and ", from 1 to 10"."""
    end = re.search(r"[,;]| \(", description)
    return (description[: end.start()], description[end.start() :]) if end else (description, "")


def plain(value: Any) -> str:
    """A value as a form's control takes it: 1459.0 is "1459", ``None`` is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def number(value: float, digits: int = 4) -> str:
    """A number to read: ``digits`` significant ones of a fraction, thousands grouped from 10,000 on."""
    if abs(value) >= 10 ** (digits - 1) or float(value).is_integer():
        whole = round(value)
        return f"{whole:,}" if abs(whole) >= _GROUPED else str(whole)
    return f"{value:.{digits}g}"


def training_range(field: Field, learned: Learned) -> str:
    """What training saw of a number or a date, ``"1 to 4"``; empty for other kinds and where it saw nothing."""
    if learned.low is None or learned.high is None:
        return ""
    if field.is_temporal:
        return f"{days_to_iso(field, learned.low)} to {days_to_iso(field, learned.high)}"
    return f"{number(learned.low)} to {number(learned.high)}"


def percent(share: float, digits: int = 0) -> str:
    """A share of 1 in per cent, which no line end separates from its sign."""
    return f"{100 * share:.{digits}f}\u00a0%"
