"""The table of fields: what a model package declares, what fitting learns, and ``spec.json``."""

from __future__ import annotations

from model_kit.spec.fields import (
    KINDS,
    RARE,
    UNSEEN,
    ClassValue,
    Field,
    Kind,
    Learned,
    Level,
    Row,
    Target,
    Value,
    class_key,
)
from model_kit.spec.input_spec import FORMAT, InputSpec
from model_kit.spec.learning import fit_spec

__all__ = [
    "FORMAT",
    "KINDS",
    "RARE",
    "UNSEEN",
    "ClassValue",
    "Field",
    "InputSpec",
    "Kind",
    "Learned",
    "Level",
    "Row",
    "Target",
    "Value",
    "class_key",
    "fit_spec",
]
