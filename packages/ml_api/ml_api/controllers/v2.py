"""The Open Inference Protocol V2, as Triton, KServe and MLServer speak it; imported if it is switched on."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response
from flask.globals import request_ctx
from model_kit.errors import ModelKitError
from model_kit.scoring.predictor import Predictor
from werkzeug.exceptions import NotFound, ServiceUnavailable

from ml_api import __version__
from ml_api.controllers import health, lookup
from ml_api.controllers.predict import Respond
from ml_api.models.registry import RETRY_AFTER, Registry
from ml_api.settings import Settings
from ml_api.views import media_types, requests, responses, v2
from ml_api.views.media_types import JSON, TENSORS
from ml_api.views.parameters import DetailOptions

render_error = v2.error
#: Paths of a model; the second is that of one of its versions.
_MODEL = ("/v2/models/<name>", "/v2/models/<name>/versions/<version>")


def add_health(views: Blueprint, registry: Registry) -> None:
    """Add ``/v2/health/live`` and ``/v2/health/ready``."""

    @views.get("/v2/health/live", endpoint="v2 live")
    def live() -> Response:
        return responses.json_response({"live": True})

    @views.get("/v2/health/ready", endpoint="v2 ready")
    def ready() -> Response:
        fault = health.find_fault(registry)
        response = responses.json_response({"ready": fault is None}, 200 if fault is None else 503)
        if fault is not None:
            response.headers["Retry-After"] = str(RETRY_AFTER)
        return response


def blueprint(registry: Registry) -> Blueprint:
    """Create ``/v2``, and the metadata and the readiness of models."""
    views = Blueprint("v2", __name__)

    @views.get("/v2")
    def server() -> Response:
        return responses.json_response(v2.describe_server(__version__))

    def model(name: str, version: str | None = None) -> Response:
        return responses.json_response(v2.describe_model(name, _predictor(registry, name, version).model))

    def ready(name: str, version: str | None = None) -> Response:
        found = _predictor(registry, name, version).model
        try:
            found.check()
        except ModelKitError as error:
            raise ServiceUnavailable(str(error), retry_after=RETRY_AFTER) from error
        return responses.json_response({"name": name, "ready": True})

    for number, path in enumerate(_MODEL):
        views.add_url_rule(path, f"model {number}", model)
        views.add_url_rule(f"{path}/ready", f"ready {number}", ready)
    return views


def add_infer(views: Blueprint, registry: Registry, settings: Settings, respond: Respond) -> None:
    """Add ``/v2/models/<name>/infer``."""

    def infer(name: str, version: str | None = None) -> Response:
        request = request_ctx.request
        predictor = _predictor(registry, name, version)
        spec = predictor.model.spec
        length = request.headers.get(v2.JSON_LENGTH)
        # Triton's client names no type.
        media_types.of_body(request, (JSON,) if length is None else (TENSORS, JSON), default=JSON)
        body = requests.read_body(request, settings.max_body_bytes)
        sent = v2.parse(body, length, spec, max_rows=settings.max_rows)
        has_probabilities = spec.target.is_class and sent.wants(v2.PROBABILITIES)
        return respond(
            name,
            predictor,
            sent.records,
            partial(v2.render, sent, name, spec.target),
            options=DetailOptions(probabilities=True) if has_probabilities else None,
            is_pinned=version is not None,
        )

    for number, path in enumerate(_MODEL):
        views.add_url_rule(f"{path}/infer", f"infer {number}", infer, methods=["POST"])


def _predictor(registry: Registry, name: str, version: str | None) -> Predictor:
    """Return the predictor of a model.

    Raises:
        NotFound: there is no such model, or it has another version.
        ServiceUnavailable: it could not be loaded.
    """
    found = lookup.predictor(registry, name)
    if version is not None and version != found.model.version:
        raise NotFound(f"The model {name} has no version of that name here; it has {found.model.version}.")
    return found
