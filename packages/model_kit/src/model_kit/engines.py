"""Predictions for engines that hand out a table in parts, and for whoever has a table: Ray Data, Dask, pandas, Arrow.

A part goes in, the same rows come out with columns more. A row's prediction depends on nothing but the row and the
model, so that an engine may repeat a part that failed, on any machine, and gets the same rows. Needs pyarrow; of a
DataFrame pandas, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model_kit.errors import BundleError, DataError
from model_kit.records.columns import ColumnEncoder, to_json
from model_kit.records.field_names import nearly
from model_kit.records.text import parse_value
from model_kit.records.values import to_values
from model_kit.scoring.bundle import CARD
from model_kit.scoring.classes import decide
from model_kit.scoring.definition import find_definition
from model_kit.scoring.intervals import Intervals
from model_kit.scoring.prediction_sets import PredictionSets
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.table_columns import (
    BETWEEN,
    NO_DETAILS,
    Cell,
    DetailOptions,
    iter_cells,
    prediction_columns,
)
from model_kit.spec import class_key

if TYPE_CHECKING:
    import pandas as pd

#: Arrow's type of each kind of added column.
_TYPES: Final = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
#: pandas' type of those whose missing values would else make them another: a part without errors looks like any.
_FRAME_TYPES: Final = {"integer": "Int64", "boolean": "boolean"}
#: Rows that are encoded at a time, which bounds the memory of what lies between; of records fewer.
CHUNK: Final = 10_000
PREDICTED_AT_A_TIME: Final = 1000
#: Sets of columns whose encoders are kept; a table has one.
_KEPT: Final = 8

Table = TypeVar("Table", pa.Table, pa.RecordBatch, "pd.DataFrame")


class TablePredictor:
    """Adds predictions to the rows of tables; may be used by several threads at a time.

    Args:
        predictor: the model.
        options: what is added beside ``prediction`` and ``error``, see
            :meth:`~model_kit.batch.details.DetailOptions.columns`.
        prefix: what the names of the added columns begin with.

    Attributes:
        added: names of the added columns, in order, and their kinds.
        schema: the same as an Arrow schema.

    Raises:
        IntervalError: the model has no ranges, or none of the level asked for.
        CannotExplainError: its predictions cannot be explained.
    """

    def __init__(self, predictor: Predictor, options: DetailOptions = NO_DETAILS, prefix: str = "") -> None:
        target = predictor.model.spec.target
        if options.probabilities and not target.is_class:
            raise DataError(f"{target.name} is a number: probabilities are for classes")
        if options != NO_DETAILS:
            # What the model cannot give is told before a row is read.
            predictor.detailed([], **options._asdict())
        self._predictor, self._options = predictor, options
        columns = prediction_columns(target, options)
        self.added = {f"{prefix}{name}": kind for name, kind in columns.items()}
        self.schema = pa.schema([(name, _TYPES[kind]) for name, kind in self.added.items()])
        self._encoder = lru_cache(_KEPT)(lambda columns: ColumnEncoder(predictor.model.spec, columns))

    def check_columns(self, columns: Sequence[str]) -> None:
        """Make sure that a table can be predicted, by the names of its columns.

        Raises:
            DataError: a required column is missing, a column is there twice or has the name of one that is added.
        """
        spec = self._predictor.model.spec
        if twice := sorted({name for name in columns if list(columns).count(name) > 1}):
            raise DataError(f"the table has a column more than once: {', '.join(twice)}")
        if taken := [name for name in self.added if name in columns]:
            raise DataError(f"the table has a column {' and '.join(taken)} already; give the new ones another prefix")
        unknown = [name for name in columns if name not in spec.names]
        if missing := [name for name in spec.required if name not in columns]:
            near = [f"{name} (there is {one!r})" if (one := nearly(name, unknown)) else name for name in missing]
            raise DataError(f"the table lacks the required columns {', '.join(near)}")

    def predicted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The added columns of a batch, a row for each of its rows.

        Raises:
            DataError: see :meth:`check_columns`.
        """
        self.check_columns(batch.schema.names)
        starts = range(0, max(batch.num_rows, 1), CHUNK)
        columns = zip(*(self._part(batch.slice(start, CHUNK)).columns for start in starts), strict=True)
        return pa.RecordBatch.from_arrays([pa.concat_arrays(parts) for parts in columns], schema=self.schema)

    def _part(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The added columns of some rows: as matrices where every value is plainly valid, else record by record."""
        columns: list[NDArray[Any]] = [np.full(rows.num_rows, None, object) for _ in self.added]
        is_number = [kind == "number" for kind in self.added.values()]
        for place, number in enumerate(is_number):
            if number:
                columns[place] = np.full(rows.num_rows, np.nan)
        open_rows = np.ones(rows.num_rows, bool)
        if not (self._options.explain or self._options.warnings):
            encoded, certain = self._encoder(tuple(rows.schema.names))(
                dict(zip(rows.schema.names, rows.columns, strict=True)), rows.num_rows
            )
            scores = self._predictor.model.score(encoded[certain]) if certain.any() else np.empty(0)
            finite = np.isfinite(scores if scores.ndim == 1 else scores[:, 0])
            done = np.flatnonzero(certain)[finite]
            for place, values in self._columns(scores[finite]) if len(done) else ():
                columns[place][done] = values
            open_rows[done] = False
        left = np.flatnonzero(open_rows).tolist()
        for row, cells in zip(left, self._cells(self._records(rows, left)), strict=True):
            for place, cell in enumerate(cells):
                columns[place][row] = np.nan if cell is None and is_number[place] else cell
        arrays = [
            pa.array(column, kind, from_pandas=number)
            for column, kind, number in zip(columns, self.schema.types, is_number, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _columns(self, scores: NDArray[np.float64]) -> Iterator[tuple[int, Any]]:
        """Places of added columns, and their values for finite scores."""
        target, card, level = self._predictor.model.spec.target, self._predictor.model.card, self._options.interval
        if not target.is_class:
            yield 0, scores
            if level is not None:
                yield from enumerate(Intervals.from_card(card, target)(scores, level), 2)
            return
        yield 0, np.array(target.classes, object)[decide(scores, target)]
        place = 2
        if self._options.probabilities:
            yield from enumerate(scores.T, place)
            place += scores.shape[1]
        if level is not None:
            sets = PredictionSets.from_card(card, target)(scores, level)
            yield place, [BETWEEN.join(map(class_key, one)) for one in sets]

    def _cells(self, records: Sequence[object]) -> Iterator[tuple[Cell, ...]]:
        for start in range(0, len(records), PREDICTED_AT_A_TIME):
            some = records[start : start + PREDICTED_AT_A_TIME]
            answer = self._predictor.detailed(some, **self._options._asdict())
            yield from iter_cells(answer, self._predictor.model.spec.target, self._options)

    def _records(self, rows: pa.RecordBatch, places: Sequence[int]) -> list[dict[str, object]]:
        """Rows of a batch as records of its fields."""
        fields = [field for field in self._predictor.model.spec.fields if field.name in rows.schema.names]
        some = rows.select([field.name for field in fields]).take(pa.array(places, pa.int64()))
        columns = [
            [to_json(field, value) for value in to_values(column)]
            for field, column in zip(fields, some.columns, strict=True)
        ]
        values = zip(*columns, strict=True) if columns else [()] * len(places)
        return [{field.name: value for field, value in zip(fields, row, strict=True)} for row in values]

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch with the added columns behind its own, which stay as they are."""
        added = self.predicted(batch)
        schema = pa.schema([*batch.schema, *self.schema], metadata=batch.schema.metadata)
        return pa.RecordBatch.from_arrays([*batch.columns, *added.columns], schema=schema)

    def predicted_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The added columns of a DataFrame, with its index.

        Raises:
            DataError: see :meth:`check_columns`.
        """
        import pandas as pd  # noqa: PLC0415 - only where there is a DataFrame

        self.check_columns([str(name) for name in frame.columns])
        fields = [field for field in self._predictor.model.spec.fields if field.name in frame.columns]
        arrays = [_as_arrow(field, frame[field.name]) for field in fields]
        # A table of no column would have no row.
        rows = pa.array(range(len(frame)))
        batch = pa.RecordBatch.from_arrays([rows, *arrays], ["", *(field.name for field in fields)])
        added = self.predicted(batch)
        found = {
            name: pd.Series(column.to_pylist(), frame.index, _FRAME_TYPES[kind])
            if kind in _FRAME_TYPES
            else column.to_pandas().set_axis(frame.index)
            for (name, kind), column in zip(self.added.items(), added.columns, strict=True)
        }
        return pd.DataFrame(found, frame.index)


def _as_arrow(field: Any, column: pd.Series[Any]) -> pa.Array:
    """A column of a DataFrame; one of values of several types as texts, as files have them."""
    try:
        found = pa.array(column, from_pandas=True)
    except pa.ArrowException:
        values = [parse_value(field, value) if value is not None and value == value else None for value in column]  # noqa: PLR0124 - NaN
        found = pa.array([None if value is None else str(value) for value in values], pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


_loading = threading.Lock()


def load_predictor(model: str, artifact_sha256: str | None = None) -> Predictor:
    """The predictor of an installed model, loaded once in a process.

    Args:
        model: its name.
        artifact_sha256: of the bundle that it must have, where another process says which.

    Raises:
        BundleError: it has another bundle, or none that can be used.
        DefinitionError: no such model is installed.
    """
    with _loading:
        predictor = _load(model)
    found = predictor.model.lineage["artifact_sha256"]
    if artifact_sha256 not in {None, found}:
        raise BundleError(
            CARD,
            f"this process has the model {model} with the artefact {found[:12]}, and {artifact_sha256[:12]} "
            "is meant; install the same version of its package everywhere",
        )
    return predictor


@lru_cache(_KEPT)
def _load(model: str) -> Predictor:
    return Predictor(find_definition(model).load())


@lru_cache(_KEPT)
def _table_predictor(model: str, artifact: str | None, options: DetailOptions, prefix: str) -> TablePredictor:
    return TablePredictor(load_predictor(model, artifact), options, prefix)


def predict(
    table: Table,
    model: str,
    *,
    interval: float | None = None,
    explain: int | None = None,
    warnings: bool = False,
    probabilities: bool = False,
    prefix: str = "",
) -> Table:
    """A table with its predictions: for ``map_batches`` of Ray Data, ``map_partitions`` of Dask, or as it is.

    Every row stays, in order. One that cannot be predicted has no ``prediction``, and the reason in ``error``.

    Args:
        table: an Arrow table or batch, or a DataFrame of pandas; what comes back is of the same type.
        model: name of an installed model.
        interval: level of ranges, or of the prediction sets of classes.
        explain: number of contributions for each row, some ten milliseconds each row.
        warnings: whether to say what was not given, unknown or out of range.
        probabilities: whether to add the probability of each class.
        prefix: what the names of the added columns begin with.

    Raises:
        DataError: a required column is missing, or an added one is there already.
        ModelKitError: the model cannot be loaded, or has not what is asked for.
    """
    options = DetailOptions(interval, explain, warnings, probabilities)
    predictor: TablePredictor = _table_predictor(model, None, options, prefix)
    found: Any
    if isinstance(table, pa.RecordBatch):
        found = predictor(table)
    elif isinstance(table, pa.Table):
        schema = pa.schema([*table.schema, *predictor.schema], metadata=table.schema.metadata)
        found = pa.Table.from_batches(map(predictor, table.to_batches()), schema)
    else:
        found = table.assign(**predictor.predicted_frame(table))
    return cast("Table", found)


def iter_predicted(
    batches: Iterator[pa.RecordBatch], model: str, artifact_sha256: str, options: DetailOptions, prefix: str
) -> Iterator[pa.RecordBatch]:
    """Batches with their predictions, in order; what :mod:`model_kit.spark` has Spark's workers do."""
    predictor = _table_predictor(model, artifact_sha256, options, prefix)
    return map(predictor, batches)
