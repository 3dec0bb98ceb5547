"""Lines, and blocks of whole records."""

from __future__ import annotations

import csv
import io
from itertools import islice
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit.batch import blocks
from model_kit.batch.blocks import Block, Lines, enclosing_quotes
from model_kit.errors import DataError

TEXT = st.text(st.sampled_from('a,"\n\r \u2028é'), max_size=40)


def lines_of(content: bytes, name: str = "x.csv") -> Lines:
    return Lines(cast("io.BufferedReader", io.BytesIO(content)), name)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SIZE", 8)
    monkeypatch.setattr(blocks, "_PIECE", 3)


@given(text=TEXT)
def test_lines_are_those_that_a_text_file_has(text: str) -> None:
    assert list(lines_of(text.encode())) == list(io.StringIO(text, newline=""))


@given(text=st.text(st.sampled_from("a,\n\r\u2028é"), max_size=40), n_lines=st.integers(0, 3))
def test_blocks_go_on_where_lines_ended_and_lose_nothing(text: str, n_lines: int) -> None:
    lines = lines_of(text.encode())
    read = list(islice(lines, n_lines))
    content = "".join(read).encode()
    all_lines = list(io.StringIO(text, newline=""))
    for block in lines.csv_blocks(","):
        # Its line is right, and it begins where a line does.
        assert "".join(all_lines[: block.line - 1]).encode() == content
        content += block.content
    assert content == text.encode()


def test_record_with_line_ends_in_quotes_is_never_cut() -> None:
    record = b'1,"a\nb\r\nc\rd","e"\n'
    for stray in (b"", b'5" pipe,x\n'):
        content = (stray + record) * 5
        found = list(lines_of(content).csv_blocks(","))
        assert b"".join(block.content for block in found) == content
        assert all(block.content.endswith((b"\n", b"\r")) for block in found)
        assert all(block.content.startswith((b"1,", b"5")) for block in found)
        assert len(found) > 3
        for block in found:
            before = content[: sum(len(other.content) for other in found if other.line < block.line)]
            assert block.line == 1 + len(before.splitlines())


def test_quotes_within_another_delimiter_are_understood() -> None:
    assert list(lines_of(b'a;"b\nc"\nd;e\n').csv_blocks(";")) == [Block(1, b'a;"b\nc"\n'), Block(3, b"d;e\n")]


@pytest.mark.parametrize(
    ("content", "quotes"),
    [
        (b"", []),
        (b"a,b\n", []),
        (b'"a","b"\n', [0, 2, 4, 6]),
        (b'a,"b"\r\n"c",d', [2, 4, 7, 9]),
        (b'a,"b, c"\n', [2, 7]),
        (b'"a\nb",c\n', [0, 4]),
        (b'a,""\n', [2, 3]),
        (b'a,"open\n', [2]),
        (b'"a""b"\n', None),
        (b'5" pipe,a\n', None),
        (b'5",6"\n', None),
        (b'a, "b"\n', None),
        (b'"a" ,b\n', None),
        (b'a,""""\n', None),
        (b'",",5"x\n', None),
    ],
)
def test_quotes_that_certainly_enclose_cells_are_found_without_a_reader(
    content: bytes, quotes: list[int] | None
) -> None:
    found = enclosing_quotes(content, ",")
    assert (found if found is None else found.tolist()) == quotes


def test_another_delimiter_encloses_other_cells() -> None:
    assert enclosing_quotes(b'a,"b",c\n', ";") is None
    assert enclosing_quotes(b'a;"b";c\n', "é") is None


@settings(max_examples=300)
@given(text=st.text(st.sampled_from('a,"\n'), max_size=24))
def test_quotes_that_are_certain_are_what_a_reader_makes_of_them(text: str) -> None:
    quotes = enclosing_quotes(text.encode(), ",")
    if quotes is not None and len(quotes) % 2 == 0:
        cells = [cell for row in csv.reader(io.StringIO(text, newline=""), strict=True) for cell in row]
        assert "".join(cells).count('"') == 0
        within = [text[i + 1 : j] for i, j in zip(quotes[::2], quotes[1::2], strict=True)]
        assert [cell for cell in within if set(cell) & set(",\n")] == [cell for cell in cells if set(cell) & set(",\n")]


def test_half_of_a_line_end_is_not_one() -> None:
    # The eighth byte is the carriage return.
    assert list(lines_of(b"abc\r\nde\r\nf\r\n").csv_blocks(",")) == [
        Block(1, b"abc\r\n"),
        Block(2, b"de\r\nf\r\n"),
    ]


def test_broken_quotes_are_refused_with_the_line_of_their_record() -> None:
    with pytest.raises(DataError, match="^x.csv, line 3: not CSV: ',' expected after '\"'$"):
        list(lines_of(b'a,b\n"c",d\n"e\n"f,g\nh,i\nj,k\n').csv_blocks(","))


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(DataError, match="^x.csv: not UTF-8 text; export it as CSV UTF-8$"):
        list(lines_of(b'"a""a",b\n"\xe9",d\n"e",f\n').csv_blocks(","))


@pytest.mark.parametrize("kind", ["lines", "csv", "quoted csv", "json"])
def test_line_without_an_end_does_not_fill_the_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", 20)
    file = io.BytesIO(b"short\n" + (b'"' if kind == "quoted csv" else b"x") + b"x" * 3000)
    lines = Lines(cast("io.BufferedReader", file), "x.csv")
    rest = {"lines": lines, "csv": lines.csv_blocks(","), "quoted csv": lines.csv_blocks(",")}
    with pytest.raises(DataError, match="^x.csv, line 2: longer than 20 bytes: no row of a table$"):
        list(rest.get(kind, lines.line_blocks()))
    assert file.tell() < 50


def test_line_that_is_too_long_is_refused_though_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE", 20)
    monkeypatch.setattr(blocks, "_PIECE", 100)
    lines = lines_of(b"short\n" + b"x" * 18 + b"\n" + b"x" * 19 + b"\n")
    assert [len(next(lines)), len(next(lines))] == [6, 19]
    with pytest.raises(DataError, match="^x.csv, line 3: longer than 20 bytes: no row of a table$"):
        next(lines)


def test_pipe_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_PIECE", 100)

    class Pipe(io.RawIOBase):
        parts = [b"zone,", b"dist", b"ance\n", b"A,8\n"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            part = self.parts.pop(0)
            memoryview(buffer)[: len(part)] = part  # type: ignore[arg-type]
            return len(part)

    # The end of the pipe is not asked for.
    assert next(Lines(io.BufferedReader(Pipe()), "x")) == "zone,distance\n"
