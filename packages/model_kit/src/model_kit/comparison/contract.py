"""What would break a client: requests that the old model takes and the new one refuses, or takes for something else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from model_kit.spec import Field, InputSpec, Learned

#: Stands where a field's name stands, for what is about the prediction.
TARGET = "(target)"


@dataclass(frozen=True, slots=True)
class Break:
    """One promise that the new model does not keep.

    Attributes:
        id: what a reviewed entry calls it: ``field:what``, with the new state where there are several
            ("GrLivArea:minimum:400", "Neighborhood:level:Veenker").
        text: the same as a sentence.
    """

    id: str
    text: str


def breaks(old: InputSpec, new: InputSpec) -> tuple[Break, ...]:
    """What would break a client, in the order of the old fields, the target last.

    A field removed, made required or of another kind or unit; levels lost; hard bounds narrowed; numbers or "NA" no
    longer taken for levels and nulls; a target of another name, unit or scale. What an ``integer`` took, a ``number``
    takes too: that is none.
    """
    fields = {field.name: field for field in new.fields}
    found: list[Break] = []
    for field in old.fields:
        if field.name not in fields:
            found.append(Break(f"{field.name}:removed", f"{field.name} is removed"))
            continue
        found += _of_field(field, fields[field.name], old.learned[field.name], new.learned[field.name])
    known = set(old.names)
    found += [
        Break(f"{field.name}:required", f"{field.name} is new and required")
        for field in new.fields
        if field.required and field.name not in known
    ]
    for what in ("name", "unit", "scale"):
        before, after = getattr(old.target, what), getattr(new.target, what)
        if before != after:
            found.append(Break(f"{TARGET}:{what}:{after}", f"the prediction's {what} was {before}, is {after}"))
    return tuple(found)


def additions(old: InputSpec, new: InputSpec) -> tuple[str, ...]:
    """Names of the optional fields that are new; no client need know them."""
    known = set(old.names)
    return tuple(field.name for field in new.fields if field.name not in known and not field.required)


def _of_field(old: Field, new: Field, before: Learned, after: Learned) -> Iterator[Break]:
    name = old.name
    if old.kind != new.kind and (old.kind, new.kind) != ("integer", "number"):
        yield Break(f"{name}:kind:{new.kind}", f"{name} was of kind {old.kind}, is {new.kind}")
    if new.required and not old.required:
        yield Break(f"{name}:required", f"{name} was optional, is required")
    if old.unit != new.unit:
        yield Break(f"{name}:unit:{new.unit}", f"{name} was in {old.unit}, is in {new.unit}")
    if "category" not in {old.kind, new.kind}:
        yield from _bounds(old, new)
    if old.kind == new.kind == "category":
        yield from _levels(old, new, before, after)


def _bounds(old: Field, new: Field) -> Iterator[Break]:
    lowest, highest = (-math.inf if field.minimum is None else field.minimum for field in (old, new))
    if highest > lowest:
        yield Break(
            f"{old.name}:minimum:{new.minimum:g}", f"{old.name} {_was(old.minimum)}, is at least {new.minimum:g}"
        )
    lowest, highest = (math.inf if field.maximum is None else field.maximum for field in (new, old))
    if highest > lowest:
        yield Break(
            f"{old.name}:maximum:{new.maximum:g}", f"{old.name} {_was(old.maximum)}, is at most {new.maximum:g}"
        )


def _was(bound: float | None) -> str:
    return "had no such bound" if bound is None else f"had the bound {bound:g}"


def _levels(old: Field, new: Field, before: Learned, after: Learned) -> Iterator[Break]:
    for level in before.codes or {}:
        if level not in (after.codes or {}):
            yield Break(f"{old.name}:level:{level}", f"{old.name}: the level {level} was known, is scored as unknown")
    documented = {level.value for level in new.levels}
    for level in (entry.value for entry in old.levels):
        if level not in documented and level not in (before.codes or {}) and level not in (after.codes or {}):
            yield Break(f"{old.name}:level:{level}", f"{old.name}: the level {level} is documented no longer")
    if old.numeric_codes and not new.numeric_codes:
        yield Break(f"{old.name}:numeric_codes", f"{old.name}: numbers are no longer taken for its levels")
    if old.null_means is not None and new.null_means is None:
        yield Break(f"{old.name}:null", f'{old.name}: "NA" is no longer taken for a missing value')
