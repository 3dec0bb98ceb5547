"""What comes back: columns that are aligned with the rows that were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from ml_client.tables import Source, Values

#: Columns of an answer, as `model-kit predict` calls them.
PREDICTION: Final = "prediction"
ERROR: Final = "error"
LOW, HIGH, SET = "prediction_low", "prediction_high", "prediction_set"
PROBABILITY: Final = "probability_"
EXPLANATION, WARNINGS = "explanation", "warnings"
#: What stands between the classes of a set in a table.
BETWEEN: Final = " | "

ColumnT = TypeVar("ColumnT")
TableT = TypeVar("TableT")


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one request.

    Attributes:
        n_rows: rows that were sent.
        columns: name -> values.
        version: of the model.
        request_id: of the request.
        prediction_id: of the prediction log; ``None`` without one.
    """

    n_rows: int
    columns: Mapping[str, Values]
    version: str
    request_id: str
    prediction_id: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The answer to one row.

    Attributes:
        prediction: a number or a class; ``None`` if there is an error.
        error: what is wrong with the row, in words; ``None`` if it has a prediction.
        low, high: the range, if it was asked for.
        classes: the set of plausible classes, likewise.
        probabilities: class -> probability, likewise.
        explanation: baseline, contributions and rest, likewise.
        warnings: likewise.
        id: of the row in the prediction log, for outcomes; ``None`` without a log.
        version: of the model.
    """

    prediction: Any
    error: str | None
    version: str
    low: float | None = None
    high: float | None = None
    classes: Sequence[Any] | None = None
    probabilities: Mapping[str, float] | None = None
    explanation: Mapping[str, Any] | None = None
    warnings: Sequence[Mapping[str, Any]] | None = None
    id: str | None = None


class Predictions(Generic[ColumnT, TableT]):
    """The answers to all rows, in their order.

    A column is a Series with the index of the DataFrame that was sent, a list for records; a table is a DataFrame with
    that index, for records a list of mappings. A row with an error has nothing in all columns but :attr:`errors`.

    Args:
        source: the data that were sent.
        parts: the answers to its blocks, in order.
    """

    def __init__(self, source: Source, parts: Sequence[Part]) -> None:
        self._source, self._parts = source, parts
        self._columns: dict[str, Any] = {}

    def __len__(self) -> int:
        return sum(part.n_rows for part in self._parts)

    def __repr__(self) -> str:
        return f"<Predictions: {len(self)} rows, {self.n_errors} with an error, version {self.version}>"

    @property
    def predictions(self) -> ColumnT:
        """A number or a class for each row."""
        found: ColumnT = self._column(PREDICTION)
        return found

    @property
    def errors(self) -> ColumnT:
        """What is wrong with a row, in words, such as ``"GrLivArea: Not a valid number."``."""
        found: ColumnT = self._column(ERROR)
        return found

    @cached_property
    def n_errors(self) -> int:
        """Number of rows with an error."""
        return sum(_n_present(part.columns[ERROR]) for part in self._parts)

    @property
    def intervals(self) -> TableT | None:
        """The ranges, as columns ``low`` and ``high``; ``None`` if none were asked for, and of classes."""
        if LOW not in self._names:
            return None
        found: TableT = self._source.table({"low": self._column(LOW), "high": self._column(HIGH)})
        return found

    @property
    def sets(self) -> ColumnT | None:
        """Of classes, the sets of plausible ones; ``None`` if none were asked for."""
        return self._column(SET) if SET in self._names else None

    @property
    def probabilities(self) -> TableT | None:
        """The probability of each class, as columns; ``None`` if they were not asked for."""
        names = [name for name in self._names if name.startswith(PROBABILITY)]
        if not names:
            return None
        found: TableT = self._source.table({name.removeprefix(PROBABILITY): self._column(name) for name in names})
        return found

    @property
    def explanations(self) -> ColumnT | None:
        """Baseline, contributions and rest of each prediction, as mappings; ``None`` if they were not asked for."""
        return self._column(EXPLANATION) if EXPLANATION in self._names else None

    @property
    def warnings(self) -> ColumnT | None:
        """Lists of warnings, mappings of ``code``, ``field``, ``fields`` and ``message``; ``None`` likewise."""
        return self._column(WARNINGS) if WARNINGS in self._names else None

    @property
    def table(self) -> TableT:
        """All columns, called as those of `model-kit predict`."""
        found: TableT = self._source.table({name: self._column(name) for name in self._names})
        return found

    @property
    def ids(self) -> ColumnT:
        """Ids in the prediction log, for outcomes: ``<Prediction-Id>/<row>``; nothing without a log."""
        ids = [
            None if part.prediction_id is None else f"{part.prediction_id}/{row}"
            for part in self._parts
            for row in range(part.n_rows)
        ]
        found: ColumnT = self._source.column("id", ids, "text")
        return found

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of the model that answered; more than one if it was replaced meanwhile, or has a canary."""
        return tuple(dict.fromkeys(part.version for part in self._parts))

    @property
    def version(self) -> str:
        """The version of the model that answered first."""
        return self._parts[0].version

    @property
    def request_ids(self) -> tuple[str, ...]:
        """Ids of the requests, which the server's log has too."""
        return tuple(part.request_id for part in self._parts)

    @cached_property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for part in self._parts for name in part.columns))

    def _column(self, name: str) -> Any:
        if name not in self._columns:
            found = [part.columns.get(name, [None] * part.n_rows) for part in self._parts]
            values, kind = _combined(found, "text" if name == ERROR else "number")
            self._columns[name] = self._source.column(name, values, kind)
        return self._columns[name]


def rows(part: Part) -> Iterator[Row]:
    """Return the answer to a request row by row."""
    lists = {name: _as_list(values) for name, values in part.columns.items()}
    names = {LOW: "low", HIGH: "high", SET: "classes", EXPLANATION: "explanation"}
    plain = {names.get(name, name): values for name, values in lists.items() if not name.startswith(PROBABILITY)}
    classes = [name for name in lists if name.startswith(PROBABILITY)]
    for row in range(part.n_rows):
        found = {name: values[row] for name, values in plain.items()}
        if classes and found[ERROR] is None:
            found["probabilities"] = {name.removeprefix(PROBABILITY): lists[name][row] for name in classes}
        row_id = None if part.prediction_id is None else f"{part.prediction_id}/{row}"
        yield Row(**found, version=part.version, id=row_id)


def from_json(document: Mapping[str, Any], n_rows: int) -> dict[str, Values]:
    """Return the columns of an answer in JSON.

    Raises:
        ValueError: it has not one element for each row.
    """
    predictions = document["predictions"]
    errors: list[str | None] = [None] * n_rows
    for row, messages in (document["errors"] or {}).items():
        errors[int(row)] = in_words(messages)
    columns: dict[str, Values] = {PREDICTION: predictions, ERROR: errors}
    if (probabilities := document.get("probabilities")) is not None:
        classes = next((list(found) for found in probabilities if found), [])
        columns |= {
            f"{PROBABILITY}{name}": [found[name] if found else None for found in probabilities] for name in classes
        }
    if (intervals := document.get("intervals")) is not None:
        if any(found is not None and not isinstance(found, float) for found in predictions):
            columns[SET] = intervals
        else:
            columns |= {name: [found and found[end] for found in intervals] for end, name in enumerate((LOW, HIGH))}
    for member, name in (("explanations", EXPLANATION), ("warnings", WARNINGS)):
        if (found := document.get(member)) is not None:
            columns[name] = found
    if any(len(values) != n_rows for values in columns.values()):
        raise ValueError(f"{len(predictions)} predictions for {n_rows} rows")
    return columns


def from_arrow(table: Any, n_rows: int) -> tuple[dict[str, Values], str]:
    """Return the columns of an answer in Arrow, and the version of the model.

    Raises:
        ValueError: it has not one row for each row that was sent.
        KeyError: it lacks the version.
    """
    if table.num_rows != n_rows:
        raise ValueError(f"{table.num_rows} predictions for {n_rows} rows")
    columns: dict[str, Values] = dict(zip(table.column_names, table.columns, strict=True))
    if SET in columns:
        columns[SET] = _sets(columns[SET].to_pylist(), columns[PREDICTION].to_pylist())
    return columns, table.schema.metadata[b"model_version"].decode()


def _sets(texts: Sequence[str | None], predictions: Sequence[Any]) -> list[list[Any] | None]:
    """Return the sets of classes that a table has as text, with classes as the predictions are."""
    kind = next((type(found) for found in predictions if found is not None), str)
    readers: dict[type, Callable[[str], Any]] = {str: str, int: int, bool: "true".__eq__}
    of_text = readers[kind]
    return [None if text is None else list(map(of_text, text.split(BETWEEN))) for text in texts]


def in_words(messages: Mapping[str, Sequence[str]]) -> str:
    """Return what is wrong with a row in one line, as `model-kit predict` does."""
    return "; ".join(f"{name}: {' '.join(texts)}" for name, texts in messages.items())


def _combined(found: Sequence[Values], empty: str) -> tuple[Values, str]:
    """Return the values of all parts of a column, and their kind; ``empty`` is the kind of a column without values."""
    if all(not isinstance(values, list) for values in found):
        from ml_client.tables import arrow  # noqa: PLC0415 - an extra; here it is

        if (array := arrow.concatenated(list(found))) is not None:
            return array, empty if array.null_count == len(array) else arrow.kind_of(array)
    flat = [value for values in found for value in _as_list(values)]
    return flat, _kind(flat, empty)


def _kind(values: Sequence[Any], empty: str) -> str:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return empty
    if kinds == {int, float}:
        return "number"
    known = {float: "number", int: "integer", bool: "boolean", str: "text"}
    return known.get(kinds.pop(), "nested") if len(kinds) == 1 else "nested"


def _as_list(values: Values) -> list[Any]:
    return values if isinstance(values, list) else list(values.to_pylist())


def _n_present(values: Values) -> int:
    if isinstance(values, list):
        return sum(value is not None for value in values)
    return len(values) - int(values.null_count)
