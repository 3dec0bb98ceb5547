"""JSON Lines in and out."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import cast

import pytest
from model_kit.batch import json_lines as jsonlines
from model_kit.batch import rows
from model_kit.batch.json_lines import JsonLinesTable, json_line
from model_kit.batch.rows import InputRow
from model_kit.errors import DataError
from model_kit.testing import SPEC_OF_RIDES


def entries(content: bytes) -> list[InputRow]:
    file = cast("io.BufferedReader", io.BufferedReader(io.BytesIO(content)))
    return list(JsonLinesTable(file, SPEC_OF_RIDES, "rides.jsonl").entries)


def written(*rows: dict[str, object]) -> str:
    return b"".join(map(json_line, rows)).decode()


def test_objects_are_rows_with_their_lines() -> None:
    assert entries(b'{"a": 1}\n\n  {"b": "\xc3\xa9"}\r\n{"c": null}') == [
        InputRow({"a": 1}, 1, {"a": 1}),
        InputRow({"b": "é"}, 3, {"b": "é"}),
        InputRow({"c": None}, 4, {"c": None}),
    ]


def test_mark_at_the_beginning_is_passed_over() -> None:
    assert entries(b'\xef\xbb\xbf{"a": 1}\n') == [InputRow({"a": 1}, 1, {"a": 1})]


@pytest.mark.parametrize("value", ["7", "[1, 2]", '"x"', "null", "true"])
def test_line_that_is_no_object_keeps_its_place(value: str) -> None:
    [entry, after] = entries(f'{value}\n{{"a": 1}}\n'.encode())
    assert entry == InputRow({"input": json.loads(value)}, 1, json.loads(value))
    assert after.number == 2


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a":', "not JSON: Expecting value at character 6"),
        (b"a,b", "not JSON: Expecting value at character 1"),
        (b'{"a": NaN}', "not JSON: NaN is no JSON number"),
        (b'{"a": -Infinity}', "not JSON: -Infinity is no JSON number"),
        (b'{"a": 1e999}', "not JSON: the number 1e999 is too large"),
        (b'{"a": "\xe9"}', "not JSON: not UTF-8 text"),
        (b"[" * 100_000, "not JSON: nested too deeply"),
    ],
)
def test_line_that_cannot_be_read_keeps_its_place_with_the_reason(line: bytes, fault: str) -> None:
    [entry, after] = entries(line + b'\n{"a": 1}\n')
    assert (entry.number, entry.record, entry.fault) == (1, {}, fault)
    assert entry.original == {"input": line.decode(errors="replace")}
    assert after == InputRow({"a": 1}, 2, {"a": 1})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>\n", "an HTML or XML page, not JSON Lines"),
        (b"  <html>\n", "an HTML or XML page, not JSON Lines"),
        (b' [{"a": 1}]\n', "a JSON array, not JSON Lines; write one object a line"),
        (b"[\n  {\n", "a JSON array, not JSON Lines; write one object a line"),
        (b'[{"a": 1}]\n', "a JSON array, not JSON Lines; write one object a line"),
        (b"PAR1\n", "a Parquet file, not JSON Lines"),
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16, not UTF-8 text; export it as JSON Lines UTF-8"),
    ],
)
def test_file_of_another_kind_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        entries(content)
    assert str(caught.value) == f"rides.jsonl: {reason}"


def test_end_of_text_as_dos_writes_it_is_no_row() -> None:
    assert [entry.number for entry in entries(b'{"a": 1}\n\x1a')] == [1]


def test_line_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "LONGEST_LINE", 20)
    monkeypatch.setattr(rows, "LONGEST_LINE", 20)
    with pytest.raises(DataError, match="^rides.jsonl, line 2: longer than 20 bytes: no row of a table$"):
        entries(b'{"a": 1}\n' + b"x" * 40)


def test_rows_are_written_one_a_line_and_readable() -> None:
    assert written({"a": "é", "b": None}, {"c": [1.5]}) == '{"a": "é", "b": null}\n{"c": [1.5]}\n'


def test_what_json_cannot_spell_is_null_or_text() -> None:
    row = {"a": float("nan"), "b": [float("inf"), {"c": 1.5}], "d": date(2026, 1, 2), "e": "é"}
    assert written(row) == '{"a": null, "b": [null, {"c": 1.5}], "d": "2026-01-02", "e": "é"}\n'
    assert written({"d": date(2026, 1, 2)}) == '{"d": "2026-01-02"}\n'


def test_half_of_a_surrogate_pair_is_written_as_it_was_spelled() -> None:
    [entry] = entries(b'{"a": "\\ud800"}\n')
    assert written(dict(entry.original)) == '{"a": "\\ud800"}\n'
    row = {"a": "\ud800", "b": float("nan"), "c": date(2026, 1, 2)}
    assert written(row) == '{"a": "\\ud800", "b": null, "c": "2026-01-02"}\n'
