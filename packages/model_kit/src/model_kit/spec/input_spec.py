"""InputSpec: the one table of fields that everything else is derived from, written as ``spec.json``.

Serving reads only that file. Its format is described in ``docs/contracts.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from model_kit.errors import SpecError
from model_kit.spec.fields import Field, Learned, Level, Target

FORMAT = 1


class TextFunction(Protocol):
    """What makes numbers of a text, see :class:`model_kit.records.vectorizer.TextProjection`."""

    width: int

    def __call__(self, text: str) -> tuple[int, list[float]]:
        """The number of its words, 0 if none is known, and ``width`` numbers."""

    def some_words(self, n: int) -> list[str]:
        """Known words or n-grams, for made-up texts."""

    def words(self, text: str, column: int) -> dict[str, float]:
        """Word or n-gram of a text -> what it adds to one of the numbers."""


@dataclass(frozen=True)
class InputSpec:
    """All fields with what was learned of each, and the target.

    Attributes:
        fields: in the order of the encoded matrix's columns.
        learned: field name -> what fitting added.
        target: what is predicted.
        together: groups of fields that only make sense together (parts and their sum): explanations switch the
            fields of a group as one, and name it by the first.
        texts: of each field of kind text, what makes numbers of it; no part of ``spec.json``, and empty before
            training has found it.
    """

    fields: tuple[Field, ...]
    learned: Mapping[str, Learned]
    target: Target
    together: tuple[tuple[str, ...], ...] = ()
    texts: Mapping[str, TextFunction] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        names = [one.name for one in self.fields]
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
        return tuple(one.name for one in self.fields)

    @cached_property
    def text_columns(self) -> dict[str, slice]:
        """Columns of the encoded matrix, behind those of the fields, that texts have beside their own."""
        found, start = {}, len(self.fields)
        for name in self.names:
            if name in self.texts:
                found[name] = slice(start, start + self.texts[name].width)
                start += self.texts[name].width
        return found

    @cached_property
    def n_columns(self) -> int:
        """Number of columns of the encoded matrix: one for each field, and those of texts."""
        return len(self.fields) + sum(text.width for text in self.texts.values())

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the required fields."""
        return tuple(one.name for one in self.fields if one.required)

    def with_texts(self, texts: Mapping[str, TextFunction]) -> InputSpec:
        """The same spec with what makes numbers of texts."""
        return replace(self, texts=texts)

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
            "target": _target(self.target),
            "together": self.together,
            "fields": [_without_defaults(one) | {"learned": asdict(self.learned[one.name])} for one in self.fields],
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
                one = Field(**entry, levels=levels)
                fields.append(one)
                learned[one.name] = Learned(**(facts | {"bins": tuple(facts["bins"])}))
            # Older files have no groups.
            together = tuple(tuple(group) for group in document.get("together", ()))
            target = document["target"]
            classes = tuple(target.pop("classes", ()))
            return cls(tuple(fields), learned, Target(**target, classes=classes), together)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SpecError(f"not a spec of format {FORMAT}: {error!r}") from error


def _target(target: Target) -> dict[str, Any]:
    """A target as JSON, without what only the other kind has."""
    others = ("kind", "classes", "threshold", "positive") if target.kind == "number" else ("unit", "scale", "offset")
    return {key: value for key, value in asdict(target).items() if key not in others}


def _without_defaults(declared: Field) -> dict[str, Any]:
    """A field as JSON, leaving out what has its default, so that the file stays readable."""
    plain = Field(name=declared.name, kind=declared.kind, description=declared.description)
    document = asdict(declared)
    return {
        key: list(value) if key == "levels" else value
        for key, value in document.items()
        if key in ("name", "kind", "description", "group") or value != asdict(plain)[key]
    }
