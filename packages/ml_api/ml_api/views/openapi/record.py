"""JSON Schema of a model's records: constraints from marshmallow, descriptions from the spec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields
from model_kit.records.text import MAX_LEVEL_CODE
from model_kit.records.validation import (
    ISODate,
    JSONBoolean,
    JSONInteger,
    JSONNumber,
    LevelCode,
    schema_for,
)
from model_kit.spec import Field, InputSpec, Learned
from model_kit.spec.dates import days_to_iso, expected

from ml_api.views.openapi.components import identifier

JSONSchema: TypeAlias = dict[str, Any]
#: Texts of a level: "NA" and blanks are no value.
_NOT_NULL = r"^(?!\s*(NA)?\s*$)"

_KINDS = {
    "integer": "Whole number",
    "number": "Number",
    "category": "Category",
    "boolean": "Boolean",
    "date": "Date",
    "datetime": "Date and time",
    "text": "Text",
}
#: RFC 3339 has no datetime without a time zone; OpenAPI's registry of formats calls it this.
_LOCAL_DATETIME = "date-time-local"


class Records:
    """Adds the schemas of models' records to the components of a document.

    Args:
        document: the document.
        plugin: its marshmallow plugin, in which the custom field types are registered.
    """

    def __init__(self, document: APISpec, plugin: MarshmallowPlugin) -> None:
        self._document = document
        self._specs: dict[Schema, InputSpec] = {}
        plugin.map_to_openapi_type(JSONNumber, "number", None)  # type: ignore[no-untyped-call]
        plugin.map_to_openapi_type(JSONInteger, "integer", None)  # type: ignore[no-untyped-call]
        plugin.map_to_openapi_type(LevelCode, "string", None)  # type: ignore[no-untyped-call]
        plugin.map_to_openapi_type(JSONBoolean, "boolean", None)  # type: ignore[no-untyped-call]
        plugin.map_to_openapi_type(ISODate, "string", None)  # type: ignore[no-untyped-call]
        if plugin.converter is None:
            raise TypeError("the plugin is not in use by a document yet")
        plugin.converter.add_attribute_function(self._from_spec())  # type: ignore[no-untyped-call]

    def add(self, name: str, spec: InputSpec) -> JSONSchema:
        """Add the record schema of the model ``name``; returns a reference to it."""
        component = f"{identifier(name)}.Record"
        schema = schema_for(spec)
        self._specs[schema] = spec
        outer = {
            "title": f"Record of {name}",
            "description": "One record. Optional fields that are missing or null are imputed; fields that the model"
            " does not use are accepted and ignored.",
            "additionalProperties": True,
        }
        self._document.components.schema(component, outer, schema=schema)
        return {"$ref": f"#/components/schemas/{component}"}

    def _from_spec(self) -> Any:
        """Return a function that adds the spec's description of a field; apispec binds it to its converter."""

        def enrich(converter: Any, field: fields.Field[Any], ret: JSONSchema) -> JSONSchema:  # noqa: ARG001
            # apispec passes its arguments by name, and calls this for the fields of every schema.
            spec = self._specs.get(field.parent)  # type: ignore[arg-type]
            if spec is None:
                return {}
            (declared,) = [one for one in spec.fields if one.name == field.data_key]
            return describe(declared, spec.learned[declared.name], ret["type"])

        return enrich


def describe(field: Field, learned: Learned, type_: str | list[str]) -> JSONSchema:
    """Describe ``field``, in addition to its type, minimum and maximum."""
    found: JSONSchema = {"description": _description(field, learned)}
    if field.numeric_codes:
        # 20, 20.0 and "20" are the same level; a larger number cannot be a level.
        names = [type_] if isinstance(type_, str) else type_
        found |= {
            "type": [names[0], "integer", *names[1:]],
            "minimum": -MAX_LEVEL_CODE,
            "maximum": MAX_LEVEL_CODE,
        }
    if field.is_temporal:
        found["format"] = "date" if field.kind == "date" else "date-time" if field.time_zone else _LOCAL_DATETIME
    if field.required and field.kind in ("category", "text"):
        found["pattern"] = _NOT_NULL
    examples = [] if learned.typical is None else [learned.typical]
    examples += [level.value for level in field.levels if level.value != learned.typical]
    if examples:
        found["examples"] = examples
    found |= {"x-group": field.group, "x-kind": field.kind, "x-typical": learned.typical}
    if field.unit is not None:
        found["x-unit"] = field.unit
    if learned.low is not None:
        found["x-training-range"] = _training_range(field, learned)
    if field.levels:
        seen = learned.codes or {}
        found["x-levels"] = [
            {"value": level.value, "meaning": level.meaning, "seen": level.value in seen} for level in field.levels
        ]
        found["x-ordered"] = field.ordered
    return found


def _description(field: Field, learned: Learned) -> str:
    """Describe a field in Markdown."""
    kind = f"{_KINDS[field.kind]} of whole-number codes" if field.numeric_codes else _KINDS[field.kind]
    first = f"{field.description}. {kind}" + (f", in {field.unit}." if field.unit else ".")
    sentences = [first]
    if field.kind == "boolean":
        sentences.append("The numbers 1 and 0 are accepted too.")
    if field.is_temporal:
        sentences.append(f"ISO 8601: {expected(replace(field, format=None))}.")
    if field.kind == "datetime":
        sentences.append("A blank may replace the T, and the seconds may be left out.")
        sentences.append("It is converted to UTC." if field.time_zone else "It has no time zone.")
    if field.minimum is not None or field.maximum is not None:
        sentences.append(f"Bounds: {_bounds(field)}.")
    if learned.low is not None:
        low, high = _training_range(field, learned)
        if not field.is_temporal:
            low, high = _number(low), _number(high)
        if field.kind == "text":
            high = f"{high} words"
        sentences.append(f"Range in training: {low} to {high}; values outside are scored too.")
    if learned.typical is not None:
        typical = str(learned.typical).lower() if field.kind == "boolean" else learned.typical
        sentences.append(f"Typical: `{typical}`.")
    sentences.append(_missing(field))
    if field.kind != "category":
        return " ".join(sentences)
    sentences.append("A level that does not occur in training is scored as unknown.")
    levels = [f"- `{level.value}`: {level.meaning}" for level in field.levels]
    heading = "Levels, lowest first:" if field.ordered else "Levels:"
    return "\n".join([" ".join(sentences), *(["", heading, "", *levels] if levels else [])])


def _training_range(field: Field, learned: Learned) -> list[Any]:
    ends = [learned.low, learned.high]
    return [days_to_iso(field, end) for end in ends if end is not None] if field.is_temporal else ends


def _bounds(field: Field) -> str:
    if field.maximum is None:
        return f"at least {_number(field.minimum)}"
    if field.minimum is None:
        return f"at most {_number(field.maximum)}"
    return f"{_number(field.minimum)} to {_number(field.maximum)}"


def _missing(field: Field) -> str:
    if field.required:
        return "Required."
    missing = "missing or null" if field.is_number or field.kind == "boolean" else "missing, null, blank or `NA`"
    return f"Optional: {missing} means {field.null_means}." if field.null_means else f"Optional: imputed if {missing}."


def _number(value: float | None) -> str:
    return f"{value:.12g}"
