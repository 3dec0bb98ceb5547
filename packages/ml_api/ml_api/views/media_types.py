"""The media types of predictions: which one a body has, and in which one to answer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from flask import Request
from werkzeug.exceptions import NotAcceptable, UnsupportedMediaType

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
#: Of the Open Inference Protocol.
TENSORS = "application/octet-stream"
#: What a body is called in messages.
NAMES = {JSON: "JSON", CSV: "CSV", ARROW: "an Arrow stream", TENSORS: "JSON with tensors behind it"}
#: Values of ``Accept`` that need no parsing.
_ACCEPTS_JSON = frozenset({None, "*/*", JSON})

#: Details of the errors.
WITHOUT_ARROW = "This server takes no Arrow streams: pyarrow, the extra ml_api[tables], is not installed; send {}."
COMPRESSED = "The body must not be compressed: no Content-Encoding is taken."
HEADER_LINE = "CSV without a header line is not taken: its first line has the names of the columns."
NOT_OFFERED = "The response can be {}; Accept asks for another type."


def has_arrow() -> bool:
    """Return whether pyarrow is installed; it is not imported."""
    return find_spec("pyarrow") is not None


def of_predictions() -> tuple[str, ...]:
    """Return the media types that predictions take and have on this server."""
    return (JSON, CSV, ARROW) if has_arrow() else (JSON, CSV)


def of_body(request: Request, taken: Sequence[str], *, default: str | None = None) -> str:
    """Return the media type of the body, after checking that its headers declare it plainly and in UTF-8.

    Args:
        request: whose headers are checked.
        taken: the types that are.
        default: of a body that has none.

    Raises:
        UnsupportedMediaType: the headers declare another type, encoding or charset.
    """
    environ = request.environ
    found = environ.get("CONTENT_TYPE") or default
    # The usual value needs no parsing.
    if found is None or found not in (JSON, default):
        found = request.mimetype
        if found not in taken:
            if found == ARROW and CSV in taken:
                raise UnsupportedMediaType(WITHOUT_ARROW.format(" or ".join(NAMES[one] for one in taken)))
            raise UnsupportedMediaType(wrong_type(taken))
        if request.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType(f"{NAMES[found]} is taken in UTF-8 only.")
        if found == CSV and request.mimetype_params.get("header", "present").lower() != "present":
            raise UnsupportedMediaType(HEADER_LINE)
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(COMPRESSED)
    # Servers decode chunks, and pass on any other transfer encoding undecoded.
    if environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() not in ("", "chunked"):
        raise UnsupportedMediaType("The body must not be compressed: chunked is the only Transfer-Encoding taken.")
    return found


def of_response(request: Request, offered: Sequence[str]) -> str:
    """Return the media type that ``Accept`` prefers; JSON if it prefers none.

    Raises:
        NotAcceptable: it permits none of them.
    """
    if request.environ.get("HTTP_ACCEPT") in _ACCEPTS_JSON:
        return JSON
    accept = request.accept_mimetypes
    if not accept:
        return JSON
    best = max(offered, key=accept.quality)
    if not accept.quality(best):
        raise NotAcceptable(NOT_OFFERED.format(" or ".join(offered)))
    return best


def wrong_type(taken: Sequence[str]) -> str:
    """Return the detail of the error for a body of another type than those ``taken``."""
    names, types = (" or ".join(texts) for texts in ([NAMES[one] for one in taken], taken))
    return f"The body must be {names}, with the header Content-Type: {types}."
