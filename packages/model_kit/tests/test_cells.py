"""The fast lane for cells is the validator and the encoder, to the bit."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_kit.batch import cells
from model_kit.batch.cells import CellEncoder
from model_kit.records.encoding import Encoded, Encoder
from model_kit.records.text import parse_cell
from model_kit.records.validation import Validator
from model_kit.spec import Field, InputSpec, Learned
from model_kit.testing import SPEC_OF_RIDES

COLUMNS = ("id", "zone", "passengers", "distance", "comfort")

#: What people, spreadsheets and programs write into cells, and what somebody might who means harm.
TEXTS = [
    *("", "NA", " ", " NA ", "None", "nan", "NaN", "inf", "-inf", "Infinity", "1e999", "null"),
    *(
        "0",
        "-0",
        "-0.0",
        "+0",
        "00",
        "1",
        "8",
        "9",
        "08",
        " 8 ",
        "\t8",
        "8\t",
        "12\x01",
        "8\u00a0",
        "+8",
        "-8",
        "8.0",
        "8.",
        ".8",
        ".",
    ),
    *("..", "1.2.3", "8.0.", "1e0", "1E+1", "80e-1", "8e", "e8", "1_0", "0x8", "٣", "8a", "a8", "/8", ":8", "8/", "8:"),
    *("12345678", "99999999", "123456789", "1234567.", ".1234567", "0.1234567", "123.45678", "3.0000001", "2.5"),
    *("100000000000000000000", "1e12", "1e13", "9" * 18, "9" * 19, "9" * 400, "1000000000000.5", "0.1", "1234.56"),
    *("A", "B", "C", " A", "A ", "never seen", "a long level of a category", "é", "A\0", "\0", "20", "20.0", "1.0"),
    *("2,5", "1\x1f2", "1\x1e2", "true", "-1", "-1.5", "1e-320", "2.2250738585072014e-308", "A" * 9, "A" * 200),
]
TEXT = (
    st.sampled_from(TEXTS)
    | st.text("0123456789.+-eE _", max_size=10)
    | st.text(st.characters(codec="utf-8", exclude_characters='\n|"'), max_size=10)
    | st.integers(-(10**9), 10**9).map(str)
    | st.floats(allow_nan=False).map(repr)
    | st.decimals(-1000, 10_000, places=2).map(str)
)


@pytest.fixture(scope="module")
def encoder() -> CellEncoder:
    return CellEncoder(SPEC_OF_RIDES, COLUMNS)


def encode(encoder: CellEncoder, lines: list[list[str]]) -> tuple[Encoded, list[bool]]:
    content = "".join("|".join(line) + "\n" for line in lines).encode()
    encoded, certain = encoder(content, ord("|"), ord("\n"))
    return encoded, certain.tolist()


def authority(spec: InputSpec, columns: tuple[str, ...], line: list[str]) -> Encoded | None:
    """What validator and encoder make of a line; ``None`` if it has an error."""
    fields = {field.name: field for field in spec.fields}
    record = {name: parse_cell(fields[name], text) for name, text in zip(columns, line, strict=True) if name in fields}
    rows = Validator(spec)([record]).rows
    return Encoder(spec)(rows) if rows else None


def assert_same(found: Encoded, expected: Encoded) -> None:
    """To the bit: the sign of a zero counts, NaN is NaN."""
    assert found.tobytes() == expected.tobytes()


@settings(deadline=None, max_examples=300)
@given(lines=st.lists(st.lists(TEXT, min_size=5, max_size=5), min_size=1, max_size=8))
@example(lines=[["7", text, "1", "1", "1"] for text in TEXTS])
@example(lines=[["7", "A", text, "1", "1"] for text in TEXTS if "\0" not in text])
@example(lines=[["7", "A", "1", text, "1"] for text in TEXTS if "\0" not in text])
@example(lines=[["7", "A", "1", "1", text] for text in TEXTS if "\0" not in text])
def test_a_cell_is_worth_what_validator_and_encoder_say_or_its_line_is_left_to_them(
    encoder: CellEncoder, lines: list[list[str]]
) -> None:
    # The second time from memory.
    for _ in range(2):
        encoded, certain = encode(encoder, lines)
        zeros = any("\0" in text for line in lines for text in line)
        for line, row, sure in zip(lines, encoded, certain, strict=True):
            expected = authority(SPEC_OF_RIDES, COLUMNS, line)
            assert sure == (expected is not None and not zeros)
            if sure and expected is not None:
                assert_same(row, expected[0])


@settings(deadline=None)
@given(text=TEXT, kind=st.sampled_from(["integer", "number"]), low=st.none() | st.sampled_from([-1e13, -5.0, 0.5, 8]))
@pytest.mark.parametrize("high", [None, 8, 12345678.5, 1e15])
def test_bounds_of_every_kind_hold(text: str, kind: str, low: float | None, high: float | None) -> None:
    field = Field("x", "integer" if kind == "integer" else "number", "", minimum=low, maximum=high)
    spec = InputSpec((field,), {"x": Learned(0.0, 1)}, SPEC_OF_RIDES.target)
    encoded, [sure] = encode(CellEncoder(spec, ("x",)), [[text]])
    expected = authority(spec, ("x",), [text])
    assert sure == (expected is not None and "\0" not in text)
    if sure and expected is not None:
        assert_same(encoded, expected)


@pytest.mark.parametrize("text", ["0", "7", "42", "12345678", "0.5", ".25", "3.", "1234.567", "9999999.", "0.000001"])
def test_plain_numbers_are_read_without_the_validator(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = CellEncoder(SPEC_OF_RIDES, ("distance", "zone"))
    encode(encoder, [["", "A"]])

    def refuse(*_: object) -> None:
        raise AssertionError("asked the validator")

    monkeypatch.setattr(cells._Column, "judge", refuse)
    encoded, certain = encode(encoder, [[text, "A"]])
    assert certain == [True]
    assert encoded[0, 0] == float(text)


def test_every_text_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    judge = cells._Column.judge

    def count(self: cells._Column, text: bytes) -> float:
        asked.append(text)
        return judge(self, text)

    monkeypatch.setattr(cells._Column, "judge", count)
    encoder = CellEncoder(SPEC_OF_RIDES, ("distance", "zone"))
    for _ in range(2):
        encode(encoder, [[text, zone] for text in ("NA", "far away from here") for zone in ("A", "nowhere at all")])
        assert sorted(asked) == [b"A", b"NA", b"far away from here", b"nowhere at all"]


def test_memory_for_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST_TEXTS", 10)
    encoder = CellEncoder(SPEC_OF_RIDES, ("distance", "zone"))
    zones = [f"zone number {number}" for number in range(35)] + ["z" * (cells.LONGEST_TEXT + 1)]
    encoded, certain = encode(encoder, [["1", zone] for zone in zones])
    assert all(certain)
    assert (encoded[:, 2] == -1).all()
    assert sum(len(column.known) for column in encoder._columns) == 5
    assert max(map(len, encoder._columns[1].known)) <= cells.LONGEST_TEXT


def test_fields_that_the_lines_lack_are_missing() -> None:
    encoded, certain = encode(CellEncoder(SPEC_OF_RIDES, ("zone", "distance")), [["B", "4"]])
    assert certain == [True]
    np.testing.assert_array_equal(encoded, [[4.0, np.nan, 2.0, np.nan]])


def test_cells_that_begin_with_a_quote_are_left_to_a_csv_reader() -> None:
    encoder = CellEncoder(SPEC_OF_RIDES, ("zone", "note", "distance"))
    for _ in range(2):
        _, certain = encode(encoder, [['"A"', "", "1"], ["A", '"x"', "1"], ['A"', "", "1"], ['"a long one"', "", "1"]])
        assert certain == [False, True, True, False]


def test_lines_with_another_number_of_cells_are_uncertain_and_change_no_other() -> None:
    encoder = CellEncoder(SPEC_OF_RIDES, ("zone", "distance"))
    encoded, certain = encode(encoder, [["A", "1"], ["A"], [""], ["B", "2"], ["A", "1", "1"], ["A", "3"]])
    assert certain == [True, False, False, True, False, True]
    np.testing.assert_array_equal(encoded[certain][:, [0, 2]], [[1, 1], [2, 2], [3, 1]])
    assert encode(encoder, [["A"]])[1] == [False]


def test_texts_of_the_same_slot_are_not_mistaken_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_MOST_SLOTS", 4)
    encoder = CellEncoder(SPEC_OF_RIDES, ("distance", "zone", "comfort"))
    lines = [["NA" if n % 7 == 0 else str(n), "AB"[n % 2], ["1", "2", "", "x", "3"][n % 5]] for n in range(40)]
    for _ in range(3):
        encoded, certain = encode(encoder, lines)
        for line, row, sure in zip(lines, encoded, certain, strict=True):
            expected = authority(SPEC_OF_RIDES, ("distance", "zone", "comfort"), line)
            assert sure == (expected is not None)
            if expected is not None:
                assert_same(row, expected[0])


def test_a_model_of_categories_alone_and_one_of_numbers_alone() -> None:
    for names, line, expected in ((["zone"], ["B"], [2.0]), (["distance"], ["4.5"], [4.5])):
        fields = tuple(replace(field) for field in SPEC_OF_RIDES.fields if field.name in names)
        learned = {name: SPEC_OF_RIDES.learned[name] for name in names}
        encoder = CellEncoder(InputSpec(fields, learned, SPEC_OF_RIDES.target), tuple(names))
        encoded, certain = encode(encoder, [line])
        assert (encoded.tolist(), certain) == ([expected], [True])


def test_no_lines_are_no_rows() -> None:
    encoded, certain = CellEncoder(SPEC_OF_RIDES, COLUMNS)(io.BytesIO().getvalue(), ord("|"), ord("\n"))
    assert (encoded.shape, certain.shape) == ((0, 4), (0,))
