"""Builds the form of a model from its spec and card: the most important fields, then the others by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from model_kit.records.text import parse_cell
from model_kit.scoring.protocol import Model
from model_kit.spec import Field, InputSpec, Learned
from model_kit.spec.dates import days_to_iso

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
    """One level of a category: ``value`` is sent, ``text`` is displayed, ``is_seen`` if training had it."""

    value: str
    text: str
    is_seen: bool = True


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
        low, high: lowest and highest value of a number or date in training, as the control writes them; else empty.
        message: what is wrong with the value; empty if nothing is.
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
    low: str
    high: str
    message: str


@dataclass(frozen=True, slots=True)
class Group:
    """Controls under one heading."""

    name: str
    controls: tuple[Control, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether something is wrong with one of them."""
        return any(control.message for control in self.controls)


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


def typical_texts(model: Model) -> dict[str, str]:
    """Return what the controls have for the golden row of ``model``: field -> text."""
    return {field.name: _value(field, model.golden["row"].get(field.name)) for field in model.spec.fields}


def read_form(body: bytes | bytearray, spec: InputSpec) -> dict[str, str]:
    """Read what a browser sends of a form: field -> text; fields that it does not send are empty.

    Raises:
        ValueError: it has more fields than the form may have.
    """
    sent = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=2 * len(spec.fields)))
    return {name: sent.get(name, "").replace("\r\n", "\n") for name in spec.names}


def to_record(texts: Mapping[str, str], spec: InputSpec) -> dict[str, Any]:
    """Convert the texts of a form to a record, like the cells of a file."""
    record = {field.name: parse_cell(field, texts[field.name]) for field in spec.fields}
    return {name: value for name, value in record.items() if value is not None}


def make_form(
    model: Model, texts: Mapping[str, str] | None = None, faults: Mapping[str, str] = MappingProxyType({})
) -> Form:
    """Build the form of ``model``.

    Args:
        model: the model.
        texts: field -> what its control has; default: the golden row.
        faults: field -> what is wrong with it.
    """
    spec, texts = model.spec, typical_texts(model) if texts is None else texts
    controls = {
        field.name: _control(f"f{index}", field, spec.learned[field.name], texts[field.name], faults.get(field.name))
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


def _control(identity: str, field: Field, learned: Learned, value: str, fault: str | None) -> Control:
    choices = tuple(_choices(field, learned))
    low, high = _range(field, learned)
    return Control(
        id=identity,
        field=field,
        type="text" if field.time_zone else _TYPES.get(field.kind, "text"),
        value=value,
        hint=_hint(field, learned),
        blank="" if field.required else field.null_means or "not known",
        choices=choices[:MAX_SUGGESTIONS],
        select=0 < len(choices) <= MAX_CHOICES,
        missing=learned.missing,
        low=low,
        high=high,
        message=fault or "",
    )


def _range(field: Field, learned: Learned) -> tuple[str, str]:
    if learned.low is None or learned.high is None or not (field.is_number or field.is_temporal):
        return "", ""
    ends = (learned.low, learned.high)
    low, high = (days_to_iso(field, float(end)) if field.is_temporal else formatting.plain(end) for end in ends)
    return low, high


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
            yield _choice(value, text, value in seen)
    if field.kind != "category":
        return
    documented = {level.value: level.meaning for level in field.levels}
    for value in (*documented, *sorted(set(seen) - set(documented))):
        meaning = documented.get(value) or value
        text = meaning if meaning.lower() == value.lower() else f"{meaning} ({value})"
        yield _choice(value, text, value in seen)


def _choice(value: str, text: str, is_seen: bool) -> Choice:
    return Choice(value, text if is_seen else f"{text}, not in training", is_seen)


def _hint(field: Field, learned: Learned) -> str:
    seen = formatting.training_range(field, learned)
    said = [f"{seen} {'words ' if field.kind == 'text' else ''}in training"] if seen else []
    if field.time_zone:
        said.append("with Z or an offset such as +01:00")
    return ", ".join(said)
