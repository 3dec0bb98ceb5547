"""Metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import NotFound

from ml_api.connection import leave_loop
from ml_api.metrics.exposition import CONTENT_TYPE, exposition
from ml_api.models.registry import Registry


class PortCheck:
    """Serves ``/metrics`` on a port of its own only, and nothing else there but the health checks.

    Args:
        port: that of ``/metrics``.
    """

    def __init__(self, port: int) -> None:
        self._port = str(port)

    def __call__(self, request: Request) -> None:
        """Check a request.

        Raises:
            NotFound: its path does not exist on its port.
        """
        is_for_metrics = request.blueprint == "metrics"
        if request.blueprint != "health" and is_for_metrics != (request.environ["SERVER_PORT"] == self._port):
            raise NotFound


def blueprint(registry: Registry, folder: Path) -> Blueprint:
    """Create ``/metrics``."""
    views = Blueprint("metrics", __name__)

    @views.get("/metrics")
    def metrics() -> Response:
        leave_loop(request.environ)
        return Response(exposition(folder, registry), content_type=CONTENT_TYPE)

    return views
