"""What fitting learns of each field: typical values, ranges, bins, level codes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from model_kit.errors import SpecError
from model_kit.spec.dates import days_to_iso, iso_to_days
from model_kit.spec.fields import RARE, Field, Learned, Row, Target
from model_kit.spec.input_spec import InputSpec

_T = TypeVar("_T")
#: Words of a typical text, at most, and texts that each of them is in.
COMMON_WORDS: Final = 5
FEWEST_TEXTS: Final = 10
_WORD: Final = re.compile(r"\w+")
_WORDS: Final = Field("words", "integer", "words")


def fit_spec(
    fields: Iterable[Field],
    target: Target,
    rows: Iterable[Row],
    *,
    together: tuple[tuple[str, ...], ...] = (),
    rare_below: int = 10,
    n_bins: int = 10,
) -> InputSpec:
    """Learn what training adds to each field.

    Args:
        fields: the declared fields, in column order.
        target: what is predicted; its offset is kept.
        rows: validated training rows.
        together: groups of fields that only make sense together.
        rare_below: levels of a nominal category seen in fewer rows than this share the code ``RARE``.
        n_bins: drift bins of a number or date; edges are quantiles, so fewer where values repeat.

    Raises:
        SpecError: there is no row, or an ordered category holds a level that is not documented.
    """
    table = list(rows)
    if not table:
        raise SpecError("there is no row to learn from")
    fields = tuple(fields)
    learned = {}
    for field in fields:
        column = [row.get(field.name) for row in table]
        present = [value for value in column if value is not None]
        missing = 1 - len(present) / len(table)
        if field.kind == "category":
            learned[field.name] = _learn_category(field, [str(value) for value in present], missing, rare_below)
        elif field.kind == "text":
            learned[field.name] = _learn_text([str(value) for value in present], missing, n_bins)
        elif field.kind == "boolean":
            learned[field.name] = _learn_boolean(field, [bool(value) for value in present], missing)
        elif field.is_temporal:
            days = [iso_to_days(field, str(value)) for value in present]
            found = _learn_number(field, days, missing, n_bins)
            typical = None if found.typical is None else days_to_iso(field, float(found.typical))
            learned[field.name] = replace(found, typical=typical)
        else:
            learned[field.name] = _learn_number(field, [float(value) for value in present], missing, n_bins)
    return InputSpec(fields, learned, target, together)


def _learn_category(field: Field, present: list[str], missing: float, rare_below: int) -> Learned:
    counts: dict[str, int] = {}
    for value in present:
        counts[value] = counts.get(value, 0) + 1
    if field.ordered:
        positions = {level.value: position for position, level in enumerate(field.levels, start=1)}
        for value in counts:
            if value not in positions:
                raise SpecError(f"{field.name}: level {value!r} has no place in the documented order")
        codes = {value: positions[value] for value in sorted(counts, key=positions.__getitem__)}
    else:
        common = sorted(value for value, count in counts.items() if count >= rare_below)
        codes = dict.fromkeys(sorted(set(counts) - set(common)), RARE)
        codes |= {value: code for code, value in enumerate(common, start=RARE + 1)}
    return Learned(missing=missing, typical=_mode(field, counts, missing), codes=codes)


def _learn_text(present: list[str], missing: float, n_bins: int) -> Learned:
    """Of a text the number of its words; typical are the commonest words of training, which no row has together."""
    words = [find_words(text) for text in present]
    counted = Counter(word.casefold() for found in words for word in set(found))
    common = [word for word, count in counted.most_common(COMMON_WORDS) if count >= FEWEST_TEXTS]
    numbers = _learn_number(_WORDS, [float(len(found)) for found in words], missing, n_bins)
    return replace(numbers, typical=" ".join(common) or None)


def find_words(text: str) -> list[str]:
    """The words of a text, in whatever script: runs of letters and digits."""
    return _WORD.findall(text)


def _learn_boolean(field: Field, present: list[bool], missing: float) -> Learned:
    counts = {value: present.count(value) for value in (False, True) if value in present}
    codes = {str(value).lower(): int(value) for value in counts}
    return Learned(missing=missing, typical=_mode(field, counts, missing), codes=codes)


def _mode(field: Field, counts: Mapping[_T, int], missing: float) -> _T | None:
    """The most frequent value, by name where several are; ``None`` where absence is, and is information."""
    mode = min(counts, key=lambda value: (-counts[value], str(value)), default=None)
    if field.null_means is not None and not field.required and mode is not None:
        n_missing = round(missing * sum(counts.values()) / (1 - missing))
        return None if n_missing > counts[mode] else mode
    return mode


def _learn_number(field: Field, present: list[float], missing: float, n_bins: int) -> Learned:
    if not present:
        return Learned(missing=missing, typical=None)
    ordered = sorted(present)
    size = len(ordered)
    median = ordered[(size - 1) // 2]
    edges = {ordered[math.ceil(size * step / n_bins) - 1] for step in range(1, n_bins)}
    # The highest value is no inner edge: nothing would lie above it.
    bins = tuple(sorted(edge for edge in edges if edge < ordered[-1]))
    if field.kind == "integer":
        return Learned(missing, int(median), int(ordered[0]), int(ordered[-1]), bins)
    return Learned(missing, median, ordered[0], ordered[-1], bins)
