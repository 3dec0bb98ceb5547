"""From cells as text to the encoded matrix, thousands at a time: the fast lane of whole files.

marshmallow keeps the last word. A number that is spelled plainly and lies within its bounds is read by arithmetic on
eight bytes at once; any other text is judged by the validator the first time that its column has it, and remembered.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import LARGEST, Encoded, Encoder
from model_kit.records.text import parse_cell
from model_kit.records.validation import Validator
from model_kit.spec import Field, InputSpec

#: Which of the lines that were given are encoded, shape (n_lines,).
Certain: TypeAlias = NDArray[np.bool_]
_Words: TypeAlias = NDArray[np.uint64]

#: Texts remembered over all columns, none of them long; then all are forgotten. At 200 bytes each, 10 MB.
MOST_TEXTS: Final = 50_000
LONGEST_TEXT: Final = 100
#: Stands for a text that no row may have there; no encoded value is infinite.
_INVALID: Final = np.inf

#: Bytes of a word: what is read at once.
_WORD: Final = 8
#: Short texts that are found without a loop, each in the slot of its column that its hash says: 8 MB.
_MOST_SLOTS: Final = 2**19
_HASH: Final = np.uint64(0x9E3779B97F4A7C15)
#: No UTF-8 text has these bytes.
_NO_TEXT: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


def _each_byte(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value] * _WORD), "little"))


#: The first n bytes of a word, for n from 0 to 8; none for a text that is longer.
_FIRST: Final = np.array([(1 << (8 * n)) - 1 for n in range(_WORD + 1)] + [0], np.uint64)
_ZEROS, _DOTS, _ONES = _each_byte(ord("0")), _each_byte(ord(".")), _each_byte(1)
_SIXES, _HIGH_HALVES, _TOP_BITS = _each_byte(6), _each_byte(0xF0), _each_byte(0x80)
_POWERS: Final = 10.0 ** np.arange(_WORD)


class CellEncoder:
    """Lines of cells -> the encoded matrix; remembers the texts that it has seen.

    Args:
        spec: the fitted table of fields.
        columns: names of a line's cells, in order.
    """

    def __init__(self, spec: InputSpec, columns: tuple[str, ...]) -> None:
        fields = [field for field in spec.fields if field.name in columns]
        # Numbers first, so that they are a slice.
        fields.sort(key=lambda field: not field.is_number)
        numbers = [field for field in fields if field.is_number]
        self._width = len(columns)
        self._from_last = np.array([columns.index(field.name) for field in fields]) - (len(columns) - 1)
        self._places = np.array([spec.names.index(field.name) for field in fields])
        self._nothing = Encoder(spec)([{}])
        self._columns = [_Column(spec, field) for field in fields]
        self._bounds = np.array([_bounds(field) for field in numbers]).reshape(-1, 2).T
        self._fractions = np.array([field.kind == "number" for field in numbers], bool)
        self._n_numbers = len(numbers)
        self._n_texts = 0
        bits = (_MOST_SLOTS // len(fields)).bit_length() - 1
        self._shift = np.uint64(64 - bits)
        self._tables = np.arange(len(fields)) << bits
        self._texts = np.full(len(fields) << bits, _NO_TEXT)
        self._values = np.zeros(len(fields) << bits)

    def __call__(self, content: bytes, delimiter: int, end: int) -> tuple[Encoded, Certain]:
        """Encode lines.

        Args:
            content: UTF-8 text of lines, each ended by ``end``.
            delimiter: the byte that stands between cells, and nowhere else.
            end: the byte that stands after a line, and nowhere else.

        Returns:
            The encoded matrix, shape (n_lines, n_fields), and which of its rows are what validator and encoder make of
            the line. The other lines have a cell too many or too few, or one that is not valid.
        """
        data = np.frombuffer(content + bytes(_WORD), np.uint8)
        text = data[: len(content)]
        ends = np.flatnonzero((text == delimiter) | (text == end))
        starts = np.concatenate([[0], ends[:-1] + 1])
        last_cells = np.flatnonzero(text[ends] == end)
        certain = np.diff(last_cells, prepend=-1) == self._width
        if 0 in content:
            # Cells are compared as words filled up with zero bytes.
            certain[:] = False
        cells = last_cells[certain, np.newaxis] + self._from_last
        starts, lengths = starts[cells], ends[cells] - starts[cells]
        # A word that begins at every byte, of which those are taken where cells begin.
        words = np.ndarray(len(content) + 1, "<u8", data, strides=(1,)).take(starts)
        words &= _FIRST.take(lengths, mode="clip")
        values = self._look_up(content, starts, lengths, words)
        encoded = np.repeat(self._nothing, len(certain), axis=0)
        encoded[np.flatnonzero(certain)[:, np.newaxis], self._places] = values
        certain[certain] = ~(values == _INVALID).any(axis=1)
        return encoded, certain

    def _look_up(
        self, content: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64], words: _Words
    ) -> NDArray[np.float64]:
        """Encoded values of the cells, ``_INVALID`` for those that are not valid; all arrays have one shape."""
        slots = (words * _HASH >> self._shift).astype(np.int64) + self._tables
        known = (self._texts.take(slots) == words) & (lengths <= _WORD)
        values = self._values.take(slots)
        numbers, plain = _numbers(words[:, : self._n_numbers], lengths[:, : self._n_numbers])
        low, high = self._bounds
        plain &= (numbers >= low) & (numbers <= high) & (self._fractions | (numbers == np.floor(numbers)))
        np.copyto(values[:, : self._n_numbers], numbers, where=plain)
        known[:, : self._n_numbers] |= plain
        unknown = np.flatnonzero(~known)
        if unknown.size:
            begin, length = starts.ravel()[unknown], lengths.ravel()[unknown]
            values.flat[unknown] = [
                self._judge(self._columns[column], content[first:after])
                for column, first, after in zip(
                    (unknown % len(self._columns)).tolist(), begin.tolist(), (begin + length).tolist(), strict=True
                )
            ]
            short = unknown[length <= _WORD]
            self._texts[slots.flat[short]] = words.flat[short]
            self._values[slots.flat[short]] = values.flat[short]
        return values

    def _judge(self, column: _Column, text: bytes) -> float:
        value = column.known.get(text)
        if value is None:
            value = column.plain_number(text)
        if value is None:
            value = column.judge(text)
            if len(text) <= LONGEST_TEXT:
                if self._n_texts == MOST_TEXTS:
                    self._forget()
                column.known[text] = value
                self._n_texts += 1
        return value

    def _forget(self) -> None:
        for column in self._columns:
            column.known.clear()
        self._n_texts = 0


class _Column:
    """What one field's cells are worth: fields are judged apart from each other.

    Attributes:
        known: texts that were judged before.
    """

    def __init__(self, spec: InputSpec, field: Field) -> None:
        alone = InputSpec((field,), {field.name: spec.learned[field.name]}, spec.target)
        self.known: dict[bytes, float] = {}
        self._field = field
        self._validate = Validator(alone)
        self._encode = Encoder(alone)
        self._low, self._high = _bounds(field)

    def judge(self, text: bytes) -> float:
        """The encoded value, as validator and encoder have it; ``_INVALID`` if the validator refuses the text."""
        if text.startswith(b'"'):
            # The cell may be what is within the quotes.
            return _INVALID
        rows = self._validate([{self._field.name: parse_cell(self._field, text.decode())}]).rows
        return float(self._encode(rows)[0, 0]) if rows else _INVALID

    def plain_number(self, text: bytes) -> float | None:
        """The number that a text spells, which certainly is valid; ``None`` if that takes a closer look."""
        if not self._field.is_number or b"_" in text:
            return None
        try:
            number = float(text)
        except ValueError:
            return None
        # Zero may have a sign. What is not finite is out of the bounds.
        if not number or not self._low <= number <= self._high:
            return None
        return number if self._field.kind == "number" or number.is_integer() else None


def _bounds(field: Field) -> tuple[float, float]:
    """Between these, inclusive, a number is valid and stays as it is."""
    low = -LARGEST if field.minimum is None else max(field.minimum, -LARGEST)
    return low, LARGEST if field.maximum is None else min(field.maximum, LARGEST)


def _numbers(words: _Words, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers of cells of at most eight bytes, digits with or without a decimal point, and which cells are such.

    Args:
        words: the cells' bytes, the first lowest, the rest zero.
        lengths: how many bytes they have.
    """
    numbers, plain = _digits(words, lengths)
    others = np.flatnonzero(~plain)
    word, length = words.ravel()[others], lengths.ravel()[others]
    # The top bit of each byte that is a point; bytes above the lowest such may be flagged by mistake.
    dots: _Words = word ^ _DOTS
    dots = (dots - _ONES) & ~dots & _TOP_BITS
    before: _Words = ((dots & (~dots + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)
    without_dot = (word & before) | ((word >> np.uint64(8)) & ~before)
    number, decimal = _digits(without_dot, length - 1)
    places = length - 1 - (np.bitwise_count(before) >> 3)
    # Both are exact in float64, so the quotient is the float that is nearest to the decimal number.
    numbers.flat[others] = number / _POWERS.take(places, mode="clip")
    plain.flat[others] = decimal & (dots != 0)
    return numbers, plain


def _digits(words: _Words, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The same for digits alone; after Lemire, "Quickly parsing eight digits" (2018)."""
    digits = words ^ (_ZEROS & _FIRST.take(lengths, mode="clip"))
    plain = ((digits | (digits + _SIXES)) & _HIGH_HALVES) == 0
    plain &= (lengths > 0) & (lengths <= _WORD)
    # Zeros before the first digit, which then is the lowest byte; what is no number may become anything.
    digits <<= (8 * (_WORD - np.clip(lengths, 0, _WORD))).astype(np.uint64)
    digits = digits * np.uint64(10) + (digits >> np.uint64(8))
    pairs = np.uint64(0x000000FF000000FF)
    digits = (digits & pairs) * np.uint64(100 + (1_000_000 << 32)) + ((digits >> np.uint64(16)) & pairs) * np.uint64(
        1 + (10_000 << 32)
    )
    return (digits >> np.uint64(32)).astype(np.float64), plain
