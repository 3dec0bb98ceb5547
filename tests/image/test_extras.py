"""The image with every optional lock, as a real Docker engine builds and runs it: `make test-image`."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from docker_client import IMPATIENT, Built, Container, Docker
from ml_api.prediction_log.database import Database
from ml_api.settings import LogSettings
from ml_api.views.media_types import ARROW, CSV
from project import Project

if "TEST_IMAGE" not in os.environ:
    pytest.skip("needs a Docker engine: make test-image", allow_module_level=True)

#: As docs/container.md names them.
EXTRAS = ("SCIKIT_LEARN", "OPERATIONS", "LOG", "OTEL", "TABLES")
#: What each needs to be used; nothing listens where traces go.
SETTINGS = {
    "ARROW": "true",
    "METRICS": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "PREDICTION_LOG": "/log/log.db",
    "RATE_LIMIT": "1000/minute",
    "WEB_CONCURRENCY": "1",
}
LARGEST_MB = 800


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated prediction log that the image's user may write."""
    path = tmp_path_factory.mktemp("log") / "log.db"
    database = Database(LogSettings(f"sqlite:///{path}"))
    database.migrate()
    database.engine.dispose()
    path.parent.chmod(0o777)
    # SQLite may have left files beside it.
    for one in path.parent.iterdir():
        one.chmod(0o666)
    return path


@pytest.fixture(scope="module")
def full(
    docker: Docker, checkout: Project, credentials: dict[str, str], image: Built, log: Path
) -> Generator[Container]:
    """A container of the image with every extra."""
    name = f"{image.name}-full"
    options = " ".join([docker.environ.get("DOCKER_OPTIONS", ""), *(f"--build-arg {extra}=1" for extra in EXTRAS)])
    done = subprocess.run(
        [sys.executable, checkout.root / "scripts/image.py", "build"],
        env=docker.environ | credentials | {"IMAGE": name, "DOCKER_OPTIONS": options},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    settings = [part for pair in SETTINGS.items() for part in ("--env", "=".join(pair))]
    mount = ("--memory", "512m", "--mount", f"type=bind,source={log.parent},target=/log")
    with docker.container(name, *IMPATIENT, *mount, *settings) as container:
        container.becomes("healthy")
        yield container
    docker("image", "rm", "--force", name)


def test_tables_are_answered_as_records_are_and_every_extra_is_at_work(
    docker: Docker, image: Built, full: Container, log: Path
) -> None:
    url = f"http://127.0.0.1:{full.port}"
    (found,) = json.loads(docker("inspect", f"{image.name}-full"))
    assert found["Size"] < LARGEST_MB * 1_000_000
    with requests.Session() as session:
        session.trust_env = False
        sample = session.get(f"{url}/v1/models/regression/sample?n=7").json()
        expected = session.post(f"{url}/v1/predict/regression", json=sample).json()["predictions"]

        table = pa.Table.from_pylist(sample)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, list(sample[0]))
        lines.writeheader()
        lines.writerows(sample)
        for sent, body in ((ARROW, sink.getvalue().to_pybytes()), (CSV, text.getvalue().encode())):
            for wanted in (ARROW, CSV):
                headers = {"Content-Type": sent, "Accept": wanted}
                response = session.post(f"{url}/v1/predict/regression", data=body, headers=headers)
                assert (response.status_code, response.headers["Content-Type"].partition(";")[0]) == (200, wanted)
                if wanted == ARROW:
                    answered = pa.ipc.open_stream(response.content).read_all()["prediction"].to_pylist()
                else:
                    answered = [float(row["prediction"]) for row in csv.DictReader(io.StringIO(response.text))]
                assert answered == pytest.approx(expected, rel=1e-9)
        assert response.headers["RateLimit-Policy"]
        assert 'ml_api_rows_total{model="regression",result="scored"}' in session.get(f"{url}/metrics").text
    with sqlite3.connect(log) as connection:
        ((logged,),) = connection.execute("SELECT count(*) FROM predictions").fetchall()
    connection.close()
    assert logged == 5 * len(sample)
    # scikit-learn is there for models that need it, and is not imported for those here.
    assert full.execute("python", "-c", "import sklearn; print('found')") == "found\n"
    maps = full.execute("sh", "-c", "cat /proc/[0-9]*/maps")
    assert "pyarrow" in maps
    assert "sklearn" not in maps
