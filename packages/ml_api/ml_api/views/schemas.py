"""The shape of every response, as marshmallow schemas; tests hold the responses to them."""

from __future__ import annotations

from marshmallow import INCLUDE, Schema, fields, validate

_MESSAGES = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class StatusSchema(Schema):
    """``GET /health`` and a positive ``GET /health/ready``."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "ready"]))


class VersionSchema(Schema):
    """``GET /version``."""

    model_version = fields.String(
        required=True, allow_none=True, metadata={"description": "Version of the default model, null without one"}
    )
    api_version = fields.String(required=True, metadata={"description": "Version of this API"})
    models = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.Dict(),
        metadata={"description": "Lineage of each model; an error instead where it could not be loaded"},
    )


class PredictionSchema(Schema):
    """``POST /v1/predict/<name>``, 200 and 422."""

    predictions = fields.List(
        fields.Float(allow_none=True),
        required=True,
        metadata={"description": "One element for each record, in order; null exactly where errors has its index"},
    )
    errors = fields.Dict(
        required=True,
        allow_none=True,
        keys=fields.String(validate=validate.Regexp(r"^(0|[1-9][0-9]*)$")),
        values=_MESSAGES,
        metadata={"description": "Index of a record -> field (_schema for the record as a whole) -> what is wrong"},
    )
    version = fields.String(required=True, metadata={"description": "Version of the model"})


class ProblemSchema(Schema):
    """Everything that is wrong: RFC 9457, ``application/problem+json``."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True, strict=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)
