"""The prediction log of one worker process: from an answer to the rows that are committed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from model_kit.scoring.predictor import Answer, Predictor

from ml_api.logs import LOGGER
from ml_api.prediction_log.database import Checkpoints, Database, Row, SqlSink
from ml_api.prediction_log.details import RowDetails, Served, as_text
from ml_api.prediction_log.retention import purge_some
from ml_api.prediction_log.schema import new_id
from ml_api.prediction_log.writer import Commit, Writer
from ml_api.settings import LogSettings

if TYPE_CHECKING:
    from ml_api.metrics.recorder import Recorder

#: Bytes that a row counts in the queue beside its inputs.
ROW_BYTES = 1000

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode_fields = msgspec.json.encode


class PredictionLog:
    """Records predictions.

    Args:
        settings: of the log.
        predictors: name of a model -> its predictor.
        metrics: counts what became of rows, and has the number of those that wait.
    """

    def __init__(
        self,
        settings: LogSettings,
        predictors: Mapping[str, Predictor],
        metrics: Recorder | None = None,
    ) -> None:
        self.database = Database(settings)
        self._settings = settings
        self._models = {name: _ModelRows(name, one, settings) for name, one in predictors.items()}
        known = {field for one in predictors.values() for field in one.model.spec.names}
        if unknown := [field for field in settings.redact if field not in known]:
            LOGGER.error("PREDICTION_LOG_REDACT has fields that no model has", extra={"fields": {"unknown": unknown}})
        self._sink = SqlSink(self.database)
        self._checkpoints = None if self.database.is_postgres else Checkpoints(self.database)
        self.writer = Writer(
            self._sink,
            timeout=settings.timeout,
            queue_bytes=settings.queue_bytes,
            maintain=lambda: purge_some(self.database),
            count=metrics.logged if metrics else None,
            report_queue=metrics.queued if metrics else None,
        )

    @property
    def is_required(self) -> bool:
        """Whether a prediction is answered only after it is recorded."""
        return self._settings.required

    def record(
        self,
        name: str,
        records: Sequence[object],
        answer: Answer,
        *,
        request_id: str,
        key: str | None = None,
        inference_ids: Sequence[str] | None = None,
        served: Served | None = None,
    ) -> Commit:
        """Queue one row for each record.

        Args:
            name: of the model.
            records: as they were sent.
            answer: the predictions of all of them.
            request_id: of the request.
            key: name of the caller's key.
            inference_ids: the caller's own id of each record.
            served: what another version of the model than the installed one says of its answer.

        Raises:
            LogUnavailableError: the queue is full, or the database failed a moment ago.
        """
        prediction_id = new_id()
        common = {
            "prediction_id": prediction_id,
            "time": datetime.now(UTC).replace(tzinfo=None),
            "request_id": request_id,
            "key": key,
        }
        rows = self._models[name].rows(records, answer, common, inference_ids or [None] * len(records), served)
        size = sum(ROW_BYTES + len(row["inputs"] or "") for row in rows)
        commit = Commit(prediction_id, request_id, rows, size, self.writer.flush)
        self.writer.submit(commit)
        return commit

    def close(self) -> None:
        """Write what is queued, for at most the timeout of a commit."""
        self.writer.close(self._settings.timeout)
        if self._checkpoints is not None:
            self._checkpoints.close(self._settings.timeout)
        self._sink.close()
        self.database.engine.dispose()


class _ModelRows:
    """Makes the rows of one model."""

    def __init__(self, name: str, predictor: Predictor, settings: LogSettings) -> None:
        model = predictor.model
        self._of_model = {
            "model": name,
            "version": model.version,
            "artifact_sha256": model.lineage.get("artifact_sha256"),
        }
        # Only fields of the model: what else was sent may be about people, and explains no prediction.
        self._fields = frozenset(model.spec.names) - set(settings.redact) if settings.inputs else frozenset()
        self._has_inputs = settings.inputs
        self._keeps_all = settings.inputs and len(self._fields) == len(model.spec.names)
        self._details = RowDetails(predictor)

    def rows(
        self,
        records: Sequence[object],
        answer: Answer,
        common: Row,
        inference_ids: Sequence[str | None],
        served: Served | None,
    ) -> list[Row]:
        common = {**common, **self._of_model}
        if served is not None:
            common |= {"version": served.version, "artifact_sha256": served.artifact_sha256}
        details = self._details(answer) if served is None else served.details
        return [
            {
                **common,
                "row": row,
                "inference_id": inference_ids[row],
                "inputs": self._inputs(record, only_fields=answer.only_known and self._keeps_all),
                "prediction": None if self._details.is_class else prediction,
                "detail": details[row],
                "errors": as_text(answer.errors[row]) if row in answer.errors else None,
            }
            for row, (record, prediction) in enumerate(zip(records, answer.predictions, strict=True))
        ]

    def _inputs(self, record: object, *, only_fields: bool) -> str | None:
        """The fields of a record as JSON, each as it was sent; ``None`` if it is not an object.

        Args:
            record: as it was sent.
            only_fields: it is known to have nothing else.
        """
        if not self._has_inputs:
            return None
        fields = self._fields
        try:
            if isinstance(record, msgspec.Raw):
                if only_fields:
                    return msgspec.json.format(record, indent=-1).decode()
                sent = _decode_fields(record)
                return _encode_fields({name: value for name, value in sent.items() if name in fields}).decode()
            if isinstance(record, dict):
                # msgspec cannot encode integers of any size.
                return json.dumps({name: value for name, value in record.items() if name in fields})
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        return None
