"""Formats names and numbers for the pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from model_kit.spec import Field, Learned
from model_kit.spec.dates import days_to_iso

#: Digits are grouped from this number on, so that years are not.
_GROUPED_FROM = 10_000
#: Numbers from this one on have an exponent.
_SCIENTIFIC_FROM = 1e15
#: Amounts from the first on have no decimals, from the second on two; others have three significant digits.
_WHOLE_FROM, _TWO_DECIMALS_FROM = 1000, 0.1
#: Currency -> its symbol, which stands before the number.
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}


def phrase(name: str) -> str:
    """Convert a column name to words: ``TripFare`` and ``trip_fare`` to "trip fare"; ``RMSE`` is unchanged."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)


def title(name: str) -> str:
    """Convert a column name to words, the first of which is capitalized."""
    words = phrase(name)
    return words[:1].upper() + words[1:]


def article(noun: str) -> str:
    """Put "a" or "an" before ``noun``."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def lead(description: str) -> tuple[str, str]:
    """Split a description: "Finish, from 1 to 10" into "Finish" and ", from 1 to 10"."""
    end = re.search(r"[,;]| \(", description)
    return (description[: end.start()], description[end.start() :]) if end else (description, "")


def plain(value: Any) -> str:
    """Format the value of a form control: 1459.0 as "1459", ``None`` as an empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def number(value: float, digits: int = 4) -> str:
    """Format a number: a fraction with ``digits`` significant digits, thousands grouped from 10,000 on."""
    if abs(value) < _SCIENTIFIC_FROM and (abs(value) >= 10 ** (digits - 1) or float(value).is_integer()):
        whole = round(value)
        return f"{whole:,}" if abs(whole) >= _GROUPED_FROM else str(whole)
    return f"{value:.{digits}g}"


def training_range(field: Field, learned: Learned) -> str:
    """What training saw of a number or a date, ``"1 to 4"``; empty for other kinds and where it saw nothing."""
    if learned.low is None or learned.high is None:
        return ""
    if field.is_temporal:
        return f"{days_to_iso(field, learned.low)} to {days_to_iso(field, learned.high)}"
    return f"{number(learned.low)} to {number(learned.high)}"


def ticks(values: Sequence[float]) -> tuple[str, ...]:
    """Format the values under an axis: with 3 significant digits, or as many as tell them apart."""
    labels: tuple[str, ...] = ()
    for digits in range(3, 16):
        labels = tuple(number(float(f"{value:.{digits}g}"), max(4, digits)) for value in values)
        if len(set(labels)) == len(set(values)):
            break
    return labels


def amount(value: float, unit: str = "") -> str:
    """Format a value of the target with its unit, as the form's script does in most cases."""
    size = abs(value)
    if size >= _WHOLE_FROM:
        digits = f"{size:,.0f}" if size < _SCIENTIFIC_FROM else f"{size:.3g}"
    else:
        digits = f"{size:.2f}" if size >= _TWO_DECIMALS_FROM or not size else f"{size:.3g}"
    sign, symbol = "−" if value < 0 else "", _SYMBOLS.get(unit, "")
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{digits} {unit}".rstrip()


def percent(share: float, digits: int = 0) -> str:
    """Format a fraction as a percentage, with a no-break space before the sign."""
    return f"{100 * share:.{digits}f}\u00a0%"
