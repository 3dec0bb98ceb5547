"""What tables of any format have in common: the names of their columns, and how these are encoded."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from werkzeug.exceptions import BadRequest

if TYPE_CHECKING:
    import pyarrow as pa
    from model_kit.records.columns import Certain, ColumnEncoder
    from model_kit.records.encoding import Encoded
    from model_kit.spec import InputSpec

#: Characters of a column's name that messages repeat, and how many names.
_LONGEST_NAME, _MOST_NAMES = 60, 5


def check_names(names: Sequence[str], spec: InputSpec) -> None:
    """Check that no two columns have the same name, and that one is a field.

    Raises:
        BadRequest: two have, and the message names it; or none is, and all rows would be typical records.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadRequest(f"The table has a column more than once: {', '.join(map(shown, twice[:_MOST_NAMES]))}.")
    if names and not set(names) & set(spec.names):
        raise BadRequest(f"The table has no field of the model, such as {shown(spec.names[0])}.")


def shown(name: str) -> str:
    """Return the name of a column as a message repeats it."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def encode(encoder: ColumnEncoder, columns: Mapping[str, pa.Array], n_rows: int) -> tuple[Encoded, Certain]:
    """Encode columns; fields without one have no value.

    Raises:
        ValueError: the values of a column are none that a field can have; the message names it.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra

    absent = pa.nulls(n_rows, pa.string())
    return encoder({name: columns.get(name, absent) for name in encoder.names}, n_rows)


def to_lines(columns: Sequence[Sequence[Any]]) -> list[str]:
    """Return the rows of some columns as CSV, without line ends: no value is empty, booleans are as in JSON."""
    lines: list[str] = []
    # A row at a time is passed on. With both characters in the line end, cells that have either are quoted.
    writer = csv.writer(cast("Any", SimpleNamespace(write=lines.append)), lineterminator="\r\n")
    writer.writerows(zip(*map(_with_words, columns), strict=True))
    return [line.removesuffix("\r\n") for line in lines]


def _with_words(column: Sequence[Any]) -> Sequence[Any]:
    if bool in set(map(type, column)):
        return [str(value).lower() if isinstance(value, bool) else value for value in column]
    return column
