"""Liveness and readiness."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, request

from ml_api.connection import IS_STOPPING
from ml_api.models.registry import RETRY_AFTER, Registry
from ml_api.settings import Settings
from ml_api.views import problems, responses


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/health`` and ``/health/ready``, and what other protocols ask instead: ``/ping`` and ``/v2/health``."""
    views = Blueprint("health", __name__)

    @views.get("/health")
    def alive() -> Response:
        return responses.status("ok")

    @views.get("/health/ready")
    def ready() -> Response:
        return render_ready()

    def render_ready(name: str | None = None) -> Response:
        fault = find_fault(registry, name)
        if fault is None:
            return responses.status("ready")
        detail, faults = fault
        return problems.problem(503, detail, [("Retry-After", str(RETRY_AFTER))], models=faults)

    if settings.invocations is not None:

        @views.get("/ping")
        def ping() -> Response:
            # Of the model that /invocations is for: a platform replaces a server that is not ready.
            return render_ready(registry.default_name(settings.default_model))

    if settings.v2:
        from ml_api.controllers import v2  # noqa: PLC0415  most servers do not speak it

        v2.add_health(views, registry)
    return views


def find_fault(registry: Registry, name: str | None = None) -> tuple[str, Mapping[str, str]] | None:
    """Return why the server, or one of its models, is not ready, in a sentence and by model; ``None`` if it is."""
    if IS_STOPPING in request.environ:
        return "The server is stopping.", {}
    faults = registry.faults()
    if name is not None:
        faults = {name: faults[name]} if name in faults else {}
        if name not in registry.names:
            return f"There is no model {name}.", {}
    if not faults and registry.names:
        return None
    return "; ".join(f"{name}: {reason}" for name, reason in faults.items()) or "No model is installed.", faults
