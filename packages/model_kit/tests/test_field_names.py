"""A field may have any name that JSON can spell: both lanes find it."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from model_kit.records.encoding import Encoder
from model_kit.records.fast_lane import FastLane
from model_kit.records.validation import Validator
from model_kit.spec import Field, InputSpec, Learned, Target

#: Names that libraries have read as something else.
TRAPS = ["is.promo", "Meta", "two\nlines", 'q"uote', "back\\slash", "#", " ", "field_0", "fields", "load", "__class__"]
NAMES = st.lists(
    st.sampled_from(TRAPS) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(NAMES)
def test_any_name_is_found_by_both_lanes(names: list[str]) -> None:
    spec = InputSpec(
        tuple(Field(name, "number", "") for name in names), {name: Learned(0.0, 1.0) for name in names}, Target("y")
    )
    record = {name: float(position) for position, name in enumerate(names)}
    validated = Validator(spec)([record, dict.fromkeys(names, "no number")])
    assert validated.rows == [record]
    assert validated.errors == {1: {name: ["Not a valid number."] for name in names}}
    expected = Encoder(spec)(validated.rows)
    assert expected.tolist() == [[*record.values()]]
    for sent in (record, msgspec.Raw(json.dumps(record).encode())):
        accepted = FastLane(spec)([sent])
        assert accepted.positions == [0]
        np.testing.assert_array_equal(accepted.encoded, expected)


def test_an_attribute_of_the_decoder_is_no_field() -> None:
    spec = InputSpec((Field('a"b', "number", ""),), {'a"b': Learned(0.0, 1.0)}, Target("y"))
    assert np.isnan(FastLane(spec)([{"field_0": 3.0}]).encoded).all()
