"""One field, as a model package declares it and as fitting completes it; and the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from model_kit.errors import SpecError
from model_kit.spec.dates import check_format

Kind: TypeAlias = Literal["integer", "number", "category", "boolean", "date", "datetime", "text"]
KINDS: Final = get_args(Kind)
#: ``bool`` counts as ``int``; dates and datetimes are canonical ISO 8601 text.
Value: TypeAlias = "float | int | str | None"
#: One validated record: field name -> value. A field that is absent counts as ``None``.
Row: TypeAlias = Mapping[str, Value]

#: Characters that a text may have where its field says nothing else.
MAX_LENGTH: Final = 10_000
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
        kind: ``"integer"`` (any finite number with an integral value), ``"number"``, ``"category"``, ``"boolean"``,
            ``"date"``, ``"datetime"`` or ``"text"``, of which words are features.
        description: what it measures, in one line.
        group: heading under which forms and documents show it.
        required: present and not null, or the row is in error; every other field is imputed.
        unit: unit of a number (``"square feet"``).
        minimum, maximum: hard bounds, inclusive: what cannot be. Beyond them a row is in error.
        levels: documented levels of a category, lowest first if ``ordered``.
        ordered: the order of ``levels`` carries meaning.
        numeric_codes: the levels are whole numbers; 20, 20.0 and "20" are the same level.
        null_means: what a missing value says where absence is information ("none on order").
        format: how files write a date or datetime, as strptime has it (``"%d/%m/%Y"``); ``None``: ISO 8601.
        time_zone: every datetime has a time zone and is converted to UTC; otherwise none has one.
        max_length: characters that a text may have.
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
    format: str | None = None
    time_zone: bool = False
    max_length: int = MAX_LENGTH

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.kind in ("integer", "number")

    @property
    def is_temporal(self) -> bool:
        """Whether its values are dates or datetimes."""
        return self.kind in ("date", "datetime")

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a field has no name")
        if self.kind not in KINDS:
            raise SpecError(f"{self.name}: kind is {self.kind!r}, not {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if self.kind != "category" and (self.levels or self.ordered or self.numeric_codes):
            raise SpecError(f"{self.name}: only a category has levels")
        if not self.is_number and not (self.minimum is None and self.maximum is None):
            raise SpecError(f"{self.name}: a {self.kind} has no bounds")
        if not self.is_temporal and self.format is not None:
            raise SpecError(f"{self.name}: only a date or datetime has a format")
        if self.max_length < 1 or (self.kind != "text" and self.max_length != MAX_LENGTH):
            raise SpecError(f"{self.name}: only a text has a max_length, of at least 1")
        if self.kind != "datetime" and self.time_zone:
            raise SpecError(f"{self.name}: only a datetime has a time zone")
        check_format(self)
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
        typical: median of a number or date (a value that occurs, so that an integer stays one), mode of a category
            or boolean, the commonest words of a text; ``None`` where most rows have no value and absence is
            information, or none has one.
        low, high: range in training of a number; of a date or datetime in days since 1970-01-01; of the number of
            words of a text.
        bins: inner edges of the drift bins in the unit of ``low``, ascending; empty for categories and booleans.
        codes: level -> code, for every level seen. Ordered categories: 1 + position among the documented
            levels. Others: 1, 2, ... by name, and ``RARE`` for the levels seen only a few times. Booleans:
            "false" -> 0, "true" -> 1.
    """

    missing: float
    typical: float | int | str | None
    low: float | None = None
    high: float | None = None
    bins: tuple[float, ...] = ()
    codes: Mapping[str, int] | None = None


#: A class as the data spells it.
ClassValue: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Target:
    """What is predicted: a number, or one of several classes.

    Attributes:
        name: column of the training file.
        unit: unit of a predicted number (``"USD"``); empty if it has none.
        scale: of a number, ``"log"``: the estimator predicts log(target) - offset; ``"identity"``: target - offset.
        offset: added in float64 outside the graph; mean of the training target on that scale.
        subject: what one record is, a noun in the singular (``"ride"``): a prediction is explained beside that of
            a typical one.
        kind: ``"number"`` or ``"class"``.
        classes: of a class, all that there are, as the data spells them: texts, whole numbers or booleans.
        threshold: of two classes, the probability of ``positive`` from which on it is predicted.
        positive: the class that ``threshold`` is about, and that errors count as positive; by default the last.
    """

    name: str
    unit: str = ""
    scale: Literal["log", "identity"] = "identity"
    offset: float = 0.0
    subject: str = "record"
    kind: Literal["number", "class"] = "number"
    classes: tuple[ClassValue, ...] = ()
    threshold: float = 0.5
    positive: ClassValue | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("number", "class"):
            raise SpecError(f"{self.name}: the target's kind is {self.kind!r}, not number or class")
        if not self.is_class:
            if self.classes or self.positive is not None or self.threshold != 0.5:
                raise SpecError(f"{self.name}: only a target of kind class has classes, a positive one or a threshold")
            return
        if self.scale != "identity" or self.unit:
            raise SpecError(f"{self.name}: a class has neither scale nor unit")
        if len(self.classes) < 2:
            raise SpecError(f"{self.name}: a target of kind class lists its classes, two or more")
        if len({type(value) for value in self.classes}) > 1 or not isinstance(self.classes[0], str | int):
            raise SpecError(f"{self.name}: classes are all texts, all whole numbers or all booleans")
        if len(set(self.keys)) < len(self.classes):
            raise SpecError(f"{self.name}: a class is listed twice")
        if "" in self.keys or any(key != key.strip() for key in self.keys):
            raise SpecError(f"{self.name}: a class is blank, or has blanks around it, which are no part of a text")
        if self.positive is not None and class_key(self.positive) not in self.keys:
            raise SpecError(f"{self.name}: positive is {self.positive!r}, which is none of the classes")
        if len(self.classes) > 2 and (self.positive is not None or self.threshold != 0.5):
            raise SpecError(f"{self.name}: only a target of two classes has a positive one and a threshold")
        if not 0 < self.threshold < 1:
            raise SpecError(f"{self.name}: the threshold is {self.threshold}, not between 0 and 1")

    @property
    def is_class(self) -> bool:
        """Whether a class is predicted."""
        return self.kind == "class"

    @property
    def keys(self) -> tuple[str, ...]:
        """The classes as texts, as they are in the keys of JSON objects and in files."""
        return tuple(class_key(value) for value in self.classes)

    @property
    def positive_position(self) -> int:
        """Position of the positive one of two classes."""
        return len(self.classes) - 1 if self.positive is None else self.keys.index(class_key(self.positive))


def class_key(value: ClassValue | float) -> str:
    """A class as text: booleans as in JSON, whole numbers without decimals."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def folded_class(text: str) -> str:
    """A class as text without what spellings of it differ in: case, and blanks."""
    return " ".join(text.split()).casefold()
