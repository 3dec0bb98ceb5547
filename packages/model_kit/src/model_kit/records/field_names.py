"""Names that are no field's but nearly: the field that is lost for its spelling."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

#: Unknown names of a record that are compared with the fields', and characters of the longest: bounds the work.
MOST_NAMES: Final = 20
LONGEST_NAME: Final = 100


def nearly(name: str, columns: Iterable[str]) -> str | None:
    """The column that differs from a name in blanks, case or a few characters only; ``None`` if there is none."""

    def key(text: str) -> str:
        return "".join(character for character in text.casefold() if character.isalnum())

    keys = {key(column): column for column in columns}
    found = difflib.get_close_matches(key(name), keys, n=1, cutoff=0.8)
    return keys[found[0]] if found else None


class MisspeltFields:
    """Finds the fields that a record lacks because it has them under nearly their names; built once per spec."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._nearest = lru_cache(1000)(lambda name: nearly(name, names))
        self._read_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def __call__(self, record: object) -> dict[str, str]:
        """Field that is absent -> the name that was sent; empty for what is no JSON object."""
        if type(record) is msgspec.Raw:
            try:
                record = self._read_names(record)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                return {}
        if not isinstance(record, dict):
            return {}
        sent: dict[Any, Any] = record
        unknown = [name for name in sent if name not in self._names][:MOST_NAMES]
        found = {self._nearest(name): name for name in unknown if isinstance(name, str) and len(name) <= LONGEST_NAME}
        return {field: name for field, name in found.items() if field is not None and field not in sent}
