"""A Docker client for tests, and containers that do not outlive them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from uuid import uuid4

from local_index import free_port

#: As production should start it; the memory is what the service must do with.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m")
#: Health is asked often, so that no test waits for it.
IMPATIENT = ("--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "2")
PATIENCE = 60.0
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Built:
    """The image, and what could be seen while it was made.

    Attributes:
        name: of the image.
        output: of the whole build.
        command_lines: of every process of the machine, the build's own among them.
        artifact_sha256: what should be inside.
    """

    name: str
    output: str
    command_lines: str
    artifact_sha256: str


class Docker:
    """The client that ``DOCKER`` names; called with arguments, it returns what it printed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.client = environ["DOCKER"]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.client, *arguments], env=self.environ, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def logs(self, name: str) -> str:
        """All that a container has written."""
        return subprocess.run(
            [self.client, "logs", name],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout

    @contextmanager
    def container(self, image: str, *options: str) -> Generator[Container]:
        """A running container of the service, on a free port of this machine."""
        name, port = f"ml-api-test-{uuid4().hex[:12]}", free_port()
        settings = ("--env", f"PORT={port}", "--env", "HOST=127.0.0.1")
        self("run", "--detach", "--name", name, "--network", "host", *HARDENED, *settings, *options, image)
        try:
            yield Container(self, name, port)
        finally:
            self("rm", "--force", "--volumes", name)


class Container:
    """A container of the service."""

    def __init__(self, docker: Docker, name: str, port: int) -> None:
        self.docker, self.name, self.port = docker, name, port

    @property
    def state(self) -> Any:
        """What the engine knows of it."""
        return json.loads(self.docker("inspect", "--format", "{{json .State}}", self.name))

    @property
    def log(self) -> str:
        """All that it has written."""
        return self.docker.logs(self.name)

    def becomes(self, health: str) -> Any:
        """Wait until the engine calls it that; returns its health."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.state)["Health"]["Status"] != health:
            assert found["Running"], self.log
            assert time.monotonic() < deadline, f"{found['Health']}\n{self.log}"
            time.sleep(0.1)
        return found["Health"]

    def execute(self, *command: str) -> str:
        """What a program prints inside."""
        return self.docker("exec", self.name, *command)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and document of one request; waits while the service starts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
                response = connection.getresponse()
                return response.status, json.loads(response.read())
            except (ConnectionRefusedError, HTTPException):
                assert time.monotonic() < deadline, self.log
                time.sleep(0.1)
            finally:
                connection.close()
