"""From the encoded matrix back to the columns of a table: what an estimator of a DataFrame takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.records.encoding import Encoded, Encoder, FeatureMaker, Features
from model_kit.spec import UNSEEN, Field, InputSpec, Row

if TYPE_CHECKING:
    import pandas as pd

#: What a level that training never saw is decoded to; no data spells a level like this.
UNSEEN_TEXT: Final = "\N{REPLACEMENT CHARACTER} never seen"
#: Code of a missing level in a folded graph; no level has it, nor has what training never saw.
MISSING_CODE: Final = -2
#: A missing level in a tensor of strings, which has no other word for it; blank is no level.
MISSING_TEXT: Final = ""


def imputed_fields(card: Mapping[str, Any], spec: InputSpec) -> tuple[str, ...]:
    """Fields whose missing values the kit replaces by typical ones; all, where a card says only that it does."""
    return tuple(card.get("imputed", spec.names)) if card.get("imputation") == "kit" else ()


class FrameMaker:
    """Rows -> encode -> impute -> columns: the only way to the input of an estimator that takes a DataFrame.

    Numbers and dates (days since 1970-01-01) are float64, categories texts. Booleans are, as pandas reads them, bool
    where training had all of them, so that a missing one becomes the typical one; else 0 and 1 as float64.

    Args:
        spec: the fitted table of fields; each level has a code of its own.
        impute: names of numbers, booleans and dates whose missing values are replaced by the typical one, whatever
            training had.
        single: round numbers to float32, which is what the inputs of a graph are.

    Attributes:
        encode: rows -> the encoded matrix.
        imputed: the names in ``impute``.
        texts: whether each column is one of levels, as texts, shape (n_columns,).
    """

    def __init__(self, spec: InputSpec, *, impute: Collection[str], single: bool) -> None:
        self.encode = Encoder(spec)
        self.spec = spec
        behind = [False] * (spec.n_columns - len(spec.fields))
        self.texts = np.array([*(field.kind == "category" for field in spec.fields), *behind])
        self._tables = [self._levels(field) for field in spec.fields]
        self._single, self.imputed = single, tuple(impute)
        typical = {name: learned.typical for name, learned in spec.learned.items()}
        filled = np.nan_to_num(self.encode([typical])[0])
        self._bools = [field.kind == "boolean" and not spec.learned[field.name].missing for field in spec.fields]
        self._bools += behind
        named = np.array([*(field.name in impute for field in spec.fields), *behind])
        self._filled = np.where(named & ~self.texts | self._bools, filled, np.nan)

    def of(self, spec: InputSpec) -> FrameMaker:
        """The same for another spec of these fields."""
        return FrameMaker(spec, impute=self.imputed, single=self._single)

    def _levels(self, field: Field) -> NDArray[np.object_]:
        """The text of each code from -1 on; empty for other kinds."""
        if field.kind != "category":
            return np.empty(0, object)
        codes = self.spec.learned[field.name].codes or {}
        table = np.full(max(codes.values(), default=UNSEEN) + 2, UNSEEN_TEXT, object)
        for level, code in codes.items():
            table[code + 1] = level
        return table

    def __call__(self, rows: Sequence[Row]) -> Features:
        """:attr:`encode`, then :meth:`derive`."""
        return self.derive(self.encode(rows))

    def derive(self, encoded: Encoded) -> Features:
        """What a folded graph takes: the encoded matrix, a missing level as a code, float32."""
        values = self._impute(encoded)
        return np.where(self.texts & np.isnan(values), MISSING_CODE, values).astype(np.float32)

    def _impute(self, encoded: Encoded) -> Encoded:
        return np.where(np.isnan(encoded), self._filled, encoded)

    def columns(self, encoded: Encoded, missing: object = np.nan) -> dict[str, NDArray[Any]]:
        """Field -> its column, shape (n_rows,): float64, or texts as objects, a missing one as ``missing``."""
        values = self._impute(encoded)
        if self._single:
            values = np.where(self.texts, values, values.astype(np.float32))
        columns: dict[str, NDArray[Any]] = {}
        # Texts cannot be told from their columns, which are left out.
        for name, column, is_text, table in zip(self.spec.names, values.T, self.texts, self._tables, strict=False):
            if is_text:
                absent = np.isnan(column)
                texts = table[np.where(absent, UNSEEN, column).astype(np.intp) + 1]
                texts[absent] = missing
                columns[name] = texts
            else:
                columns[name] = column
        return columns

    def frame(self, encoded: Encoded) -> pd.DataFrame:
        """:meth:`columns` as a DataFrame; texts have the dtype that this pandas reads them with."""
        import pandas as pd  # noqa: PLC0415 - only for a model that needs it

        text = pd.Series(["text"]).dtype
        types = [
            text if is_text else "bool" if is_bool else "float64"
            for is_text, is_bool, _ in zip(self.texts, self._bools, self.spec.names, strict=False)
        ]
        columns = self.columns(encoded).items()
        return pd.DataFrame(
            {name: pd.Series(column, dtype=kind) for (name, column), kind in zip(columns, types, strict=True)}
        )


def estimator_input(features: FeatureMaker | FrameMaker, encoded: Encoded) -> Any:
    """What a scikit-learn estimator is given: a DataFrame, or the features as float64."""
    return features.frame(encoded) if isinstance(features, FrameMaker) else features.derive(encoded).astype(np.float64)
