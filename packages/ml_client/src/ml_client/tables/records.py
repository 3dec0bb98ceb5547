"""Records: mappings of field to value, in a sequence or an iterator; answers are lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_client import values
from ml_client.tables import Size, Values, spans
from ml_client.values import Kinds


class RecordBlock:
    """Some records."""

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records
        self.n_rows = len(records)

    def slice(self, start: int, stop: int) -> RecordBlock:
        return RecordBlock(self._records[start:stop])

    def records(self, kinds: Kinds | None) -> list[Any]:
        return [values.record(record, kinds) for record in self._records]

    def arrow(self) -> None:
        """Return nothing: each record may have fields and types of its own."""


class RecordSource:
    """Records; those of an iterator are read as they are sent."""

    def __init__(self, records: Sequence[Any] | Iterator[Any]) -> None:
        self._records = records
        self.n_rows = len(records) if isinstance(records, Sequence) else None

    def blocks(self, size: Size) -> Iterator[RecordBlock]:
        """Cut the records into blocks; if an iterator raises, the records before are a block too."""
        if isinstance(self._records, Sequence):
            for start, stop in spans(len(self._records), size):
                yield RecordBlock(self._records[start:stop])
            return
        some: list[Any] = []
        is_first, failure = True, None
        try:
            for record in self._records:
                some.append(record)
                if len(some) >= size():
                    yield RecordBlock(some)
                    some, is_first = [], False
        except Exception as error:  # noqa: BLE001 - any of the caller's iterator
            failure = error
        if some or (is_first and failure is None):
            yield RecordBlock(some)
        if failure is not None:
            raise failure

    def column(self, name: str, found: Values, kind: str) -> list[Any]:
        return found if isinstance(found, list) else list(found.to_pylist())

    def table(self, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
