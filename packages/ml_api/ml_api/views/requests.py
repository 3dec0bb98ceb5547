"""From a request's bytes to records, strictly: what is no JSON is refused, what is JSON is left to the validation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import IO, Any

from flask import Request
from model_kit.records import json_text as jsontext
from werkzeug.exceptions import (
    BadRequest,
    RequestEntityTooLarge,
    RequestTimeout,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from werkzeug.sansio.utils import get_content_length

from ml_api import connection
from ml_api.memory_budget import SMALL, Place

#: Values for each record that is allowed: several times what a model has fields. A body may have more bytes than
#: memory has room for their values: of 32 MiB of ``[]`` Python makes 750 MB.
VALUES_PER_ROW = 200

#: What is said where there was no room, and the seconds after which there may be some.
BUSY = "The server holds as many large requests as it has room for; try again soon, or send fewer records at a time."
RETRY_AFTER = 5
#: More than any room.
_ALL = 1 << 62

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATORS = (b",", b"[", b"{")
#: Bytes that are looked at together; a server makes several copies of what it reads at a time.
_PIECE = 256 * 1024


def body(request: Request, *, max_bytes: int, place: Place, alone: bool = False) -> bytes | bytearray:
    """The body of ``request``, which is said to be plain JSON in UTF-8. Waits for the client.

    Args:
        request: whose body.
        max_bytes: that are taken.
        place: gets room for the body before it is read, if it is large.
        alone: whether a large body needs all the room.

    Raises:
        UnsupportedMediaType: it is said to be something else.
        RequestEntityTooLarge: it has more bytes than allowed.
        BadRequest: it is not complete.
        RequestTimeout: it did not arrive in the time that the server gives.
        ServiceUnavailable: there was no room for it.
    """
    _check_media_type(request)
    return read_body(request, max_bytes, place, alone=alone)


def busy() -> ServiceUnavailable:
    """There is no room for another large request."""
    return ServiceUnavailable(BUSY, retry_after=RETRY_AFTER)


def records(body: bytes | bytearray, *, max_rows: int) -> Sequence[object]:
    """The records that ``body`` holds: the elements of its JSON array, or its one JSON object.

    Returns:
        What :class:`~model_kit.scoring.predictor.Predictor` takes: each record as its value or as its JSON text.

    Raises:
        RequestEntityTooLarge: it has more records or more values than allowed.
        BadRequest: it is no JSON, or neither array nor object.
    """
    # With a floor, so that few rows may still have many fields that no model uses.
    _check_size(body, VALUES_PER_ROW * max(max_rows, 10_000))
    texts = jsontext.split(body)
    found: Sequence[object] = _values(parse(body)) if texts is None else texts
    if len(found) > max_rows:
        raise RequestEntityTooLarge(f"The body has {len(found)} records; at most {max_rows} are taken at a time.")
    return found


def check_explained(records: Sequence[object], *, max_rows: int) -> None:
    """Make sure that there are not too many to explain: each takes as long as some hundred predictions.

    Raises:
        RequestEntityTooLarge: there are more than ``max_rows``.
    """
    if len(records) > max_rows:
        raise RequestEntityTooLarge(f"The body has {len(records)} records; at most {max_rows} are explained at a time.")


def _values(document: object) -> Sequence[object]:
    if isinstance(document, dict):
        return [document]
    if isinstance(document, list):
        return document
    raise BadRequest("The body must be a JSON array of records or one record, which is a JSON object.")


def _check_media_type(request: Request) -> None:
    environ = request.environ
    # The usual spelling needs no parsing.
    if environ.get("CONTENT_TYPE") != "application/json":
        if request.mimetype != "application/json":
            raise UnsupportedMediaType("The body must be JSON, with the header Content-Type: application/json.")
        if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("JSON is taken in UTF-8 only.")
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("The body must not be compressed: no Content-Encoding is taken.")
    # Servers undo the chunks and hand on whatever else was done to the body.
    if environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() not in ("", "chunked"):
        raise UnsupportedMediaType("The body must not be compressed: chunked is the only Transfer-Encoding taken.")


def read_body(request: Request, max_bytes: int, place: Place, *, alone: bool = False) -> bytes | bytearray:
    """The body, of at most ``max_bytes``, whether its length was announced or it comes in chunks.

    Raises:
        RequestEntityTooLarge: it is longer; of one whose length was announced nothing has been read.
        BadRequest: it ends before the announced length, or its chunks are malformed.
        RequestTimeout: it did not arrive in the time that the server gives.
        ServiceUnavailable: there was no room for it; no more than ``SMALL`` bytes have been read.
    """
    environ = request.environ
    length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"))
    if length is None and not environ.get("wsgi.input_terminated"):
        length = 0  # nothing says where the body ends, so by HTTP there is none
    wanted = max_bytes + 1 if length is None else length
    if length is not None and length > max_bytes:
        raise _too_long(max_bytes)
    stream = environ["wsgi.input"]
    found: bytes | bytearray = b""
    # Whether one that comes in chunks is large is seen when so much has come.
    if wanted <= SMALL or length is None:
        pieces: list[bytes] = []
        _read(stream, min(wanted, SMALL), pieces.append)
        found = b"".join(pieces)
    if wanted > SMALL and (length is not None or len(found) == SMALL):
        connection.pause(environ)
        if not place.take(_ALL if alone else wanted):
            if length is None:
                connection.close()
            raise busy()
        connection.hold(environ, place)
        # Pieces that are joined at the end take twice the room.
        found = bytearray(found)
        _read(stream, wanted - len(found), found.extend)
        if not alone:
            place.keep(len(found))
    if length is None and len(found) == wanted:
        raise _too_long(max_bytes)
    if length is not None and len(found) < length:
        connection.close()
        raise BadRequest("The body is shorter than its Content-Length.")
    environ[connection.ENDED] = True
    return found


def _read(stream: IO[bytes], wanted: int, add: Callable[[bytes], None]) -> None:
    """Hand on, piece by piece, what comes of so many bytes."""
    try:
        while wanted > 0 and (piece := stream.read(min(wanted, _PIECE))):
            add(piece)
            wanted -= len(piece)
    except TimeoutError as error:
        connection.close()
        raise RequestTimeout("The body did not arrive in time.") from error
    except Exception as error:  # servers raise what they like for a broken body
        connection.close()  # nobody knows where the next request begins
        raise BadRequest("The body could not be read to its end.") from error


def _check_size(body: bytes | bytearray, max_values: int) -> None:
    # Every value but the first of a list or object follows one of these; at most two of three bytes are one ("[],").
    if len(body) * 3 <= max_values * 4 or sum(map(body.count, _SEPARATORS)) <= max_values:
        return
    if _count_separators(body) > max_values:
        raise RequestEntityTooLarge(f"The body has more than {max_values} values.")


def _count_separators(body: bytes | bytearray) -> int:
    """How many there are outside of strings; in pieces, because a body may be nothing but short strings."""
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    count = within = 0
    for start in range(0, len(bare), _PIECE):
        parts = bare[start : start + _PIECE].split(b'"')
        outside = b" ".join(parts[within::2])
        count += sum(map(outside.count, _SEPARATORS))
        within ^= 1 - len(parts) % 2
    return count


def _too_long(max_bytes: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"The body is longer than the {max_bytes} bytes that are taken.")


def parse(body: bytes | bytearray) -> Any:
    """The JSON document in ``body``; numbers too large for a float are left for the validation to refuse.

    Raises:
        BadRequest: it is not JSON in UTF-8; the text says where.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: invalid byte at offset {error.start}.") from error
    try:
        return jsontext.loads(text)
    except jsontext.ConstantError as error:
        raise BadRequest(f"The body is not JSON: there is no {error} in JSON.") from error
    except json.JSONDecodeError as error:
        if body.startswith(_BYTE_ORDER_MARK):
            raise BadRequest("The body begins with a byte order mark, which JSON does not have.") from error
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"The body is not JSON: {error.msg} at {where}.") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.") from error
