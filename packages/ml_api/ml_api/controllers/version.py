"""The versions of the API and of its models, and their lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response

from ml_api import __version__
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import responses

if TYPE_CHECKING:
    from ml_api.candidates.connections import Candidates


def blueprint(registry: Registry, settings: Settings, candidates: Candidates | None = None) -> Blueprint:
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
                None if candidates is None else candidates.describe(),
            )
        )

    return views
