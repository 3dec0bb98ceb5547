"""The shape of every response, as marshmallow schemas: the document is made of them, responses held to them."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, RAISE, Schema, fields, validate
from model_kit.spec import KINDS

_MESSAGES = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


def _says(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text} | more


class ClosedSchema(Schema):
    """Has the members it lists and no other."""

    class Meta:
        unknown = RAISE


class OpenSchema(Schema):
    """May have members that it does not list."""

    class Meta:
        unknown = INCLUDE


class StatusSchema(ClosedSchema):
    """``GET /health`` and a positive ``GET /health/ready``."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "ready"]))


class VersionSchema(ClosedSchema):
    """``GET /version``."""

    model_version = fields.String(
        required=True, allow_none=True, metadata=_says("Version of the default model, null without one")
    )
    api_version = fields.String(required=True, metadata=_says("Version of this API"))
    git_commit = fields.String(
        required=True, allow_none=True, metadata=_says("What this API was built from, null where nobody said")
    )
    models = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.Dict(),
        metadata=_says("Lineage of each model; an error instead where it could not be loaded"),
    )


class BaselineSchema(ClosedSchema):
    """What a record is compared with."""

    name = fields.String(required=True, metadata=_says("In words"))
    prediction = fields.Float(required=True, metadata=_says("In the target's unit"))


_PERCENT = _says("The effect as percent of the prediction; null where the estimator's scale is no logarithm")
_AMOUNT = _says("The effect in the target's unit: baseline and all amounts sum to the prediction")


class ContributionSchema(ClosedSchema):
    """What one field, or a group of fields that only make sense together, adds to the baseline's prediction."""

    field = fields.String(required=True, metadata=_says("The field, or the first of the group"))
    value = fields.Raw(required=True, allow_none=True, metadata=_says("As it was sent; null if it was not"))
    together = fields.Dict(
        required=True,
        allow_none=True,
        keys=fields.String(),
        metadata=_says("The other fields of the group as they were sent; null for a field on its own"),
    )
    effect = fields.Float(required=True, metadata=_says("Shapley value on the estimator's own scale"))
    percent = fields.Float(required=True, allow_none=True, metadata=_PERCENT)
    amount = fields.Float(required=True, metadata=_AMOUNT)


class RestSchema(ClosedSchema):
    """All other contributions as one."""

    effect = fields.Float(required=True, metadata=_says("What all effects lack to the prediction"))
    percent = fields.Float(required=True, allow_none=True, metadata=_PERCENT)
    amount = fields.Float(required=True, metadata=_AMOUNT)
    fields = fields.Integer(  # type: ignore[assignment]
        required=True,
        strict=True,
        validate=validate.Range(min=0),
        metadata=_says("How many; a group counts as one, and what is as in the baseline is none"),
    )


class ExplanationSchema(ClosedSchema):
    """Why a record is predicted what it is: baseline, contributions and rest sum to its prediction."""

    baseline = fields.Nested(BaselineSchema, required=True)
    contributions = fields.List(
        fields.Nested(ContributionSchema), required=True, metadata=_says("Strongest first, as many as asked for")
    )
    rest = fields.Nested(RestSchema, required=True)


class WarningSchema(ClosedSchema):
    """What a record was scored with and still deserves a word."""

    code = fields.String(
        required=True,
        metadata=_says("imputed, unseen_level, out_of_range, or a contradiction that the model declares"),
    )
    field = fields.String(required=True, metadata=_says("The field it is about, the first of several"))
    message = fields.String(required=True, metadata=_says("The same in words"))
    fields = fields.List(fields.String(), required=True, metadata=_says("All of them"))  # type: ignore[assignment]


class PredictionSchema(ClosedSchema):
    """``POST /v1/predict/<name>``, 200 and 422; what is not required is there where it was asked for."""

    predictions = fields.List(
        fields.Float(allow_none=True),
        required=True,
        metadata=_says("One element for each record, in order; null exactly where errors has its index"),
    )
    errors = fields.Dict(
        required=True,
        allow_none=True,
        keys=fields.String(validate=validate.Regexp(r"^(0|[1-9][0-9]*)$")),
        values=_MESSAGES,
        metadata=_says("Index of a record -> field (_schema for the record as a whole) -> what is wrong"),
    )
    version = fields.String(required=True, metadata=_says("Version of the model"))
    intervals = fields.List(
        fields.List(fields.Float(), validate=validate.Length(equal=2), allow_none=True),
        metadata=_says("Lowest and highest for each record; null exactly where there is no prediction"),
    )
    explanations = fields.List(
        fields.Nested(ExplanationSchema, allow_none=True),
        metadata=_says("One for each record; null where there is no prediction, or nothing finite to be told of it"),
    )
    warnings = fields.List(
        fields.List(fields.Nested(WarningSchema), allow_none=True),
        metadata=_says("What is to be said of each record; null exactly where there is no prediction"),
    )


class TargetSchema(ClosedSchema):
    """What a model predicts."""

    name = fields.String(required=True, metadata=_says("As the training data spells it"))
    unit = fields.String(required=True, metadata=_says("Unit of a prediction"))


class LinksSchema(ClosedSchema):
    """Where one model can be asked."""

    self = fields.String(required=True)
    predict = fields.String(required=True)
    sample = fields.String(required=True)


class ModelSummarySchema(ClosedSchema):
    """A model in a few words."""

    name = fields.String(required=True, metadata=_says("Last part of the URL"))
    status = fields.String(required=True, validate=validate.OneOf(["ready", "broken"]))
    reason = fields.String(required=True, allow_none=True, metadata=_says("Why it is broken"))
    version = fields.String(required=True, allow_none=True, metadata=_says("null if it could not be loaded"))
    target = fields.Nested(TargetSchema, required=True, allow_none=True)
    links = fields.Nested(LinksSchema, required=True)


class ModelsSchema(ClosedSchema):
    """``GET /v1/models``."""

    models = fields.List(fields.Nested(ModelSummarySchema), required=True)


class SpecTargetSchema(OpenSchema):
    """What is predicted, and on which scale."""

    name = fields.String(required=True)
    unit = fields.String(required=True)
    scale = fields.String(required=True, validate=validate.OneOf(["log", "identity"]))
    offset = fields.Float(required=True)


class SpecFieldSchema(OpenSchema):
    """One field as its model package declares it, with what training learned of it."""

    name = fields.String(required=True, metadata=_says("As the data spells it"))
    kind = fields.String(required=True, validate=validate.OneOf(KINDS))
    description = fields.String(required=True)
    group = fields.String(required=True)
    learned = fields.Dict(required=True, metadata=_says("Share missing, typical value, range, bins, codes"))


class SpecSchema(OpenSchema):
    """The content of ``spec.json``: the one table of fields."""

    format = fields.Integer(required=True, strict=True)
    target = fields.Nested(SpecTargetSchema, required=True)
    fields = fields.List(fields.Nested(SpecFieldSchema), required=True)  # type: ignore[assignment]


class GoldenSchema(OpenSchema):
    """A record of typical values with its prediction, recorded in training."""

    row = fields.Dict(required=True)
    prediction = fields.Float(required=True)


class ModelSchema(ClosedSchema):
    """``GET /v1/models/<name>``."""

    name = fields.String(required=True, metadata=_says("Last part of the URL"))
    version = fields.String(required=True)
    spec = fields.Nested(SpecSchema, required=True)
    card = fields.Dict(
        required=True, metadata=_says("The content of card.json: data, metrics, libraries and the training run")
    )
    golden = fields.Nested(GoldenSchema, required=True)
    links = fields.Nested(LinksSchema, required=True)


class ProblemSchema(OpenSchema):
    """Everything that is wrong: RFC 9457, ``application/problem+json``."""

    type = fields.String(required=True, metadata=_says("about:blank: the status says what kind of problem it is"))
    title = fields.String(required=True, metadata=_says("Phrase of the status"))
    status = fields.Integer(required=True, strict=True, metadata=_says("HTTP status"))
    detail = fields.String(required=True, metadata=_says("What is wrong with this request, in a sentence"))
    request_id = fields.String(required=True, metadata=_says("The same as in the header X-Request-ID and in the log"))


class NotReadySchema(ProblemSchema):
    """A negative ``GET /health/ready``."""

    models = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.String(),
        metadata=_says("Name -> why the model cannot be relied on"),
    )
