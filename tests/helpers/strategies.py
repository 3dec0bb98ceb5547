"""Records that hypothesis makes up: valid ones, and such that have mistakes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from model_kit.spec import Field, InputSpec


def any_json() -> SearchStrategy[Any]:
    """Whatever a JSON document can be once it is read: 1e400 is an infinity, and integers have any number of digits."""
    huge = st.integers(1, 500).map(lambda digits: 10**digits)
    plain = st.none() | st.booleans() | st.integers() | huge | st.floats(allow_nan=False) | st.text(max_size=5)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )


def any_records(spec: InputSpec) -> SearchStrategy[dict[str, Any]]:
    """Records of known and unknown fields with any value: many are valid, many have one mistake, some have nothing."""

    def plausible(field: Field) -> SearchStrategy[Any]:
        if field.kind == "category":
            levels = [*(spec.learned[field.name].codes or ()), *(level.value for level in field.levels), "never seen"]
            padded = [f" {level}\t" for level in levels]
            return st.sampled_from(levels) | st.sampled_from([*padded, "", "  ", "NA", "2.0", "02", "2.5", "9" * 20])
        if field.kind == "boolean":
            return st.booleans() | st.sampled_from([0, 1, 0.0, 1.0])
        if field.kind == "date":
            return st.dates().map(str)
        if field.kind == "datetime":
            moments = st.datetimes(timezones=st.timezones() if field.time_zone else st.none())
            return st.builds(lambda moment, separator: moment.isoformat(separator), moments, st.sampled_from("T "))
        low, high = field.minimum, field.maximum
        if field.kind == "number":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        return st.integers(None if low is None else int(low), None if high is None else int(high))

    known = {field.name: plausible(field) for field in spec.fields}
    required = {name: known[name] for name in spec.required}
    optional = {name: st.none() | known[name] for name in spec.names if name not in required}
    valid = st.fixed_dictionaries(required, optional=optional)
    mistakes = st.dictionaries(st.sampled_from(spec.names) | st.text(max_size=8), any_json(), max_size=2)
    return st.builds(lambda record, changes: record | changes, valid, mistakes) | mistakes
