"""What a row can be scored with and still deserves a word: fields imputed, levels and values that training never saw,
and contradictions that the model package declares.

Messages repeat what was sent. They are for whoever sent it and never for a log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from model_kit.errors import SpecError
from model_kit.records.encoding import LARGEST
from model_kit.records.field_names import MisspeltFields
from model_kit.records.text import parse_json
from model_kit.spec import Field, InputSpec, Learned, Row, Value
from model_kit.spec.dates import days_to_iso, iso_to_days, parse_iso, to_iso
from model_kit.spec.input_spec import TextFunction
from model_kit.spec.learning import find_words

#: An optional field was not given, and that has no meaning of its own.
IMPUTED: Final = "imputed"
#: A category or boolean has a level that training never saw, whether it is documented or not.
UNSEEN_LEVEL: Final = "unseen_level"
#: A number or date lies outside the range of training.
OUT_OF_RANGE: Final = "out_of_range"
#: A field was not given, but a name that is nearly its own.
MISSPELT_FIELD: Final = "misspelt_field"
#: The codes that every model has; contradictions have others.
CODES: Final = (IMPUTED, UNSEEN_LEVEL, OUT_OF_RANGE, MISSPELT_FIELD)

#: Characters of a level that a message repeats.
LONGEST: Final = 60


class RowWarning(TypedDict):
    """One remark on one row.

    Keys:
        code: one of ``CODES`` or that of a contradiction.
        field: the field that it is about; the first of several.
        fields: all of them.
        message: the same in words.
    """

    code: str
    field: str
    fields: list[str]
    message: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Something that cannot be true of one record at once.

    Attributes:
        code: names it for programs (``"sold_before_built"``).
        fields: those that contradict each other; the first is where a form shows it.
        find: valid record -> what is wrong in words, or ``None``. A field that is absent counts as ``None``, as
            does "NA"; a level that is a number is text ("20").
    """

    code: str
    fields: tuple[str, ...]
    find: Callable[[Row], str | None]


def check_contradictions(contradictions: Iterable[Contradiction], fields: Iterable[Field]) -> None:
    """Make sure that they are about ``fields``, each with a code of its own.

    Raises:
        SpecError: a field does not exist, or a code is taken.
    """
    codes = set(CODES)
    names = {field.name for field in fields}
    for contradiction in contradictions:
        if contradiction.code in codes:
            raise SpecError(f"two kinds of warnings have the code {contradiction.code}")
        codes.add(contradiction.code)
        if not contradiction.fields:
            raise SpecError(f"{contradiction.code}: it is about no field")
        unknown = [name for name in contradiction.fields if name not in names]
        if unknown:
            raise SpecError(f"{contradiction.code}: there is no field {', '.join(unknown)}")


class RowWarnings:
    """Looks at rows; built once per model.

    Args:
        spec: the fitted table of fields.
        contradictions: those that the model declares.
        imputes: whether the model replaces a missing number, date, boolean or ordered level by a typical value, or the
            names of the fields of which it does.

    Attributes:
        codes: all codes that its warnings can have.
    """

    def __init__(
        self,
        spec: InputSpec,
        contradictions: Sequence[Contradiction] = (),
        *,
        imputes: bool | Collection[str] = False,
    ) -> None:
        self._imputed = frozenset(spec.names if imputes is True else imputes or ())
        self._contradictions = contradictions
        self.codes = (*CODES, *(contradiction.code for contradiction in self._contradictions))
        self._fields = [(field, spec.learned[field.name]) for field in spec.fields]
        self._texts = spec.texts
        self._misspelt = MisspeltFields(spec.names)

    def __call__(self, record: Mapping[str, Any]) -> list[RowWarning]:
        """What is to be said of a record: misspelt fields, then in the order of the fields, contradictions last.

        Args:
            record: a valid one, as it was sent or as the validator has it.
        """
        row: dict[str, Value] = {}
        found: list[RowWarning] = []
        for name, sent in self._misspelt(record).items():
            message = f"{name} was not given, but {sent[:LONGEST]!r}, which is no field and counts for nothing"
            found.append({"code": MISSPELT_FIELD, "field": name, "fields": [name], "message": message})
        for field, learned in self._fields:
            row[field.name] = value = _read(field, record.get(field.name))
            if value is None:
                said = _imputed(field, imputes=field.name in self._imputed)
            elif field.is_number:
                said = _of_number(field, learned, value)
            elif field.kind == "text":
                said = _of_text(field, learned, str(value), self._texts.get(field.name))
            elif field.is_temporal:
                said = _of_date(field, learned, str(value))
            else:
                said = _of_level(field, learned, str(value).lower() if field.kind == "boolean" else str(value))
            if said:
                code, message = said
                found.append({"code": code, "field": field.name, "fields": [field.name], "message": message})
        for contradiction in self._contradictions:
            if message := contradiction.find(row) or "":
                fields = list(contradiction.fields)
                found.append({"code": contradiction.code, "field": fields[0], "fields": fields, "message": message})
        return found


def _read(field: Field, value: Any) -> Value:
    """A valid value as the validator has it."""
    value = parse_json(field, value)
    if field.is_number or value is None:
        return value  # type: ignore[no-any-return]
    if field.kind == "boolean":
        return bool(value)
    if field.is_temporal:
        return to_iso(field, parse_iso(field, value))
    return value if isinstance(value, str) else str(int(value))


def _of_number(field: Field, learned: Learned, value: Any) -> tuple[str, str] | None:
    """Code and words, if there is something to say."""
    if learned.low is None or learned.high is None:
        return OUT_OF_RANGE, f"{field.name} {number(value)} is new: training saw no value of it"
    if learned.low <= value <= learned.high:
        return None
    side = "below" if value < learned.low else "above"
    seen = f"{number(learned.low)} to {number(learned.high)}"
    return OUT_OF_RANGE, f"{field.name} {number(value)} is {side} what training saw ({seen})"


def _of_text(field: Field, learned: Learned, text: str, function: TextFunction | None) -> tuple[str, str] | None:
    n_words = function(text)[0] if function else len(find_words(text))
    if not n_words:
        return UNSEEN_LEVEL, f"{field.name} has no word that occurred in training; it counts for nothing"
    if learned.low is None or learned.high is None or learned.low <= n_words <= learned.high:
        return None
    side = "fewer" if n_words < learned.low else "more"
    seen = f"{number(learned.low)} to {number(learned.high)}"
    return OUT_OF_RANGE, f"{field.name} has {n_words} words, {side} than any text of training ({seen})"


def _of_date(field: Field, learned: Learned, text: str) -> tuple[str, str] | None:
    if learned.low is None or learned.high is None:
        return OUT_OF_RANGE, f"{field.name} {text} is new: training saw no value of it"
    days = iso_to_days(field, text)
    if learned.low <= days <= learned.high:
        return None
    side = "before" if days < learned.low else "after"
    seen = f"{days_to_iso(field, learned.low)} to {days_to_iso(field, learned.high)}"
    return OUT_OF_RANGE, f"{field.name} {text} is {side} what training saw ({seen})"


def _of_level(field: Field, learned: Learned, value: str) -> tuple[str, str] | None:
    if value in (learned.codes or {}):
        return None
    if field.kind == "boolean":
        return UNSEEN_LEVEL, f"{field.name} {value} did not occur in training"
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}..."
    same = next((level for level in learned.codes or {} if level.casefold() == value.casefold()), "")
    case = f', and differs from "{same}" in case only' if same else ""
    return UNSEEN_LEVEL, f'{field.name} "{shown}" did not occur in training; it counts as unknown{case}'


def _imputed(field: Field, *, imputes: bool) -> tuple[str, str] | None:
    if field.null_means is not None:
        return None
    nominal = field.kind == "text" or (field.kind == "category" and not field.ordered)
    return IMPUTED, f"{field.name} was not given" + ("; a typical value was used" if imputes and not nominal else "")


def number(value: float) -> str:
    """A number in words: 20 for 20.0, and no more digits than it has."""
    return str(int(value)) if float(value).is_integer() and abs(value) < LARGEST else repr(value)
