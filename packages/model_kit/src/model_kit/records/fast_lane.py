"""The quick way from a record to its encoded row, for records that are valid beyond doubt.

It only accepts. What it declines goes to :mod:`model_kit.records.validation`, which decides and has all messages.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import getitem
from typing import Any, Self

import msgspec
import numpy as np
from msgspec.structs import astuple

from model_kit.records.encoding import LARGEST, Encoded, Encoder, text_columns
from model_kit.records.text import NULLS, parse_json
from model_kit.records.validation import WHOLE_NUMBER, surely_valid
from model_kit.spec import UNSEEN, Field, InputSpec

#: Records that are looked through for unknown names: what sends a wrong name sends it in each.
MOST_LOOKED_AT = 20
#: Levels of a category up to which it is decoded to codes at once; the classes of more would take time and memory.
MOST_LEVELS = 256
#: A value that a record lacks.
_ABSENT = math.nan
#: Characters that msgspec permits in no level, and in no name of a field.
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_A_NAME = re.compile(r"[\x00-\x1f\\\"]")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the records.

    Attributes:
        encoded: the rows that were accepted, shape (n_accepted, n_fields).
        positions: for each of these the position of its record, ascending.
        declined: positions of the other records, ascending.
        with_unknown: positions of records that may have names that are no field's, and may lack a field, of the first
            ``MOST_LOOKED_AT``.
        only_known: every name in every record is a field's; ``False`` also where that is not known.
    """

    encoded: Encoded
    positions: list[int]
    declined: list[int]
    with_unknown: list[int]
    only_known: bool = False


class FastLane:
    """Records -> encoded rows, bit for bit those of :class:`.encoding.Encoder`; built once per spec."""

    def __init__(self, spec: InputSpec) -> None:
        encoder = Encoder(spec)
        texts = [field for field in spec.fields if field.kind == "text"]
        looked_up = [field for field in spec.fields if field.is_temporal or _is_looked_up(field, encoder)]
        fields = [
            *looked_up,
            *(field for field in spec.fields if field not in looked_up and field not in texts),
            *texts,
        ]
        self._codes: list[Mapping[object, float] | _Days] = [
            _Days(encoder.dates[field.name]) if field.is_temporal else _codes(field, encoder.codes[field.name])
            for field in looked_up
        ]
        # What is looked up comes first, so that it is one stretch and what is taken as it is another.
        # Texts come last, as each has several columns.
        names = [field.name for field in fields]
        self._texts = [encoder.texts[field.name] for field in texts]
        self._n_plain = len(fields) - len(texts)
        columns = [spec.names.index(name) for name in names[: self._n_plain]]
        columns += [column for field in texts for column in text_columns(spec, field.name)]
        self._columns = np.argsort(columns)
        self._pack = struct.Struct(f"{len(columns)}d").pack
        types = {name: _type(field, encoder) for name, field in zip(names, fields, strict=True)}
        # Attributes have names of their own, as a field's need not be an identifier.
        attributes = {f"field_{position}": field for position, field in enumerate(fields)}
        # What is absent is NaN where a null is None, so that a record with a value or null in each field is told from
        # one that may have misspelt a name. What is looked up knows None alone.
        looked_up_or_text = {field.name for field in (*looked_up, *texts)}
        absent = {name: None if name in looked_up_or_text else _ABSENT for name in names}
        renamed = any(_NOT_A_NAME.search(name) for name in names)
        self._record, known = (
            msgspec.defstruct(
                "Record",
                [
                    (name, types[field.name], *(() if field.required else (absent[field.name],)))
                    for name, field in attributes.items()
                ],
                rename=None if renamed else {name: field.name for name, field in attributes.items()},
                kw_only=True,
                gc=False,
                forbid_unknown_fields=forbid_unknown,
            )
            for forbid_unknown in (False, True)
        )
        #: Field -> attribute, where msgspec cannot decode by the fields' names; else empty.
        self._renamed = {field.name: name for name, field in attributes.items()} if renamed else {}
        self._decode = msgspec.json.Decoder(self._record).decode
        self._decode_known = msgspec.json.Decoder(known).decode

    def __call__(self, records: Sequence[object]) -> Accepted:
        """Encode the records that are surely valid.

        Args:
            records: any JSON values, or JSON texts as :class:`msgspec.Raw`.
        """
        n_codes, pack, nan = len(self._codes), self._pack, math.nan
        rows: list[bytes] = []
        positions: list[int] = []
        declined: list[int] = []
        with_unknown: list[int] = []
        decode = self._decode_known
        only_known = True
        for position, record in enumerate(records):
            if position == MOST_LOOKED_AT and not only_known:
                decode = self._decode
            has_unknown = False
            try:
                if type(record) is msgspec.Raw and not self._renamed:
                    try:
                        read = decode(record)
                    except msgspec.ValidationError:
                        read = self._decode(record)
                        only_known = False
                        has_unknown = position < MOST_LOOKED_AT
                        if not has_unknown:
                            decode = self._decode
                else:
                    only_known = False
                    read = msgspec.convert(self._with_attributes(record) if self._renamed else record, self._record)
                    has_unknown = position < MOST_LOOKED_AT
                values = astuple(read)
                if has_unknown and self._may_lack_field(values):
                    with_unknown.append(position)
                row = [*map(getitem, self._codes, values), *values[n_codes : self._n_plain]]
                if self._texts:
                    for encode, text in zip(self._texts, values[self._n_plain :], strict=True):
                        row += encode(text)
                # Twice as fast as making an array of lists, and a tenth of the memory.
                rows.append(pack(*[nan if value is None else value for value in row]))
                positions.append(position)
            # A date that cannot be read is a ValueError, as is a UnicodeError.
            except (msgspec.MsgspecError, ValueError, RecursionError):
                declined.append(position)
                only_known = False
        matrix: Encoded = np.ndarray((len(rows), len(self._columns)), np.float64, b"".join(rows))
        # Taking columns costs a third of indexing with them.
        encoded = matrix.take(self._columns, axis=1)
        if self._texts:
            np.maximum(np.minimum(encoded, LARGEST, out=encoded), -LARGEST, out=encoded)
        return Accepted(encoded, positions, declined, with_unknown, only_known)

    def _may_lack_field(self, values: tuple[Any, ...]) -> bool:
        """Whether a field may be absent from a record."""
        n_codes, n_plain = len(self._codes), self._n_plain
        looked_up, plain, texts = values[:n_codes], values[n_codes:n_plain], values[n_plain:]
        # Looked for by identity: it equals nothing.
        return None in looked_up or None in texts or _ABSENT in plain

    def _with_attributes(self, record: object) -> object:
        """A record by attributes instead of field names."""
        value = msgspec.json.decode(record) if type(record) is msgspec.Raw else record
        if not isinstance(value, dict):
            return value
        return {self._renamed[name]: one for name, one in value.items() if name in self._renamed}


def _is_looked_up(field: Field, encoder: Encoder) -> bool:
    """Whether codes come from a mapping: of levels that are numbers, too, or that msgspec cannot know beforehand."""
    if field.kind != "category":
        return False
    levels = [level for level in encoder.codes[field.name] if isinstance(level, str)]
    return field.numeric_codes or not 1 <= len(levels) <= MOST_LEVELS or any(map(_SURROGATE.search, levels))


def _type(field: Field, encoder: Encoder) -> Any:
    """The values to take, for msgspec; of texts, looking them up decides."""
    if not field.is_temporal and field.kind != "category":
        return surely_valid(field)
    kind: Any = str | WHOLE_NUMBER if field.numeric_codes else str
    if field.kind == "category" and not _is_looked_up(field, encoder):
        kind = _level(field, encoder.codes[field.name])
    return kind if field.required else kind | None


class _Level(float, Enum):
    """Base of enumerations of a category's levels: each is its code, and its value is the level."""

    def __new__(cls, level: str, code: float) -> Self:
        found = float.__new__(cls, code)
        found._value_ = level
        return found


def _level(field: Field, codes: Mapping[object, float]) -> Any:
    """The levels of a category. msgspec reads a known level as its code, without making a text of it."""
    levels = {level: code for level, code in codes.items() if isinstance(level, str)}
    if not field.required:
        levels |= dict.fromkeys(NULLS, math.nan)

    class Level(_Level):
        @classmethod
        def _missing_(cls, level: object) -> _Level:
            """The code of a text that is no level: one that has blanks around it, or one that training never saw."""
            read = parse_json(field, level)
            if read is None and field.required:
                raise ValueError(level)
            return float.__new__(cls, codes.get(read, UNSEEN))

    make: Any = Level
    return make(field.name, {f"level_{position}": known for position, known in enumerate(levels.items())})


class _Days:
    """Text of a date or datetime -> days since 1970-01-01; a ValueError if it is not valid."""

    def __init__(self, days: Callable[[object], float]) -> None:
        self._days = days

    def __getitem__(self, text: object) -> float:
        return self._days(text)


class _Codes(dict[object, float]):
    """Level -> code of a category or boolean; a ValueError for a text that has to be read first."""

    def __init__(self, field: Field, codes: dict[object, float]) -> None:
        super().__init__(codes)
        self._field = field

    def __missing__(self, level: object) -> float:
        read = parse_json(self._field, level)
        if read != level:
            if read not in self:
                raise ValueError(level)
            return self[read]
        return UNSEEN


def _codes(field: Field, codes: dict[object, float]) -> _Codes:
    """``codes``, in which 20 and 20.0 are found as "20" is where the levels are numbers."""
    found = _Codes(field, codes)
    if field.required:
        del found[None]
    elif field.kind == "category":
        found |= dict.fromkeys(NULLS, math.nan)
    if field.numeric_codes:
        found |= {int(level): code for level, code in codes.items() if isinstance(level, str) and _is_whole(level)}
    return found


def _is_whole(level: str) -> bool:
    """Whether this is how a whole number's level is written."""
    return level.removeprefix("-").isdecimal() and str(int(level)) == level
