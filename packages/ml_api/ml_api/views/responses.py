"""Renders results as JSON responses; their schemas are in :mod:`ml_api.views.schemas`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import Response
from model_kit.scoring.predictor import Answer, DetailedAnswer
from model_kit.scoring.protocol import Model

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Header of a prediction that names the columns with unusual values, and its maximum length.
WARNINGS = "X-Prediction-Warnings"
MAX_HEADER = 1000
#: Header of a prediction that is in the prediction log: its id, which ``/<row>`` completes for one record.
PREDICTION_ID = "Prediction-Id"
#: Header of a prediction that is a table: the version of the model.
MODEL_VERSION = "Model-Version"
#: Compact; raises an error for NaN and infinity, which JSON does not have.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
#: The same for documents with dataclasses.
_encode_details = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=asdict).encode


class PreparedResponse(Response):
    """A response to a POST request whose body and headers are complete, so that Werkzeug need not process them."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass status, headers and body to the server unchanged, unless there is a callback for after the response."""
        if self._on_close:
            return super().__call__(environ, start_response)
        start_response(self.status, list(self.headers))
        return [self.get_data()]


def describe_unusual(unusual: Iterable[str]) -> str:
    """Encode names of columns as a header: percent-encoded UTF-8, and how many were left out for its length ("+3")."""
    found: list[str] = []
    length = 0
    names = list(unusual)
    for name in names:
        encoded = quote(name, safe="", errors="surrogatepass")
        length += len(encoded) + len(", ")
        if length > MAX_HEADER:
            return ", ".join([*found, f"+{len(names) - len(found)}"])
        found.append(encoded)
    return ", ".join(found)


def size(response: Response) -> int:
    """Return the length in bytes of the body of a response that this module created."""
    return sum(map(len, response.response))


def encode(document: Any) -> bytes:
    """Encode ``document`` as JSON in UTF-8.

    Raises:
        ValueError: it contains NaN or infinity.
    """
    return _encode(document).encode()


def json_response(document: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """Create a JSON response.

    Raises:
        ValueError: ``document`` contains NaN or infinity.
    """
    return Response(_encode(document), status, content_type=content_type)


def status(word: str) -> Response:
    """Create the response ``{"status": word}``."""
    return json_response({"status": word})


def describe_version(
    model_version: str | None,
    api_version: str,
    git_commit: str | None,
    models: Mapping[str, Mapping[str, Any]],
    candidates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe the version of the API, the lineage of each model, and the candidates, if there are any."""
    document = {
        "model_version": model_version,
        "api_version": api_version,
        "git_commit": git_commit,
        "models": dict(models),
    }
    return document if candidates is None else document | {"candidates": dict(candidates)}


def prediction(answer: Answer, model_version: str) -> Response:
    """Create the response of a prediction."""
    if isinstance(answer, DetailedAnswer):
        return detailed_prediction(answer, model_version)
    # Every number in it is finite, as JSON requires.
    document = {"predictions": answer.predictions, "errors": answer.errors or None, "version": model_version}
    return scored(msgspec.json.encode(document), answer)


def prediction_status(answer: Answer) -> int:
    """Return the status of a prediction: 422 if records were sent and none was scored, else 200."""
    return 422 if answer.predictions and len(answer.errors) == len(answer.predictions) else 200


def scored(body: bytes, answer: Answer, content_type: str = "application/json") -> Response:
    """Create the response of a prediction from its body."""
    return with_warnings(PreparedResponse(body, prediction_status(answer), content_type=content_type), answer)


def with_warnings(response: Response, answer: Answer) -> Response:
    """Add the header that names unusual fields to a response."""
    if answer.unusual:
        response.headers[WARNINGS] = describe_unusual(answer.unusual)
    return response


def encode_details(answer: DetailedAnswer, model_version: str) -> str:
    """Encode an answer with its details as JSON.

    Raises:
        ValueError: a detail contains NaN or infinity.
    """
    document = {"predictions": answer.predictions, "errors": answer.errors or None, "version": model_version}
    details = {
        "probabilities": answer.probabilities,
        "intervals": answer.intervals,
        "explanations": answer.explanations,
        "warnings": answer.warnings,
    }
    # They repeat values that were sent, such as integers of any size, which msgspec cannot encode.
    return _encode_details(document | {name: found for name, found in details.items() if found is not None})


def detailed_prediction(answer: DetailedAnswer, model_version: str) -> Response:
    """Create the response of :func:`prediction` with details."""
    body = encode_details(answer, model_version)
    return with_warnings(Response(body, prediction_status(answer), content_type="application/json"), answer)


def capitalize(text: str) -> str:
    """Capitalize an error message and end it with a full stop, for the detail of a problem."""
    return f"{text[:1].upper()}{text[1:]}."


def links(name: str) -> dict[str, str]:
    """Return the URLs of the model ``name``, relative to this server."""
    path = quote(name, safe="")
    return {
        "self": f"/v1/models/{path}",
        "predict": f"/v1/predict/{path}",
        "sample": f"/v1/models/{path}/sample",
    }


def describe_models(
    loaded: Mapping[str, Model],
    faults: Mapping[str, str],
    candidates: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Summarize all installed models.

    Args:
        loaded: name -> model.
        faults: name -> reason, of each model that is unavailable.
        candidates: name -> ``shadow`` and ``canary``, of each model that has them.
    """
    return {
        "models": [
            {
                "name": name,
                "status": "broken" if name in faults else "ready",
                "reason": faults.get(name),
                "version": loaded[name].version if name in loaded else None,
                "target": describe_target(loaded[name]) if name in loaded else None,
                "links": links(name),
                **candidates.get(name, {}),
            }
            for name in sorted({*loaded, *faults})
        ]
    }


def describe_target(model: Model) -> dict[str, Any]:
    """Describe what a model predicts: a number and its unit, or one of which classes."""
    target = model.spec.target
    return (
        {"name": target.name, "classes": list(target.classes)}
        if target.is_class
        else {"name": target.name, "unit": target.unit}
    )


def describe_model(name: str, model: Model) -> dict[str, Any]:
    """Describe one model in full."""
    return {
        "name": name,
        "version": model.version,
        "spec": json.loads(model.spec.to_json()),
        "card": dict(model.card),
        "golden": dict(model.golden),
        "links": links(name),
    }
