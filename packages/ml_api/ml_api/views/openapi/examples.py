"""Examples of requests and responses, from a model's golden row; tests send the requests and compare the responses.

Each response has its request in ``x-request``: method, path, headers, and the body as ``json`` or ``text``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from model_kit.errors import IntervalError
from model_kit.records.generation import generate_rows
from model_kit.records.validation import Validator
from model_kit.scoring.intervals import HIGHEST, LEVELS_REASON, LOWEST, Intervals
from model_kit.scoring.prediction_sets import PredictionSets
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import Model
from werkzeug.exceptions import InternalServerError, MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES

from ml_api import admission
from ml_api.settings import Settings
from ml_api.views import media_types, parameters, requests, responses
from ml_api.views.media_types import CSV
from ml_api.views.tables.columns import to_lines

#: Name -> OpenAPI's Example Object.
Examples: TypeAlias = dict[str, dict[str, Any]]

#: The request id in the examples.
REQUEST_ID = "3f2b8c1e9d6a4f70b5c8e2a19d04f6b3"

#: Kinds of field for which a text may be a valid value.
WORDS: Final = ("category", "text")
#: The prediction id in the examples.
PREDICTION_ID = "0197f3a25c4e8b1e9d6a4f70b5c8e2a1"

NO_JSON = "no JSON"


def request(method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """Create the request of an example; ``json`` or ``text`` is its body."""
    sent = {"X-Request-ID": REQUEST_ID}
    if "json" in body:
        sent["Content-Type"] = "application/json"
    return {"method": method, "path": path, "headers": sent | dict(headers or {}), **body}


def example(summary: str, value: Any, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Create an Example Object; it has no request if a test cannot send one."""
    found = {"summary": summary, "value": value}
    return found if request is None else found | {"x-request": request}


def problem(status: int, detail: str, **members: Any) -> dict[str, Any]:
    """Create the body of a problem."""
    return {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES[status],
        "status": status,
        "detail": detail,
        "request_id": REQUEST_ID,
        **members,
    }


def internal_error() -> Examples:
    """Create the example of 500."""
    return {"internal": example("The log has the details", problem(500, str(InternalServerError.description)))}


def not_found() -> Examples:
    """Create the example of 404 for an unknown path."""
    value = problem(404, str(NotFound.description))
    return {"nowhere": example("The path does not exist", value, request("GET", "/nowhere"))}


def not_allowed() -> Examples:
    """Create the example of 405."""
    value = problem(405, str(MethodNotAllowed.description))
    return {"method": example("DELETE of a resource that can only be read", value, request("DELETE", "/health"))}


def server_error(status: int, title: str, detail: str) -> Examples:
    """Create the example of an error that the server returns before routing."""
    return {"refused": example(detail, problem(status, detail, title=title))}


def unknown_model(names: Sequence[str], method: str, path: str) -> Examples:
    """Create the example of 404 for an unknown model; ``path`` contains ``{name}``."""
    wanted = "unknown-model"
    while wanted in names:
        wanted += "-"
    value = problem(404, f"There is no model of that name; installed: {', '.join(names) or 'none'}.")
    body: dict[str, Any] = {"json": []} if method == "POST" else {}
    return {"model": example("No model has this name", value, request(method, path.format(name=wanted), **body))}


def broken_model(name: str, reason: str, sent: Mapping[str, Any] | None = None) -> Examples:
    """Create the example of 503 for a model that could not be loaded."""
    value = problem(503, f"Model {name} cannot answer: {reason}")
    return {"broken": example("The model could not be loaded", value, sent)}


def lacks_intervals(model: Model) -> str | None:
    """Return the reason why a model has no intervals; ``None`` if it has."""
    target = model.spec.target
    try:
        (PredictionSets if target.is_class else Intervals).from_card(model.card, target)
    except IntervalError as error:
        return str(error)
    return None


class Predictions:
    """The examples of one model's predictions.

    Args:
        name: last part of the URL.
        model: the model; the examples use the recorded prediction of its golden row, and score one more record.
        settings: the limits on the records of a request.
    """

    def __init__(self, name: str, model: Model, settings: Settings) -> None:
        self._model = model
        self._path = f"/v1/predict/{quote(name, safe='')}"
        self._version = model.version
        self._settings = settings
        self._row: dict[str, Any] = dict(model.golden["row"])
        self._prediction: Any = model.golden["prediction"]
        field = next((field for field in model.spec.fields if field.kind not in WORDS), model.spec.fields[0])
        # Neither a number nor a word.
        self._invalid = self._row | {field.name: ["not", "a", "value"] if field.kind in WORDS else "large"}
        (self._errors,) = Validator(model.spec)([self._invalid]).errors.values()
        # A record that names no field at all is refused.
        required = model.spec.required or model.spec.names[:1]
        self._minimal = {name: self._row[name] for name in required if name in self._row}

    def bodies(self) -> Examples:
        """Create the examples of the request body; the documentation pages offer the first."""
        return {
            "rows": example("An array of one record", [self._row]),
            "minimal": example("The fewest fields that a record may have", [self._minimal]),
            "record": example("One record", self._row),
            "mixed": example("A valid record and an invalid one", [self._row, self._invalid]),
            "wrong": example("An invalid record", [self._invalid]),
            "empty": example("No record", []),
        }

    def ok(self) -> Examples:
        """Create the examples of 200."""
        return self._plain() | self._fewest() | self._detailed()

    def _fewest(self) -> Examples:
        """Create the example of a record with the required fields only."""
        try:
            (prediction,) = Predictor(self._model)([self._minimal]).predictions
        except Exception:  # noqa: BLE001  a model that fails here must not prevent the document
            return {}
        if prediction is None:
            return {}
        value = {"predictions": [prediction], "errors": None, "version": self._version}
        sent = request("POST", self._path, json=[self._minimal])
        return {"minimal": example("What is left out is imputed", value, sent)}

    def _detailed(self) -> Examples:
        """Create the example with all details that the model supports, of a valid and an invalid record."""
        body = [*generate_rows(self._model.spec, 1, seed=1), self._invalid]
        level = None if lacks_intervals(self._model) else 0.9
        query = "explain=2&warnings=true" if level is None else f"interval={level}&explain=2&warnings=true"
        is_class = self._model.spec.target.is_class
        if is_class:
            query += "&probabilities=true"
        try:
            answer = Predictor(self._model).detailed(
                body, interval=level, explain=2, warnings=True, probabilities=is_class
            )
        except Exception:  # noqa: BLE001  a model that fails here must not prevent the document
            return {}
        value = json.loads(responses.encode_details(answer, self._version))
        return {
            "detailed": example(
                "With all details; null for a record without a prediction",
                value,
                request("POST", f"{self._path}?{query}", json=body),
            )
        }

    def _plain(self) -> Examples:
        return self._predictions(
            {
                "rows": ("One prediction for each record", [self._prediction], {}),
                "record": ("One record returns one prediction", [self._prediction], {}),
                "mixed": (
                    "An invalid record does not affect the others",
                    [self._prediction, None],
                    {"1": self._errors},
                ),
                "empty": ("No records", [], {}),
            }
        )

    def csv_bodies(self) -> Examples:
        """Create the examples of the request body in CSV."""
        return {"table": example("A table of one record", self._csv)}

    def table(self) -> Examples:
        """Create the example of 200 in CSV."""
        headers = {"Content-Type": CSV, "Accept": CSV}
        lines = [*to_lines([["prediction"], ["error"]]), *to_lines([[self._prediction], [None]])]
        sent = request("POST", self._path, headers, text=self._csv)
        return {"table": example("A table", "\r\n".join([*lines, ""]), sent)}

    @property
    def _csv(self) -> str:
        columns = [[name, value] for name, value in self._row.items()]
        return "\n".join([*to_lines(columns), ""])

    def not_acceptable(self) -> Examples:
        """Create the example of 406."""
        detail = media_types.NOT_OFFERED.format(" or ".join(media_types.of_predictions()))
        sent = request("POST", self._path, {"Accept": "text/html"}, json=[])
        return {"html": example("Another type is asked for", problem(406, detail), sent)}

    def unprocessable(self) -> Examples:
        """Create the examples of 422."""
        return self._predictions({"wrong": ("No record could be scored", [None], {"0": self._errors})})

    def _predictions(self, answers: Mapping[str, tuple[str, list[Any], dict[str, Any]]]) -> Examples:
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
        """Create the examples of 400."""
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
        } | {name: self._bad_request(*refusal) for name, refusal in self._invalid_queries().items()}

    def _invalid_queries(self) -> dict[str, tuple[str, str, str]]:
        """Return name -> summary, query, detail of each invalid query."""
        target = self._model.spec.target
        taken = ", ".join(parameters.detail_names(target))
        level = f"The query parameter interval must be a decimal number from {LOWEST} to {HIGHEST}; {LEVELS_REASON}."
        count = f"The query parameter explain must be a whole number from 1 to {parameters.MAX_CONTRIBUTIONS}."
        queries = {
            "parameter": ("An unknown parameter", "why=1", f"There is no query parameter 'why'; it takes {taken}."),
            "interval": ("A level beyond the calibrated ones", "interval=0.99", level),
            "explain": ("Not a number of contributions", "explain=yes", count),
            "warnings": ("Neither true nor false", "warnings=1", "The query parameter warnings must be true or false."),
        }
        if target.is_class:
            detail = f"The query parameter class must be one of {', '.join(target.keys)}."
            queries["class"] = ("No class of this model", "explain=2&class=%20", detail)
        if lacking := lacks_intervals(self._model):
            queries["uncalibrated"] = ("This model has no intervals", "interval=0.9", responses.capitalize(lacking))
        return queries

    def _bad_request(self, summary: str, query: str, detail: str) -> dict[str, Any]:
        return example(summary, problem(400, detail), request("POST", f"{self._path}?{query}", json=[]))

    def too_large(self) -> Examples:
        """Create the examples of 413."""
        rows, explained, warned = (
            (limit + 1, limit)
            for limit in (self._settings.max_rows, self._settings.max_explained, self._settings.max_warned)
        )
        details = {
            "rows": (f"{rows[0]} records", requests.TOO_MANY.format(*rows)),
            "explained": (f"{explained[0]} records to explain", requests.TOO_MANY_EXPLAINED.format(*explained)),
            "warned": (f"{warned[0]} records with warnings", requests.TOO_MANY_WARNED.format(*warned)),
        }
        return {name: example(summary, problem(413, detail)) for name, (summary, detail) in details.items()}

    def too_slow(self) -> Examples:
        """Create the example of 408."""
        return {"slow": example("A body that stalls", problem(408, "The body did not arrive in time."))}

    def busy(self) -> Examples:
        """Create the example of 503 for an exhausted memory budget."""
        return {"busy": example("Too many large requests at once", problem(503, admission.NO_MEMORY))}

    def unsupported(self) -> Examples:
        """Create the examples of 415."""
        return {
            "text": example(
                "Another content type",
                problem(415, media_types.wrong_type(media_types.of_predictions())),
                request("POST", self._path, {"Content-Type": "text/plain"}, text="[]"),
            ),
            "compressed": example(
                "Compressed",
                problem(415, media_types.COMPRESSED),
                request("POST", self._path, {"Content-Encoding": "gzip"}, json=[]),
            ),
        }
