"""The paths of one model: predictions, spec and card, sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from apispec import APISpec
from model_kit.records.generation import generate_rows
from model_kit.scoring.intervals import BEYOND, HIGHEST, LOWEST
from model_kit.scoring.protocol import Model

from ml_api.views import parameters, responses, schemas
from ml_api.views.openapi import examples
from ml_api.views.openapi.components import JSON, Answers, answer, identifier, operation, problem
from ml_api.views.openapi.examples import example, request
from ml_api.views.openapi.record import JSONSchema

#: Why an example of a model could not be loaded.
NOT_LOADED = "model.onnx: sha256 is not that of the manifest"
_PREDICTIONS = """\
One prediction of `{name}` in {unit}, or one error, for each record.

The body is an array of records or one record. What is wrong with a record stands in `errors` under its index and \
keeps no other record from its prediction: 200 if at least one record was scored or none was sent, 422 if none of \
those sent was. So an element of the array that is no valid record is taken as well, and what the schema of the body \
says is: one valid record, no record, or an array in which at least one is valid.

Parameters add details, one for each record in the order sent: ranges that hold the truth in a given share of the \
cases, what each field adds to the prediction of a typical {subject}, and warnings of what a record was scored with. \
Any other parameter is refused.
"""
_SAMPLE = """\
Valid records that can be sent to a prediction as they are. They are **synthetic**: each field varies on its own \
within what training saw, and none is a record of the training data.
"""


class ModelPaths:
    """Adds the paths of the model ``name``, one of ``names``, to a document."""

    def __init__(self, document: APISpec, name: str, names: Sequence[str]) -> None:
        self._document = document
        self._name = name
        self._names = names
        self._links = responses.links(name)

    def add(self, model: Model, record: JSONSchema, max_rows: int, max_explained: int) -> None:
        """Those of a model that was loaded; ``record`` is the schema of its records."""
        broken = self._broken(NOT_LOADED)
        self._add_predictions(model, record, (max_rows, max_explained))
        whole = example("All of it", responses.describe_model(self._name, model), request("GET", self._links["self"]))
        described = {"200": answer("The model.", JSON, schemas.ModelSchema, {"model": whole})}
        self._add("self", "get", described | broken)
        self._add_sample(model, record, broken)

    def add_broken(self, reason: str) -> None:
        """Those of a model that could not be loaded, so that nothing is known of its records."""
        told = f"Cannot answer: {reason}"
        anything = {"required": True, "content": {JSON: {"schema": {}}}}
        sent = {link: request("GET", self._links[link]) for link in ("self", "sample")}
        posted = request("POST", self._links["predict"], json=[])
        self._add("predict", "post", self._broken(reason, posted), description=told, requestBody=anything)
        self._add("self", "get", self._broken(reason, sent["self"]), description=told)
        self._add("sample", "get", self._broken(reason, sent["sample"]), description=told)

    def _broken(self, reason: str, sent: Mapping[str, Any] | None = None) -> Answers:
        shown = examples.broken_model(self._name, reason, sent)
        return {"503": problem("The model could not be loaded.", shown, "Retry-After")}

    def _add(self, link: str, method: str, answers: Answers, **more: Any) -> None:
        verb, summary, path = {
            "predict": ("predict", f"Predict with {self._name}", "/v1/predict/{name}"),
            "self": ("describe", f"Spec and card of {self._name}", "/v1/models/{name}"),
            "sample": ("sample", "Records to try it with", "/v1/models/{name}/sample"),
        }[link]
        unknown = problem(
            "No model of that name is installed.", examples.unknown_model(self._names, method.upper(), path)
        )
        told = operation(self._name, f"{verb}_{identifier(self._name)}", summary, answers | {"404": unknown}, **more)
        self._document.path(self._links[link], operations={method: told})

    def _add_predictions(self, model: Model, record: JSONSchema, limits: tuple[int, int]) -> None:
        max_rows, max_explained = limits
        shown = examples.Predictions(self._name, model, max_rows, max_explained)
        schema = schemas.PredictionSchema
        answers = {
            "200": answer("At least one record was scored, or none was sent.", JSON, schema, shown.ok()),
            "400": problem(
                "The body is no JSON, or neither an array nor an object; or a parameter is unknown or malformed, and"
                " named.",
                shown.malformed(),
            ),
            "408": problem("The body did not arrive in time.", shown.too_slow()),
            "413": problem(
                f"More than {max_rows} records, or than {max_explained} to explain, or more bytes or values than are"
                " taken.",
                shown.too_large(),
            ),
            "415": problem("The body is not said to be plain JSON in UTF-8.", shown.unsupported()),
            "422": answer("Records were sent and none was scored.", JSON, schema, shown.unprocessable()),
        }
        body = {"schema": _body(record, max_rows), "examples": shown.bodies()}
        answers["503"] = problem(
            "The model could not be loaded, or there is no room for another large request.",
            examples.broken_model(self._name, NOT_LOADED) | shown.busy(),
            "Retry-After",
        )
        self._add(
            "predict",
            "post",
            answers,
            description=_PREDICTIONS.format(**asdict(model.spec.target)),
            parameters=_details(model),
            requestBody={"required": True, "content": {JSON: body}},
        )

    def _add_sample(self, model: Model, record: JSONSchema, broken: Answers) -> None:
        path = self._links["sample"]
        two = example("Two records", generate_rows(model.spec, 2, seed=1), request("GET", f"{path}?n=2&seed=1"))
        refused = examples.problem(
            400, f"The query parameter n must be a whole number from 1 to {parameters.MAX_SAMPLE}."
        )
        schema = {"type": "array", "items": record, "minItems": 1, "maxItems": parameters.MAX_SAMPLE}
        answers = {
            "200": answer("Valid records.", JSON, schema, {"two": two}),
            "400": problem(
                "A parameter is not what it should be; the detail names it.",
                {"none": example("No record", refused, request("GET", f"{path}?n=0"))},
            ),
        }
        n = _query("n", "How many records", 1, parameters.MAX_SAMPLE)
        n["schema"]["default"] = parameters.DEFAULT_SAMPLE
        seed = _query("seed", "The same seed gives the same records; without it they differ", 0, parameters.MAX_SEED)
        self._add("sample", "get", answers | broken, description=_SAMPLE, parameters=[n, seed])


def _body(record: JSONSchema, max_rows: int) -> JSONSchema:
    """What is answered with 200: an array in which at least one record is valid; one valid record; no record."""
    anything = {"title": "Anything else", "description": "An error of this record alone"}
    array = {
        "title": "Array of records",
        "description": "At least one of them is valid.",
        "type": "array",
        "maxItems": max_rows,
        "items": {"anyOf": [record, anything]},
        "contains": record,
    }
    return {"anyOf": [array, record, {"title": "No record", "type": "array", "maxItems": 0}]}


def _details(model: Model) -> list[dict[str, Any]]:
    """What a prediction can be asked for beside itself."""
    level = {
        "name": "interval",
        "in": "query",
        "description": f"Share of the cases in which the truth lies within the interval; {BEYOND}",
        "schema": {"type": "number", "minimum": LOWEST, "maximum": HIGHEST},
    }
    count = _query(
        "explain",
        "Explain each prediction by so many contributions, the strongest, and the rest as one number",
        1,
        parameters.MAX_CONTRIBUTIONS,
    )
    flag = {
        "name": "warnings",
        "in": "query",
        "description": "Whether to say what was imputed, never seen, out of range or contradictory",
        "schema": {"type": "boolean", "default": False},
    }
    return [count, flag] if examples.lacks_intervals(model) else [level, count, flag]


def _query(name: str, text: str, low: int, high: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return {"name": name, "in": "query", "description": text, "schema": schema}
