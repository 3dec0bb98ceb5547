"""How the kit encodes categories: indicators of levels, and mean targets where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

from model_kit.records.features import default_layout
from model_kit.spec import InputSpec

SEED: Final = 20240
#: A nominal category of more levels has no column for each of them, only their mean target.
MOST_INDICATORS: Final = 50
N_TARGET_FOLDS: Final = 5


def encode_categories(spec: InputSpec) -> ColumnTransformer:
    """Numbers as they are, then indicators of nominal levels, then mean targets of nominal categories of many levels.

    It takes features without NaN in nominal columns, see :class:`~.preprocessing.MedianImputer`.
    """
    layout = default_layout(spec)
    few, many = split_by_levels(spec, MOST_INDICATORS)
    nominal = set(layout.nominal)
    others = [position for position in range(len(layout.names)) if position not in nominal]
    return join_columns(
        ("numbers", "passthrough", others),
        ("levels", level_indicators(), few),
        ("means", level_means(len(spec.target.classes)), many),
    )


def join_columns(*parts: tuple[str, Any, Sequence[int]]) -> ColumnTransformer:
    """A transformer of the parts (name, transformer, positions) that have columns, one beside the other."""
    return ColumnTransformer([(name, part, list(columns)) for name, part, columns in parts if columns])


def split_by_levels(spec: InputSpec, most: int) -> tuple[list[int], list[int]]:
    """Positions of nominal columns of at most ``most`` codes, and of those of more."""
    layout = default_layout(spec)
    few: list[int] = []
    many: list[int] = []
    for position in layout.nominal:
        codes = spec.learned[layout.names[position]].codes or {}
        (few if len(set(codes.values())) <= most else many).append(position)
    return few, many


def level_indicators() -> OneHotEncoder:
    """An encoder of levels as indicators; a level that training never saw has none."""
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def level_means(n_classes: int = 0) -> TargetEncoder:
    """An encoder of levels as their mean target; in fitting, that of other folds' rows, so that no row sees its own.

    Where the target is one of several classes, the mean is the share of each class.
    """
    folds = KFold(N_TARGET_FOLDS, shuffle=True, random_state=SEED)
    return TargetEncoder(target_type={0: "continuous", 2: "binary"}.get(n_classes, "multiclass"), cv=folds)
