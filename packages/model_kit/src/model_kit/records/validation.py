"""Which records are valid, and the words for those that are not: marshmallow schemas built from the spec.

marshmallow is the authority on what is valid and the source of every message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, validate
from marshmallow.exceptions import SCHEMA
from msgspec import Meta, MsgspecError, convert

from model_kit.records.encoding import LARGEST
from model_kit.records.text import MAX_LEVEL_CODE, parse_json
from model_kit.spec import Field, InputSpec, Row, Value
from model_kit.spec.dates import TimeZoneError, expected, parse_iso, to_iso

#: marshmallow's name for the row as a whole.
WHOLE_ROW = SCHEMA
#: What is wrong with one row: field name, or ``WHOLE_ROW`` -> messages.
RowErrors: TypeAlias = dict[str, list[str]]
#: A type for msgspec that no value has.
_NO_VALUE: Final = Annotated[str, Meta(pattern="(?!)")]
#: Texts that are levels as they are; others are read first.
_LEVEL: Final = Annotated[str, Meta(pattern=r"\A(?!NA\Z)\S(?:[\s\S]*\S)?\Z")]
_CODE: Final = Annotated[str, Meta(pattern=r"\A(?:0|-?[1-9][0-9]{0,14})\Z")]
#: Numbers that are levels of a category of whole numbers.
WHOLE_NUMBER: Final = (
    Annotated[int, Meta(ge=-MAX_LEVEL_CODE, le=MAX_LEVEL_CODE)]
    | Annotated[float, Meta(ge=-float(MAX_LEVEL_CODE), le=float(MAX_LEVEL_CODE), multiple_of=1.0)]
)


class JSONNumber(fields.Field[float]):
    """Any finite JSON number; no string, no boolean."""

    default_error_messages = {
        "invalid": "Not a valid number.",
        "special": "Special numeric values (nan or infinity) are not permitted.",
        "too_large": "Number too large.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        try:
            finite = math.isfinite(value)
        except OverflowError:
            raise self.make_error("too_large") from None
        if not finite:
            raise self.make_error("special")
        return value


class JSONInteger(JSONNumber):
    """Any finite JSON number with an integral value: 3 and 3.0, not 3.7, "3" or true."""

    default_error_messages = {"invalid": "Not a valid integer."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        number = super()._deserialize(value, attr, data, **kwargs)
        if number != math.floor(number):
            raise self.make_error("invalid")
        return int(number)


class _TextField(fields.Field[str]):
    """A field whose text is read by :func:`.text.parse_json` first.

    Args:
        declared: a category, date or datetime of the spec.
    """

    def __init__(self, declared: Field, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.declared = declared

    def deserialize(
        self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        return super().deserialize(parse_json(self.declared, value), attr, data, **kwargs)


class CategoryLevel(_TextField, fields.String):
    """A level of a category."""


class FreeText(_TextField, fields.String):
    """A text of bounded length."""


class LevelCode(_TextField):
    """A level of a category of whole numbers: 20, 20.0, "20" and "20.0" are the same level."""

    default_error_messages = {"invalid": "Not a valid string or whole number."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        # Also false for NaN and infinity.
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid")
        if abs(value) > MAX_LEVEL_CODE:
            raise self.make_error("invalid")
        return str(int(value))


class JSONBoolean(fields.Field[bool]):
    """``true`` and ``false``, and the numbers 1 and 0."""

    default_error_messages = {"invalid": "Not a valid boolean; expected true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, int | float) or value not in (0, 1):
            raise self.make_error("invalid")
        return bool(value)


class ISODate(_TextField):
    """Text of ISO 8601; becomes the canonical one of the same day, or moment in UTC."""

    default_error_messages = {
        "invalid": "Not a valid {kind}; expected {expected}.",
        "no_zone": "The time zone is missing; expected {expected}.",
        "zone": "A time zone is not permitted; expected {expected}.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        try:
            if isinstance(value, str):
                return to_iso(self.declared, parse_iso(self.declared, value))
            fault = "invalid"
        except TimeZoneError:
            fault = "no_zone" if self.declared.time_zone else "zone"
        except ValueError:
            fault = "invalid"
        raise self.make_error(fault, kind=self.declared.kind, expected=expected(self.declared))


def schema_for(spec: InputSpec) -> Schema:
    """The marshmallow schema of one record; fields the model does not use are accepted and left out."""
    # Attributes have names of their own: marshmallow reads a dot as nesting, and Meta is its own.
    declared = {attribute: _schema_field(field) for attribute, field in attributes_of(spec).items()}
    return Schema.from_dict(declared, name="Record")(unknown=EXCLUDE)


def attributes_of(spec: InputSpec) -> dict[str, Field]:
    """Name of the schema's attribute -> the field of the spec that it is for."""
    return {f"field_{position}": field for position, field in enumerate(spec.fields)}


def _schema_field(field: Field) -> fields.Field[Any]:
    common: dict[str, Any] = {"data_key": field.name, "required": field.required, "allow_none": not field.required}
    if field.kind == "category":
        return (LevelCode if field.numeric_codes else CategoryLevel)(field, **common)
    if field.kind == "text":
        return FreeText(field, validate=validate.Length(max=field.max_length), **common)
    if field.kind == "boolean":
        return JSONBoolean(**common)
    if field.is_temporal:
        return ISODate(field, **common)
    if field.minimum is not None or field.maximum is not None:
        common["validate"] = validate.Range(min=field.minimum, max=field.maximum)
    return JSONInteger(**common) if field.kind == "integer" else JSONNumber(**common)


def surely_valid(field: Field) -> Any:
    """A type for msgspec: the values that the schema takes beyond doubt, and that an encoder need not clip.

    It may only say yes: what is not of this type is for the schema to judge.
    """
    kind: Any
    if field.is_temporal:
        # No type tells days that exist from others.
        kind = _NO_VALUE
    elif field.kind == "text":
        kind = Annotated[_LEVEL, Meta(max_length=field.max_length)]
    elif field.kind == "boolean":
        kind = bool | Annotated[float, Meta(ge=0.0, le=1.0, multiple_of=1.0)]
    elif field.is_number:
        # Beyond these an encoder has to clip.
        low = -LARGEST if field.minimum is None else max(float(field.minimum), -LARGEST)
        high = LARGEST if field.maximum is None else min(float(field.maximum), LARGEST)
        kind = Annotated[float, Meta(ge=low, le=high, multiple_of=1.0 if field.kind == "integer" else None)]
    else:
        kind = _CODE | WHOLE_NUMBER if field.numeric_codes else _LEVEL
    return kind if field.required else kind | None


@dataclass(frozen=True, slots=True)
class Validated:
    """Records sorted into those that can be scored and those that cannot.

    Attributes:
        rows: the valid records, in the order sent.
        positions: for each of ``rows`` its index among the records sent.
        errors: index among the records sent -> what is wrong with that record.
    """

    rows: list[Row]
    positions: list[int]
    errors: dict[int, RowErrors]


class Validator:
    """Judges records one by one; built once per model."""

    def __init__(self, spec: InputSpec) -> None:
        self._schema = schema_for(spec)
        self._names = {attribute: field.name for attribute, field in attributes_of(spec).items()}
        self._types = [(attribute, field.name, surely_valid(field)) for attribute, field in attributes_of(spec).items()]

    def __call__(self, records: Sequence[object]) -> Validated:
        """Sort ``records`` (any JSON values) into valid rows and errors; they are not changed."""
        rows: list[Row] = []
        positions: list[int] = []
        errors: dict[int, RowErrors] = {}
        for position, record in enumerate(records):
            try:
                row = self._judge(record)
            except ValidationError as error:
                errors[position] = dict(error.messages_dict)
                # marshmallow's frame holds the error, which would hold the frame, and the record with it.
                error.__traceback__ = None
            else:
                rows.append(row)
                positions.append(position)
        return Validated(rows, positions, errors)

    def _judge(self, record: object) -> Mapping[str, Value]:
        # The schema takes 2 us for each field, so it is asked about those first that are in doubt: mostly one or two.
        if isinstance(record, dict) and (errors := self._errors(record)):
            raise ValidationError(errors)
        row: Mapping[str, Value] = self._schema.load(record)  # type: ignore[arg-type]
        return {self._names[attribute]: value for attribute, value in row.items()}

    def _errors(self, record: dict[Any, Any]) -> dict[str, Any]:
        """What the schema says of those fields of a record that are not surely valid."""
        errors: dict[str, Any] = {}
        for attribute, name, sure in self._types:
            value = record.get(name, missing)
            try:
                convert(None if value is missing else value, sure)
            except MsgspecError:
                try:
                    self._schema.fields[attribute].deserialize(value, name, record)
                except ValidationError as error:
                    errors[name] = error.messages
        return errors


def in_words(errors: RowErrors) -> str:
    """What is wrong with a row in one line, "GrLivArea: Not a valid number."; empty if nothing is."""
    return "; ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
