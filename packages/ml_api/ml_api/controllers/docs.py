"""The OpenAPI document and the pages that display it."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from ml_api import __version__
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import assets, cached, pages, responses
from ml_api.views.openapi.document import build


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/openapi.json``, ``/docs``, ``/redoc`` and the assets of these pages."""
    views = Blueprint("docs", __name__)

    @cache  # built on the first request, so that it does not delay startup
    def document() -> cached.Content:
        version = responses.describe_version(
            registry.default_version(settings.default_model),
            __version__,
            settings.git_commit,
            registry.lineages(),
        )
        built = build(registry.models(), registry.broken, version, settings)
        return cached.Content(responses.encode(built), "application/json")

    @views.get("/openapi.json")
    def openapi() -> Response:
        return document().response(request)

    @views.get("/docs")
    def docs() -> Response:
        return pages.docs()

    @views.get("/redoc")
    def redoc() -> Response:
        return pages.redoc()

    @views.get("/docs/assets/<file>")
    def asset(file: str) -> Response:
        if file not in assets.CONTENT_TYPES:
            raise NotFound
        content = assets.asset(file)
        current = request.args.get("v") == content.digest
        return content.response(request, cached.IMMUTABLE if current else cached.REVALIDATE)

    return views
