"""JSON Schema of one model's records: marshmallow says what is valid, the spec says what it means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields
from model_kit.records.validation import (
    MAX_LEVEL_CODE,
    ISODate,
    JSONBoolean,
    JSONInteger,
    JSONNumber,
    LevelCode,
    schema_for,
)
from model_kit.spec import Field, InputSpec, Learned
from model_kit.spec.dates import days_to_iso, expected

from ml_api.views.openapi.parts import identifier

JSONSchema: TypeAlias = dict[str, Any]

_KINDS = {
    "integer": "Whole number",
    "number": "Number",
    "category": "Category",
    "boolean": "Boolean",
    "date": "Date",
    "datetime": "Date and time",
}
#: RFC 3339 has no datetime without a time zone; OpenAPI's registry of formats calls it this.
_LOCAL_DATETIME = "date-time-local"


class Records:
    """Puts the records of models among the components of a document.

    Args:
        document: where they go.
        plugin: its plugin for marshmallow, which gets to know the fields that are ours.
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
        """Add the schema of the records of the model ``name``; returns a reference to it."""
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
        """What the spec knows of a field and marshmallow doesn't; apispec binds it to its converter."""

        def enrich(converter: Any, field: fields.Field[Any], ret: JSONSchema) -> JSONSchema:  # noqa: ARG001
            # apispec finds it by its name and calls it for the fields of every schema.
            spec = self._specs.get(field.parent)  # type: ignore[arg-type]
            if spec is None:
                return {}
            (declared,) = [one for one in spec.fields if one.name == field.data_key]
            return describe(declared, spec.learned[declared.name], ret["type"])

        return enrich


def describe(field: Field, learned: Learned, type_: str | list[str]) -> JSONSchema:
    """What is said of ``field`` on top of ``type_``, minimum and maximum."""
    found: JSONSchema = {"description": _description(field, learned)}
    if field.numeric_codes:
        # 20, 20.0 and "20" are the same level; larger numbers cannot be levels.
        names = [type_] if isinstance(type_, str) else type_
        found |= {
            "type": [names[0], "integer", *names[1:]],
            "minimum": -MAX_LEVEL_CODE,
            "maximum": MAX_LEVEL_CODE,
        }
    if field.is_temporal:
        found["format"] = "date" if field.kind == "date" else "date-time" if field.time_zone else _LOCAL_DATETIME
    if not field.required:
        # Not the typical value: a model may see in absence something else, and those at hand do.
        found["default"] = None
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
    """Markdown, in the order in which somebody who fills in a record asks."""
    kind = f"{_KINDS[field.kind]} of whole-number codes" if field.numeric_codes else _KINDS[field.kind]
    first = f"{field.description}. {kind}" + (f", in {field.unit}." if field.unit else ".")
    said = [first]
    if field.kind == "boolean":
        said.append("The numbers 1 and 0 are taken too.")
    if field.is_temporal:
        said.append(f"ISO 8601: {expected(replace(field, format=None))}.")
    if field.kind == "datetime":
        said.append("A blank is taken for the T too, and the seconds may be left out.")
        said.append("It is converted to UTC." if field.time_zone else "It has no time zone.")
    if field.minimum is not None or field.maximum is not None:
        said.append(f"Bounds: {_bounds(field)}.")
    if learned.low is not None:
        low, high = _training_range(field, learned)
        if not field.is_temporal:
            low, high = _number(low), _number(high)
        said.append(f"Seen in training: {low} to {high}; beyond it is scored too.")
    if learned.typical is not None:
        typical = str(learned.typical).lower() if field.kind == "boolean" else learned.typical
        said.append(f"Typical: `{typical}`.")
    said.append(_absence(field))
    if field.kind != "category":
        return " ".join(said)
    said.append("A level that training never saw is scored as unknown.")
    levels = [f"- `{level.value}`: {level.meaning}" for level in field.levels]
    heading = "Levels, lowest first:" if field.ordered else "Levels:"
    return "\n".join([" ".join(said), *(["", heading, "", *levels] if levels else [])])


def _training_range(field: Field, learned: Learned) -> list[Any]:
    ends = [learned.low, learned.high]
    return [days_to_iso(field, end) for end in ends if end is not None] if field.is_temporal else ends


def _bounds(field: Field) -> str:
    if field.maximum is None:
        return f"at least {_number(field.minimum)}"
    if field.minimum is None:
        return f"at most {_number(field.maximum)}"
    return f"{_number(field.minimum)} to {_number(field.maximum)}"


def _absence(field: Field) -> str:
    if field.required:
        return "Required."
    said = f"Optional: left out or null{' or `NA`' if field.null_means and field.kind == 'category' else ''}"
    return f"{said} means {field.null_means}." if field.null_means else f"{said}, it is imputed."


def _number(value: float | None) -> str:
    return f"{value:.12g}"
