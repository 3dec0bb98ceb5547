"""Records of a table, whose columns were encoded before any record is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded
from model_kit.records.fast_lane import MOST_LOOKED_AT, Accepted


class EncodedRecords(Sequence[object]):
    """Records that are made singly only where one is asked about: the invalid ones, and those with details.

    Args:
        names: of the table's columns.
        encoded: what the columns are encoded to, shape (n_rows, n_columns).
        certain: which rows of it are what the validator and the encoder make of the record, shape (n_rows,).
        record: position -> the record, as any JSON value or JSON text.
        first: position of the first record.
    """

    def __init__(
        self,
        names: Sequence[str],
        encoded: Encoded,
        certain: NDArray[np.bool_],
        record: Callable[[int], object],
        first: int = 0,
    ) -> None:
        self.names = names
        self._encoded, self._certain, self._record, self._first = encoded, certain, record, first

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, position: int) -> object: ...
    @overload
    def __getitem__(self, position: slice) -> EncodedRecords: ...
    def __getitem__(self, position: int | slice) -> object:
        if isinstance(position, slice):
            start, stop, _ = position.indices(len(self))
            rows = self._encoded[start:stop], self._certain[start:stop]
            return EncodedRecords(self.names, *rows, self._record, self._first + start)
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self._record(self._first + position)

    def accepted(self) -> Accepted:
        """Return the rows that are surely valid, as the fast lane does; a column may have an unknown name."""
        positions = np.flatnonzero(self._certain).tolist()
        declined = np.flatnonzero(~self._certain).tolist()
        encoded = self._encoded[self._certain] if declined else self._encoded
        return Accepted(encoded, positions, declined, list(range(min(len(self), MOST_LOOKED_AT))))
