"""ARFF, the format that OpenML serves, as the CSV file that the rest of the project reads.

No library is used: scipy reads no text attributes, scikit-learn's reader is private, and liac-arff, which it is a copy
of, has had no release since 2020. Read are dense files of numbers, text and nominal attributes with either quote,
backslash escapes, comments and ``?`` for a missing value, which is all that OpenML writes for such data.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Final

from model_kit.errors import DataError

#: What a missing value becomes.
NULL: Final = "NA"
NUMERIC: Final = frozenset({"numeric", "real", "integer"})

_ATTRIBUTE: Final = re.compile(
    r"""@attribute\s+('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\S+)\s+(\{.*|\S+)\s*""", re.IGNORECASE
)
# One value and what ends it. Anything up to a comma if it is not quoted.
_VALUE: Final = re.compile(
    r"""\s*(?:'(?P<single>(?:\\.|[^'\\])*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>(?!['"])[^,]*))\s*(?P<end>,|$)"""
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}
_WHOLE: Final = re.compile(r"([+-]?\d+)\.0+")


def is_arff(content: bytes) -> bool:
    """Whether a file is ARFF: its first line that is neither blank nor a comment names a relation."""
    for line in io.BytesIO(content):
        text = line.removeprefix(b"\xef\xbb\xbf").strip()
        if text and not text.startswith(b"%"):
            return text.lower().startswith(b"@relation")
    return False


def to_csv(content: bytes, name: str) -> bytes:
    """An ARFF file as CSV: attributes as the header, "NA" for a missing value, whole numbers without their ".0".

    Args:
        content: the file.
        name: what errors call it.

    Raises:
        DataError: it cannot be read; the text names the line.
    """
    try:
        lines = enumerate(content.decode("utf-8-sig").split("\n"), 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text") from error
    numeric: dict[str, bool] = {}
    for number, line in lines:
        text = line.strip()
        if text.lower().startswith("@data"):
            break
        if text.lower().startswith("@attribute"):
            column, is_number = _attribute(text, name, number)
            if column in numeric:
                raise DataError(f"{name}, line {number}: attribute {column} occurs before")
            numeric[column] = is_number
    else:
        raise DataError(f"{name}: it has no data section: the file is cut off")
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(numeric)
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("%"):
            continue
        cells = list(_cells(text, name, number, list(numeric.values())))
        if len(cells) != len(numeric):
            raise DataError(f"{name}, line {number}: {len(cells)} values where there are {len(numeric)} attributes")
        writer.writerow(cells)
    return output.getvalue().encode()


def _attribute(text: str, name: str, number: int) -> tuple[str, bool]:
    match = _ATTRIBUTE.fullmatch(text)
    if not match:
        raise DataError(f"{name}, line {number}: not an attribute of a kind that is read here: {text[:60]}")
    column, kind = match[1], match[2]
    if column[0] in "'\"":
        column = _unescape(column[1:-1])
    return column, kind.lower() in NUMERIC


def _cells(text: str, name: str, number: int, numeric: list[bool]) -> Iterator[str]:
    if text.startswith("{"):
        raise DataError(f"{name}, line {number}: sparse ARFF, which is not read here")
    start = position = 0
    while True:
        match = _VALUE.match(text, start)
        if not match:
            raise DataError(f"{name}, line {number}: a quote is not closed")
        bare = match["bare"]
        if bare is None:
            yield _unescape(match["single"] if match["single"] is not None else match["double"])
        elif bare.strip() == "?":
            yield NULL
        else:
            whole = _WHOLE.fullmatch(bare.strip()) if position < len(numeric) and numeric[position] else None
            yield whole[1] if whole else bare.strip()
        if not match["end"]:
            return
        start = match.end()
        position += 1


def _unescape(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(plain, text)
