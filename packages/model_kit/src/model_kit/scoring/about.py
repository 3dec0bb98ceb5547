"""What people should know of a model that no number says: declared by its package, carried in the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from model_kit.errors import DefinitionError
from model_kit.spec import Target


@dataclass(frozen=True, slots=True)
class About:
    """A model in words; every attribute is optional, and shown where it is given.

    Attributes:
        title: what it is called ("House prices in Ames").
        purpose: what its predictions are for, and for whom.
        place: where the training data is from ("Ames, Iowa, USA").
        period: when it is from ("2006 to 2010").
        source: who collected it, with an address or a reference.
        licence: under which it may be used.
        contact: whom to ask.
        limits: what it must not be used for, and what it does not know; a sentence each.
    """

    title: str = ""
    purpose: str = ""
    place: str = ""
    period: str = ""
    source: str = ""
    licence: str = ""
    contact: str = ""
    limits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_right = (
                isinstance(value, tuple | list) and all(isinstance(one, str) for one in value)
                if field.name == "limits"
                else isinstance(value, str)
            )
            if not is_right:
                kind = "a tuple of texts" if field.name == "limits" else "a text"
                raise DefinitionError(f"About: {field.name} is {value!r}, not {kind}")

    def to_dict(self) -> dict[str, Any]:
        """What is given, as the card has it."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {name: value.strip() for name, value in found.items() if isinstance(value, str)}
        limits = [text.strip() for text in self.limits if text.strip()]
        return {name: value for name, value in found.items() if value} | ({"limits": limits} if limits else {})


def context(card: Mapping[str, Any], target: Target) -> str:
    """Of when and where predictions are, in a line: "USD of 2006 to 2010, Ames, Iowa"; empty if that is unknown."""
    about = card.get("about") or {}
    period, place = about.get("period", ""), about.get("place", "")
    if not (period or place):
        return ""
    what = target.unit or "Learned from data"
    return ", ".join(filter(None, (f"{what} of {period}" if period else what, place)))
