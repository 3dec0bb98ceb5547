"""From what the models answer to responses. The shapes are in :mod:`ml_api.views.schemas`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import Response
from model_kit.scoring.predictor import Answer, DetailedAnswer
from model_kit.scoring.protocol import Model

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Compact, and refusing NaN and infinity, which JSON does not have.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
#: The same for what holds dataclasses.
_encode_details = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=asdict).encode


class Ready(Response):
    """The answer to a POST, with a body and with headers that are complete: nothing is left to find out."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand status, headers and body to the server as they are, unless something is to be done once they went."""
        if self._on_close:
            return super().__call__(environ, start_response)
        start_response(self.status, list(self.headers))
        return [self.get_data()]


def size(response: Response) -> int:
    """Bytes of the body of a response that was made here."""
    return sum(map(len, response.response))


def encode(document: Any) -> bytes:
    """``document`` as JSON in UTF-8.

    Raises:
        ValueError: it holds a NaN or an infinity.
    """
    return _encode(document).encode()


def json_response(document: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """``document`` as JSON.

    Raises:
        ValueError: it holds a NaN or an infinity.
    """
    return Response(_encode(document), status, content_type=content_type)


def status(word: str) -> Response:
    """``{"status": word}``."""
    return json_response({"status": word})


def describe_version(
    model_version: str | None, api_version: str, git_commit: str | None, models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What is running, and where it comes from."""
    return {
        "model_version": model_version,
        "api_version": api_version,
        "git_commit": git_commit,
        "models": dict(models),
    }


def prediction(answer: Answer, model_version: str) -> Response:
    """One prediction or ``null`` for each record; 422 if records were sent and none was scored, else 200."""
    n_scored = len(answer.predictions) - len(answer.errors)
    document = {"predictions": answer.predictions, "errors": answer.errors or None, "version": model_version}
    # Every number in it is finite, so that there is nothing to refuse.
    body = msgspec.json.encode(document)
    return Ready(body, 422 if answer.predictions and not n_scored else 200, content_type="application/json")


def encode_details(answer: DetailedAnswer, model_version: str) -> str:
    """An answer as JSON: what every answer has, then the details that were asked for.

    Raises:
        ValueError: a detail holds a NaN or an infinity.
    """
    document = {"predictions": answer.predictions, "errors": answer.errors or None, "version": model_version}
    details = {"intervals": answer.intervals, "explanations": answer.explanations, "warnings": answer.warnings}
    # They repeat what was sent, such as whole numbers of any size, which msgspec does not write.
    return _encode_details(document | {name: found for name, found in details.items() if found is not None})


def detailed_prediction(answer: DetailedAnswer, model_version: str) -> Response:
    """As :func:`prediction`, with the details that were asked for."""
    n_scored = len(answer.predictions) - len(answer.errors)
    status = 422 if answer.predictions and not n_scored else 200
    return Response(encode_details(answer, model_version), status, content_type="application/json")


def sentence(text: str) -> str:
    """An error's text as the detail of a problem."""
    return f"{text[:1].upper()}{text[1:]}."


def links(name: str) -> dict[str, str]:
    """Where the model ``name`` can be asked, relative to this server."""
    path = quote(name, safe="")
    return {
        "self": f"/v1/models/{path}",
        "predict": f"/v1/predict/{path}",
        "sample": f"/v1/models/{path}/sample",
    }


def describe_models(loaded: Mapping[str, Model], faults: Mapping[str, str]) -> dict[str, Any]:
    """Every installed model in a few words; ``faults`` says why one cannot be relied on."""
    return {
        "models": [
            {
                "name": name,
                "status": "broken" if name in faults else "ready",
                "reason": faults.get(name),
                "version": loaded[name].version if name in loaded else None,
                "target": describe_target(loaded[name]) if name in loaded else None,
                "links": links(name),
            }
            for name in sorted({*loaded, *faults})
        ]
    }


def describe_target(model: Model) -> dict[str, str]:
    """What a model predicts, and in which unit."""
    return {"name": model.spec.target.name, "unit": model.spec.target.unit}


def describe_model(name: str, model: Model) -> dict[str, Any]:
    """All that is known of one model."""
    return {
        "name": name,
        "version": model.version,
        "spec": json.loads(model.spec.to_json()),
        "card": dict(model.card),
        "golden": dict(model.golden),
        "links": links(name),
    }
