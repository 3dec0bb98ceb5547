"""The Open Inference Protocol V2: requests of one tensor for each field, answers as tensors of one value for each row.

Tensors are in the JSON document, or behind it: the extension ``binary_tensor_data`` of Triton.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
import numpy as np
from flask import Response
from model_kit.records.validation import in_words
from model_kit.scoring.predictor import Answer, DetailedAnswer
from model_kit.scoring.protocol import Model
from model_kit.spec import Field, InputSpec, Target
from model_kit.spec.fields import class_key
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest

from ml_api.views import documents, requests, responses
from ml_api.views.media_types import JSON, TENSORS

#: Header with the length of the JSON document, where tensors follow it.
JSON_LENGTH = "Inference-Header-Content-Length"
#: The name of that extension.
EXTENSION = "binary_tensor_data"
#: Names of the outputs.
PREDICTION, PROBABILITIES, ERRORS = "prediction", "probabilities", "errors"
#: Parameters of an input, an output, and a request, that say that a tensor is binary.
SIZE, IS_BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
#: Parameters that change what a tensor means, and are not taken: of an input, and of an output.
_REFUSED = ("shared_memory_region",), ("shared_memory_region", "classification")
#: Content type of MLServer whose elements are not what they say.
_BASE64 = "base64"

_NUMBERS: Final = {"BF16": "<u2", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{prefix.upper()}INT{8 * size}": f"<{prefix or 'i'}{size}" for prefix in ("", "u") for size in (1, 2, 4, 8)
}
#: Datatype -> numpy's type of its elements; there is none of a text.
_DATATYPES: Final[dict[str, str | None]] = {"BOOL": "?", "BYTES": None, **_NUMBERS}
#: Datatype of whole numbers -> the least and the greatest.
_RANGES: Final = {
    name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) for name, kind in _NUMBERS.items() if "INT" in name
}
_NO_VALUE: Final = type(None)
#: Half of a character, which JSON may have and no UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request.

    Attributes:
        identity: its ``id``; ``None`` if it has none.
        records: one for each row, field -> value.
        outputs: name of each wanted output -> whether it is binary; ``None``: all there are.
        is_binary: whether outputs are binary where that is not said of them.
        is_column: whether the inputs have the shape [n, 1], and so the outputs.
    """

    identity: str | None
    records: list[dict[str, Any]]
    outputs: Mapping[str, bool] | None
    is_binary: bool
    is_column: bool

    def wants(self, output: str) -> bool:
        """Whether an output is asked for."""
        return self.outputs is None or output in self.outputs


def datatype_of(field: Field) -> str:
    """Return the datatype of a field's tensor, the one that takes all of its values."""
    if field.kind == "boolean":
        return "BOOL"
    if field.is_number:
        return "INT64" if field.kind == "integer" else "FP64"
    return "BYTES"


def datatype_of_prediction(target: Target) -> str:
    """Return the datatype of the output of predictions; that of classes is a text, which can be missing."""
    return "BYTES" if target.is_class else "FP64"


def parse(body: bytes | bytearray, json_length: str | None, spec: InputSpec, *, max_rows: int) -> InferRequest:
    """Parse a request; the values are left to the validation of records.

    Args:
        body: of the request.
        json_length: the header :data:`JSON_LENGTH`; ``None``: the whole body is JSON.
        spec: of the model.
        max_rows: most rows that are taken.

    Raises:
        BadRequest: it is malformed; the message names the tensor.
        RequestEntityTooLarge: it has too many rows or values.
    """
    document, binary = _split(body, json_length, max_rows)
    inputs = _objects(document, "inputs")
    if not inputs:
        raise BadRequest("The request has no inputs; it takes one for each field of the model.")
    parameters = _parameters(document, "the request")
    identity = document.get("id")
    if not isinstance(identity, str | None) or _SURROGATE.search(identity or ""):
        raise BadRequest("The member id must be a string.")
    width = len(spec.names) if len(inputs) == 1 else 1
    tensors = [_Tensor.parse(found, position, width) for position, found in enumerate(inputs)]
    if not tensors[0].is_matrix:
        _check_names([tensor.name for tensor in tensors], spec)
    n_rows = tensors[0].n_rows
    for tensor in tensors:
        if tensor.n_rows != n_rows:
            raise BadRequest(
                f"The inputs {tensors[0].shown} and {tensor.shown} have {n_rows} and {tensor.n_rows} rows; all inputs "
                "have one value for each row."
            )
    documents.check_rows(n_rows, max_rows)
    documents.check_values(sum(tensor.n_values for tensor in tensors), max_rows)
    by_name = {field.name: field for field in spec.fields}
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.is_matrix:
            for field in spec.fields:
                tensor.check_field(field)
            values, binary = tensor.values(binary)
            columns |= {name: values[place::width] for place, name in enumerate(spec.names)}
            continue
        if tensor.name in by_name:
            tensor.check_field(by_name[tensor.name])
        columns[tensor.name], binary = tensor.values(binary)
    if binary:
        raise BadRequest(f"The body has {len(binary)} bytes behind the tensors that its document describes.")
    return InferRequest(
        identity,
        documents.to_records(columns),
        _outputs(document, spec.target, parameters),
        parameters.get(ALL_BINARY) is True,
        all(tensor.is_column for tensor in tensors),
    )


def _split(body: bytes | bytearray, json_length: str | None, max_rows: int) -> tuple[dict[str, Any], memoryview]:
    """Return the document, and the bytes behind it."""
    length = len(body)
    if json_length is not None:
        if not re.fullmatch(r"[0-9]{1,12}", json_length) or int(json_length) > length:
            raise BadRequest(f"The header {JSON_LENGTH} must be a whole number up to {length}, the bytes of the body.")
        length = int(json_length)
    document = requests.document(body[:length], max_rows=max_rows)
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object with the member inputs.")
    return document, memoryview(body)[length:]


def _objects(document: Mapping[str, Any], member: str) -> list[dict[str, Any]]:
    found = document.get(member)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadRequest(f"The member {member} must be an array of objects.")
    return found


def _parameters(document: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = document.get("parameters")
    if not isinstance(found, dict | None):
        raise BadRequest(f"The parameters of {what} must be an object.")
    return found or {}


def _outputs(document: Mapping[str, Any], target: Target, of_request: Mapping[str, Any]) -> dict[str, bool] | None:
    wanted: dict[str, bool] = {}
    known = output_names(target)
    for found in _objects(document, "outputs"):
        name = found.get("name")
        if not isinstance(name, str) or name not in known:
            raise BadRequest(
                f"There is no output {documents.shown(name) if isinstance(name, str) else 'without a name'}; the model"
                f" has {', '.join(known)}."
            )
        if name in wanted:
            raise BadRequest(f"The output {documents.shown(name)} is asked for twice.")
        parameters = _parameters(found, f"the output {documents.shown(name)}")
        _refuse(parameters, _REFUSED[1], f"The output {documents.shown(name)}")
        wanted[name] = parameters.get(IS_BINARY, of_request.get(ALL_BINARY)) is True
    return wanted or None


def _refuse(parameters: Mapping[str, Any], names: Iterable[str], what: str) -> None:
    for name in names:
        if name in parameters:
            raise BadRequest(f"{what} has the parameter {name}, which this server does not take.")


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", _NO_VALUE: "null"}
    return names.get(type(value), "number")


def _check_names(names: Sequence[str], spec: InputSpec) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadRequest(f"The input {documents.shown(name)} is there twice.")
        seen.add(name)
    if seen.isdisjoint(spec.names):
        raise BadRequest(
            f"The input {documents.shown(names[0])} is no field of the model, nor is another. It takes one input of "
            f"the shape [n] or [n, 1] for each field, or one of the shape [n, {len(spec.names)}]: "
            f"{documents.listed(spec.names)}."
        )


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input: its name, its datatype, its shape, its parameters and its data.

    Attributes:
        n_rows: length of the first dimension.
        width: that of the second one; 1 if there is none.
        is_column: whether the shape is [n, 1].
    """

    name: str
    datatype: str
    n_rows: int
    width: int
    is_column: bool
    parameters: Mapping[str, Any]
    data: Any

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return documents.shown(self.name)

    @property
    def is_matrix(self) -> bool:
        """Whether it has a column for each field of the model."""
        return self.width > 1

    @property
    def n_values(self) -> int:
        """How many elements it has."""
        return self.n_rows * self.width

    @classmethod
    def parse(cls, found: Mapping[str, Any], position: int, width: int) -> _Tensor:
        """Check all but the data; the shape may be [n, width] too."""
        name = found.get("name")
        if not isinstance(name, str):
            raise BadRequest(f"The input at position {position} has no name; it must be a string.")
        shown = documents.shown(name)
        datatype, shape = found.get("datatype"), found.get("shape")
        if not isinstance(datatype, str) or datatype not in _DATATYPES:
            raise BadRequest(f"The input {shown} must have one of the datatypes {', '.join(_DATATYPES)}.")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise BadRequest(f"The input {shown} must have a shape, an array of whole numbers.")
        if len(shape) not in (1, 2) or shape[1:] not in ([], [1], [width]):
            is_short = len(shape) <= 4 and max(shape, default=0) < 10**12
            told = str(shape) if is_short else f"of {len(shape)} dimensions"
            matrix = f"; a single input may have [n, {width}], the fields in their order" if width > 1 else ""
            raise BadRequest(
                f"The input {shown} has the shape {told}; the value of one field for n rows has [n] or [n, 1]{matrix}."
            )
        parameters = _parameters(found, f"the input {shown}")
        _refuse(parameters, _REFUSED[0], f"The input {shown}")
        if parameters.get("content_type") == _BASE64:
            raise BadRequest(f"The input {shown} has the content type {_BASE64}; send the values as they are.")
        columns = shape[1] if len(shape) > 1 else 1
        return cls(name, datatype, shape[0], columns, shape[1:] == [1], parameters, found.get("data"))

    def check_field(self, field: Field) -> None:
        """Check that the datatype may hold values of a field.

        Raises:
            BadRequest: it may not.
        """
        takes_numbers = field.is_number or field.numeric_codes or field.kind == "boolean"
        is_taken = self.datatype == datatype_of(field) or (takes_numbers and self.datatype in _NUMBERS)
        if not is_taken:
            taken = dict.fromkeys((datatype_of(field), *(_NUMBERS if takes_numbers else ())))
            raise BadRequest(
                f"The input {self.shown} has the datatype {self.datatype}; the field "
                f"{documents.shown(field.name) + ' ' if self.is_matrix else ''}is of kind {field.kind}, and "
                f"takes {', '.join(taken)}."
            )

    def values(self, binary: memoryview) -> tuple[list[Any], memoryview]:
        """Return the values, and what of ``binary`` is behind them."""
        if SIZE not in self.parameters:
            return self._from_json(), binary
        size = self.parameters[SIZE]
        if type(size) is not int or not 0 <= size <= len(binary):
            raise BadRequest(
                f"The input {self.shown} must have as {SIZE} the number of its bytes; {len(binary)} bytes are left."
            )
        if self.data is not None:
            raise BadRequest(f"The input {self.shown} has both data and {SIZE}.")
        mine, rest = binary[:size], binary[size:]
        return (self._texts(mine) if self.datatype == "BYTES" else self._numbers(mine)), rest

    def _from_json(self) -> list[Any]:
        data = self.data
        # MLServer's documentation has a text for an array of one.
        if isinstance(data, str) and self.datatype == "BYTES":
            data = [data]
        if not isinstance(data, list):
            raise BadRequest(f"The input {self.shown} has no data; it must be an array.")
        is_nested = (self.is_column or self.is_matrix) and data and isinstance(data[0], list)
        if len(data) != (expected := self.n_rows if is_nested else self.n_values):
            raise BadRequest(f"The input {self.shown} has {len(data)} elements, and by its shape {expected}.")
        if is_nested:
            if not all(isinstance(row, list) and len(row) == self.width for row in data):
                count = "one element" if self.width == 1 else f"{self.width} elements"
                raise BadRequest(f"The input {self.shown} has rows of data that are no arrays of {count}.")
            data = [value for row in data for value in row]
        self._check(data)
        return data

    def _check(self, data: list[Any]) -> None:
        """Check that the elements are of the datatype; null is a missing value."""
        taken: set[type] = {int} if self._range else {int, float}
        if self.datatype not in _NUMBERS:
            taken = {bool} if self.datatype == "BOOL" else {str}
        if not taken.issuperset(set(map(type, data)) - {_NO_VALUE}):
            row = next(row for row, value in enumerate(data) if type(value) not in {*taken, _NO_VALUE})
            kind = "a number with decimals" if isinstance(data[row], float) else f"of type {_json_type(data[row])}"
            raise BadRequest(f"The input {self.shown} has the datatype {self.datatype}; its element {row} is {kind}.")
        if self._range is not None:
            low, high = self._range
            for row, value in enumerate(data):
                if value is not None and not low <= value <= high:
                    raise BadRequest(f"The input {self.shown}: element {row} is beyond the datatype {self.datatype}.")

    @property
    def _range(self) -> tuple[int, int] | None:
        return _RANGES.get(self.datatype)

    def _numbers(self, data: memoryview) -> list[Any]:
        kind = np.dtype(_DATATYPES[self.datatype])
        if len(data) != self.n_values * kind.itemsize:
            raise BadRequest(
                f"The input {self.shown} has {len(data)} bytes, and by its shape and datatype "
                f"{self.n_values * kind.itemsize}."
            )
        if self.datatype == "BOOL":
            kind = np.dtype(bool)
        found: NDArray[Any] = np.frombuffer(data, kind)
        if self.datatype == "BF16":
            # The upper half of a float32.
            found = (found.astype("<u4") << 16).view("<f4")
        if found.dtype.kind == "f" and (missing := np.isnan(found)).any():
            raise BadRequest(
                f"The input {self.shown}: element {int(missing.argmax())} is NaN, which is no value; a missing one is "
                "null, in an input whose data are JSON."
            )
        values: list[Any] = found.tolist()
        return values

    def _texts(self, data: memoryview) -> list[Any]:
        """Return the texts; each has its length before it, in 4 bytes."""
        values: list[Any] = []
        position, end = 0, len(data)
        while position < end and len(values) < self.n_values:
            start = position + 4
            position = start + int.from_bytes(data[position:start], "little")
            if start > end or position > end:
                break
            try:
                values.append(str(data[start:position], "utf-8"))
            except UnicodeDecodeError as error:
                raise BadRequest(f"The input {self.shown}: element {len(values)} is not UTF-8.") from error
        if len(values) != self.n_values or position != end:
            raise BadRequest(
                f"The input {self.shown} has bytes that are not {self.n_values} texts, each behind its length in 4 "
                "bytes."
            )
        return values


def output_names(target: Target) -> tuple[str, ...]:
    """Return the names of a model's outputs."""
    return (PREDICTION, PROBABILITIES, ERRORS) if target.is_class else (PREDICTION, ERRORS)


def describe_server(version: str) -> dict[str, Any]:
    """Describe the server."""
    return {"name": "ml_api", "version": version, "extensions": [EXTENSION]}


def describe_model(name: str, model: Model) -> dict[str, Any]:
    """Describe a model: its tensors."""
    target = model.spec.target
    outputs = {PREDICTION: (datatype_of_prediction(target), [-1])}
    outputs |= {PROBABILITIES: ("FP64", [-1, len(target.classes)]), ERRORS: ("BYTES", [-1])}
    return {
        "name": name,
        "versions": [model.version],
        "platform": f"model_kit_{model.card.get('runtime', {}).get('kind', 'onnx')}",
        "inputs": [{"name": one.name, "datatype": datatype_of(one), "shape": [-1]} for one in model.spec.fields],
        "outputs": [
            {"name": output, "datatype": outputs[output][0], "shape": outputs[output][1]}
            for output in output_names(target)
        ],
    }


def error(detail: str, status: int) -> Response:
    """Create the response of a request that is refused."""
    return responses.json_response({"error": detail}, status)


def render(request: InferRequest, name: str, target: Target, answer: Answer, version: str) -> Response:
    """Create the response: 422 if there are rows and none was scored, else 200."""
    outputs, parts = [], []
    status = responses.prediction_status(answer)
    for output in output_names(target):
        if not request.wants(output) or (output == ERRORS and request.outputs is None and not answer.errors):
            continue
        described, data = _output(output, answer, target, request.is_column)
        is_binary = request.is_binary if request.outputs is None else request.outputs[output]
        # Triton's client reads an error as JSON only.
        if is_binary and status == HTTPStatus.OK:
            part = _to_bytes(data, described["datatype"])
            parts.append(part)
            outputs.append({**described, "parameters": {SIZE: len(part)}})
        else:
            outputs.append({**described, "data": data})
    document: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.identity is not None:
        document["id"] = request.identity
    document["outputs"] = outputs
    if status != HTTPStatus.OK:
        row = min(answer.errors)
        document["error"] = f"No row could be scored. Row {row}: {in_words(answer.errors[row])}"
    body = msgspec.json.encode(document)
    response = responses.scored(b"".join([body, *parts]), answer, TENSORS if parts else JSON)
    if parts:
        response.headers[JSON_LENGTH] = str(len(body))
    return response


def _output(output: str, answer: Answer, target: Target, is_column: bool) -> tuple[dict[str, Any], list[Any]]:
    """Return an output without its data, and these, row by row; null where a row has no prediction."""
    n_rows = len(answer.predictions)
    shape = [n_rows, 1] if is_column else [n_rows]
    data: list[Any]
    if output == PROBABILITIES:
        n_classes = len(target.classes)
        rows = (answer.probabilities if isinstance(answer, DetailedAnswer) else None) or [None] * n_rows
        data = [value for row in rows for value in ([None] * n_classes if row is None else row.values())]
        about = {"name": output, "datatype": "FP64", "shape": [n_rows, n_classes]}
        return about, data
    if output == ERRORS:
        data = [in_words(answer.errors[row]) if row in answer.errors else "" for row in range(n_rows)]
    elif target.is_class:
        data = [None if value is None else class_key(value) for value in answer.predictions]
    else:
        data = list(answer.predictions)
    datatype = datatype_of_prediction(target) if output == PREDICTION else "BYTES"
    return {"name": output, "datatype": datatype, "shape": shape}, data


def _to_bytes(data: Sequence[Any], datatype: str) -> bytes:
    """Return data as a binary tensor, in which NaN or an empty text stands for null."""
    if datatype == "FP64":
        return np.array(data, "<f8").tobytes()
    texts = [(text or "").encode("utf-8", "surrogatepass") for text in data]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))
