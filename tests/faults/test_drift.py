"""Drift is told without inputs in the log, by any worker, while workers and the database die."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from operated import ML_API, Serve, Service, wait_until
from postgres import Postgres

#: As in training, but for the zones of every fourth ride.
ROWS = [
    {
        "distance": (0.5, 2.0, 5.0, 20.0)[number % 4],
        "zone": "C" if number % 16 < 4 else "AAAAB"[number % 5],
        "passengers": (1, 2, None, 3, 1, 2, 3, 1, 1, 1)[number % 10],
        "comfort": "12"[number // 5 % 2] if number % 5 else None,
    }
    for number in range(500)
]
SETTINGS = {"METRICS": "true", "PREDICTION_LOG_INPUTS": "false"}


def ask(service: Service, method: str, path: str, body: Any = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    with closing(connection):
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()


def metrics(service: Service) -> dict[str, float]:
    lines = [line for line in ask(service, "GET", "/metrics")[1].splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def drift(service: Service) -> tuple[int, dict[str, Any]]:
    """Exit status and document of the command; 1 without models before anything is counted."""
    command = [sys.executable, "-m", "ml_api.cli", "drift", "--json"]
    done = subprocess.run(command, cwd=ML_API, env=service.environ, capture_output=True, text=True, check=False)
    if done.returncode == 1 and "there are no counts of any model" in done.stderr:
        return 1, {"models": []}
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def counted(service: Service) -> int:
    return sum(model["rows"] for model in drift(service)[1]["models"])


def test_drift_is_told_without_inputs_over_killed_workers(serve: Serve, tmp_path: Path) -> None:
    service = serve(str(tmp_path / "log.db"), **SETTINGS)
    assert ask(service, "POST", "/v1/predict/rides", ROWS)[0] == 200
    zone = 'ml_api_drift_drifted{field="zone",model="rides"}'
    wait_until(lambda: metrics(service).get(zone) == 1)
    assert metrics(service)['ml_api_drift_drifted{field="distance",model="rides"}'] == 0
    assert metrics(service)["ml_api_prediction_log_queued_rows"] == 0
    before = set(service.workers())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(set(service.workers()) - before) == 2 and service.status("/health/ready") == 200)
    # What was published is there, and counting goes on.
    assert metrics(service)[zone] == 1
    assert ask(service, "POST", "/v1/predict/rides", ROWS)[0] == 200
    wait_until(lambda: counted(service) == 2 * len(ROWS))
    status, document = drift(service)
    (model,) = document["models"]
    assert (status, document["verdict"]) == (3, "drifted")
    assert [one["field"] for one in model["fields"] if one["verdict"] == "drifted"] == ["zone"]


def test_database_that_dies_costs_no_count(serve: Serve, postgres: Postgres) -> None:
    service = serve(postgres.url, **SETTINGS, PREDICTION_LOG_REQUIRED="false", PREDICTION_LOG_TIMEOUT="1")
    assert ask(service, "POST", "/v1/predict/rides", ROWS)[0] == 200
    wait_until(lambda: counted(service) == len(ROWS))
    postgres.kill()
    assert ask(service, "POST", "/v1/predict/rides", ROWS)[0] == 200
    wait_until(lambda: len(service.lines("the counts for drift are not written")) > 0)
    postgres.start()
    wait_until(lambda: counted(service) == 2 * len(ROWS))
    assert drift(service)[0] == 3
    service.stop()
