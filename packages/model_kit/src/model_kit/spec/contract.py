"""What callers of a model rely on: its fields and its target, as they are declared."""

from __future__ import annotations

from typing import Any, Final

from model_kit.spec.fields import Field, Target
from model_kit.spec.input_spec import InputSpec

#: Attributes of a field and of a target that decide which records are valid, and what they and predictions mean.
_OF_FIELD: Final = (
    *("kind", "required", "unit", "minimum", "maximum", "ordered", "numeric_codes"),
    *("format", "time_zone", "max_length"),
)
_OF_TARGET: Final = ("name", "kind", "unit", "scale", "classes")


def contract_changes(old: InputSpec, new: InputSpec) -> list[str]:
    """Name what differs between two specs for callers, one sentence each.

    Names, kinds, units, bounds, formats and documented levels of the fields and their being required; name, kind, unit,
    scale and classes of the target. Descriptions, and what training learned, are no part of it.
    """
    before, after = ({field.name: field for field in spec.fields} for spec in (old, new))
    changes = [f"the field {name} is missing" for name in before if name not in after]
    changes += [f"the field {name} is new" for name in after if name not in before]
    for name in before:
        if name in after:
            changes += _differing(f"{name}: ", before[name], after[name], _OF_FIELD)
            levels, others = ([level.value for level in field.levels] for field in (before[name], after[name]))
            if levels != others:
                named = sorted({*levels} ^ {*others})
                changes.append(f"{name}: other levels are documented ({', '.join(named) or 'their order differs'})")
    return changes + _differing("the target's ", old.target, new.target, _OF_TARGET)


def _differing(prefix: str, old: Field | Target, new: Field | Target, attributes: tuple[str, ...]) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [(name, getattr(old, name), getattr(new, name)) for name in attributes]
    return [f"{prefix}{name} was {first!r}, is {second!r}" for name, first, second in pairs if first != second]
