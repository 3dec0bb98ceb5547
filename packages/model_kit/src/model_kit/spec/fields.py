"""One field, as a model package declares it and as fitting completes it; and the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from model_kit.errors import SpecError

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
        unit: unit of a prediction (``"USD"``); empty if it has none.
        scale: ``"log"``: the estimator predicts log(target) - offset; ``"identity"``: target - offset.
        offset: added in float64 outside the graph; mean of the training target on that scale.
        subject: what one record is, a noun in the singular (``"house"``): a prediction is explained beside that of
            a typical one.
    """

    name: str
    unit: str = ""
    scale: Literal["log", "identity"] = "identity"
    offset: float = 0.0
    subject: str = "record"
