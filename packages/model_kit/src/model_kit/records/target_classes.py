"""What a text in the target's column is worth where a class is predicted."""

from __future__ import annotations

from typing import Final

from model_kit.records.text import parse_number
from model_kit.spec import Target
from model_kit.spec.fields import folded_class

#: Texts of booleans in files, beside ``true`` and ``false``.
_BOOLEANS: Final = {"yes": True, "no": False, "1": True, "0": False, "1.0": True, "0.0": False}


class ClassReader:
    """Text -> position of its class; made once per target."""

    def __init__(self, target: Target) -> None:
        self._positions = {key: position for position, key in enumerate(target.keys)}
        folded = [folded_class(key) for key in target.keys]
        #: Other spellings, of classes that are told apart by more.
        self._folded = {key: place for place, key in enumerate(folded) if folded.count(key) == 1}
        self._kind = type(target.classes[0])

    def __call__(self, text: str) -> int | None:
        """Position of the class that a text names, in any case where no two classes differ in that only.

        ``None``: it names none.
        """
        text = text.strip()
        if self._kind is bool:
            lower = text.lower()
            value = _BOOLEANS.get(lower)
            return self._positions.get(lower if value is None else str(value).lower())
        found = self._positions.get(text)
        if found is None and self._kind is int:
            number = parse_number(text)
            if not isinstance(number, str) and number == int(number):
                return self._positions.get(str(int(number)))
        return self._folded.get(folded_class(text)) if found is None else found
