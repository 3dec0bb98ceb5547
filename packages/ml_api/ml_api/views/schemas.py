"""marshmallow schemas of all responses; the OpenAPI document is generated from them, and tests validate responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import INCLUDE, RAISE, Schema, ValidationError, fields, validate, validates_schema
from model_kit.spec import KINDS, ClassValue

_MESSAGES = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


def _describe(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text} | more


class ClosedSchema(Schema):
    """Has only the listed members."""

    class Meta:
        unknown = RAISE


class OpenSchema(Schema):
    """May have members that are not listed."""

    class Meta:
        unknown = INCLUDE


class StatusSchema(ClosedSchema):
    """``GET /health`` and a successful ``GET /health/ready``."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "ready"]))


class CandidateSchema(ClosedSchema):
    """Another version of a model: a shadow, which scores the same records, or a canary, which serves some callers."""

    version = fields.String(required=True, allow_none=True, metadata=_describe("Its version; null until it is loaded"))
    state = fields.String(
        required=True, validate=validate.OneOf(["starting", "ready", "restarting", "cut off", "refused"])
    )
    reason = fields.String(required=True, allow_none=True, metadata=_describe("Why it is not ready; else null"))
    share = fields.Float(metadata=_describe("Of a canary, the share of the callers that it serves"))


class VersionSchema(ClosedSchema):
    """``GET /version``."""

    model_version = fields.String(
        required=True, allow_none=True, metadata=_describe("Version of the default model; null if it is not loaded")
    )
    api_version = fields.String(required=True, metadata=_describe("Version of this API"))
    git_commit = fields.String(
        required=True, allow_none=True, metadata=_describe("Git commit that this API was built from; null if unknown")
    )
    models = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.Dict(),
        metadata=_describe("Lineage of each model, or an error if it could not be loaded"),
    )
    candidates = fields.Dict(
        keys=fields.String(),
        values=fields.Dict(
            keys=fields.String(validate=validate.OneOf(["shadow", "canary"])), values=fields.Nested(CandidateSchema)
        ),
        metadata=_describe("Model -> its shadow and its canary; absent if the server has no candidates"),
    )


class BaselineSchema(ClosedSchema):
    """The typical record that a record is compared with."""

    name = fields.String(required=True, metadata=_describe("Its name, for display"))
    prediction = fields.Float(required=True, metadata=_describe("Its prediction, in the target's unit"))


_PERCENT = _describe("The effect in percent of the prediction; null if the estimator's scale is not logarithmic")
_AMOUNT = _describe("The effect in the target's unit; baseline and all amounts add up to the prediction")


class WordSchema(ClosedSchema):
    """What a word of a text adds to the score."""

    text = fields.String(required=True, metadata=_describe("The word, or n-gram, as the model has it"))
    effect = fields.Float(required=True, metadata=_describe("On the estimator's scale, before calibration"))


class ContributionSchema(ClosedSchema):
    """The effect of one field, or of a group of fields that only make sense together, on the prediction."""

    field = fields.String(required=True, metadata=_describe("The field, or the first of the group"))
    value = fields.Raw(required=True, allow_none=True, metadata=_describe("Value as sent; null if it was not sent"))
    together = fields.Dict(
        required=True,
        allow_none=True,
        keys=fields.String(),
        metadata=_describe("The group's other fields, as sent; null for a single field"),
    )
    effect = fields.Float(required=True, metadata=_describe("Shapley value on the estimator's scale"))
    percent = fields.Float(required=True, allow_none=True, metadata=_PERCENT)
    amount = fields.Float(required=True, metadata=_AMOUNT)
    words = fields.List(
        fields.Nested(WordSchema), metadata=_describe("Of a text, the words with the strongest effects")
    )


class RestSchema(ClosedSchema):
    """The sum of all other contributions."""

    effect = fields.Float(required=True, metadata=_describe("Sum of the remaining effects"))
    percent = fields.Float(required=True, allow_none=True, metadata=_PERCENT)
    amount = fields.Float(required=True, metadata=_AMOUNT)
    fields = fields.Integer(  # type: ignore[assignment]
        required=True,
        strict=True,
        validate=validate.Range(min=0),
        metadata=_describe("Number of contributions; a group counts as one, an unchanged field as none"),
    )


class ExplanationSchema(ClosedSchema):
    """Explains a prediction: baseline, contributions and rest add up to it."""

    baseline = fields.Nested(BaselineSchema, required=True)
    contributions = fields.List(
        fields.Nested(ContributionSchema), required=True, metadata=_describe("Strongest first, as many as requested")
    )
    rest = fields.Nested(RestSchema, required=True)


class WarningSchema(ClosedSchema):
    """Something unusual about a record that was scored nevertheless."""

    code = fields.String(
        required=True,
        metadata=_describe(
            "imputed, unseen_level, out_of_range, misspelt_field, or the code of a declared contradiction"
        ),
    )
    field = fields.String(required=True, metadata=_describe("The field concerned; the first of several"))
    message = fields.String(required=True, metadata=_describe("Message for display"))
    fields = fields.List(fields.String(), required=True, metadata=_describe("All fields concerned"))  # type: ignore[assignment]


_PREDICTIONS = _describe("One element for each record, in order; null exactly if errors has its index")


class PredictionSchema(ClosedSchema):
    """``POST /v1/predict/<name>``, 200 and 422; the optional members are present if requested."""

    predictions = fields.List(
        fields.Float(allow_none=True),
        required=True,
        metadata=_PREDICTIONS,
    )
    errors = fields.Dict(
        required=True,
        allow_none=True,
        keys=fields.String(validate=validate.Regexp(r"^(0|[1-9][0-9]*)$")),
        values=_MESSAGES,
        metadata=_describe("Index of a record -> field (_schema for the record as a whole) -> messages"),
    )
    version = fields.String(required=True, metadata=_describe("Version of the model"))
    intervals = fields.List(
        fields.List(fields.Float(), validate=validate.Length(equal=2), allow_none=True),
        metadata=_describe("Lower and upper bound for each record; null exactly if it has no prediction"),
    )
    explanations = fields.List(
        fields.Nested(ExplanationSchema, allow_none=True),
        metadata=_describe("One for each record; null if it has no prediction, or its contributions are not finite"),
    )
    warnings = fields.List(
        fields.List(fields.Nested(WarningSchema), allow_none=True),
        metadata=_describe("Warnings for each record; null exactly if it has no prediction"),
    )


def class_prediction(identifier: str, classes: Sequence[ClassValue]) -> type[PredictionSchema]:
    """Create the schema of predictions of one of ``classes``; ``identifier`` makes its name unique."""
    one_of = validate.OneOf(classes)

    def value(**more: Any) -> fields.Field[Any]:
        if isinstance(classes[0], bool):
            return fields.Boolean(**more)
        if isinstance(classes[0], int):
            return fields.Integer(strict=True, validate=one_of, **more)
        return fields.String(validate=one_of, **more)

    probability = fields.Float(validate=validate.Range(0, 1))
    members = {
        "__doc__": PredictionSchema.__doc__,
        "predictions": fields.List(value(allow_none=True), required=True, metadata=_PREDICTIONS),
        "probabilities": fields.List(
            fields.Dict(keys=fields.String(), values=probability, allow_none=True),
            metadata=_describe("Class -> its probability, for each record; null exactly if it has no prediction"),
        ),
        "intervals": fields.List(
            fields.List(value(), validate=validate.Length(min=1), allow_none=True),
            metadata=_describe("Set of plausible classes for each record; null exactly if it has no prediction"),
        ),
    }
    return type(f"ClassPrediction_{identifier}Schema", (PredictionSchema,), members)


class V2ErrorSchema(ClosedSchema):
    """An error in the Open Inference Protocol V2."""

    error = fields.String(required=True, metadata=_describe("Description of the error in one sentence"))


class V2LiveSchema(ClosedSchema):
    """``GET /v2/health/live``."""

    live = fields.Boolean(required=True)


class V2ReadySchema(ClosedSchema):
    """``GET /v2/health/ready``."""

    ready = fields.Boolean(required=True)


class V2ServerSchema(ClosedSchema):
    """``GET /v2``."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    extensions = fields.List(fields.String(), required=True)


class V2TensorSchema(ClosedSchema):
    """What a tensor is."""

    name = fields.String(required=True)
    datatype = fields.String(required=True)
    shape = fields.List(fields.Integer(strict=True), required=True, metadata=_describe("-1: any number of rows"))


class V2ModelSchema(ClosedSchema):
    """``GET /v2/models/<name>``."""

    name = fields.String(required=True)
    versions = fields.List(fields.String(), required=True)
    platform = fields.String(required=True)
    inputs = fields.List(fields.Nested(V2TensorSchema), required=True)
    outputs = fields.List(fields.Nested(V2TensorSchema), required=True)


class V2ModelReadySchema(ClosedSchema):
    """``GET /v2/models/<name>/ready``."""

    name = fields.String(required=True)
    ready = fields.Boolean(required=True)


_ELEMENTS = fields.List(fields.Raw(allow_none=True), metadata=_describe("Row by row; absent if they are binary"))


class V2OutputSchema(V2TensorSchema):
    """A tensor of an answer."""

    parameters = fields.Dict(keys=fields.String(), metadata=_describe("binary_data_size of binary data"))
    data = _ELEMENTS


class V2InputSchema(OpenSchema):
    """A tensor of a request: the values of one field."""

    name = fields.String(required=True, metadata=_describe("The field"))
    datatype = fields.String(required=True)
    shape = fields.List(
        fields.Integer(strict=True),
        required=True,
        metadata=_describe("[n] or [n, 1]; of a single input that has all fields, [n, fields]"),
    )
    parameters = fields.Dict(keys=fields.String())
    data = _ELEMENTS


class V2WantedSchema(OpenSchema):
    """An output that is asked for."""

    name = fields.String(required=True)
    parameters = fields.Dict(keys=fields.String())


class V2RequestSchema(OpenSchema):
    """``POST /v2/models/<name>/infer``."""

    id = fields.String()
    parameters = fields.Dict(keys=fields.String())
    inputs = fields.List(fields.Nested(V2InputSchema), required=True)
    outputs = fields.List(fields.Nested(V2WantedSchema))


class V2InferSchema(ClosedSchema):
    """``POST /v2/models/<name>/infer``, 200 and 422."""

    model_name = fields.String(required=True)
    model_version = fields.String(required=True)
    id = fields.String(metadata=_describe("As it was sent"))
    outputs = fields.List(fields.Nested(V2OutputSchema), required=True)
    error = fields.String(metadata=_describe("If no row was scored: what is wrong with the first"))


class InvocationsSchema(ClosedSchema):
    """``POST /invocations`` of MLflow, 200 and 422."""

    predictions = fields.List(fields.Raw(allow_none=True), required=True, metadata=_PREDICTIONS)
    errors = fields.Dict(
        keys=fields.String(), values=_MESSAGES, metadata=_describe("As in other predictions; absent if there are none")
    )


class OutcomeSchema(ClosedSchema):
    """What came true for one record: an item of ``POST /v1/outcomes``."""

    id = fields.String(
        validate=validate.Regexp(r"^[0-9a-f]{32}/(0|[1-9][0-9]{0,8})$", error="Must be <Prediction-Id>/<row>."),
        metadata=_describe("Header Prediction-Id of the prediction, a slash, and the index of the record"),
    )
    inference_id = fields.String(
        validate=validate.Length(1, 128), metadata=_describe("Your own id of the record, instead; needs model")
    )
    model = fields.String(metadata=_describe("Name of the model that predicted"))
    value = fields.Raw(required=True, metadata=_describe("The true number, or the true class as the data spells it"))

    @validates_schema
    def check_identity(self, data: dict[str, Any], **_: Any) -> None:
        """Check that one prediction is meant."""
        if "inference_id" in data and "model" not in data:
            raise ValidationError("Missing data for required field, beside inference_id.", "model")
        if "inference_id" not in data and "id" not in data:
            raise ValidationError("Either id or inference_id is required.")


class OutcomeResultSchema(ClosedSchema):
    """What became of one outcome."""

    status = fields.String(
        required=True, validate=validate.OneOf(["recorded", "unchanged", "conflict", "unknown", "invalid"])
    )
    detail = fields.String(required=True, allow_none=True, metadata=_describe("Why it is not recorded; else null"))


class OutcomeResultsSchema(ClosedSchema):
    """``POST /v1/outcomes``."""

    results = fields.List(
        fields.Nested(OutcomeResultSchema), required=True, metadata=_describe("One for each outcome, in order")
    )
    counts = fields.Dict(
        required=True, keys=fields.String(), values=fields.Integer(), metadata=_describe("Status -> its results")
    )


class TargetSchema(ClosedSchema):
    """The number or class that a model predicts."""

    name = fields.String(required=True, metadata=_describe("Column of the training data"))
    unit = fields.String(metadata=_describe("Unit of predicted numbers; empty if they have none"))
    classes = fields.List(
        fields.Raw(metadata=_describe("A class, as the data spells it")),
        metadata=_describe("The classes, one of which is predicted"),
    )


class LinksSchema(ClosedSchema):
    """Paths of one model, below the URL of this server."""

    self = fields.String(required=True, metadata=_describe("Path of the spec and card, below the server's URL"))
    predict = fields.String(required=True, metadata=_describe("Path of predictions, below the server's URL"))
    sample = fields.String(required=True, metadata=_describe("Path of sample records, below the server's URL"))


class ModelSummarySchema(ClosedSchema):
    """Summary of a model."""

    name = fields.String(required=True, metadata=_describe("Last part of its URL"))
    status = fields.String(required=True, validate=validate.OneOf(["ready", "broken"]))
    reason = fields.String(required=True, allow_none=True, metadata=_describe("Reason if the model is broken"))
    version = fields.String(
        required=True, allow_none=True, metadata=_describe("Version of the model; null if it could not be loaded")
    )
    target = fields.Nested(TargetSchema, required=True, allow_none=True)
    links = fields.Nested(LinksSchema, required=True)
    shadow = fields.Nested(CandidateSchema, metadata=_describe("Scores the same records; absent if there is none"))
    canary = fields.Nested(CandidateSchema, metadata=_describe("Serves some callers; absent if there is none"))


class ModelsSchema(ClosedSchema):
    """``GET /v1/models``."""

    models = fields.List(fields.Nested(ModelSummarySchema), required=True)


class SpecTargetSchema(OpenSchema):
    """A number that is predicted and the scale of the estimator, or the classes, one of which is predicted."""

    name = fields.String(required=True)
    unit = fields.String()
    scale = fields.String(validate=validate.OneOf(["log", "identity"]))
    offset = fields.Float()
    classes = fields.List(fields.Raw(metadata=_describe("A class, as the data spells it")))


class SpecFieldSchema(OpenSchema):
    """One field as its model package declares it, with its statistics from training."""

    name = fields.String(required=True, metadata=_describe("Name of its column in the data"))
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    description = fields.String(required=True)
    group = fields.String(required=True)
    learned = fields.Dict(
        required=True, metadata=_describe("Fraction of missing values, typical value, range, bins, codes")
    )


class SpecSchema(OpenSchema):
    """The content of ``spec.json``: the fields of the model."""

    format = fields.Integer(required=True, strict=True)
    target = fields.Nested(SpecTargetSchema, required=True)
    fields = fields.List(fields.Nested(SpecFieldSchema), required=True)  # type: ignore[assignment]


class GoldenSchema(OpenSchema):
    """A record of typical values with the prediction recorded in training."""

    row = fields.Dict(required=True)
    prediction = fields.Raw(required=True, metadata=_describe("A number, or a class"))


class ModelSchema(ClosedSchema):
    """``GET /v1/models/<name>``."""

    name = fields.String(required=True, metadata=_describe("Last part of its URL"))
    version = fields.String(required=True)
    spec = fields.Nested(SpecSchema, required=True)
    card = fields.Dict(
        required=True,
        metadata=_describe("The content of card.json: data, prose, metrics, errors, libraries and the training run"),
    )
    golden = fields.Nested(GoldenSchema, required=True)
    links = fields.Nested(LinksSchema, required=True)


class ProblemSchema(OpenSchema):
    """The format of all errors: RFC 9457, ``application/problem+json``."""

    type = fields.String(required=True, metadata=_describe("about:blank: the status is the type of the problem"))
    title = fields.String(required=True, metadata=_describe("Reason phrase of the status"))
    status = fields.Integer(required=True, strict=True, metadata=_describe("HTTP status"))
    detail = fields.String(required=True, metadata=_describe("Description of the error in one sentence"))
    request_id = fields.String(
        required=True, metadata=_describe("Id of the request, as in the header X-Request-ID and in the log")
    )


class NotReadySchema(ProblemSchema):
    """``GET /health/ready`` if a model is unavailable."""

    models = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.String(),
        metadata=_describe("Name -> reason why the model is unavailable"),
    )
