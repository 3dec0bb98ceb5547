"""DataFrames of polars; answers are Series and DataFrames in the order of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from ml_client.tables import Size, Values, spans, zipped
from ml_client.values import Kinds, to_json

_TYPES: Final[Mapping[str, Any]] = {
    "number": pl.Float64,
    "integer": pl.Int64,
    "boolean": pl.Boolean,
    "text": pl.String,
    "nested": pl.Object,
}


class PolarsBlock:
    """Some rows of a DataFrame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self.n_rows = frame.height

    def slice(self, start: int, stop: int) -> PolarsBlock:
        return PolarsBlock(self._frame.slice(start, stop - start))

    def records(self, kinds: Kinds | None) -> list[Any]:
        names = self._frame.columns
        columns = [[to_json(value, name, kinds) for value in self._frame[name].to_list()] for name in names]
        return zipped(names, columns, self.n_rows)

    def arrow(self) -> Any:
        # An extra; the caller has looked whether it is installed.
        from ml_client.tables import arrow  # noqa: PLC0415

        return arrow.prepared(self._frame.to_arrow())


class PolarsSource:
    """A DataFrame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._whole = PolarsBlock(frame)
        self.n_rows = frame.height

    def blocks(self, size: Size) -> Iterator[PolarsBlock]:
        for start, stop in spans(self.n_rows, size):
            yield self._whole.slice(start, stop)

    def column(self, name: str, values: Values, kind: str) -> pl.Series:
        found = values if isinstance(values, list) else values.to_pylist()
        return pl.Series(name, found, dtype=_TYPES[kind])

    def table(self, columns: Mapping[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(list(columns.values()))
