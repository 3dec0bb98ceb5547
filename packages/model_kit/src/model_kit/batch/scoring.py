"""Predicts a table batch by batch: as matrices what is certain, the rest as single records are predicted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from model_kit.batch.details import iter_details
from model_kit.batch.rows import Answers, Batch, Table
from model_kit.batch.tables import Writer
from model_kit.scoring.classes import decide
from model_kit.scoring.model import CHUNK
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import NO_DETAILS, Cell, DetailOptions

Item = TypeVar("Item")
Result = TypeVar("Result")

#: More threads than this wait for each other.
MOST_THREADS: Final = 4
#: Results for each thread that may wait for one before them.
_AHEAD: Final = 2


class Scored(NamedTuple):
    """A batch with its answers.

    Attributes:
        batch: the rows.
        answers: what is added to them.
        rendered: the rows as the writer takes them.
    """

    batch: Batch
    answers: Answers
    rendered: Any


def n_processors() -> int:
    """How many processors this process may use, at most ``MOST_THREADS``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def predict_batch(predictor: Predictor, batch: Batch, options: DetailOptions = NO_DETAILS) -> Answers:
    """The answers to the rows of a batch."""
    spec = predictor.model.spec
    scores = np.full(batch.n_rows, np.nan)
    encoded = np.empty((0, spec.n_columns))
    positions: Sequence[int] = ()
    cells: dict[int, tuple[Cell, ...]] = {}
    found = batch.encode() if options == NO_DETAILS else None
    if found is not None and found[1].any():
        encoded, certain = found
        if not certain.all():
            encoded = encoded[certain]
        found_scores = predictor.model.score(encoded)
        finite = np.isfinite(found_scores)
        if spec.target.is_class:
            finite = finite[:, 0]
            found_scores = decide(found_scores, spec.target).astype(np.float64)
        if not finite.all():
            found_scores, encoded = np.where(finite, found_scores, np.nan), encoded[finite]
        scores[certain] = found_scores
        positions = (
            range(batch.n_rows) if len(encoded) == batch.n_rows else np.flatnonzero(np.isfinite(scores)).tolist()
        )
    rest = iter(np.flatnonzero(~np.isfinite(scores)).tolist())
    while rows := list(islice(rest, CHUNK)):
        entries = [batch.entry(row) for row in rows]
        cells |= zip(rows, iter_details(predictor, entries, options), strict=True)
        valid = [place for place, row in enumerate(rows) if cells[row][0] is not None]
        if valid:
            encoded = np.concatenate([encoded, predictor.encoded([entries[place].record for place in valid])])
            positions = [*positions, *(rows[place] for place in valid)]
    return Answers(scores, cells, encoded, positions, spec.target.classes)


def predict_table(
    table: Table, predictor: Predictor, writer: Writer, options: DetailOptions, n_threads: int
) -> Generator[Scored, None, None]:
    """The batches of a table with their answers, in order; several are worked on at a time.

    Raises:
        DataError: the table cannot be used.
    """

    def work(block: Any) -> Scored:
        batch = table.parse(block)
        answers = predict_batch(predictor, batch, options)
        return Scored(batch, answers, writer.render(batch, answers))

    for scored in in_order(work, table.blocks(), n_threads):
        table.watch(scored.batch)
        table.local_numbers += scored.batch.local_numbers
        yield scored


def in_order(work: Callable[[Item], Result], items: Iterator[Item], n_threads: int) -> Generator[Result, None, None]:
    """The results of ``work`` in the order of the items.

    Args:
        work: called in several threads at a time; what takes long in it lets others run.
        items: taken one by one, no more than are worked on soon. An error of theirs is raised after the results before.
        n_threads: with 1, none is started.
    """
    if n_threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            failure = None
            while True:
                try:
                    waiting.append(pool.submit(work, next(items)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised when its turn comes
                    failure = error
                    break
                if len(waiting) >= _AHEAD * n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure:
                raise failure
        finally:
            for future in waiting:
                future.cancel()
