"""The features of a model package that derives none of its own: its fields, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_kit.spec import InputSpec


@dataclass(frozen=True)
class Layout:
    """Positions in the feature matrix, by how the columns are to be treated.

    Attributes:
        names: of all columns.
        numeric: numbers.
        ordered: ordered categories, whose codes grow with the level.
        nominal: other categories, whose codes are names.
    """

    names: tuple[str, ...]
    numeric: tuple[int, ...]
    ordered: tuple[int, ...]
    nominal: tuple[int, ...]


def default_derive(spec: InputSpec) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The step from the encoded matrix to the features of a package without ``derive``."""

    def derive(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
        return encoded

    return derive


def default_layout(spec: InputSpec) -> Layout:
    """The columns that :func:`default_derive` makes."""
    kinds = [
        "numeric" if field.kind != "category" else "ordered" if field.ordered else "nominal" for field in spec.fields
    ]
    positions = {
        kind: tuple(position for position, found in enumerate(kinds) if found == kind)
        for kind in ("numeric", "ordered", "nominal")
    }
    return Layout(spec.names, **positions)
