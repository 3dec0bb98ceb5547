"""Folders that are what a container image of the service has inside, with a model of rides; and a steady load."""

from __future__ import annotations

import http.client
import inspect
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import Image
from model_kit.scoring.bundle import GOLDEN, dump_json, write_bundle
from model_kit.testing import FIELDS, GOLDEN_PREDICTION, GOLDEN_ROW, TARGET, derive, ride_files

from installed import install
from project import ROOT
from small_project import add_third_party, make_environment

MODEL = "rides"
PACKAGE = '''\
"""The rides of model_kit.testing, as a package of its own."""

from __future__ import annotations

import numpy as np
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Level, Target

__version__ = "{version}"


{derive}

DEFINITION = ModelDefinition(
    name="rides", package="rides_model", fields={fields!r}, target={target!r}, estimator="none:none", derive=derive
)
'''
#: The locks that an image has, with those of its optional packages.
LOCKS = ("requirements.txt", "requirements/log.txt", "requirements/operations.txt")


def write_rides(folder: Path, *, ready: bool = True) -> str:
    """Write a bundle; returns its artefact's sha256. One that is not ready misses its golden row."""
    golden = {"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION * (1 if ready else 2)}
    return write_bundle(folder, ride_files() | {GOLDEN: dump_json(golden)})


def make_image(root: Path, version: str, *, ready: bool = True) -> Image:
    """Make a folder with the API and an environment of its own that serves rides in this version."""
    environment = root / "build/serving"
    make_environment(environment)
    add_third_party(environment, *LOCKS)
    (site,) = environment.glob("lib/python*/site-packages")
    install(site, "rides-model", version, "[ml_api.models]\nrides = rides_model:DEFINITION.load\n")
    text = PACKAGE.format(version=version, derive=inspect.getsource(derive), fields=FIELDS, target=TARGET)
    (site / "rides_model").mkdir()
    (site / "rides_model/__init__.py").write_text(text)
    write_rides(site / "rides_model/bundle", ready=ready)
    (site / "model_kit").symlink_to(ROOT / "packages/model_kit/src/model_kit")
    (root / "packages").mkdir()
    (root / "packages/ml_api").symlink_to(ROOT / "packages/ml_api")
    shutil.copy(ROOT / "run.sh", root)
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
    return Image(root, environ=environ)


class Load:
    """Clients that predict at a steady rate, half of them on a new connection each time; none asks twice.

    A kept connection is closed when a response says so, as HTTP has it.

    Args:
        port: of the service.
        key: that they send; empty: none.
        clients: how many, half of which keep their connection.
        interval: seconds from one request of a client to its next.

    Attributes:
        log: a line for each request: ``time`` (seconds since the start), ``connection`` (fresh or kept), ``seconds``,
            ``status`` (0: no answer), and ``version`` or ``error``.
    """

    def __init__(self, port: int, key: str = "", clients: int = 6, interval: float = 0.1) -> None:
        self.log: list[dict[str, Any]] = []
        self._port, self._interval, self._started = port, interval, time.monotonic()
        self._headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number * interval / clients, bool(number % 2)))
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, delay: float, keep: bool) -> None:
        connection = self._connection()
        due = time.monotonic() + delay
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += self._interval
            line = self._once(connection)
            self.log.append({"connection": "kept" if keep else "fresh", **line})
            if not keep or line["status"] == 0:
                # The next request opens it anew.
                connection.close()
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)

    def _once(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        began = time.monotonic()
        line: dict[str, Any] = {"time": round(began - self._started, 3), "status": 0}
        try:
            connection.request("POST", f"/v1/predict/{MODEL}", json.dumps([GOLDEN_ROW]), self._headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            line["status"] = response.status
            if response.status == 200 and answer["predictions"][0] is not None:
                line["version"] = answer["version"]
            else:
                line["error"] = answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            line["error"] = repr(error)
        return {**line, "seconds": round(time.monotonic() - began, 4)}

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Lines of requests without a prediction."""
        return [line for line in self.log if "version" not in line]

    def versions(self, since: int = 0) -> Counter[str]:
        """Version -> answers, from a line of the log on."""
        return Counter(line.get("version", "failed") for line in self.log[since:])

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def load_on(port: int, key: str = "", **options: Any) -> Generator[Load]:
    """A steady load while the block runs."""
    load = Load(port, key, **options)
    try:
        yield load
    finally:
        load.stop()
