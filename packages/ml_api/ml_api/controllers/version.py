"""The versions of the API and of its models, and their lineage."""

from __future__ import annotations

from flask import Blueprint, Response

from ml_api import __version__
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/version``."""
    views = Blueprint("version", __name__)

    @views.get("/version")
    def version() -> Response:
        return responses.json_response(
            responses.describe_version(
                registry.default_version(settings.default_model),
                __version__,
                settings.git_commit,
                registry.lineages(),
            )
        )

    return views
