"""A gunicorn with the configuration of production and the house-price model, and a client that sends any bytes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from model_kit.training import dataset
from model_kit.training.train import train
from regression_model import DEFINITION

from project import ROOT

API = ROOT / "packages" / "ml_api"
NAME = "regression"
URL = f"/v1/predict/{NAME}"
VERSION = "1.2.3"
BOOT_SECONDS = 40
STOP_SECONDS = 30
PATIENCE = 10

PACKAGE = """
import os
from pathlib import Path

from model_kit.scoring.model import BundleModel
from regression_model.derive import derive


def load():
    return BundleModel.load(Path(os.environ["HOUSES_BUNDLE"]), derive, "1.2.3")
"""
DISTRIBUTION = "regression-model"
ENTRY_POINTS = "[ml_api.models]\nregression = houses_package:load\n"

#: What every hostile request carries somewhere, and no log may hold.
CANARY = "canary7f3a9"
CANARY_NUMBER = 31337.25

#: The least that can be priced.
HOUSE: dict[str, Any] = {"OverallQual": 5, "GrLivArea": 1500, "YearBuilt": 1975, "Neighborhood": "NAmes"}


def train_houses(folder: Path) -> None:
    """Write a bundle of the house-price model, trained on the synthetic sample."""
    train(DEFINITION, dataset.synthetic(DEFINITION), folder, cv=False)


def install_houses(site: Path) -> None:
    """Make ``site`` a folder in which the house-price model is installed, and no other that is installed elsewhere.

    On PYTHONPATH a distribution hides one of the same name behind it.
    """
    others = {point.dist.name for point in entry_points(group="ml_api.models") if point.dist} - {DISTRIBUTION}
    for name in (DISTRIBUTION, *others):
        announced = site / f"{name.replace('-', '_')}-{VERSION}.dist-info"
        announced.mkdir(parents=True)
        (announced / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n")
        (announced / "entry_points.txt").write_text(ENTRY_POINTS if name == DISTRIBUTION else "")
    (site / "houses_package.py").write_text(PACKAGE)


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its document."""
        return json.loads(self.body)


def answers(received: bytes) -> list[Answer]:
    """The responses in what came back on a connection; interim ones (100) are left out."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        length = int(headers.get("content-length", "0"))
        if status != 100:
            found.append(Answer(status, headers, received[:length]))
            received = received[length:]
    return found


def request(
    body: bytes | None = None,
    *headers: str,
    method: str = "POST",
    path: str = URL,
    content_type: str | None = "application/json",
    close: bool = True,
) -> bytes:
    """A request as bytes; with a body that is not ``None`` its Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if content_type is not None and body is not None:
        lines.append(f"Content-Type: {content_type}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Service:
    """A running gunicorn.

    Args:
        folder: where its logs go.
        bundle: the model.
        environ: further settings.
    """

    def __init__(self, folder: Path, bundle: Path, **environ: str) -> None:
        install_houses(folder / "site")
        self._out, self._err = folder / "out", folder / "err"
        self.workers = int(environ.setdefault("WEB_CONCURRENCY", "2"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {"HOST": "127.0.0.1", "PORT": str(self.port), "HOUSES_BUNDLE": str(bundle)}
        path = [str(folder / "site"), *(entry for entry in sys.path if entry)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=API,
                env=os.environ | settings | environ | {"PYTHONPATH": os.pathsep.join(path)},
                stdout=out,
                stderr=err,
            )
        give_up = time.monotonic() + BOOT_SECONDS
        while len(self.loaded) < self.workers:
            if time.monotonic() > give_up or self.process.poll() is not None:
                self.process.kill()
                raise AssertionError(f"gunicorn did not start:\n{self.log}")
            time.sleep(0.05)
        self.send(request(method="GET", path="/health"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that its processes have written."""
        return self._out.read_text() + self._err.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log of the application."""
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    @property
    def loaded(self) -> set[int]:
        """Ids of the processes that have loaded the model."""
        return {line["pid"] for line in self.lines if line["message"] == "model loaded"}

    @property
    def answered(self) -> int:
        """Requests that have their line in the log."""
        return sum(line["message"] == "request" for line in self.lines)

    @contextmanager
    def well(self, requests: int | None = None) -> Generator[None]:
        """Hold what happens inside to what must be true of every request, however hostile.

        Args:
            requests: how many are answered inside; ``None``: it does not matter.
        """
        answered, loaded = self.answered, self.loaded
        yield
        log = self.log
        assert CANARY not in log
        assert str(CANARY_NUMBER) not in log
        assert "Traceback" not in log
        assert [line for line in self.lines if line["level"] == "error"] == []
        assert not re.search(r"Worker .*exit|Worker timeout|was sent SIG|WORKER TIMEOUT", log, re.IGNORECASE), log
        assert self.loaded == loaded
        assert self.process.poll() is None
        if requests is not None:
            assert self.answered - answered == requests

    def connect(self, patience: float = PATIENCE) -> socket.socket:
        """A new connection, on which nothing takes longer."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=patience)

    def send(
        self, data: bytes, then: Callable[[socket.socket], None] = lambda _: None, patience: float = PATIENCE
    ) -> list[Answer]:
        """Everything that is answered to ``data`` until the server closes the connection.

        A server that closes while it is sent to may reset the connection; what came until then counts.
        """
        received = b""
        with self.connect(patience) as sock:
            try:
                sock.sendall(data)
                then(sock)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                while piece := sock.recv(65536):
                    received += piece
            except ConnectionResetError:
                pass
        return answers(received)

    def predict(self, body: Any) -> Answer:
        """The answer to records, or to bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        (answer,) = self.send(request(content))
        return answer

    def stop(self) -> float:
        """End it as a platform does; returns the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(STOP_SECONDS) == 0, self.log
        finally:
            self.process.kill()
        return time.monotonic() - started
