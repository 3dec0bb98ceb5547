"""JSON text, strictly: what is no JSON is refused, what is JSON is left to the validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

#: Stands for an integer of more digits than Python converts: the validation of a row finds it too large.
TOO_LARGE = 10**400

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(msgspec.Raw)


class ConstantError(ValueError):
    """The text has NaN, Infinity or -Infinity, which JSON does not have; the error's text names it."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON document; 1e400 is an infinity, and a number of thousands of digits ``TOO_LARGE``.

    Raises:
        JSONDecodeError: it is no JSON; it says where.
        ConstantError: it has a constant that JSON does not have.
        UnicodeDecodeError: it is not UTF-8.
        RecursionError: it is nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return _DECODER.decode(text)
    except (json.JSONDecodeError, ConstantError):
        raise
    except ValueError:
        # Python refuses to convert an integer of thousands of digits; slower, and never needed otherwise.
        return _PATIENT_DECODER.decode(text)


def split(body: bytes | bytearray) -> Sequence[msgspec.Raw] | None:
    """The elements of a JSON array, each as text, or one JSON object as the only element.

    Returns:
        ``None`` for anything else, also for some of what is JSON: :func:`loads` has the last word. What is returned
        is JSON, down to the last byte.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec looks at the bytes of the strings only when it reads them
        return [_DOCUMENT.decode(body)] if body.startswith(b"{") else _ARRAY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ConstantError(name)


def _whole_number(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        return TOO_LARGE


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_PATIENT_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole_number)
