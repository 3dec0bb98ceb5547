"""Compares two specs: what changed, and whether clients of the old model can use the new one unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from model_kit.spec.fields import Field, Learned, Target
from model_kit.spec.input_spec import InputSpec

Verdict: TypeAlias = Literal["identical", "compatible", "breaking"]
#: Stands where a field's name stands, for changes of the prediction and of the spec as a whole.
TARGET: Final = "(target)"
SPEC: Final = "(spec)"
#: Fields with other learned values that a change names.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two specs.

    Attributes:
        id: its name in reviewed entries: ``field:what``, with the new state where there are several
            ("area:minimum:400", "zone:level:B").
        text: the same as a sentence.
        breaking: whether the new model refuses what the old one takes, ignores it or reads it otherwise.
    """

    id: str
    text: str
    breaking: bool


def compare_specs(old: InputSpec, new: InputSpec) -> tuple[Change, ...]:
    """All differences: breaking changes first, each part in the order of the fields, the target after them."""
    fields = {field.name: field for field in new.fields}
    found: list[Change] = []
    for field in old.fields:
        if field.name in fields:
            found += _field_changes(field, fields[field.name], old.learned[field.name], new.learned[field.name])
        else:
            found.append(Change(f"{field.name}:removed", f"{field.name} is removed", breaking=True))
    for field in new.fields:
        if field.name not in old.learned:
            state, word = ("required", "required") if field.required else ("added", "optional")
            found.append(Change(f"{field.name}:{state}", f"{field.name} is new and {word}", breaking=field.required))
    for what in ("name", "kind", "unit", "scale"):
        before, after = getattr(old.target, what), getattr(new.target, what)
        if before != after:
            text = f"the prediction's {what} was {before or 'none'}, is {after or 'none'}"
            found.append(Change(f"{TARGET}:{what}:{after}", text, breaking=True))
    found += _target_changes(old.target, new.target)
    found += _other_changes(old, new)
    return tuple(sorted(found, key=lambda change: not change.breaking))


def declared_changes(old: InputSpec, new: InputSpec) -> tuple[Change, ...]:
    """Differences in what callers rely on: fields and target as they are declared, without what training learned."""
    changes = compare_specs(*(replace(spec, learned=_without_levels(spec)) for spec in (old, new)))
    described = {f"{name}:documentation" for name in old.names}
    others = f"{SPEC}:", f"{TARGET}:threshold:"
    return tuple(change for change in changes if change.id not in described and not change.id.startswith(others))


def _without_levels(spec: InputSpec) -> dict[str, Learned]:
    return {name: replace(learned, codes=None) for name, learned in spec.learned.items()}


def verdict(changes: Iterable[Change]) -> Verdict:
    """What the changes amount to."""
    kinds = {change.breaking for change in changes}
    return "breaking" if True in kinds else "compatible" if kinds else "identical"


def major_version(version: str) -> int | None:
    """X of ``X.Y.Z`` and of a development version ``X.Y.Z+digest``; ``None`` if the text is no version."""
    found = re.match(r"(?:\d+!)?(\d+)(?:[.+]|$)", version)
    return int(found[1]) if found else None


def _field_changes(old: Field, new: Field, before: Learned, after: Learned) -> Iterator[Change]:
    name = old.name
    if old.kind != new.kind:
        # A number takes every value that an integer takes.
        widened = (old.kind, new.kind) == ("integer", "number")
        yield Change(f"{name}:kind:{new.kind}", f"{name} was of kind {old.kind}, is {new.kind}", breaking=not widened)
    if new.required != old.required:
        first, second = ("optional", "required") if new.required else ("required", "optional")
        yield Change(f"{name}:{second}", f"{name} was {first}, is {second}", breaking=new.required)
    if old.unit != new.unit:
        text = f"{name} was in {old.unit or 'no unit'}, is in {new.unit or 'no unit'}"
        yield Change(f"{name}:unit:{new.unit}", text, breaking=True)
    if old.format != new.format:
        text = f"{name}: files had the format {old.format or 'ISO 8601'}, have {new.format or 'ISO 8601'}"
        yield Change(f"{name}:format:{new.format}", text, breaking=True)
    if old.kind == new.kind and old.time_zone != new.time_zone:
        text = f"{name} {'needs a' if new.time_zone else 'takes no'} time zone"
        yield Change(f"{name}:time_zone", text, breaking=True)
    if old.max_length != new.max_length:
        shorter = new.max_length < old.max_length
        text = f"{name} may have {new.max_length:,} characters, was {old.max_length:,}"
        yield Change(f"{name}:max_length:{new.max_length}", text, breaking=shorter)
    if old.is_number and new.is_number:
        yield from _bound_changes(old, new)
    if old.kind == new.kind == "category":
        yield from _level_changes(old, new, before, after)


def _target_changes(old: Target, new: Target) -> Iterator[Change]:
    """A class that is new is one that no client knows; one that is gone is never predicted."""
    for key in new.keys:
        if old.is_class and key not in old.keys:
            yield Change(f"{TARGET}:class:{key}", f"the class {key} is new: clients may not know it", breaking=True)
    for key in old.keys:
        if new.is_class and key not in new.keys:
            yield Change(f"{TARGET}:class:{key}", f"the class {key} is predicted no longer", breaking=False)
    if old.is_class and new.is_class and _decision(old) != _decision(new):
        text = "the positive class is predicted from another threshold on"
        yield Change(f"{TARGET}:threshold:{new.threshold:g}", text, breaking=False)


def _decision(target: Target) -> tuple[str, float] | None:
    return (target.keys[target.positive_position], target.threshold) if len(target.classes) == 2 else None


def _bound_changes(old: Field, new: Field) -> Iterator[Change]:
    for what, word, sign in (("minimum", "at least", 1), ("maximum", "at most", -1)):
        first, second = getattr(old, what), getattr(new, what)
        if first == second:
            continue
        was = "had no such bound" if first is None else f"had the bound {first:g}"
        now = f"has no {what}" if second is None else f"is {word} {second:g}"
        narrowed = second is not None and (first is None or sign * second > sign * first)
        state = "none" if second is None else f"{second:g}"
        yield Change(f"{old.name}:{what}:{state}", f"{old.name} {was}, {now}", breaking=narrowed)


def _level_changes(old: Field, new: Field, before: Learned, after: Learned) -> Iterator[Change]:
    name, known, still_known = old.name, before.codes or {}, after.codes or {}
    documented, still_documented = ([level.value for level in field.levels] for field in (old, new))
    for level in known:
        if level not in still_known:
            text = f"{name}: the level {level} was known, is scored as unknown"
            yield Change(f"{name}:level:{level}", text, breaking=True)
    for level in documented:
        if level not in {*still_documented, *known, *still_known}:
            yield Change(f"{name}:level:{level}", f"{name}: the level {level} is documented no longer", breaking=True)
    for level in dict.fromkeys([*still_known, *still_documented]):
        if level in still_known and level not in known:
            yield Change(f"{name}:level:{level}", f"{name}: the level {level} is known", breaking=False)
        elif level not in {*known, *documented}:
            yield Change(f"{name}:level:{level}", f"{name}: the level {level} is documented", breaking=False)
    order = [level for level in documented if level in still_documented]
    reordered = order != [level for level in still_documented if level in documented]
    if old.ordered != new.ordered or (new.ordered and reordered):
        yield Change(f"{name}:ordered", f"{name}: the order of its levels means something else", breaking=True)
    if old.numeric_codes != new.numeric_codes:
        word = "also" if new.numeric_codes else "no longer"
        text = f"{name}: numbers are {word} taken for its levels"
        yield Change(f"{name}:numeric_codes", text, breaking=old.numeric_codes)


def _other_changes(old: InputSpec, new: InputSpec) -> Iterator[Change]:
    """What no client relies on: documentation, the order of the fields, what training learned."""
    common = [(field, after) for field in old.fields for after in new.fields if after.name == field.name]
    for before, after in common:
        if _documentation(before) != _documentation(after):
            yield Change(f"{before.name}:documentation", f"{before.name} is described otherwise", breaking=False)
    names = [field.name for field, _ in common]
    if names != [name for name in new.names if name in old.learned]:
        yield Change(f"{SPEC}:order", "the fields are in another order", breaking=False)
    if old.together != new.together or old.target.subject != new.target.subject:
        yield Change(f"{SPEC}:explanations", "explanations group fields or name records otherwise", breaking=False)
    learned = [name for name in names if old.learned[name] != new.learned[name]]
    if old.target.offset != new.target.offset:
        learned.append(TARGET)
    if learned:
        more = f" and {len(learned) - _NAMED} more" if len(learned) > _NAMED else ""
        text = f"training learned other ranges, typical values or codes of {', '.join(learned[:_NAMED])}{more}"
        yield Change(f"{SPEC}:learned", text, breaking=False)


def _documentation(field: Field) -> tuple[object, ...]:
    meanings = sorted((level.value, level.meaning) for level in field.levels)
    return field.description, field.group, field.null_means, meanings
