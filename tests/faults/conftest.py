"""Services with a prediction log, and a PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from model_kit.testing import REFERENCE_OF_RIDES, write_ride_bundle

from installed import hide_other_models, install
from operated import ML_API, Serve, Service
from postgres import Postgres, running_postgres

PACKAGE = """
import os
from pathlib import Path

from model_kit.testing import load_rides


def load():
    return load_rides(Path(os.environ["RIDES_BUNDLE"]))
"""


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Starts services: ``serve(place, **environ)``, after ``ml-api migrate`` unless ``migrate=False``."""
    site = tmp_path / "site"
    install(site, "regression-model", "1.2.3", "[ml_api.models]\nrides = rides_package:load\n")
    (site / "rides_package.py").write_text(PACKAGE)
    hide_other_models(site)
    write_ride_bundle(tmp_path / "rides", reference=REFERENCE_OF_RIDES)
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)]),
        "RIDES_BUNDLE": str(tmp_path / "rides"),
        "WEB_CONCURRENCY": "2",
    }
    started: list[Service] = []

    def start(place: str, *, migrate: bool = True, **settings: str) -> Service:
        if migrate:
            run = [sys.executable, "-m", "ml_api.cli", "migrate"]
            subprocess.run(run, cwd=ML_API, env=environ | {"PREDICTION_LOG": place}, check=True, capture_output=True)
        folder = tmp_path / f"service{len(started)}"
        folder.mkdir()
        started.append(Service(folder, place, environ | settings))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.stop()


@pytest.fixture
def postgres() -> Generator[Postgres]:
    """A PostgreSQL server that runs."""
    with running_postgres() as server:
        yield server
