"""The requests of ``/invocations`` as records: the envelopes of MLflow and of SageMaker, and CSV."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from flask import Response
from model_kit.scoring.predictor import Answer
from model_kit.spec import InputSpec
from model_kit.spec.fields import class_key
from werkzeug.exceptions import BadRequest

from ml_api.views import documents, responses
from ml_api.views.tables.answers import CSV_TYPE

#: The envelopes of MLflow, and further members that a request may have.
MLFLOW: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_PARAMS: Final = "params"
#: Members of a table of pandas' orientation ``split``; the index is not used.
_SPLIT: Final = ("columns", "data", "index")


def from_mlflow(document: object, spec: InputSpec) -> list[Any]:
    """Return the records of a request of MLflow: one of :data:`MLFLOW`.

    Raises:
        BadRequest: it is none; the message says what is wrong.
    """
    found = [name for name in MLFLOW if name in document] if isinstance(document, dict) else []
    if not isinstance(document, dict) or len(found) != 1:
        raise BadRequest(f"The body must be a JSON object with exactly one of the members {', '.join(MLFLOW)}.")
    (name,) = found
    if unknown := [other for other in document if other not in (name, _PARAMS)]:
        raise BadRequest(f"The body has the member {documents.shown(unknown[0])} beside {name}.")
    if document.get(_PARAMS):
        raise BadRequest("The member params must be empty: the model takes none.")
    content = document[name]
    if name == "dataframe_split":
        return _from_split(content, spec)
    if name == "inputs" and isinstance(content, dict):
        return _from_columns(content)
    if not isinstance(content, list):
        raise BadRequest(f"The member {name} must be an array{' or an object' if name == 'inputs' else ''}.")
    if name == "dataframe_records":
        return content
    return _from_rows(content, spec)


def from_sagemaker(document: object, spec: InputSpec) -> list[Any]:
    """Return the records of a request of SageMaker in JSON.

    They are records or rows of values, in an array or its member ``instances``; or one record.

    Raises:
        BadRequest: it is none; the message says what is wrong.
    """
    if isinstance(document, dict) and "instances" not in spec.names and isinstance(document.get("instances"), list):
        rows = [_features(one, spec) for one in document["instances"]]
        return _from_rows(rows, spec)
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise BadRequest(
            "The body must be a JSON array of records or of rows, one record, or an object with instances."
        )
    return _from_rows(document, spec)


def _features(instance: object, spec: InputSpec) -> object:
    """Return an instance; its values, if it has them as Amazon's own algorithms take them."""
    is_wrapped = isinstance(instance, dict) and list(instance) == ["features"] and "features" not in spec.names
    return instance["features"] if is_wrapped and isinstance(instance, dict) else instance


def _from_split(content: object, spec: InputSpec) -> list[Any]:
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise BadRequest("The member dataframe_split must be an object with the arrays columns and data.")
    if unknown := [name for name in content if name not in _SPLIT]:
        raise BadRequest(f"The member dataframe_split has the member {documents.shown(unknown[0])}.")
    columns = content.get("columns", list(spec.names))
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BadRequest("The member columns of dataframe_split must be an array of names.")
    if len(set(columns)) < len(columns):
        raise BadRequest("The member columns of dataframe_split has a name twice.")
    return [_record(row, columns, position) for position, row in enumerate(content["data"])]


def _from_rows(rows: Sequence[object], spec: InputSpec) -> list[Any]:
    """Return records; a row of values has those of the model's fields, in their order."""
    names = spec.names
    if len(names) == 1:
        # A model of one field is asked with an array of its values.
        rows = [row if isinstance(row, dict | list) else [row] for row in rows]
    return [_record(row, names, position) if isinstance(row, list) else row for position, row in enumerate(rows)]


def _record(row: object, names: Sequence[str], position: int) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != len(names):
        told = f"{len(row)} values" if isinstance(row, list) else "no array of values"
        raise BadRequest(f"Row {position} has {told}; its columns are {len(names)}: {documents.listed(names)}.")
    return dict(zip(names, row, strict=True))


def _from_columns(columns: Mapping[str, object]) -> list[Any]:
    """Return records from the values of each field; an array of one value each is that value."""
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise BadRequest(f"The member {documents.shown(name)} of inputs must be an array, of a value for each row.")
        is_nested = bool(values) and all(isinstance(value, list) and len(value) == 1 for value in values)
        found[name] = [value[0] for value in values] if is_nested else values
    if len({len(values) for values in found.values()}) > 1:
        raise BadRequest("The members of inputs have different lengths; each has one value for each row.")
    return documents.to_records(found)


def with_header(body: bytes | bytearray, spec: InputSpec) -> bytes | bytearray:
    """Return a CSV file with a header; one without has the fields of the model in their order.

    The first line is a header if it has the names of all required fields, and most of its cells are names of fields; or
    at least one, if there are not as many columns as fields.

    Raises:
        BadRequest: it has no header, and other columns.
    """
    first = re.split(rb"[\r\n]", body.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n"), maxsplit=1)[0]
    try:
        names = [cell.strip() for cell in next(csv.reader([first.decode("utf-8", "replace")]), [])]
    except csv.Error as error:
        raise BadRequest(f"The body is not CSV: {error}, in line 1.") from error
    n_known = sum(name in spec.names for name in names)
    # A value may be spelt as a field is: a department "sales".
    is_certain = 2 * n_known > len(names) or len(names) != len(spec.names)
    if n_known and is_certain and set(spec.required) <= set(names):
        return body
    if names and len(names) != len(spec.names):
        raise BadRequest(
            f"The CSV has {len(names)} columns and no header; without one its columns are the {len(spec.names)} fields "
            f"of the model: {documents.listed(spec.names)}."
        )
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerow(spec.names)
    return output.getvalue().encode() + body.removeprefix(codecs.BOM_UTF8)


def predictions(answer: Answer, version: str) -> Response:  # noqa: ARG001  MLflow's answers do not have it
    """Create MLflow's answer: the predictions, and the errors if there are any; 422 if no row was scored."""
    document: dict[str, Any] = {"predictions": answer.predictions}
    if answer.errors:
        document["errors"] = answer.errors
    return responses.scored(msgspec.json.encode(document), answer)


def to_csv(answer: Answer, version: str) -> Response:  # noqa: ARG001  as above
    """Create SageMaker's answer as CSV: one line for each row, empty (``""``) if it has no prediction."""
    output = io.StringIO()
    rows = ([class_key(value) if isinstance(value, bool) else value] for value in answer.predictions)
    csv.writer(output, lineterminator="\n").writerows(rows)
    return responses.scored(output.getvalue().encode(), answer, CSV_TYPE)
