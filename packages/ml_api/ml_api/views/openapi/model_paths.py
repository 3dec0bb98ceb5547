"""The paths of one model: predictions, spec and card, sample records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec
from model_kit.scoring.intervals import HIGHEST, LOWEST
from model_kit.scoring.protocol import Model
from model_kit.scoring.sampling import sample_records

from ml_api.settings import Settings
from ml_api.views import parameters, requests, responses, schemas
from ml_api.views.media_types import ARROW, CSV, has_arrow
from ml_api.views.openapi import examples
from ml_api.views.openapi.components import JSON, Responses, identifier, operation, problem, response
from ml_api.views.openapi.examples import example, request
from ml_api.views.openapi.record import JSONSchema
from ml_api.views.tables.answers import CSV_TYPE

#: Reason in the example of a model that could not be loaded.
NOT_LOADED = "model.onnx: sha256 is not that of the manifest"
_PREDICTIONS = """\
Returns one prediction of `{name}`{in_unit}, or one error, for each record.

The body is an array of records, or one record. An invalid record does not affect the others: its errors are in \
`errors` under its index. The status is 200 if at least one record was scored or none was sent, and 422 if records \
were sent and none was scored. The schema of the body describes valid records; an array that also contains invalid \
ones returns 200 as well.

Query parameters add details for each record, in the order sent: {details}, the effect of each field compared with a \
typical {subject}, and warnings about unusual values. An unknown parameter is an error.

The body may be a table instead, whose columns are fields: CSV in UTF-8 with commas and a header line{arrow}. JSON and \
tables are answered with JSON, or with a table where `Accept` asks for one. That has one row for each record, in the \
order sent, and the columns `prediction`, `error` (in words; empty if there is none) and those of the details.
"""
_ARROW = ", or a stream of Arrow record batches (its compression inside is taken, and counts unpacked)"
_TABLE: JSONSchema = {"type": "string", "description": "A line with the names of the columns, and one for each record"}
_STREAM: JSONSchema = {"type": "string", "format": "binary", "description": "A stream in Arrow's IPC format"}
_NUMBER = "intervals that contain the true value with a given probability"
_CLASS = "the probability of each class, sets of classes that contain the true one with a given probability"
_SAMPLE = """\
Returns valid records that can be sent to the prediction unchanged. They are **synthetic**: each field varies \
independently within its range in training, and none is a record of the training data. An unknown parameter is an error.
"""


class ModelPaths:
    """Adds the paths of the model ``name`` to a document; ``names`` are all installed models."""

    def __init__(self, document: APISpec, name: str, names: Sequence[str]) -> None:
        self._document = document
        self._name = name
        self._names = names
        self._links = responses.links(name)
        self._aliases: Sequence[str] = ()

    def add(self, model: Model, record: JSONSchema, settings: Settings) -> None:
        """Add the paths of a model that was loaded; ``record`` is the schema of its records."""
        self._aliases = getattr(model, "aliases", ())
        broken = self._broken(NOT_LOADED)
        self._add_predictions(model, record, settings)
        whole = example(
            "Spec, card and golden row",
            responses.describe_model(self._name, model),
            request("GET", self._links["self"]),
        )
        described = {"200": response("The model.", JSON, schemas.ModelSchema, {"model": whole})}
        self._add("self", "get", described | broken)
        self._add_sample(model, record, broken)

    def add_broken(self, reason: str) -> None:
        """Add the paths of a model that could not be loaded, whose fields are unknown."""
        description = f"Unavailable: {reason}"
        anything = {"required": True, "content": {JSON: {"schema": {}}}}
        sent = {link: request("GET", self._links[link]) for link in ("self", "sample")}
        posted = request("POST", self._links["predict"], json=[])
        self._add("predict", "post", self._broken(reason, posted), description=description, requestBody=anything)
        self._add("self", "get", self._broken(reason, sent["self"]), description=description)
        self._add("sample", "get", self._broken(reason, sent["sample"]), description=description)

    def _broken(self, reason: str, sent: Mapping[str, Any] | None = None) -> Responses:
        shown = examples.broken_model(self._name, reason, sent)
        return {"503": problem("The model could not be loaded.", shown, "Retry-After")}

    def _add(self, link: str, method: str, answers: Responses, **more: Any) -> None:
        verb, summary, path = {
            "predict": ("predict", f"Predict with {self._name}", "/v1/predict/{name}"),
            "self": ("describe", f"Spec and card of {self._name}", "/v1/models/{name}"),
            "sample": ("sample", f"Sample records for {self._name}", "/v1/models/{name}/sample"),
        }[link]
        unknown = problem(
            "No model of that name is installed.", examples.unknown_model(self._names, method.upper(), path)
        )
        name = f"{verb}_{identifier(self._name)}"
        documented = operation(self._name, name, summary, answers | {"404": unknown}, **more)
        self._document.path(self._links[link], operations={method: documented})
        for number, alias in enumerate(self._aliases if link == "predict" else (), start=1):
            same = operation(self._name, f"{name}_alias_{number}", f"{summary}, at another address", answers, **more)
            self._document.path(alias, operations={method: same})

    def _add_predictions(self, model: Model, record: JSONSchema, settings: Settings) -> None:
        shown = examples.Predictions(self._name, model, settings)
        has_log = settings.prediction_log is not None
        more_headers = (responses.WARNINGS, *([responses.PREDICTION_ID] if has_log else []))
        target = model.spec.target
        schema = (
            schemas.class_prediction(identifier(self._name), target.classes)
            if target.is_class
            else schemas.PredictionSchema
        )
        answers = {
            "200": _predicted(
                "At least one record was scored, or none was sent.", schema, shown.ok(), shown.table(), *more_headers
            ),
            "400": problem(
                "The body is not JSON, or neither an array nor an object, or no table of its type; or a query parameter"
                " is unknown or malformed: the detail names it.",
                shown.malformed(),
            ),
            "408": problem("The body did not arrive in time.", shown.too_slow()),
            "406": problem("`Accept` permits none of the types that there are.", shown.not_acceptable()),
            "413": problem(
                f"More than {settings.max_rows} records (setting `MAX_ROWS`), {settings.max_explained} with `explain`"
                f" (`MAX_EXPLAINED`) or {settings.max_warned} with `warnings` (`MAX_WARNED`), or too many bytes or"
                " values.",
                shown.too_large(),
            ),
            "415": problem("The headers do not declare the body as plain JSON or a table.", shown.unsupported()),
            "422": _predicted(
                "Records were sent and none was scored.", schema, shown.unprocessable(), {}, responses.WARNINGS
            ),
        }
        in_unit = f" in {target.unit}" if target.unit else ""
        bodies: dict[str, Any] = {
            JSON: {"schema": _body(record, settings.max_rows), "examples": shown.bodies()},
            CSV: {"schema": _TABLE, "examples": shown.csv_bodies()},
        }
        if has_arrow():
            bodies[ARROW] = {"schema": _STREAM}
        answers["503"] = problem(
            "The model could not be loaded, or the server has no memory for another large request"
            f"{', or the prediction could not be recorded' if has_log else ''}.",
            examples.broken_model(self._name, NOT_LOADED) | shown.busy(),
            "Retry-After",
        )
        self._add(
            "predict",
            "post",
            answers,
            description=_PREDICTIONS.format(
                name=target.name,
                subject=target.subject,
                in_unit=in_unit,
                details=_CLASS if target.is_class else _NUMBER,
                arrow=_ARROW if has_arrow() else "",
            ),
            parameters=_details(model, settings) + (_ids() if has_log else []),
            requestBody={"required": True, "content": bodies},
        )

    def _add_sample(self, model: Model, record: JSONSchema, broken: Responses) -> None:
        path = self._links["sample"]
        two = example("Two records", sample_records(model, 2, seed=1), request("GET", f"{path}?n=2&seed=1"))
        refused = examples.problem(
            400, f"The query parameter n must be a whole number from 1 to {parameters.MAX_SAMPLE}."
        )
        schema = {"type": "array", "items": record, "minItems": 1, "maxItems": parameters.MAX_SAMPLE}
        answers = {
            "200": response("Valid records.", JSON, schema, {"two": two}),
            "400": problem(
                "A query parameter is invalid; the detail names it.",
                {"none": example("No record", refused, request("GET", f"{path}?n=0"))},
            ),
        }
        n = _query("n", "Number of records", 1, parameters.MAX_SAMPLE)
        n["schema"]["default"] = parameters.DEFAULT_SAMPLE
        seed = _query("seed", "The same seed returns the same records; default: random", 0, parameters.MAX_SEED)
        self._add("sample", "get", answers | broken, description=_SAMPLE, parameters=[n, seed])


def _predicted(
    text: str, schema: Any, shown: examples.Examples, table: examples.Examples, *header_names: str
) -> dict[str, Any]:
    """Create the response of a prediction, in any of its types."""
    found = response(text, JSON, schema, shown, responses.MODEL_VERSION, *header_names)
    found["content"] |= response("", CSV_TYPE, _TABLE, table)["content"]
    if has_arrow():
        found["content"] |= response("", ARROW, _STREAM, {})["content"]
    return found


def _body(record: JSONSchema, max_rows: int) -> JSONSchema:
    """Create the schema of a body: one record, or an array of records.

    Generators of clients need the plain form; "at least one is valid" would leave them an array of anything.
    """
    array = {"title": "Array of records", "type": "array", "items": record, "maxItems": max_rows}
    return {"anyOf": [record, array]}


def _details(model: Model, settings: Settings) -> list[dict[str, Any]]:
    """Create the query parameters that add details to predictions."""
    what = "set of classes" if model.spec.target.is_class else "interval"
    level = {
        "name": "interval",
        "in": "query",
        "description": f"Probability that the {what} contains the true value; higher levels are not calibrated",
        "schema": {"type": "number", "minimum": LOWEST, "maximum": HIGHEST},
    }
    count = _query(
        "explain",
        "Number of contributions in each explanation, strongest first; the rest is summed. For at most"
        f" {settings.max_explained} records.",
        1,
        parameters.MAX_CONTRIBUTIONS,
    )
    against = {
        "name": "against",
        "in": "query",
        "description": "What `explain` compares with: the first record of the request; default: the typical one",
        "schema": {"type": "string", "enum": list(parameters.AGAINST)},
    }
    flag = {
        "name": "warnings",
        "in": "query",
        "description": "Whether to warn about imputed, unseen, out-of-range or contradictory values. For at most"
        f" {settings.max_warned} records.",
        "schema": {"type": "boolean", "default": False},
    }
    echo = {
        "name": parameters.ECHO,
        "in": "query",
        "description": "Whether a table that is answered with a table has the columns that were sent, first",
        "schema": {"type": "boolean", "default": False},
    }
    found = [count, against, flag, echo]
    if not examples.lacks_intervals(model):
        found.insert(0, level)
    target = model.spec.target
    if target.is_class:
        probabilities = {
            "name": "probabilities",
            "in": "query",
            "description": "Whether to add the probability of each class",
            "schema": {"type": "boolean", "default": False},
        }
        explained = {
            "name": "class",
            "in": "query",
            "description": "The class whose probability `explain` explains; default: the predicted one",
            "schema": {"type": "string", "enum": list(target.keys)},
        }
        found += [probabilities, explained]
    return found


def _ids() -> list[dict[str, Any]]:
    """Create the parameters with the caller's own ids, for the prediction log."""
    text = {"type": "string", "maxLength": 128}
    header = {"name": requests.INFERENCE_ID, "in": "header", "description": "Your own id of the one record"}
    field = {"name": parameters.ID_FIELD, "in": "query", "description": "Field with your own id of each record"}
    return [{**header, "schema": text}, {**field, "schema": {"type": "string"}}]


def _query(name: str, text: str, low: int, high: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return {"name": name, "in": "query", "description": text, "schema": schema}
