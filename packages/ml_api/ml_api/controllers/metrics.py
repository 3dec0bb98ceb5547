"""Metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from ml_api.connection import leave_loop
from ml_api.metrics.exposition import CONTENT_TYPE, exposition
from ml_api.models.registry import Registry


def blueprint(registry: Registry, folder: Path, port: int | None) -> Blueprint:
    """Create ``/metrics``; with a ``port`` of its own, it does not exist on the other one."""
    views = Blueprint("metrics", __name__)

    @views.get("/metrics")
    def metrics() -> Response:
        if port is not None and request.environ["SERVER_PORT"] != str(port):
            raise NotFound
        leave_loop(request.environ)
        return Response(exposition(folder, registry), content_type=CONTENT_TYPE)

    return views
