"""Rows made from a fitted spec: for agreement checks, comparisons and examples. None is a row of the training data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model_kit.spec import Field, InputSpec, Learned, Value
from model_kit.spec.dates import days_to_iso

#: A level that no data has.
NEVER_SEEN = "never seen"
#: Numbers further out than most data, as far as ``REACH`` and hard bounds allow.
FAR = (0.0, -1.0, 1e6, 1e12, -1e12)
#: No number lies further beyond the training range than so many times its width: there, no linear model is finite.
REACH = 10.0
SECONDS_PER_DAY = 86_400
#: Words of a text, and known words that they are chosen from.
MOST_WORDS = 500


def generate_rows(
    spec: InputSpec, n_rows: int, *, seed: int, nulls: float = 0.0, unseen: float = 0.0, extremes: float = 0.0
) -> list[dict[str, Any]]:
    """Valid rows that vary every field on its own.

    Args:
        spec: the fitted table of fields.
        n_rows: how many.
        seed: the same seed gives the same rows.
        nulls: share of optional values left out, on top of the share that training data lacked.
        unseen: share of categories with a level that training never saw, documented or not.
        extremes: share of numbers and dates at or beyond the ends of the training range, by 10 times its width at
            most, within the hard bounds.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, list[Value]] = {}
    for field in spec.fields:
        learned = spec.learned[field.name]
        missing = 0.0 if field.required else 1 - (1 - learned.missing) * (1 - nulls)
        if field.kind == "category":
            values = _levels(field, learned, n_rows, unseen, random)
        elif field.kind == "text":
            values = _texts(spec, field, learned, n_rows, random)
        elif field.kind == "boolean":
            values = [bool(value) for value in random.integers(2, size=n_rows)]
        elif field.is_temporal:
            days = _numbers(field, learned, n_rows, extremes, random)
            values = [days_to_iso(field, float(value or 0.0)) for value in days]
        else:
            values = _numbers(field, learned, n_rows, extremes, random)
        absent = random.random(n_rows) < missing
        columns[field.name] = [None if gone else value for gone, value in zip(absent, values, strict=True)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def golden_row(spec: InputSpec) -> dict[str, Any]:
    """Medians and modes, fields without a typical value left out; identities between fields may not hold yet."""
    typical = {name: learned.typical for name, learned in spec.learned.items()}
    return {name: typical[name] for name in spec.names if typical[name] is not None}


def _texts(spec: InputSpec, field: Field, learned: Learned, n_rows: int, random: np.random.Generator) -> list[Value]:
    """Known words and others at random, as many as texts of training have; none of them is a text of training."""
    function = spec.texts.get(field.name)
    known = function.some_words(MOST_WORDS) if function else str(learned.typical or "").split()
    words = np.array([*known, *(NEVER_SEEN.split() * (1 + len(known) // 10))], object)
    most = int(min(learned.high or 1, MOST_WORDS))
    lengths = random.integers(1, most + 1, n_rows)
    texts = [" ".join(random.choice(words, length))[: field.max_length].strip() for length in lengths.tolist()]
    return [NEVER_SEEN if text in ("", "NA") else text for text in texts]


def _levels(field: Field, learned: Learned, n_rows: int, unseen: float, random: np.random.Generator) -> list[Value]:
    seen = sorted(learned.codes or {}) or [NEVER_SEEN]
    others = [level.value for level in field.levels if level.value not in seen] + [NEVER_SEEN]
    choice = [seen[index] for index in random.integers(len(seen), size=n_rows)]
    other = [others[index] for index in random.integers(len(others), size=n_rows)]
    return [new if use else old for old, new, use in zip(choice, other, random.random(n_rows) < unseen, strict=True)]


def _numbers(field: Field, learned: Learned, n_rows: int, extremes: float, random: np.random.Generator) -> list[Value]:
    low = learned.low if learned.low is not None else field.minimum or 0.0
    high = learned.high if learned.high is not None else low + 1.0
    # Half the values between quantiles, where the data is dense, half over the whole range.
    edges = np.array([low, *learned.bins, high])
    cells = random.integers(len(edges) - 1, size=n_rows)
    dense = edges[cells] + (edges[cells + 1] - edges[cells]) * random.random(n_rows)
    values = np.where(random.random(n_rows) < 0.5, dense, low + (high - low) * random.random(n_rows))
    width = (high - low) or abs(high) or 1.0
    far = np.clip(FAR, low - REACH * width, high + REACH * width)
    ends = np.array([low, high, low - width, high + width, *far])
    values = np.where(random.random(n_rows) < extremes, ends[random.integers(len(ends), size=n_rows)], values)
    lowest = -np.inf if field.minimum is None else field.minimum
    highest = np.inf if field.maximum is None else field.maximum
    if field.kind == "date":
        return [math.floor(value) for value in values.tolist()]
    if field.kind == "datetime":
        # Whole seconds.
        return [round(value * SECONDS_PER_DAY) / SECONDS_PER_DAY for value in values.tolist()]
    if field.kind == "integer":
        return [round(value) for value in values.clip(np.ceil(lowest), np.floor(highest)).tolist()]
    if high > low:
        # Two decimals, and more where the whole range is small.
        decimals = 2 - math.floor(math.log10(min(high - low, 1.0)))
        values = np.array([round(value, decimals) for value in values.tolist()])
    return [*values.clip(lowest, highest).tolist()]
