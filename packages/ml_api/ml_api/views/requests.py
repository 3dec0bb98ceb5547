"""Parses request bodies into records: rejects invalid JSON, and leaves valid JSON to the validation of records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Request
from model_kit.records import json_text
from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
)
from werkzeug.sansio.utils import get_content_length

from ml_api import connection
from ml_api.views import media_types
from ml_api.views.parameters import DetailOptions

#: Values per allowed record: several times the fields of a model. The limit is needed because values take more memory
#: than the body: Python makes 750 MB of 32 MiB of ``[]``.
VALUES_PER_ROW = 200

#: Details of the errors for too many records: their number, the limit.
TOO_MANY = "The body has {} records; at most {} are taken at a time."
TOO_MANY_EXPLAINED = "The body has {} records; at most {} are explained at a time (MAX_EXPLAINED)."
TOO_MANY_WARNED = "The body has {} records; at most {} are taken at a time with warnings=true (MAX_WARNED)."

#: Header with the caller's own id of one record.
INFERENCE_ID = "Inference-Id"

_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = (b",", b"[", b"{")
#: Bytes that are read or searched at a time.
_PIECE = 256 * 1024


def body(request: Request, *, max_bytes: int) -> bytes | bytearray:
    """Return the body of ``request`` after checking that its headers declare plain JSON in UTF-8.

    Raises:
        UnsupportedMediaType: the headers declare another type, encoding or charset.
        RequestEntityTooLarge: the body is longer than ``max_bytes``.
        BadRequest: the body is incomplete.
    """
    media_types.of_body(request, (media_types.JSON,))
    return read_body(request, max_bytes)


def records(body: bytes | bytearray, *, max_rows: int) -> Sequence[object]:
    """Return the records in ``body``: the elements of its JSON array, or its one JSON object.

    Returns:
        The input of :class:`~model_kit.scoring.predictor.Predictor`: each record as its value or as its JSON text.

    Raises:
        RequestEntityTooLarge: the body has too many records or values.
        BadRequest: the body is not JSON, or neither an array nor an object.
    """
    _check_size(body, max_values(max_rows))
    texts = json_text.split(body)
    found: Sequence[object] = _values(parse(body)) if texts is None else texts
    if len(found) > max_rows:
        raise RequestEntityTooLarge(TOO_MANY.format(len(found), max_rows))
    return found


def items(body: bytes | bytearray, *, max_rows: int) -> Sequence[object]:
    """Return the elements of the JSON array in ``body``, or its one JSON object.

    Raises:
        RequestEntityTooLarge: the body has too many elements or values.
        BadRequest: the body is not JSON, or neither an array nor an object.
    """
    _check_size(body, max_values(max_rows))
    found = _values(parse(body))
    if len(found) > max_rows:
        raise RequestEntityTooLarge(TOO_MANY.format(len(found), max_rows))
    return found


def document(body: bytes | bytearray, *, max_rows: int) -> Any:
    """Return the JSON document in ``body``, of any form.

    Raises:
        RequestEntityTooLarge: it has too many values.
        BadRequest: the body is not JSON; the message gives the position.
    """
    _check_size(body, max_values(max_rows))
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return parse(body)


def check_details(records: Sequence[object], options: DetailOptions, *, max_explained: int, max_warned: int) -> None:
    """Check the number of records with details.

    To explain a record takes as long as several hundred predictions, and its warnings a hundred times its own bytes.

    Raises:
        RequestEntityTooLarge: there are more than the limit of a requested detail.
    """
    if options.explain is not None and len(records) > max_explained:
        raise RequestEntityTooLarge(TOO_MANY_EXPLAINED.format(len(records), max_explained))
    if options.warnings and len(records) > max_warned:
        raise RequestEntityTooLarge(TOO_MANY_WARNED.format(len(records), max_warned))


def inference_ids(request: Request, records: Sequence[object], id_field: str | None) -> list[str] | None:
    """Return the caller's own id of each record: the header ``Inference-Id`` of one record, or a field of each.

    Raises:
        BadRequest: an id is missing, malformed or given twice; the message names the record.
    """
    sent = request.environ.get("HTTP_INFERENCE_ID")
    if sent is not None and id_field is not None:
        raise BadRequest(f"Send either the header {INFERENCE_ID} or the query parameter id_field, not both.")
    if sent is not None:
        if len(records) != 1:
            raise BadRequest(
                f"The header {INFERENCE_ID} is for one record; for several, name their field: ?id_field=Id."
            )
        return [_checked_id(sent, f"The header {INFERENCE_ID}")]
    if id_field is None:
        return None
    found: dict[str, int] = {}
    for row, record in enumerate(records):
        value = _value_of(record, id_field)
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        checked = _checked_id(text, f"The field {id_field!r} (id_field) of record {row}")
        if checked in found:
            raise BadRequest(f"The records {found[checked]} and {row} have the same {id_field!r} (id_field).")
        found[checked] = row
    return list(found)


def _checked_id(text: object, what: str) -> str:
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise BadRequest(f"{what} must be a text of 1 to 128 characters without control characters, or a whole number.")
    return text


def _value_of(record: object, name: str) -> object:
    if isinstance(record, msgspec.Raw):
        try:
            value = msgspec.json.decode(record, type=dict[str, msgspec.Raw]).get(name)
            return None if value is None else msgspec.json.decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
    return record.get(name) if isinstance(record, dict) else None


def _values(document: object) -> Sequence[object]:
    if isinstance(document, dict):
        return [document]
    if isinstance(document, list):
        return document
    raise BadRequest("The body must be a JSON array of records or one record, which is a JSON object.")


def read_body(request: Request, max_bytes: int) -> bytes | bytearray:
    """Return a body of at most ``max_bytes``, with a ``Content-Length`` or in chunks.

    Our server has received it already (:mod:`ml_api.connection`); under another one it is read here.

    Raises:
        RequestEntityTooLarge: the body is longer; if its ``Content-Length`` says so, nothing has been read.
        BadRequest: the body is shorter than its ``Content-Length``, or its chunks are malformed.
    """
    environ = request.environ
    received: bytes | bytearray | None = environ.get(connection.BODY)
    if received is not None:
        return received
    length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"))
    if length is None and not environ.get("wsgi.input_terminated"):
        length = 0  # neither a length nor chunks: by HTTP there is no body
    if length is not None and length > max_bytes:
        raise _too_long(max_bytes)
    found = bytearray()
    wanted = max_bytes + 1 if length is None else length
    try:
        while len(found) < wanted and (piece := environ["wsgi.input"].read(min(wanted - len(found), _PIECE))):
            found += piece
    except Exception as error:  # servers raise different exceptions for a broken body
        raise BadRequest("The body could not be read to its end.") from error
    if len(found) > max_bytes:
        raise _too_long(max_bytes)
    if length is not None and len(found) < length:
        raise BadRequest("The body is shorter than its Content-Length.")
    return found


def max_values(max_rows: int) -> int:
    """Return the maximum number of values in a body of at most ``max_rows`` records."""
    # With a minimum, so that a few rows may have many fields that the model does not use.
    return VALUES_PER_ROW * max(max_rows, 10_000)


def _check_size(body: bytes | bytearray, max_values: int) -> None:
    # Every value except the first of a list or object follows a separator; at most two of three bytes are one ("[],").
    if len(body) * 3 <= max_values * 4 or sum(map(body.count, _SEPARATORS)) <= max_values:
        return
    if _count_separators(body) > max_values:
        raise RequestEntityTooLarge(f"The body has more than {max_values} values.")


def _count_separators(body: bytes | bytearray) -> int:
    """Count the separators outside of strings; in pieces, because a body may consist of short strings only."""
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    count = inside_string = 0
    for start in range(0, len(bare), _PIECE):
        parts = bare[start : start + _PIECE].split(b'"')
        outside = b" ".join(parts[inside_string::2])
        count += sum(map(outside.count, _SEPARATORS))
        inside_string ^= 1 - len(parts) % 2
    return count


def _too_long(max_bytes: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"The body is longer than the {max_bytes} bytes that are taken.")


def estimate_records(media_type: str, body: bytes | bytearray) -> int:
    """Return at least the number of valid records in a body that is not parsed."""
    if media_type == media_types.CSV:
        return max(body.count(b"\n"), body.count(b"\r"))
    if media_type == media_types.ARROW and media_types.has_arrow():
        from ml_api.views.tables.arrow_table import count_rows  # noqa: PLC0415 - an extra

        return count_rows(body)
    return body.count(b"{")


def as_json(records: Sequence[object]) -> bytes | None:
    """Return records as the body that a request of JSON has for them; ``None`` if a number of theirs is not finite."""
    try:
        texts = [
            bytes(record) if isinstance(record, msgspec.Raw) else json.dumps(record, allow_nan=False).encode()
            for record in records
        ]
    except ValueError:
        return None
    return b"[%b]" % b",".join(texts)


def parse(body: bytes | bytearray) -> Any:
    """Parse ``body`` as JSON; numbers too large for a float are left to the validation of records.

    Raises:
        BadRequest: the body is not JSON in UTF-8; the message gives the position.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: invalid byte at offset {error.start}.") from error
    try:
        return json_text.loads(text)
    except json_text.ConstantError as error:
        raise BadRequest(f"The body is not JSON: there is no {error} in JSON.") from error
    except json.JSONDecodeError as error:
        if body.startswith(_BYTE_ORDER_MARK):
            raise BadRequest("The body begins with a byte order mark, which JSON does not have.") from error
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not JSON: {error.msg} at {where}.") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.") from error
