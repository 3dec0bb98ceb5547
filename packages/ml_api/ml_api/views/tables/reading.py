"""Reads the tables that are sent to models."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from model_kit.spec import InputSpec

from ml_api.settings import Settings
from ml_api.views.media_types import CSV, has_arrow
from ml_api.views.requests import max_values
from ml_api.views.tables.csv_table import CsvTable

if TYPE_CHECKING:
    from model_kit.records.columns import ColumnEncoder

    from ml_api.views.tables.arrow_table import ArrowTable

Table: TypeAlias = "CsvTable | ArrowTable"


class TableReader:
    """Reads tables; pyarrow is imported for the first one.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_rows, self._max_bytes = settings.max_rows, settings.max_body_bytes
        self._has_arrow = has_arrow()
        self._encoders: dict[str, ColumnEncoder] = {}

    def read(self, name: str, spec: InputSpec, media_type: str, body: bytes | bytearray) -> Table:
        """Read a body.

        Args:
            name: of the model.
            spec: of the model.
            media_type: of the body.
            body: of the request.

        Raises:
            RequestEntityTooLarge: it is beyond a limit.
            BadRequest: it cannot be read.
        """
        encoder = self._encoder(name, spec) if self._has_arrow else None
        limits = {"max_rows": self._max_rows, "max_values": max_values(self._max_rows)}
        if media_type == CSV or encoder is None:
            return CsvTable(body, spec, encoder, **limits)
        from ml_api.views.tables.arrow_table import ArrowTable  # noqa: PLC0415 - an extra

        return ArrowTable(body, spec, encoder, **limits, max_bytes=self._max_bytes)

    def _encoder(self, name: str, spec: InputSpec) -> ColumnEncoder:
        found = self._encoders.get(name)
        if found is None:
            from model_kit.records.columns import ColumnEncoder  # noqa: PLC0415 - an extra

            found = self._encoders[name] = ColumnEncoder(spec, spec.names)
        return found
