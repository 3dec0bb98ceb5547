"""Records predictions in the prediction log, before they are answered where the log is required."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from flask import Response, request
from model_kit.scoring.predictor import Answer
from werkzeug.exceptions import ServiceUnavailable

from ml_api import access, connection
from ml_api.admission import NO_RECORD, RECORD_RETRY_AFTER
from ml_api.views import responses

if TYPE_CHECKING:
    from ml_api.prediction_log.details import Served
    from ml_api.prediction_log.log import PredictionLog


class NotRecordedError(ServiceUnavailable):
    """The log is required, and did not take the record; ``refused`` is the reason in log line and metrics."""

    refused = access.NOT_RECORDED

    def __init__(self) -> None:
        super().__init__(NO_RECORD, retry_after=RECORD_RETRY_AFTER)


def record(
    log: PredictionLog,
    name: str,
    records: Sequence[object],
    answer: Answer,
    inference_ids: Sequence[str] | None,
    response: Response,
    served: Served | None = None,
    after: Callable[[str], None] | None = None,
) -> Response:
    """Record an answer, and add its prediction id to the response.

    Args:
        log: where.
        name: of the model.
        records: as they were sent.
        answer: the predictions of all of them.
        inference_ids: the caller's own id of each record.
        response: to the request.
        served: the answer of the canary, if that is it.
        after: called with the prediction id when the record is committed, and the response on its way.

    Raises:
        NotRecordedError: the log is required, and did not take the record.
    """
    if not records:
        return response
    # In a worker without the log, none of this is imported.
    from ml_api.prediction_log.writer import LogUnavailableError  # noqa: PLC0415

    try:
        commit = log.record(
            name,
            records,
            answer,
            request_id=access.current_id(),
            key=access.current_key(),
            inference_ids=inference_ids,
            served=served,
        )
    except LogUnavailableError as error:
        if log.is_required:
            raise NotRecordedError from error
        return response
    response.headers[responses.PREDICTION_ID] = commit.prediction_id
    access.add_log_fields(prediction_id=commit.prediction_id)
    if not log.is_required:
        if after is not None:
            commit.add_done_callback(lambda _: after(commit.prediction_id) if commit.is_kept() else None)
        return response
    if connection.wait_for(request.environ, commit):
        access.set_pending(commit)
        if after is not None:
            connection.call_after(request.environ, partial(after, commit.prediction_id))
        return response
    # Under another server the thread has to wait; the log ends that.
    commit.flush()
    try:
        commit.result()
    except BaseException as error:
        raise NotRecordedError from error
    if after is not None:
        after(commit.prediction_id)
    return response
