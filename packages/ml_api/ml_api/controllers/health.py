"""Liveness and readiness."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ml_api.connection import IS_STOPPING
from ml_api.models.registry import RETRY_AFTER, Registry
from ml_api.views import problems, responses


def blueprint(registry: Registry) -> Blueprint:
    """Create ``/health`` and ``/health/ready``."""
    views = Blueprint("health", __name__)

    @views.get("/health")
    def alive() -> Response:
        return responses.status("ok")

    @views.get("/health/ready")
    def ready() -> Response:
        if IS_STOPPING in request.environ:
            return problems.problem(503, "The server is stopping.", [("Retry-After", str(RETRY_AFTER))], models={})
        faults = registry.faults()
        if not faults and registry.names:
            return responses.status("ready")
        detail = "; ".join(f"{name}: {reason}" for name, reason in faults.items()) or "No model is installed."
        return problems.problem(503, detail, [("Retry-After", str(RETRY_AFTER))], models=faults)

    return views
