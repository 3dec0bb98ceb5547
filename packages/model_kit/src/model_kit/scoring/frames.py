"""Predictions in Python from records or a DataFrame, one for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np

from model_kit.errors import DataError
from model_kit.records.text import parse_value
from model_kit.records.validation import RowErrors
from model_kit.scoring.predictor import Prediction, Predictor
from model_kit.spec import Field


class Result(TypedDict):
    """The result for some rows.

    Keys:
        predictions: in the target's unit, or classes, one for each row in order; ``None`` exactly if ``errors`` has the
            row's position.
        version: version of the model package.
        errors: position of a row, from 0 -> its errors; ``None`` if there are none.
    """

    predictions: list[Prediction | None]
    version: str
    errors: dict[int, RowErrors] | None


@runtime_checkable
class DataFrame(Protocol):
    """The part of a pandas DataFrame that is used; pandas itself need not be installed."""

    @property
    def columns(self) -> Any:
        """Column labels."""

    def to_dict(self, orient: Any) -> Any:
        """Rows as records with ``orient="records"``."""


Record: TypeAlias = Mapping[str, Any]


def make_prediction(predictor: Predictor, input_data: DataFrame | Record | Sequence[Record]) -> Result:
    """Predict rows; none is dropped, reordered or changed.

    Args:
        predictor: the model.
        input_data: records (field name -> value), one record, or a pandas DataFrame. ``None``, NaN, ``NaT`` and
            ``pd.NA`` are missing values; numpy scalars are converted to Python numbers. Dates may be Python's, numpy's
            or pandas'. Text in a DataFrame is read as in files; in records, text of numbers is refused as in JSON.
            Fields that the model does not use are ignored, as is a DataFrame's index: rows count from 0.

    Returns:
        ``predictions``, ``version`` and ``errors``, see :class:`Result`.

    Raises:
        TypeError: ``input_data`` has another type.
        DataError: a DataFrame has two columns of the same name.
    """
    is_table = isinstance(input_data, DataFrame)
    fields = {field.name: field for field in predictor.model.spec.fields if is_table or not field.is_number}
    answer = predictor([_plain_record(record, fields) for record in _records(input_data)])
    return {"predictions": answer.predictions, "version": predictor.model.version, "errors": answer.errors or None}


def _records(input_data: object) -> Sequence[object]:
    if isinstance(input_data, Mapping):
        return [input_data]
    if isinstance(input_data, DataFrame):
        twice = [str(column) for column, count in Counter(input_data.columns).items() if count > 1]
        if twice:
            raise DataError(f"the DataFrame has a column more than once: {', '.join(twice)}")
        records: list[object] = input_data.to_dict("records")
        return records
    if isinstance(input_data, Sequence) and not isinstance(input_data, str | bytes | bytearray):
        return input_data
    raise TypeError(f"input_data is a {type(input_data).__name__}, not records, one record or a DataFrame")


def _plain_record(record: object, fields: Mapping[str, Field]) -> object:
    """Copy a record with plain Python values; anything else is returned unchanged for the validator to reject."""
    if not isinstance(record, Mapping):
        return record
    plain = {name: _plain(value) for name, value in record.items()}
    for name, field in fields.items():
        if name in plain:
            plain[name] = parse_value(field, plain[name])
    return plain


def _plain(value: object) -> object:
    if isinstance(value, np.datetime64):
        # As nanoseconds it would become an integer.
        value = value.astype("datetime64[us]")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    # NaN is the only float that differs from itself; pandas' NA and NaT are recognized by name without pandas.
    if isinstance(value, float):
        return None if value != value else value  # noqa: PLR0124
    return None if type(value).__name__ in {"NAType", "NaTType"} else value
