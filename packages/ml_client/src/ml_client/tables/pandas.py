"""DataFrames of pandas; answers are Series and DataFrames with the same index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd

from ml_client.tables import Size, Values, check_names, spans, zipped
from ml_client.values import Kinds, to_json

#: Kind of a column of an answer -> pandas' type, which has room for what is missing.
_TYPES: Final = {"number": "float64", "integer": "Int64", "boolean": "boolean", "text": "object", "nested": "object"}


class PandasBlock:
    """Some rows of a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.n_rows = len(frame)

    def slice(self, start: int, stop: int) -> PandasBlock:
        return PandasBlock(self._frame.iloc[start:stop])

    def records(self, kinds: Kinds | None) -> list[Any]:
        names = list(self._frame.columns)
        columns = [_values(self._frame[name], name, kinds) for name in names]
        return zipped(names, columns, self.n_rows)

    def arrow(self) -> Any:
        # An extra; the caller has looked whether it is installed.
        from ml_client.tables import arrow  # noqa: PLC0415

        return arrow.from_pandas(self._frame)


class PandasSource:
    """A DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        names = list(map(str, frame.columns))
        check_names(names)
        self._index = frame.index
        self._whole = PandasBlock(frame.set_axis(names, axis=1))
        self.n_rows = len(frame)

    def blocks(self, size: Size) -> Iterator[PandasBlock]:
        for start, stop in spans(self.n_rows, size):
            yield self._whole.slice(start, stop)

    def column(self, name: str, values: Values, kind: str) -> pd.Series[Any]:
        if not isinstance(values, list):
            values = values.to_numpy() if kind == "number" else values.to_pylist()
        return pd.Series(values, index=self._index, name=name, dtype=_TYPES[kind])

    def table(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        return pd.DataFrame(dict(columns), index=self._index)


def _values(column: pd.Series[Any], name: str, kinds: Kinds | None) -> list[Any]:
    """Return the values of a column as JSON has them."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        levels = [to_json(level, name, kinds) for level in kind.categories]
        return [None if code < 0 else levels[code] for code in column.cat.codes]
    if getattr(kind, "kind", "O") in "iub" and not pd.api.types.is_extension_array_dtype(kind):
        return column.tolist()
    return [to_json(value, name, kinds) for value in column.astype(object)]
