"""What a table gets beside each prediction where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model_kit.batch.rows import InputRow
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import NO_DETAILS, Cell, DetailOptions, iter_cells


def iter_details(
    ask: Predictor, entries: Sequence[InputRow], options: DetailOptions = NO_DETAILS
) -> Iterator[tuple[Cell, ...]]:
    """Of each entry the prediction, the reason in words where there is none, and the cells of ``options.columns``."""
    answer = ask.detailed([entry.record for entry in entries], **options._asdict())
    faults = {position: entry.fault for position, entry in enumerate(entries) if entry.fault}
    return iter_cells(answer, ask.model.spec.target, options, faults)
