"""Examples of requests and answers, made of a model's golden row; tests send the requests and compare the answers.

The request of an answer stands beside it as ``x-request``: method, path, headers, and the body as ``json`` or ``text``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from model_kit.errors import IntervalError
from model_kit.records.generation import generate_rows
from model_kit.records.validation import Validator
from model_kit.scoring.intervals import BEYOND, HIGHEST, LOWEST, Intervals
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import Model
from werkzeug.exceptions import InternalServerError, MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES

from ml_api.views import parameters, requests, responses

#: Name -> OpenAPI's Example Object.
Examples: TypeAlias = dict[str, dict[str, Any]]

#: The id that the requests of the examples carry.
REQUEST_ID = "3f2b8c1e9d6a4f70b5c8e2a19d04f6b3"

NO_JSON = "no JSON"


def request(method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """A request that is answered as an example says; ``json`` or ``text`` is its body."""
    sent = {"X-Request-ID": REQUEST_ID}
    if "json" in body:
        sent["Content-Type"] = "application/json"
    return {"method": method, "path": path, "headers": sent | dict(headers or {}), **body}


def example(summary: str, value: Any, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An Example Object; without a request, what leads to it cannot be sent."""
    found = {"summary": summary, "value": value}
    return found if request is None else found | {"x-request": request}


def problem(status: int, detail: str, **members: Any) -> dict[str, Any]:
    """The document of a problem."""
    return {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES[status],
        "status": status,
        "detail": detail,
        "request_id": REQUEST_ID,
        **members,
    }


def internal_error() -> Examples:
    """500, whatever it was."""
    return {"internal": example("The log has the rest", problem(500, str(InternalServerError.description)))}


def not_found() -> Examples:
    """404 of a path that nothing answers."""
    value = problem(404, str(NotFound.description))
    return {"nowhere": example("Nothing answers there", value, request("GET", "/nowhere"))}


def not_allowed() -> Examples:
    """405; the header Allow says what is."""
    value = problem(405, str(MethodNotAllowed.description))
    return {"method": example("DELETE of what can be read", value, request("DELETE", "/health"))}


def refused(status: int, title: str, detail: str) -> Examples:
    """What the server answers itself."""
    return {"refused": example(detail, problem(status, detail, title=title))}


def unknown_model(names: Sequence[str], method: str, path: str) -> Examples:
    """404 of a model that is not installed; ``path`` has ``{name}`` where the model's name goes."""
    wanted = "unknown-model"
    while wanted in names:
        wanted += "-"
    value = problem(404, f"There is no model of that name; installed: {', '.join(names) or 'none'}.")
    body: dict[str, Any] = {"json": []} if method == "POST" else {}
    return {"model": example("A name that no model has", value, request(method, path.format(name=wanted), **body))}


def broken_model(name: str, reason: str, sent: Mapping[str, Any] | None = None) -> Examples:
    """503 of a model that could not be loaded."""
    value = problem(503, f"Model {name} cannot answer: {reason}")
    return {"broken": example("The model could not be loaded", value, sent)}


def lacks_intervals(model: Model) -> str | None:
    """Why a model cannot be asked for intervals; ``None`` if it can."""
    try:
        Intervals.from_card(model.card, model.spec.target)
    except IntervalError as error:
        return str(error)
    return None


class Predictions:
    """The examples of one model's predictions.

    Args:
        name: last part of the URL.
        model: loaded; what its golden row scores is recorded, and one record is scored with its details.
        max_rows: records that one request may hold.
        max_explained: and if it asks for explanations.
    """

    def __init__(self, name: str, model: Model, max_rows: int, max_explained: int) -> None:
        self._model = model
        self._path = f"/v1/predict/{quote(name, safe='')}"
        self._version = model.version
        self._max_rows = max_rows
        self._max_explained = max_explained
        self._row: dict[str, Any] = dict(model.golden["row"])
        self._prediction: float = model.golden["prediction"]
        field = next((field for field in model.spec.fields if field.kind != "category"), model.spec.fields[0])
        # Neither a number nor a level.
        self._wrong = self._row | {field.name: ["not", "a", "value"] if field.kind == "category" else "large"}
        (self._errors,) = Validator(model.spec)([self._wrong]).errors.values()

    def bodies(self) -> Examples:
        """What can be sent. The first is what pages offer to send."""
        return {
            "rows": example("An array of one record", [self._row]),
            "record": example("One record", self._row),
            "mixed": example("A record that is right and one that is not", [self._row, self._wrong]),
            "wrong": example("A record that is not right", [self._wrong]),
            "empty": example("No record", []),
        }

    def ok(self) -> Examples:
        """200."""
        return self._plain() | self._detailed()

    def _detailed(self) -> Examples:
        """With all details that the model can give, of a generated record and of one that is not right."""
        body = [*generate_rows(self._model.spec, 1, seed=1), self._wrong]
        level = None if lacks_intervals(self._model) else 0.9
        query = "explain=2&warnings=true" if level is None else f"interval={level}&explain=2&warnings=true"
        try:
            answer = Predictor(self._model).detailed(body, interval=level, explain=2, warnings=True)
        except Exception:  # noqa: BLE001  whatever a model does wrong, there is a document
            return {}
        value = json.loads(responses.encode_details(answer, self._version))
        return {
            "detailed": example(
                "With all details: null where there is no prediction",
                value,
                request("POST", f"{self._path}?{query}", json=body),
            )
        }

    def _plain(self) -> Examples:
        return self._answers(
            {
                "rows": ("One prediction for each record", [self._prediction], {}),
                "record": ("One record answers as an array of one", [self._prediction], {}),
                "mixed": ("A wrong record leaves the others alone", [self._prediction, None], {"1": self._errors}),
                "empty": ("Nothing sent, nothing answered", [], {}),
            }
        )

    def unprocessable(self) -> Examples:
        """422."""
        return self._answers({"wrong": ("No record could be scored", [None], {"0": self._errors})})

    def _answers(self, answers: Mapping[str, tuple[str, list[float | None], dict[str, Any]]]) -> Examples:
        bodies = self.bodies()
        return {
            name: example(
                summary,
                {"predictions": predictions, "errors": errors or None, "version": self._version},
                request("POST", self._path, json=bodies[name]["value"]),
            )
            for name, (summary, predictions, errors) in answers.items()
        }

    def malformed(self) -> Examples:
        """400."""
        headers = {"Content-Type": "application/json"}
        return {
            "malformed": example(
                "Not JSON",
                problem(400, "The body is not JSON: Expecting value at line 1, column 1."),
                request("POST", self._path, headers, text=NO_JSON),
            ),
            "neither": example(
                "Neither an array nor an object",
                problem(400, "The body must be a JSON array of records or one record, which is a JSON object."),
                request("POST", self._path, json=3),
            ),
        } | {name: self._refused(*refused) for name, refused in self._refusals().items()}

    def _refusals(self) -> dict[str, tuple[str, str, str]]:
        """Name -> summary, query, detail."""
        taken = ", ".join(parameters.DETAILS)
        level = f"The query parameter interval must be a decimal number from {LOWEST} to {HIGHEST}; {BEYOND}."
        count = f"The query parameter explain must be a whole number from 1 to {parameters.MAX_CONTRIBUTIONS}."
        refusals = {
            "parameter": ("An unknown parameter", "why=1", f"There is no query parameter 'why'; it takes {taken}."),
            "interval": ("A level beyond what is calibrated", "interval=0.99", level),
            "explain": ("No number of contributions", "explain=yes", count),
            "warnings": ("Neither yes nor no", "warnings=1", "The query parameter warnings must be true or false."),
        }
        if lacking := lacks_intervals(self._model):
            refusals["uncalibrated"] = ("This model has no intervals", "interval=0.9", responses.sentence(lacking))
        return refusals

    def _refused(self, summary: str, query: str, detail: str) -> dict[str, Any]:
        return example(summary, problem(400, detail), request("POST", f"{self._path}?{query}", json=[]))

    def too_large(self) -> Examples:
        """413."""
        too_many = self._max_rows + 1
        detail = f"The body has {too_many} records; at most {self._max_rows} are taken at a time."
        explained = (
            f"The body has {self._max_explained + 1} records; at most {self._max_explained} are explained at a time."
        )
        return {
            "rows": example(f"{too_many} records", problem(413, detail)),
            "explained": example(f"{self._max_explained + 1} records to explain", problem(413, explained)),
        }

    def too_slow(self) -> Examples:
        """408."""
        return {"slow": example("A body that stalls", problem(408, "The body did not arrive in time."))}

    def busy(self) -> Examples:
        """503 of a model that answers."""
        return {"busy": example("Too many large requests at once", problem(503, requests.BUSY))}

    def unsupported(self) -> Examples:
        """415."""
        return {
            "text": example(
                "Not said to be JSON",
                problem(415, "The body must be JSON, with the header Content-Type: application/json."),
                request("POST", self._path, {"Content-Type": "text/plain"}, text="[]"),
            ),
            "compressed": example(
                "Compressed",
                problem(415, "The body must not be compressed: no Content-Encoding is taken."),
                request("POST", self._path, {"Content-Encoding": "gzip"}, json=[]),
            ),
        }
