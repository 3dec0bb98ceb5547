"""Builds the form of a model from its spec and card: the most important fields, then the others by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from model_kit.scoring.protocol import Model
from model_kit.spec import Field, InputSpec, Learned

from ml_api.views import formatting

#: Number of fields above the collapsed groups, including the required ones.
N_FIRST = 10
#: A category with more levels is a text input with suggestions.
MAX_CHOICES = 100
#: Kind of a field -> type of its input element.
_TYPES = {"integer": "number", "number": "number", "date": "date", "datetime": "datetime-local"}
#: Maximum number of suggestions.
MAX_SUGGESTIONS = 300


@dataclass(frozen=True, slots=True)
class Choice:
    """One level of a category: ``value`` is sent, ``text`` is displayed."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """The form control of one field.

    Attributes:
        id: id of the element.
        field: the field.
        type: of an input element.
        value: value of the typical record, as text; empty if it is missing.
        hint: range of a number or date in training, and how a date with a time zone is written.
        blank: meaning of an empty control; empty if the field is required.
        choices: levels of a category, or "true" and "false".
        select: whether the control is a list of choices; otherwise it is a text input.
        missing: share of training rows without a value, 0 to 1.
    """

    id: str
    field: Field
    type: str
    value: str
    hint: str
    blank: str
    choices: tuple[Choice, ...]
    select: bool
    missing: float


@dataclass(frozen=True, slots=True)
class Group:
    """Controls under one heading."""

    name: str
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """The form of one model.

    Attributes:
        first: the most important fields, strongest first.
        groups: all other fields, in the spec's order.
    """

    first: tuple[Control, ...]
    groups: tuple[Group, ...]

    @property
    def n_fields(self) -> int:
        """Number of fields."""
        return len(self.first) + sum(len(group.controls) for group in self.groups)


def make_form(model: Model) -> Form:
    """Build the form of ``model``, filled with its golden row."""
    spec, row = model.spec, model.golden["row"]
    controls = {
        field.name: _control(f"f{index}", field, spec.learned[field.name], row.get(field.name))
        for index, field in enumerate(spec.fields)
    }
    first = first_fields(spec, model.card)
    groups: dict[str, list[Control]] = {}
    for name, control in controls.items():
        if name not in first:
            groups.setdefault(control.field.group, []).append(control)
    return Form(
        tuple(controls[name] for name in first),
        tuple(Group(name, tuple(members)) for name, members in groups.items()),
    )


def importance(spec: InputSpec, card: Mapping[str, Any]) -> dict[str, float]:
    """Return field -> importance, strongest first; empty if the card has none."""
    shares = {name: share for name, share in (card.get("importance") or {}).items() if name in spec.learned}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def first_fields(spec: InputSpec, card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ``N_FIRST`` most important fields: all required ones and the strongest others, strongest first.

    Without importances in the card they are in the spec's order.
    """
    ranked = [name for name, share in importance(spec, card).items() if share > 0]
    ranked += [name for name in spec.names if name not in ranked]
    others = [name for name in ranked if name not in spec.required]
    chosen = {*spec.required, *others[: max(0, N_FIRST - len(spec.required))]}
    return tuple(name for name in ranked if name in chosen)


def _control(identity: str, field: Field, learned: Learned, value: Any) -> Control:
    choices = tuple(_choices(field, learned))
    return Control(
        id=identity,
        field=field,
        type="text" if field.time_zone else _TYPES.get(field.kind, "text"),
        value=_value(field, value),
        hint=_hint(field, learned),
        blank="" if field.required else field.null_means or "not known",
        choices=choices[:MAX_SUGGESTIONS],
        select=0 < len(choices) <= MAX_CHOICES,
        missing=learned.missing,
    )


def _value(field: Field, value: Any) -> str:
    text = formatting.plain(value)
    if field.kind != "datetime" or field.time_zone:
        return text
    # As a browser writes it, which knows no shorter fractions of a second.
    return text[: len("YYYY-MM-DDThh:mm:ss")].removesuffix(":00")


def _choices(field: Field, learned: Learned) -> Iterable[Choice]:
    seen = learned.codes or {}
    if field.kind == "boolean":
        for value, text in (("true", "yes"), ("false", "no")):
            yield Choice(value, text if value in seen else f"{text}, not in training")
    if field.kind != "category":
        return
    documented = {level.value: level.meaning for level in field.levels}
    for value in (*documented, *sorted(set(seen) - set(documented))):
        meaning = documented.get(value) or value
        text = meaning if meaning.lower() == value.lower() else f"{meaning} ({value})"
        yield Choice(value, text if value in seen else f"{text}, not in training")


def _hint(field: Field, learned: Learned) -> str:
    seen = formatting.training_range(field, learned)
    said = [f"{seen} {'words ' if field.kind == 'text' else ''}in training"] if seen else []
    if field.time_zone:
        said.append("with Z or an offset such as +01:00")
    return ", ".join(said)
