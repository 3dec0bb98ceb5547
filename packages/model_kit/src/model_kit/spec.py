"""InputSpec: the one table of fields that everything else is derived from.

A :class:`Field` is what a model package declares; a :class:`Learned` is what fitting adds to it.
Both together, for all fields, are an :class:`InputSpec`, written as ``spec.json``.
Serving reads only that file. The format is described in ``docs/contracts.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from model_kit.errors import SpecError

FORMAT = 1

Kind: TypeAlias = Literal["integer", "number", "category"]
Value: TypeAlias = "float | int | str | None"
#: One validated record: field name -> value. A field that is absent counts as ``None``.
Row: TypeAlias = Mapping[str, Value]

#: Code of a level that training never saw, whether it is documented or not.
UNSEEN = -1
#: Code shared by the levels of a nominal category that training saw only a few times.
RARE = 0


@dataclass(frozen=True, slots=True)
class Level:
    """One documented level of a category.

    Attributes:
        value: the level as the data spells it.
        meaning: what it means, in words.
    """

    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field, as its model package declares it.

    Attributes:
        name: as the data spells it; there is no renaming anywhere.
        kind: ``"integer"`` (any finite number with an integral value), ``"number"`` or ``"category"``.
        description: what it measures, in one line.
        group: heading under which forms and documents show it.
        required: present and not null, or the row is in error; every other field is imputed.
        unit: unit of a number (``"square feet"``).
        minimum, maximum: hard bounds, inclusive: what cannot be. Beyond them a row is in error.
        levels: documented levels of a category, lowest first if ``ordered``.
        ordered: the order of ``levels`` carries meaning.
        numeric_codes: the levels are whole numbers; 20, 20.0 and "20" are the same level.
        null_means: what a missing value says where absence is information ("no garage").
            A category that has it also takes the data's own spelling of null, "NA".
    """

    name: str
    kind: Kind
    description: str
    group: str = "Fields"
    required: bool = False
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[Level, ...] = ()
    ordered: bool = False
    numeric_codes: bool = False
    null_means: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a field has no name")
        if self.kind not in ("integer", "number", "category"):
            raise SpecError(f"{self.name}: kind is {self.kind!r}, not integer, number or category")
        if self.kind != "category" and (self.levels or self.ordered or self.numeric_codes):
            raise SpecError(f"{self.name}: only a category has levels")
        if self.kind == "category" and not (self.minimum is None and self.maximum is None):
            raise SpecError(f"{self.name}: a category has no bounds")
        if self.ordered and not self.levels:
            raise SpecError(f"{self.name}: an ordered category must document its levels")
        values = [level.value for level in self.levels]
        if len(set(values)) != len(values):
            raise SpecError(f"{self.name}: a level is documented twice")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise SpecError(f"{self.name}: minimum {self.minimum} is above maximum {self.maximum}")


@dataclass(frozen=True, slots=True)
class Learned:
    """What fitting adds to a field.

    Attributes:
        missing: share of training rows without a value, 0 to 1.
        typical: median of a number (a value that occurs, so that an integer stays one), mode of a
            category; ``None`` where most rows have no value and absence is information, or none has one.
        low, high: range of a number in training.
        bins: inner edges of the drift bins of a number, ascending; empty for a category.
        codes: level -> code, for every level seen. Ordered categories: 1 + position among the documented
            levels. Others: 1, 2, ... by name, and ``RARE`` for the levels seen only a few times.
    """

    missing: float
    typical: float | int | str | None
    low: float | None = None
    high: float | None = None
    bins: tuple[float, ...] = ()
    codes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted.

    Attributes:
        name: column of the training file.
        unit: unit of a prediction (``"USD"``).
        scale: ``"log"``: the estimator predicts log(target) - offset; ``"identity"``: target - offset.
        offset: added in float64 outside the graph; mean of the training target on that scale.
        subject: what one record is, a noun in the singular (``"house"``): a prediction is explained beside that of
            a typical one.
    """

    name: str
    unit: str
    scale: Literal["log", "identity"] = "log"
    offset: float = 0.0
    subject: str = "record"


@dataclass(frozen=True)
class InputSpec:
    """All fields with what was learned of each, and the target.

    Attributes:
        fields: in the order of the encoded matrix's columns.
        learned: field name -> what fitting added.
        target: what is predicted.
        together: groups of fields that only make sense together (parts and their sum): explanations switch the
            fields of a group as one, and name it by the first.
    """

    fields: tuple[Field, ...]
    learned: Mapping[str, Learned]
    target: Target
    together: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise SpecError("a field is declared twice")
        if set(names) != set(self.learned):
            raise SpecError("what was learned is not about the declared fields")
        grouped: set[str] = set()
        for group in self.together:
            if len(group) < 2:
                raise SpecError(f"together: {', '.join(group) or 'nothing'} is no group of fields")
            for name in group:
                if name not in self.learned:
                    raise SpecError(f"together: there is no field {name}")
                if name in grouped:
                    raise SpecError(f"together: {name} is named twice")
                grouped.add(name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in column order."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the required fields."""
        return tuple(field.name for field in self.fields if field.required)

    def with_offset(self, offset: float) -> InputSpec:
        """The same spec with another target offset."""
        return replace(self, target=replace(self.target, offset=offset))

    def to_json(self) -> str:
        """``spec.json``: the same text for the same spec, newline at the end.

        Raises:
            SpecError: a learned number is not finite.
        """
        document = {
            "format": FORMAT,
            "target": asdict(self.target),
            "together": self.together,
            "fields": [
                _without_defaults(field) | {"learned": asdict(self.learned[field.name])} for field in self.fields
            ],
        }
        try:
            return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise SpecError(f"a learned number is not finite: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> InputSpec:
        """Read ``spec.json``.

        Raises:
            SpecError: the text is not a spec of this format; the message says where.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise SpecError(f"format {document['format']!r}; this version reads {FORMAT}")
            fields, learned = [], {}
            for entry in document["fields"]:
                facts = entry.pop("learned")
                levels = tuple(Level(**level) for level in entry.pop("levels", ()))
                field = Field(**entry, levels=levels)
                fields.append(field)
                learned[field.name] = Learned(**(facts | {"bins": tuple(facts["bins"])}))
            # Older files have no groups.
            together = tuple(tuple(group) for group in document.get("together", ()))
            return cls(tuple(fields), learned, Target(**document["target"]), together)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SpecError(f"not a spec of format {FORMAT}: {error!r}") from error


def _without_defaults(field: Field) -> dict[str, Any]:
    """A field as JSON, leaving out what has its default, so that the file stays readable."""
    plain = Field(name=field.name, kind=field.kind, description=field.description)
    document = asdict(field)
    return {
        key: list(value) if key == "levels" else value
        for key, value in document.items()
        if key in ("name", "kind", "description", "group") or value != asdict(plain)[key]
    }


def fit_spec(
    fields: Iterable[Field],
    target: Target,
    rows: Iterable[Row],
    *,
    together: tuple[tuple[str, ...], ...] = (),
    rare_below: int = 10,
    n_bins: int = 10,
) -> InputSpec:
    """Learn what training adds to each field.

    Args:
        fields: the declared fields, in column order.
        target: what is predicted; its offset is kept.
        rows: validated training rows.
        together: groups of fields that only make sense together.
        rare_below: levels of a nominal category seen in fewer rows than this share the code ``RARE``.
        n_bins: drift bins of a number; edges are quantiles, so fewer where values repeat.

    Raises:
        SpecError: there is no row, or an ordered category holds a level that is not documented.
    """
    table = list(rows)
    if not table:
        raise SpecError("there is no row to learn from")
    fields = tuple(fields)
    learned = {}
    for field in fields:
        column = [row.get(field.name) for row in table]
        present = [value for value in column if value is not None]
        missing = 1 - len(present) / len(table)
        if field.kind == "category":
            learned[field.name] = _learn_category(field, [str(value) for value in present], missing, rare_below)
        else:
            learned[field.name] = _learn_number(field, [float(value) for value in present], missing, n_bins)
    return InputSpec(fields, learned, target, together)


def _learn_category(field: Field, present: list[str], missing: float, rare_below: int) -> Learned:
    counts: dict[str, int] = {}
    for value in present:
        counts[value] = counts.get(value, 0) + 1
    if field.ordered:
        positions = {level.value: position for position, level in enumerate(field.levels, start=1)}
        for value in counts:
            if value not in positions:
                raise SpecError(f"{field.name}: level {value!r} has no place in the documented order")
        codes = {value: positions[value] for value in sorted(counts, key=positions.__getitem__)}
    else:
        common = sorted(value for value, count in counts.items() if count >= rare_below)
        codes = dict.fromkeys(sorted(set(counts) - set(common)), RARE)
        codes |= {value: code for code, value in enumerate(common, start=RARE + 1)}
    mode = min(counts, key=lambda value: (-counts[value], value), default=None)
    if field.null_means is not None and not field.required and mode is not None:
        n_missing = round(missing * len(present) / (1 - missing))
        mode = None if n_missing > counts[mode] else mode
    return Learned(missing=missing, typical=mode, codes=codes)


def _learn_number(field: Field, present: list[float], missing: float, n_bins: int) -> Learned:
    if not present:
        return Learned(missing=missing, typical=None)
    ordered = sorted(present)
    size = len(ordered)
    median = ordered[(size - 1) // 2]
    edges = {ordered[math.ceil(size * step / n_bins) - 1] for step in range(1, n_bins)}
    # The highest value is no inner edge: nothing would lie above it.
    bins = tuple(sorted(edge for edge in edges if edge < ordered[-1]))
    if field.kind == "integer":
        return Learned(missing, int(median), int(ordered[0]), int(ordered[-1]), bins)
    return Learned(missing, median, ordered[0], ordered[-1], bins)
