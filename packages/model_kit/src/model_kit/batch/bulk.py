"""Blocks of a file in, the same rows with their predictions out: what a process does that shares the work on a file."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from io import BytesIO, StringIO
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from model_kit.batch.blocks import Block, Places, enclosing_quotes
from model_kit.batch.cells import CellEncoder, Certain
from model_kit.batch.csv_files import Dialect, RecordMaker, csv_text, cut_off, fitted, not_csv, not_utf8
from model_kit.batch.details import NO_DETAILS, Cell, DetailOptions, iter_details
from model_kit.batch.json_lines import JsonLinesWriter, read_lines
from model_kit.batch.pool import in_order
from model_kit.batch.rows import Added, InputRow, refusing
from model_kit.records.encoding import Encoded
from model_kit.scoring.model import CHUNK
from model_kit.scoring.predictor import Predictor
from model_kit.spec import Target

#: Seconds of work that starting processes must save: they take one to begin with.
PATIENCE: Final = 1.0
#: Delimiters that the text of a number may hold, so that it would have to be quoted.
_NUMERIC: Final = frozenset("0123456789.+-e")
#: What stands between the cells and rows that have been read from quoted text: control characters made for that.
_CELL_END: Final = "\x1f"
_ROW_END: Final = "\x1e"


class BatchJob(NamedTuple):
    """What has to be known of a file to answer a block of it.

    Attributes:
        name: what errors call it.
        prediction, error: what the values are called that are added to each row.
        columns: its columns, in order; none of JSON Lines.
        dialect: how it is written, if it is CSV.
        options: what else is added.
    """

    name: str
    prediction: str
    error: str
    columns: tuple[str, ...] | None = None
    dialect: Dialect = Dialect()
    options: DetailOptions = NO_DETAILS

    def added(self, target: Target) -> Added:
        """The columns that are added."""
        return {self.prediction: "number", self.error: "text", **self.options.columns(self.prediction, target)}


class BlockResult(NamedTuple):
    """What became of a block.

    Attributes:
        content: its rows as they are written.
        size: bytes of the block.
        scored: rows with a prediction.
        failed: rows with an error.
        decimal_commas: numbers that were refused because they are written like 12,5.
    """

    content: bytes
    size: int
    scored: int
    failed: int
    decimal_commas: int = 0


BlockPredictor: TypeAlias = Callable[[Block], BlockResult]


def block_predictor(predictor: Predictor, job: BatchJob) -> BlockPredictor:
    """What answers the blocks of a file, one after the other."""
    return JsonLines(predictor, job) if job.columns is None else Csv(predictor, job, job.columns)


class JsonLines:
    """Answers blocks of JSON Lines."""

    def __init__(self, predictor: Predictor, job: BatchJob) -> None:
        self._ask = predictor
        self._job = job
        self._added = tuple(job.added(predictor.model.spec.target))

    def __call__(self, block: Block) -> BlockResult:
        """Answer every line.

        Raises:
            DataError: see :func:`~model_kit.batch.json_lines.read_lines`, or a row has one of the added keys already.
        """
        lines = read_lines(BytesIO(block.content), self._job.name, block.line)
        entries = refusing(lines, self._job.name, self._added)
        output = StringIO()
        writer = JsonLinesWriter(output)
        scored = failed = 0
        while chunk := list(islice(entries, CHUNK)):
            for entry, cells in zip(chunk, iter_details(self._ask, chunk, self._job.options), strict=True):
                writer.write({**entry.original, **dict(zip(self._added, cells, strict=True))})
                failed += cells[0] is None
            scored += len(chunk)
        return BlockResult(output.getvalue().encode(), len(block.content), scored - failed, failed)


class _Rows(NamedTuple):
    """The rows of a block.

    Attributes:
        lines: as they are written, without what is added.
        cells: the cells of one of them.
        last_line: where the last one begins.
        encoded, certain: see :class:`~model_kit.batch.cells.CellEncoder`.
    """

    lines: list[str]
    cells: Callable[[int], list[str]]
    last_line: int
    encoded: Encoded
    certain: Certain


class Csv:
    """Answers blocks of CSV records: in the fast lane what can be, the rest as single rows are answered."""

    def __init__(self, predictor: Predictor, job: BatchJob, columns: tuple[str, ...]) -> None:
        self._ask = predictor
        self._name = job.name
        self._dialect = job.dialect
        self._width = len(columns)
        self._record = RecordMaker(predictor.model.spec, columns)
        self._encode = CellEncoder(predictor.model.spec, columns)
        self._options = job.options
        self._simple = job.dialect.delimiter.isascii() and job.dialect.delimiter not in _NUMERIC

    def __call__(self, block: Block) -> BlockResult:
        """Answer every row.

        Raises:
            DataError: a line is no CSV or not UTF-8, or the file ends within one; the text names it.
        """
        rows = self._split(block) or self._read(block)
        scores = np.full(len(rows.lines), np.nan)
        if self._options == NO_DETAILS:
            scores[rows.certain] = self._ask.model.score(rows.encoded[rows.certain])
        delimiter, end = self._dialect.delimiter, self._dialect.line_end
        if self._simple:
            tails = [f"{delimiter}{score!r}{delimiter}{end}" for score in scores.tolist()]
        else:
            tails = [f"{delimiter}{csv_text((repr(score), ''), self._dialect)}{end}" for score in scores.tolist()]
        failed = 0
        if not np.isfinite(scores).all():
            places = np.flatnonzero(~np.isfinite(scores)).tolist()
            for place, cells in zip(places, self._answer_singly(places, rows, block), strict=True):
                tails[place] = f"{delimiter}{csv_text([*map(_text, cells)], self._dialect)}{end}"
                failed += cells[0] is None
        content = "".join([line + tail for line, tail in zip(rows.lines, tails, strict=True)]).encode()
        commas, self._record.decimal_commas = self._record.decimal_commas, 0
        return BlockResult(content, len(block.content), len(tails) - failed, failed, commas)

    def _split(self, block: Block) -> _Rows | None:
        """The rows of a block where a line is a row and quotes enclose cells; ``None`` if that takes a CSV reader."""
        content = block.content
        if b"\r" in content:
            if content.count(b"\r") != content.count(b"\r\n"):
                return None
            content = content.replace(b"\r\n", b"\n")
        if not content.endswith(b"\n"):
            content += b"\n"
        delimiter = self._dialect.delimiter
        quotes = enclosing_quotes(content, delimiter) if self._simple else None
        if quotes is None:
            return None
        plain = content
        if quotes.size:
            unquoted = _without_idle_quotes(content, ord(delimiter), quotes)
            if unquoted is None:
                return None
            content, plain = unquoted
        if content.startswith(b"\n") or b"\n\n" in content:
            # Blank lines are no rows.
            return None
        lines = self._text(content).split("\n")
        lines.pop()
        if len(max(lines, key=len)) > csv.field_size_limit():
            return None
        encoded, certain = self._encode(plain, ord(delimiter), ord("\n"))
        return _Rows(
            lines,
            lambda index: next(csv.reader([lines[index]], delimiter=delimiter)),
            block.line + len(lines) - 1,
            encoded,
            certain,
        )

    def _read(self, block: Block) -> _Rows:
        """The rows of any block; in the output only those cells are quoted that have to be."""
        reader = csv.reader(
            StringIO(self._text(block.content), newline=""), delimiter=self._dialect.delimiter, strict=True
        )
        rows: list[list[str]] = []
        begin = last_line = block.line
        try:
            for cells in reader:
                if cells:
                    rows.append(cells)
                    last_line = begin
                begin = block.line + reader.line_num
        except csv.Error as error:
            raise not_csv(self._name, begin, error) from error
        text = "".join([f"{_CELL_END.join(cells)}{_ROW_END}" for cells in rows])
        encoded, certain = self._encode(text.encode(), ord(_CELL_END), ord(_ROW_END))
        n_cells = sum(map(len, rows))
        if text.count(_ROW_END) != len(rows) or text.count(_CELL_END) != n_cells - len(rows):
            # A cell has such a character itself.
            encoded, certain = np.empty((len(rows), encoded.shape[1])), np.zeros(len(rows), bool)
        return _Rows([csv_text(cells, self._dialect) for cells in rows], rows.__getitem__, last_line, encoded, certain)

    def _answer_singly(self, places: Sequence[int], rows: _Rows, block: Block) -> Iterator[tuple[Cell, ...]]:
        """What is added to the rows at ``places``."""
        entries = []
        for place in places:
            cells, fault = rows.cells(place), ""
            if len(cells) != self._width:
                if len(cells) < self._width and place == len(rows.lines) - 1 and _ends_openly(block.content):
                    raise cut_off(self._name, rows.last_line, len(cells), self._width)
                cells, fault = fitted(cells, self._width, self._dialect)
                rows.lines[place] = csv_text(cells, self._dialect)
            entries.append(InputRow({}, 0, {} if fault else self._record(cells), fault))
        return iter_details(self._ask, entries, self._options)

    def _text(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(self._name) from error


def predict_blocks(
    blocks: Iterator[Block],
    work: BlockPredictor,
    prepare: Callable[[], BlockPredictor],
    *,
    total: int | None,
    n_processes: int,
) -> Generator[BlockResult, None, None]:
    """The answers to blocks, in their order; other processes help if there is enough to do.

    Args:
        blocks: taken when there is somebody to answer them.
        work: answers them in this process.
        prepare: makes what does the same in another.
        total: bytes to come; ``None`` if that is not known, and then as much as there was is expected.
        n_processes: how many may be started; with 1, none is.

    Raises:
        DataError: the file cannot be used, see :class:`JsonLines` and :class:`Csv`.
        WorkerError: a process failed or was ended.
    """
    busy, done = 0.0, 0
    for block in blocks:
        begun = time.perf_counter()
        part = work(block)
        busy += time.perf_counter() - begun
        done += part.size
        yield part
        expected = busy * (total - done) / done if total else busy
        if n_processes > 1 and expected > PATIENCE:
            yield from in_order(prepare, blocks, n_processes)


def _text(cell: Cell) -> str:
    return "" if cell is None else str(cell)


def _without_idle_quotes(content: bytes, delimiter: int, quotes: Places) -> tuple[bytes, bytes] | None:
    """The text without the quotes around cells that need none.

    Returns:
        It, and the same with something else for the delimiters within the quotes that are left; ``None`` if a line
        ends within quotes.
    """
    text = np.frombuffer(content, np.uint8)
    marks = np.flatnonzero((text == delimiter) | (text == ord("\n")))
    n_before = np.searchsorted(quotes, marks)
    within = n_before % 2 == 1
    inner, closing = marks[within], n_before[within]
    if (text[inner] == ord("\n")).any():
        return None
    idle = np.ones(len(quotes), bool)
    idle[closing] = idle[closing - 1] = False
    plain = text.copy()
    plain[inner] = ord(_CELL_END)
    return np.delete(text, quotes[idle]).tobytes(), np.delete(plain, quotes[idle]).tobytes()


def _ends_openly(content: bytes) -> bool:
    return not content.endswith((b"\n", b"\r"))
