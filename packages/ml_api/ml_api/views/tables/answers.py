"""Renders predictions as tables, one row for each that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flask import Response
from model_kit.records.validation import in_words
from model_kit.scoring.predictor import Answer, DetailedAnswer
from model_kit.scoring.table_columns import NO_DETAILS, Added, iter_cells, prediction_columns
from model_kit.scoring.table_columns import DetailOptions as TableOptions
from model_kit.spec import Target
from werkzeug.exceptions import BadRequest

from ml_api.views.media_types import ARROW, CSV
from ml_api.views.responses import MODEL_VERSION, prediction_status, with_warnings
from ml_api.views.tables.columns import shown, to_lines

if TYPE_CHECKING:
    from ml_api.views.parameters import DetailOptions
    from ml_api.views.tables.reading import Table

#: Content type of answers in CSV.
CSV_TYPE = f"{CSV}; charset=utf-8"
#: Key of the schema's metadata in answers in Arrow, with the version of the model.
METADATA = "model_version"


def render(
    media_type: str,
    answer: Answer,
    version: str,
    target: Target,
    options: DetailOptions | None,
    echo: Table | None,
) -> Response:
    """Create the response of a prediction as a table.

    Args:
        media_type: CSV or Arrow.
        answer: with the details of ``options``.
        version: of the model.
        target: of the model.
        options: the details that were asked for, if any were.
        echo: what was sent, whose columns come first; ``None``: they do not.

    Raises:
        BadRequest: what was sent cannot be written in that type.
    """
    asked = _table_options(options)
    added = prediction_columns(target, asked)
    columns = _columns(answer, target, asked)
    if media_type == ARROW:
        response = Response(_arrow(added, columns, version, echo), content_type=ARROW)
    else:
        response = Response(_csv(added, columns, echo), content_type=CSV_TYPE)
    response.status_code = prediction_status(answer)
    response.headers[MODEL_VERSION] = version
    response.vary.add("Accept")
    return with_warnings(response, answer)


def check_echo(table: Table, target: Target, options: DetailOptions | None) -> None:
    """Check that a table has no column of the name of one that its answer adds.

    Raises:
        BadRequest: it has one.
    """
    added = prediction_columns(target, _table_options(options))
    if clashes := [name for name in table.names if name in added]:
        raise BadRequest(f"echo: the table has a column {shown(clashes[0])} already, which the answer would add.")


def _table_options(options: DetailOptions | None) -> TableOptions:
    # What explanations compare with is no column.
    return NO_DETAILS if options is None else TableOptions(*(getattr(options, name) for name in TableOptions._fields))


def _columns(answer: Answer, target: Target, options: TableOptions) -> list[Sequence[Any]]:
    if isinstance(answer, DetailedAnswer):
        rows = list(iter_cells(answer, target, options))
        return list(zip(*rows, strict=True)) if rows else [()] * len(prediction_columns(target, options))
    errors: list[str | None] = [None] * len(answer.predictions)
    for row, messages in answer.errors.items():
        errors[row] = in_words(messages)
    return [answer.predictions, errors]


def _csv(added: Added, columns: Sequence[Sequence[Any]], echo: Table | None) -> str:
    """Lines with line ends as in RFC 4180."""
    lines = [*to_lines([[name] for name in added]), *to_lines(columns)]
    if echo is not None and echo.names:
        lines = [f"{sent},{line}" for sent, line in zip(echo.lines(), lines, strict=True)]
    return "\r\n".join([*lines, ""])


def _arrow(added: Added, columns: Sequence[Sequence[Any]], version: str, echo: Table | None) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    kinds = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
    types = [kinds[kind] for kind in added.values()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    fields = [pa.field(name, kind) for name, kind in zip(added, types, strict=True)]
    if echo is not None:
        sent = echo.arrow()
        arrays, fields = [*sent.columns, *arrays], [*sent.schema, *fields]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, {METADATA: version}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
