"""What holds between the fields of one record: a sum and its parts, an order, a thing and its details.

A model package declares it once. Records that break it are warned of, and generated records are made to hold it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from model_kit.errors import SpecError
from model_kit.records.row_warnings import Contradiction, number
from model_kit.spec import Field, Row, Value

#: Share of a total by which floats may miss it.
_ROUNDING: Final = 1e-9


class Identity(Protocol):
    """Something that holds between fields."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it is about."""

    def contradictions(self) -> tuple[Contradiction, ...]:
        """The ways in which a record breaks it. Nothing is said of a field that was not given."""

    def hold(self, row: dict[str, Any], typical: Row) -> None:
        """Change a complete, made-up record so that it holds.

        Args:
            row: is changed.
            typical: a record in which it holds, for values that ``row`` lacks.
        """


@dataclass(frozen=True, slots=True)
class Sum:
    """A total is the sum of its parts: ``Sum("area_not_its_floors", "area", ("first", "second"))``.

    Attributes:
        code: of the warning.
        total: a number.
        parts: numbers, two or more.
        noun: what the total is in words, before its name in the warning.
        tolerance: by which the parts may miss the total, in its unit.
    """

    code: str
    total: str
    parts: tuple[str, ...]
    noun: str = ""
    tolerance: float = 0.0

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.total, *self.parts)

    def contradictions(self) -> tuple[Contradiction, ...]:
        return (Contradiction(self.code, self.fields, self._find),)

    def _find(self, row: Row) -> str | None:
        total, parts = row.get(self.total), [row.get(part) for part in self.parts]
        if total is None or None in parts:
            return None
        found = sum(_numbers(parts))
        if abs(found - float(total)) <= max(self.tolerance, _ROUNDING * abs(float(total))):
            return None
        said = f"{self.total} is {number(float(total))}, but {' + '.join(self.parts)} is {number(found)}"
        return f"{self.noun} {said}".strip()

    def hold(self, row: dict[str, Any], typical: Row) -> None:
        """Scale the parts to their total; where they are all 0, the last one is all of it."""
        total = row.get(self.total)
        if total is None:
            return
        amounts = [float(row.get(part) or 0) for part in self.parts]
        found, digits = sum(amounts), _decimals(total)
        scaled = [round(amount * total / found, digits) if found else 0.0 for amount in amounts]
        # What rounding leaves is the largest one's.
        position = scaled.index(max(scaled)) if found else len(scaled) - 1
        scaled[position] = round(total - sum(scaled) + scaled[position], digits)
        for name, amount in zip(self.parts, scaled, strict=True):
            row[name] = int(amount) if isinstance(total, int) else amount


@dataclass(frozen=True, slots=True)
class Order:
    """One number or date is never less than another: ``Order("sold_before_built", "sold", "built")``.

    Attributes:
        code: of the warning.
        later: the one that is never less.
        earlier: the other, of the same kind.
        words: the warning, with a place for each value: "Sold in {}, before it was built in {}".
    """

    code: str
    later: str
    earlier: str
    words: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.later, self.earlier)

    def contradictions(self) -> tuple[Contradiction, ...]:
        return (Contradiction(self.code, self.fields, self._find),)

    def _find(self, row: Row) -> str | None:
        if not self._is_broken(row):
            return None
        values = [number(value) if isinstance(value, int | float) else value for value in map(row.get, self.fields)]
        if self.words:
            return f"{self.words.format(*values)} ({self.later}, {self.earlier})"
        return f"{self.later} is {values[0]}, less than {self.earlier}, which is {values[1]}"

    def _is_broken(self, row: Row) -> bool:
        # Of one kind; dates are ISO 8601, whose order as texts is that of time.
        later: Any = row.get(self.later)
        earlier: Any = row.get(self.earlier)
        return later is not None and earlier is not None and bool(later < earlier)

    def hold(self, row: dict[str, Any], typical: Row) -> None:
        """Raise the later one to the earlier."""
        if self._is_broken(row):
            row[self.later] = row[self.earlier]


@dataclass(frozen=True, slots=True)
class Presence:
    """A thing that a record may lack, such as a garage: its amounts are above 0 exactly where its details are given.

    Attributes:
        code: the thing, in the codes of its warnings: ``garage_without_details``, ``details_without_garage``,
            ``garage_amounts_disagree``, ``garage_details_disagree``, ``parts_without_garage``.
        noun: the same in words.
        amounts: numbers that are 0 exactly where there is none.
        details: fields that are null exactly where there is none; the first decides.
        absent: level of the details that says the same as null.
        parts: numbers that are 0 where there is none, and may be so where there is one.
    """

    code: str
    noun: str
    amounts: tuple[str, ...]
    details: tuple[str, ...]
    absent: str | None = None
    parts: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.amounts, *self.details, *self.parts)

    def contradictions(self) -> tuple[Contradiction, ...]:
        (detail, *others), amounts = self.details, self.amounts
        found = [
            Contradiction(f"{self.code}_without_details", (detail, *amounts), self._without_details),
            Contradiction(f"details_without_{self.code}", (amounts[0], detail, *amounts[1:]), self._without_amount),
        ]
        if len(amounts) > 1:
            found.append(Contradiction(f"{self.code}_amounts_disagree", amounts, self._amounts_disagree))
        if others:
            found.append(Contradiction(f"{self.code}_details_disagree", (*others, detail), self._details_disagree))
        if self.parts:
            found.append(Contradiction(f"parts_without_{self.code}", (*self.parts, amounts[0]), self._parts))
        return tuple(found)

    def _is_given(self, row: Row, detail: str) -> bool:
        return row.get(detail) not in (None, self.absent)

    def _without_details(self, row: Row) -> str | None:
        if self._is_given(row, self.details[0]):
            return None
        for name in self.amounts:
            if row.get(name):
                return f"{_said(row, name)}, but {self._said_absent(row)}"
        return None

    def _said_absent(self, row: Row) -> str:
        detail = self.details[0]
        said = f"{detail} was not given, which means" if row.get(detail) is None else f"{detail} {row[detail]} means"
        return f"{said} that there is no {self.noun}"

    def _without_amount(self, row: Row) -> str | None:
        given = [name for name in self.amounts if row.get(name) is not None]
        if not given or any(row[name] for name in given) or not self._is_given(row, self.details[0]):
            return None
        return f"{_said(row, self.details[0])}, but {given[0]} 0 means that there is no {self.noun}"

    def _amounts_disagree(self, row: Row) -> str | None:
        zeros = [name for name in self.amounts if row.get(name) == 0]
        others = [name for name in self.amounts if row.get(name)]
        # Without details, that is what is said.
        if not (zeros and others and self._is_given(row, self.details[0])):
            return None
        return f"{_said(row, others[0])}, but {zeros[0]} 0 means that there is no {self.noun}"

    def _details_disagree(self, row: Row) -> str | None:
        # Where there is an amount, that is what is said.
        if self._is_given(row, self.details[0]) or any(row.get(name) for name in self.amounts):
            return None
        for name in self.details[1:]:
            if self._is_given(row, name):
                return f"{_said(row, name)}, but {self._said_absent(row)}"
        return None

    def _parts(self, row: Row) -> str | None:
        if row.get(self.amounts[0]) != 0:
            return None
        for name in self.parts:
            if row.get(name):
                return f"{_said(row, name)}, but {self.amounts[0]} 0 means that there is no {self.noun}"
        return None

    def hold(self, row: dict[str, Any], typical: Row) -> None:
        """Take away what is there by half; where it is there, give it the typical details that it lacks."""
        if all(row.get(name) is None for name in self.fields):
            return
        if self._is_given(row, self.details[0]) and all(row.get(name) for name in self.amounts):
            row |= {
                name: typical[name]
                for name in self.details[1:]
                if not self._is_given(row, name) and self._is_given(typical, name)
            }
            return
        row |= dict.fromkeys((*self.amounts, *self.parts), 0)
        row |= {name: self.absent for name in self.details if self._is_given(row, name)}


def check_identities(identities: Iterable[Identity], fields: Iterable[Field]) -> None:
    """Make sure that they are about ``fields`` of the right kinds.

    Raises:
        SpecError: a field does not exist, or is of another kind; a sum has one part only, a thing neither amount nor
            detail.
    """
    kinds = {field.name: field.kind for field in fields}
    for identity in identities:
        name = f"{type(identity).__name__} {identity.code!r}" if hasattr(identity, "code") else repr(identity)
        unknown = [field for field in identity.fields if field not in kinds]
        if unknown:
            raise SpecError(f"{name}: there is no field {', '.join(unknown)}")
        numbers: tuple[str, ...] = ()
        if isinstance(identity, Sum):
            numbers = identity.fields
            if len(identity.parts) < 2:
                raise SpecError(f"{name}: a sum has two parts or more")
        elif isinstance(identity, Presence):
            numbers = (*identity.amounts, *identity.parts)
            if not (identity.amounts and identity.details):
                raise SpecError(f"{name}: it needs an amount and a detail")
        elif isinstance(identity, Order):
            later, earlier = (kinds[field].replace("integer", "number") for field in identity.fields)
            if later != earlier or later not in ("number", "date", "datetime"):
                raise SpecError(f"{name}: {identity.later} and {identity.earlier} are not two numbers or two dates")
        if wrong := [field for field in numbers if kinds[field] not in ("integer", "number")]:
            raise SpecError(f"{name}: {', '.join(wrong)} is no number")


def contradictions_of(identities: Iterable[Identity]) -> tuple[Contradiction, ...]:
    """All ways in which a record breaks them."""
    return tuple(found for identity in identities for found in identity.contradictions())


def _numbers(values: Iterable[Value]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _said(row: Row, name: str) -> str:
    value = row[name]
    return f"{name} is {number(value) if isinstance(value, int | float) else value}"


def _decimals(value: float) -> int:
    """Decimals of a number as it is written."""
    text = repr(float(value))
    return 0 if float(value).is_integer() else 15 if "e" in text else len(text.partition(".")[2])
