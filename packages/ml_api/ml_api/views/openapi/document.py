"""Builds the OpenAPI 3.1 document from the marshmallow schemas and the specs of the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from model_kit.scoring.protocol import Model

from ml_api import __version__
from ml_api.settings import Settings
from ml_api.views import responses
from ml_api.views.openapi.components import add_components
from ml_api.views.openapi.model_paths import ModelPaths
from ml_api.views.openapi.record import Records
from ml_api.views.openapi.security import add_rate_limit, add_schemes, limit_rates, require_keys
from ml_api.views.openapi.service_paths import (
    add_document,
    add_metrics,
    add_models,
    add_outcomes,
    add_service,
)

_DESCRIPTION = """\
Send records and receive one prediction or one error for each, in the order sent. No record is ever dropped.

All other errors use one format, `application/problem+json` (RFC 9457). Every response has the header `X-Request-ID`: \
the id that was sent, if it is 1 to 128 letters, digits and any of `._-`, otherwise a new one.

`HEAD` returns the headers of `GET` without the body. `OPTIONS` returns the allowed methods in the header `Allow` \
(component `Options`). A path that is not in this document returns 404 (component `NotFound`), except for the pages \
(`/`, `/try/<name>`, `/card/<name>`, `/docs`, `/redoc`) and their assets, which are for people. A request that is not \
valid HTTP, too long or too slow is rejected before routing with 400, 408, 414, 417 or 431 (components \
`MalformedRequest`, `RequestTimeout`, `URITooLong`, `ExpectationFailed`, `HeadersTooLarge`).

Each example of a response contains its request in `x-request`; the tests of this API send it.
"""


def build(
    models: Mapping[str, Model],
    broken: Mapping[str, str],
    version: Mapping[str, Any],
    settings: Settings,
) -> dict[str, Any]:
    """Build the document of an application.

    Args:
        models: name -> model, of the models that were loaded.
        broken: name -> reason, of the others; the document describes that their paths return 503.
        version: the body of ``/version``.
        settings: the limits on the records of a request.
    """
    plugin = MarshmallowPlugin()
    document = APISpec(
        title="Prediction API",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        security=[],
        # Relative to the URL of the document, which may have a prefix that this server does not know.
        servers=[{"url": ".", "description": "This server"}],
    )
    add_components(document)
    records = Records(document, plugin)
    names = sorted({*models, *broken})
    for name in names:
        paths = ModelPaths(document, name, names)
        if name in models:
            document.tag({"name": name, "description": f"Model `{name}`, version {models[name].version}"})
            paths.add(models[name], records.add(name, models[name].spec), settings)
        else:
            document.tag({"name": name, "description": f"Model `{name}`, which could not be loaded"})
            paths.add_broken(broken[name])
    if settings.prediction_log is not None:
        add_outcomes(document, settings.max_rows, names)
    if settings.v2 or settings.invocations is not None:
        from ml_api.views.openapi import protocol_paths  # noqa: PLC0415  most servers speak no other protocol

        if settings.v2:
            protocol_paths.add_v2(document, models, names, __version__)
        if settings.invocations is not None:
            default = names[0] if len(names) == 1 else settings.default_model
            protocol_paths.add_invocations(document, models.get(default), settings)
    add_models(document, responses.describe_models(models, broken))
    add_service(document, version)
    if settings.metrics and settings.metrics_port is None:
        add_metrics(document)
    add_document(document)
    if settings.needs_keys:
        add_schemes(document)
    if settings.rate_limit:
        add_rate_limit(document)
    built = document.to_dict()
    if settings.needs_keys:
        require_keys(built)
    if settings.rate_limit:
        limit_rates(built)
    if settings.v2:
        protocol_paths.add_v2_errors(built)  # after the responses of keys and limits
    return built
