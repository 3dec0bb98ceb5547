"""The service as production starts it, under load, and what it answered."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeAlias

from project import ROOT

ML_API = ROOT / "packages/ml_api"
PATIENCE = 60
CLIENTS = 8


class Service:
    """A running service with two workers, and a log in ``place``."""

    def __init__(self, folder: Path, place: str, environ: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environ = {**environ, "PREDICTION_LOG": place, "PORT": str(self.port), "HOST": "127.0.0.1"}
        self.folder = folder
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ml_api"], cwd=ML_API, env=self.environ, stdout=out, stderr=err
            )
        wait_until(lambda: self.process.poll() is not None or self.status("/health/ready") == 200)
        assert self.process.poll() is None, (folder / "err").read_text()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        command = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        # ps fails if there are none.
        return [int(pid) for pid in subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()]

    def status(self, path: str) -> int:
        """Status of a page; 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status
        return 0

    def command(self, *arguments: str) -> str:
        """Run ``ml-api``; returns what it prints."""
        command = [sys.executable, "-m", "ml_api.cli", *arguments]
        done = subprocess.run(command, cwd=ML_API, env=self.environ, check=True, capture_output=True, text=True)
        return done.stdout

    def logged(self) -> dict[tuple[str, int], float]:
        """Prediction id and row -> prediction, of everything in the log."""
        rows = [json.loads(line) for line in self.command("log", "export").splitlines()]
        found = {(row["prediction_id"], row["row"]): row["prediction"] for row in rows}
        assert len(found) == len(rows)
        return found

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Lines of the service's log with a message."""
        lines = [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]
        return [line for line in lines if line["message"] == message]

    def stop(self) -> None:
        """Stop it as a platform does."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, (self.folder / "err").read_text()


class Load:
    """Clients that predict one or two rows at a time, and note what they were answered.

    Attributes:
        answered: prediction id and row -> prediction, of every answer.
        statuses: of the responses; 0: the connection was lost.
        retry_after: values of that header in responses with status 503.
        slowest: seconds of the slowest response.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered: dict[tuple[str, int], float] = {}
        self.statuses: Counter[int] = Counter()
        self.retry_after: set[str | None] = set()
        self.slowest = 0.0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def _ask(self, number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)) as connection:
            self._ask_on(connection, number)

    def _ask_on(self, connection: http.client.HTTPConnection, number: int) -> None:
        while not self._stopped.is_set():
            number += CLIENTS
            records = [{"distance": number % 97 + row, "zone": "A"} for row in range(1 + number % 2)]
            started = time.monotonic()
            try:
                connection.request(
                    "POST", "/v1/predict/rides", json.dumps(records), {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                body = json.loads(response.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                self.statuses[0] += 1
                time.sleep(0.02)
                continue
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.statuses[response.status] += 1
            if response.status == 200:
                identity = response.headers["Prediction-Id"]
                for row, prediction in enumerate(body["predictions"]):
                    self.answered[identity, row] = prediction
            else:
                self.retry_after.add(response.headers["Retry-After"])
                time.sleep(0.02)

    def reaches(self, status: int, count: int = 200) -> None:
        """Wait until so many more responses have a status."""
        wanted = self.statuses[status] + count
        wait_until(lambda: self.statuses[status] >= wanted)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, within a minute."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not happen within a minute"
        time.sleep(0.02)


@contextmanager
def load_on(service: Service) -> Generator[Load]:
    """Ask a service without pause while the block runs; its answers must all be in the log afterwards."""
    with Load(service.port) as load:
        yield load
    logged = service.logged()
    missing = {key: value for key, value in load.answered.items() if logged.get(key) != value}
    assert missing == {}
    assert load.answered


Serve: TypeAlias = Callable[..., Service]
