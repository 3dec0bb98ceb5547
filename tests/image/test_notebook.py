"""JupyterLab's image as a real Docker engine builds and runs it: `make test-image`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from uuid import uuid4

import pytest

from docker_client import Docker
from image import HARDENED
from local_index import free_port
from project import ROOT

if "TEST_IMAGE" not in os.environ:
    pytest.skip("needs a Docker engine: make test-image", allow_module_level=True)

PATIENCE = 120.0
IMPATIENT = ("--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "120")


class Lab:
    """A running container of JupyterLab, on the host's network."""

    def __init__(self, docker: Docker, name: str, port: int) -> None:
        self.docker, self.name, self.port = docker, name, port

    def status(self, path: str) -> int:
        """The status of a request; waits while JupyterLab starts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except (ConnectionRefusedError, HTTPException):
                assert time.monotonic() < deadline, self.docker.logs(self.name)
                time.sleep(0.2)
            finally:
                connection.close()


@pytest.fixture(scope="module")
def lab(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    image = f"ml-notebook-test-{os.getpid()}"
    name, port, work = f"{image}-{uuid4().hex[:8]}", free_port(), tmp_path_factory.mktemp("work")
    work.chmod(0o777)
    (work / "train_and_serve.ipynb").write_bytes((ROOT / "notebooks/train_and_serve.ipynb").read_bytes())
    build = [sys.executable, str(ROOT / "scripts/image.py"), "notebook"]
    done = subprocess.run(build, env=docker.environ | {"IMAGE": image}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    options = [*(one for one in HARDENED if one != "--rm"), "--init", "--tmpfs", "/tmp"]
    options += ["--mount", f"type=bind,source={work},target=/notebooks", "--network", "host"]
    options += ["--env", "JUPYTER_IP=127.0.0.1", "--env", f"JUPYTER_PORT={port}", *IMPATIENT]
    docker("run", "--detach", "--name", name, *options, image)
    try:
        yield Lab(docker, name, port)
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("image", "rm", "--force", image)


def test_it_is_healthy_and_listens_where_it_is_told_to(lab: Lab) -> None:
    deadline = time.monotonic() + PATIENCE
    while lab.docker("inspect", "--format", "{{.State.Health.Status}}", lab.name).strip() != "healthy":
        assert time.monotonic() < deadline, lab.docker.logs(lab.name)
        time.sleep(0.2)
    (listening,) = re.findall(
        rf"^ *\d+: ([0-9A-F]+):{lab.port:04X} 0+:0000 0A", Path("/proc/net/tcp").read_text(), re.MULTILINE
    )
    assert listening == "0100007F", "127.0.0.1 alone, though the network is the machine's"


def test_every_request_needs_the_token_that_the_log_has(lab: Lab) -> None:
    assert lab.status("/api") == 200
    assert lab.status("/api/contents") == 403
    assert lab.status("/api/contents?token=guess") == 403
    (token, *_) = re.findall(r"\?token=([0-9a-f]{48})", lab.docker.logs(lab.name))
    assert lab.status(f"/api/contents?token={token}") == 200
    assert lab.status(f"/api/contents/train_and_serve.ipynb?token={token}") == 200


def test_a_notebook_trains_and_serves_inside_and_saves_in_the_mounted_folder(lab: Lab) -> None:
    lab.status("/api")
    assert lab.docker("exec", lab.name, "id", "--user").strip() == "10001"
    execute = ("python", "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "done.ipynb")
    lab.docker("exec", lab.name, *execute, "/notebooks/train_and_serve.ipynb")
    source = lab.docker("inspect", "--format", "{{range .Mounts}}{{.Source}}{{end}}", lab.name).strip()
    assert "all within 0.001 of the estimator: True" in Path(source, "done.ipynb").read_text("utf-8")
