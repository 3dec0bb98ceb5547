"""What data may be given as, one module for each: cut into blocks, and what the answer looks like beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ml_client.errors import DataError
from ml_client.values import Kinds

#: The values of a column of an answer: a list, or what Arrow has (``pyarrow.ChunkedArray``).
Values: TypeAlias = Any
#: Called for the rows of the next block.
Size: TypeAlias = Callable[[], int]


class Block(Protocol):
    """Some rows, which one request sends."""

    n_rows: int

    def slice(self, start: int, stop: int) -> Block:
        """Return some of the rows."""

    def records(self, kinds: Kinds | None) -> list[Any]:
        """Return the rows as :func:`ml_client.values.encode` takes them.

        Raises:
            KindsNeededError: there are dates or cells, and the kinds are not known.
            DataError: a value cannot be sent.
        """

    def arrow(self) -> Any:
        """Return the rows as a ``pyarrow.Table``; ``None`` if Arrow cannot hold them. Needs pyarrow."""


@runtime_checkable
class Source(Protocol):
    """Data as they were given.

    Attributes:
        n_rows: their number; ``None`` if it is not known before the end.
    """

    @property
    def n_rows(self) -> int | None: ...

    def blocks(self, size: Size) -> Iterator[Block]:
        """Cut the rows into blocks; at least one, even if it has no row."""

    def column(self, name: str, values: Values, kind: str) -> Any:
        """Return a column of the answer, aligned with the rows.

        Args:
            name: of the column.
            values: one for each row; a list, or Arrow's.
            kind: ``number``, ``integer``, ``boolean``, ``text`` or ``nested``.
        """

    def table(self, columns: Mapping[str, Any]) -> Any:
        """Return columns of :meth:`column` as one table, aligned with the rows."""


def open_source(data: Any) -> Source:
    """Return the source for a DataFrame of pandas or polars, a table of Arrow, a record or records.

    Raises:
        DataError: it is none of these, or two columns have the same name.
    """
    if isinstance(data, Source):
        return data
    # A library that is not imported has made no frame; it is not imported for nothing.
    if (pandas := sys.modules.get("pandas")) and isinstance(data, pandas.DataFrame):
        from ml_client.tables.pandas import PandasSource  # noqa: PLC0415 - see above

        return PandasSource(data)
    if (polars := sys.modules.get("polars")) and isinstance(data, polars.DataFrame | polars.LazyFrame):
        from ml_client.tables.polars import PolarsSource  # noqa: PLC0415

        return PolarsSource(data.collect() if isinstance(data, polars.LazyFrame) else data)
    # What has a dtype is one column, or a matrix.
    if isinstance(data, str | bytes) or hasattr(data, "dtype") or not (hasattr(data, "__iter__") or has_arrow(data)):
        raise DataError(
            f"data must be a DataFrame, a table of Arrow, a record or an iterable of records, not {type(data).__name__}"
        )
    from ml_client.tables.records import RecordSource  # noqa: PLC0415

    if isinstance(data, Mapping):
        return RecordSource([data])
    if has_arrow(data):
        from ml_client.tables.arrow import ArrowSource, to_table  # noqa: PLC0415

        return ArrowSource(to_table(data))
    return RecordSource(data if isinstance(data, Sequence) else iter(data))


def has_arrow(data: Any) -> bool:
    """Return whether data have Arrow's interface."""
    return hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def spans(n_rows: int, size: Size) -> Iterator[tuple[int, int]]:
    """Cut rows into even spans ``(start, stop)`` of ``size`` at most; at least one, even if it is empty."""
    start = 0
    while True:
        n_left = n_rows - start
        n_spans = max(1, ceil(n_left / max(size(), 1)))
        stop = start + ceil(n_left / n_spans)
        yield start, stop
        start = stop
        if start >= n_rows:
            return


def check_names(names: Sequence[str]) -> None:
    """Check that columns have different names.

    Raises:
        DataError: two have the same.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns have the name {twice!r}; names are compared as text")


def zipped(names: Sequence[str], columns: Sequence[Sequence[Any]], n_rows: int) -> list[Any]:
    """Return rows of columns as records."""
    if not names:
        return [{} for _ in range(n_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
