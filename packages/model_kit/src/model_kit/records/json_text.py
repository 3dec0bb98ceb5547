"""Parses JSON strictly; values are left to the validation of records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

#: Replaces an integer with more digits than Python converts; the validation of records rejects it as too large.
TOO_LARGE = 10**400

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(msgspec.Raw)


class ConstantError(ValueError):
    """The text contains NaN, Infinity or -Infinity, which JSON does not have; the message names it."""


def loads(text: str | bytes) -> Any:
    """Parse a JSON document; 1e400 becomes an infinity, and an integer with thousands of digits ``TOO_LARGE``.

    Raises:
        JSONDecodeError: the text is not JSON; the error has the position.
        ConstantError: the text has a constant that JSON does not have.
        UnicodeDecodeError: the text is not UTF-8.
        RecursionError: the document is nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return _DECODER.decode(text)
    except (json.JSONDecodeError, ConstantError):
        raise
    except ValueError:
        # Python does not convert an integer with thousands of digits; this slower decoder is needed only then.
        return _BIG_INTEGER_DECODER.decode(text)


def split(body: bytes | bytearray) -> Sequence[msgspec.Raw] | None:
    """Split a JSON array into the texts of its elements; a JSON object is the only element.

    Returns:
        ``None`` for any other text, and for some valid JSON, which :func:`loads` parses. Texts that are returned are
        valid JSON.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec checks the bytes of strings only when it decodes them
        return [_DOCUMENT.decode(body)] if body.startswith(b"{") else _ARRAY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ConstantError(name)


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        return TOO_LARGE


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_BIG_INTEGER_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_integer)
