"""The fast lane says what the schema and the encoder say, or it declines."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_kit.records import json_text
from model_kit.records.encoding import LARGEST, Encoder
from model_kit.records.fast_lane import MOST_LEVELS, FastLane
from model_kit.records.generation import generate_rows
from model_kit.records.text import MAX_LEVEL_CODE
from model_kit.records.validation import Validator
from model_kit.spec import UNSEEN, Field, InputSpec, Learned, Target
from model_kit.testing import GOLDEN_ROW, SPEC_OF_RIDES

from strategies import any_json, any_records

#: Every kind of field that there can be, next to those of the rides.
SPEC = InputSpec(
    (
        *SPEC_OF_RIDES.fields,
        Field("1st", "integer", "Without bounds"),
        Field("below", "number", "With one bound", maximum=0.5),
        Field("wide", "number", "Bounds beyond what is taken", minimum=-1e300, maximum=1e300),
        Field("name", "category", "Texts that look like numbers"),
        Field("odd", "category", "Levels that no JSON text has"),
        Field("many", "category", "More levels than are decoded to codes at once"),
        Field("built", "category", "Codes that are spelled oddly", numeric_codes=True, null_means="never"),
    ),
    {
        **SPEC_OF_RIDES.learned,
        "1st": Learned(0.0, 1),
        "below": Learned(0.0, 0.25),
        "wide": Learned(0.0, 1e20),
        "name": Learned(0.0, "1", codes={"1": 1, "1.0": 2, "": 3}),
        "odd": Learned(0.0, "A", codes={"A": 1, "\ud800": 2}),
        "many": Learned(0.0, "0", codes={str(code): code for code in range(MOST_LEVELS + 1)}),
        "built": Learned(0.0, "-5", codes={"-5": 1, "007": 2, "7": 3, "1e3": 4, "-0": 5, "0": 6, "NA": 7}),
    },
    Target("fare", "EUR"),
)
VALIDATE, ENCODE, FAST_LANE = Validator(SPEC), Encoder(SPEC), FastLane(SPEC)

numbers = st.sampled_from(
    [
        *(0, 1, -1, 7, -5, 20.5, 3.0, -0.0, 0.5, 1e3, 1e12, 1e12 + 1, -1e13, 2.0**53, 2**53 + 1, 2**63, 2**64, 10**25),
        *(
            1e15,
            10**15,
            10**15 + 1,
            -(10**15) - 1,
            1e16,
            1e300,
            1e301,
            5e-324,
            10**308,
            10**309,
            float("inf"),
            True,
            False,
        ),
    ]
)
texts = st.sampled_from(["1", "1.0", "", "-5", "7", "007", "1e3", "-0", "0", "NA", "A", "x", "٣", "²", "7 ", "\ud800"])
odd_values = numbers | texts | any_json()
records = st.builds(
    lambda record, changes: record | changes,
    any_records(SPEC),
    st.dictionaries(st.sampled_from(SPEC.names), odd_values, max_size=3),
)


def hold(record: Any, *, text: bool) -> None:
    """The lanes agree on a record, or the fast one declines it."""
    given_record = msgspec.Raw(json.dumps(record).encode()) if text else record
    if text and json_text.split(bytes(given_record)) is None:
        return
    accepted = FAST_LANE([given_record])
    assert (accepted.positions, accepted.declined) in (([0], []), ([], [0]))
    assert accepted.encoded.shape == (len(accepted.positions), len(SPEC.fields))
    if accepted.positions:
        validated = VALIDATE([record])
        assert validated.errors == {}
        assert accepted.encoded.tobytes() == ENCODE(validated.rows).tobytes()


@settings(deadline=None, max_examples=1000)
@given(record=records | any_json())
@example(record={**GOLDEN_ROW, "built": 7.0})
@example(record={**GOLDEN_ROW, "built": -0.0})
@example(record={**GOLDEN_ROW, "built": float(MAX_LEVEL_CODE)})
@example(record={**GOLDEN_ROW, "wide": LARGEST})
def test_it_agrees_with_the_schema_and_the_encoder_or_declines(record: Any) -> None:
    hold(record, text=False)
    hold(record, text=True)


documents = (records | st.lists(records, max_size=3)).map(lambda document: json.dumps(document).encode())
damage = st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\x00", b"NaN", b",", b'"', b"1e999", b"/**/", b"}", b"[", b"01"])
hostile = st.builds(
    lambda text, place, piece: text[: place % (len(text) + 1)] + piece + text[place % (len(text) + 1) :],
    documents,
    st.integers(0, 10_000),
    damage | st.binary(max_size=3),
)


@settings(deadline=None, max_examples=1000)
@given(body=hostile)
def test_what_is_split_is_json_and_what_is_no_json_is_not(body: bytes) -> None:
    texts = json_text.split(body)
    if texts is None:
        return
    document = json_text.loads(body)
    values = [document] if isinstance(document, dict) else document
    assert repr([json_text.loads(bytes(text)) for text in texts]) == repr(values)


@pytest.mark.parametrize("pandas", [False, True], ids=["as they are", "as pandas writes them"])
def test_valid_records_take_it(pandas: bool) -> None:
    rows = generate_rows(SPEC_OF_RIDES, 500, seed=1, nulls=0.2, unseen=0.1)
    if pandas:
        integers = [field.name for field in SPEC_OF_RIDES.fields if field.kind == "integer"]
        rows = [row | {name: row[name] and float(row[name]) for name in integers} for row in rows]
    accepted = FastLane(SPEC_OF_RIDES)(json_text.split(json.dumps(rows).encode()) or [])
    assert accepted.positions == list(range(500))
    assert np.array_equal(accepted.encoded, Encoder(SPEC_OF_RIDES)(rows), equal_nan=True)


def test_texts_of_levels_are_read_without_the_slow_lane() -> None:
    texts = ["A", " A\t", "never seen", " ", "NA", None]
    records = [{**GOLDEN_ROW, "name": text.replace("A", "1") if text else None, "odd": text} for text in texts]
    accepted = FAST_LANE(json_text.split(json.dumps(records).encode()) or [])
    columns = [SPEC.names.index(name) for name in ("odd", "name")]
    expected = [[1, 1], [1, 1], [UNSEEN, UNSEEN], [np.nan, np.nan], [np.nan, UNSEEN], [np.nan, np.nan]]
    assert accepted.declined == []
    np.testing.assert_array_equal(accepted.encoded[:, columns], expected)


def test_names_of_a_record_that_has_every_field_are_not_looked_at() -> None:
    whole = {**dict.fromkeys(SPEC.names), **GOLDEN_ROW, "odd": "A", "many": "3", "built": "7"}
    without_number, without_level = ({name: whole[name] for name in whole if name != one} for one in ("below", "built"))
    records = [
        whole,
        whole | {"Id": 7},
        without_number | {"Below": 0.2},
        without_level | {"Built": "7"},
        without_number,
    ]
    accepted = FAST_LANE(json_text.split(json.dumps(records).encode()) or [])
    assert (accepted.declined, accepted.with_unknown) == ([], [2, 3])


@pytest.mark.parametrize(
    ("changes", "is_known"),
    [({}, True), ({0: {"Id": 7}}, False), ({25: {"Id": 7}}, False), ({20: {"Id": 7}, 29: {"zone": 1}}, False)],
    ids=["none", "first", "later", "declined as well"],
)
def test_records_with_nothing_but_fields_are_known(changes: dict[int, dict[str, Any]], is_known: bool) -> None:
    records = [GOLDEN_ROW | changes.get(number, {}) for number in range(30)]
    accepted = FAST_LANE(json_text.split(json.dumps(records).encode()) or [])
    assert accepted.only_known == is_known
    assert len(accepted.positions) + len(accepted.declined) == 30
    # Of values that are no texts it is not known.
    assert not FAST_LANE([GOLDEN_ROW]).only_known


def test_bad_record_leaves_its_neighbours_where_they_are() -> None:
    accepted = FAST_LANE([GOLDEN_ROW, {"zone": 1}, "x", GOLDEN_ROW])
    assert (accepted.positions, accepted.declined) == ([0, 3], [1, 2])


def test_no_record_is_an_empty_matrix() -> None:
    assert FAST_LANE([]).encoded.shape == (0, len(SPEC.fields))
