"""A stream as lines, and cut into blocks of whole records that can be read apart from each other."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.csv_files import LONGEST_LINE, not_csv, not_utf8
from model_kit.errors import DataError

#: Bytes of a block, more or less: some 800 rows of 80 cells, of which a processor's caches hold all that is made.
SIZE: Final = 1 << 18
#: Bytes asked for at a time where lines are read.
_PIECE: Final = 1 << 16

#: Places in a text, ascending.
Places: TypeAlias = NDArray[np.intp]
NO_QUOTES: Final[Places] = np.empty(0, np.intp)


class Block(NamedTuple):
    """Some whole records of a file.

    Attributes:
        line: number of the first one's line, from 1.
        content: as the file has it; only the last block may lack a line end.
    """

    line: int
    content: bytes


class Lines(Iterator[str]):
    """The lines of a UTF-8 file, whatever ends them, one at a time; or, from some line on, its blocks.

    Args:
        file: binary, read from where it stands.
        name: what errors call it.
    """

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._name = name
        self._number = 0
        self._ended = False
        #: Lines that are complete, the next one last, and what comes after them.
        self._ready: list[bytes] = []
        self._rest = b""

    def __next__(self) -> str:
        """The next line with its end.

        Raises:
            DataError: it is longer than ``LONGEST_LINE``.
            UnicodeDecodeError: it is not UTF-8.
        """
        while not self._ready:
            if self._ended:
                raise StopIteration
            self._read()
        self._number += 1
        line = self._ready.pop()
        if len(line) >= LONGEST_LINE:
            self._refuse_length(self._number)
        return line.decode()

    def _read(self) -> None:
        # No more than there is: a pipe may have a line and not a piece.
        fresh = self._file.read1(_PIECE)
        self._ended = not fresh
        lines = (self._rest + fresh).splitlines(keepends=True)
        # What does not end with a line feed may go on: a carriage return may be the half of a line end.
        self._rest = lines.pop() if not self._ended and lines and not lines[-1].endswith(b"\n") else b""
        if len(self._rest) >= LONGEST_LINE:
            self._refuse_length(self._number + len(lines) + 1)
        self._ready = lines[::-1]

    def csv_blocks(self, delimiter: str) -> Iterator[Block]:
        """What has not been read yet, in blocks of whole CSV records.

        Raises:
            DataError: a record is no CSV, not UTF-8 or longer than ``LONGEST_LINE``; the text names its line.
        """

        def whole(content: bytes, line: int) -> tuple[int, int]:
            quotes = None if _has_lone_return(content) else enclosing_quotes(content, delimiter)
            size, n_lines = (0, 0) if quotes is None else _whole_lines(content, quotes)
            return (size, n_lines) if size else self._whole_records(content, line, delimiter)

        return self._blocks(whole)

    def line_blocks(self) -> Iterator[Block]:
        """What has not been read yet, in blocks of whole lines.

        Raises:
            DataError: a line is longer than ``LONGEST_LINE``; the text names it.
        """
        return self._blocks(lambda content, _: _whole_lines(content, NO_QUOTES))

    def _blocks(self, whole: Callable[[bytes, int], tuple[int, int]]) -> Iterator[Block]:
        rest = b"".join(reversed(self._ready)) + self._rest
        line = self._number + 1
        ended = False
        while not ended:
            pieces, missing = [rest], SIZE
            # Piece by piece: within one long read of a pipe, Python would take no notice of Ctrl-C.
            while missing > 0 and not ended:
                piece = self._file.read1(missing)
                pieces.append(piece)
                missing -= len(piece)
                ended = not piece
            content = b"".join(pieces)
            size, n_lines = (len(content), 0) if ended else whole(content, line)
            rest = content[size:]
            if size:
                yield Block(line, content[:size])
            line += n_lines
            if len(rest) >= LONGEST_LINE:
                self._refuse_length(line)

    def _whole_records(self, content: bytes, line: int, delimiter: str) -> tuple[int, int]:
        """How many bytes of ``content``, which begins on ``line``, are whole records, and how many lines these have.

        Of all files, a CSV reader knows which quotes are quotes and which line ends end a record.
        """
        lines = content.splitlines(keepends=True)
        if not content.endswith(b"\n"):
            lines.pop()
        reader = csv.reader(map(bytes.decode, lines), delimiter=delimiter, strict=True)
        n_whole = 0
        try:
            for _ in reader:
                n_whole = reader.line_num
        except UnicodeDecodeError as error:
            raise not_utf8(self._name) from error
        except csv.Error as error:
            # What is wrong with the last lines may be that they go on.
            if reader.line_num < len(lines):
                raise not_csv(self._name, line + n_whole, error) from error
        return sum(map(len, lines[:n_whole])), n_whole

    def _refuse_length(self, line: int) -> None:
        raise DataError(f"{self._name}, line {line}: longer than {LONGEST_LINE:,} bytes: no row of a table")


def enclosing_quotes(content: bytes, delimiter: str) -> Places | None:
    """Where the quotes are, if it is certain without a CSV reader that each pair of them encloses a cell.

    It is if each that opens stands at the beginning of a cell and each that closes at the end of one. There are none
    within cells then, be they doubled or stray. The last one may be left open.

    Args:
        content: text that begins where a record does, and whose lines end with line feeds.
        delimiter: what stands between cells.

    Returns:
        Their places, ascending; ``None`` if it is not certain.
    """
    if b'"' not in content:
        return NO_QUOTES
    if len(delimiter.encode()) > 1:
        return None
    # One byte more at each end, for the neighbours of the first and the last.
    data = np.frombuffer(b"\n%b\n" % content, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    before, after = data[quotes[::2] - 1], data[quotes[1::2] + 1]
    opens = (before == ord(delimiter)) | (before == ord("\n"))
    closes = (after == ord(delimiter)) | (after == ord("\n")) | (after == ord("\r"))
    return quotes - 1 if opens.all() and closes.all() else None


def _whole_lines(content: bytes, quotes: Places) -> tuple[int, int]:
    """How many bytes of ``content`` are whole lines, but for those that end within quotes, and how many lines."""
    size = content.rfind(b"\n") + 1
    if quotes.size and size:
        ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        size = int(ends[-1]) + 1 if ends.size else 0
    return size, content.count(b"\n", 0, size)


def _has_lone_return(content: bytes) -> bool:
    # The last byte may be the half of a line end.
    return b"\r" in content and content.count(b"\r", 0, len(content) - 1) != content.count(b"\r\n")
