"""A gunicorn with models of rides, of any checkout: that of the release before too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import httpx

from installed import hide_other_models, install

BOOT_SECONDS = 60
STOP_SECONDS = 30

PACKAGE = '''
import os
from pathlib import Path

from model_kit.testing import load_rides


def load():
    return load_rides(Path(os.environ["RIDES_BUNDLE"]))


def load_lengths():
    """A model of classes, by hand: rides of 8 km and more are long."""
    import numpy as np
    from model_kit.spec import Field, Target, fit_spec

    fields = (
        Field("distance", "number", "Length", required=True),
        Field("day", "date", "Day"),
        Field("start", "datetime", "Start"),
    )
    rows = [{"distance": 8.0, "day": "2024-01-01", "start": "2024-01-01T08:00:00"}] * 2

    class Lengths:
        version = "1.2.3"
        spec = fit_spec(fields, Target("length", kind="class", classes=("short", "long")), rows)
        card = {"data": {"name": "rides by hand", "synthetic": True}, "evaluated": True}
        golden = {"row": {"distance": 8.0}, "prediction": "long"}
        lineage = {"version": version, "data": card["data"]}

        def score(self, encoded):
            long = encoded[:, 0] >= 8
            return np.column_stack([~long, long]).astype(float)

        def check(self):
            pass

    return Lengths()
'''
ENTRY_POINTS = "[ml_api.models]\nrides = rides_package:load\nlengths = rides_package:load_lengths\n"
#: Writes a bundle with the kit that is to read it.
WRITE = """
import sys
from pathlib import Path
from model_kit.testing import write_ride_bundle

levels = [round(0.5 + 0.05 * step, 2) for step in range(10)]
widths = [[round(0.02 * step, 2) for step in range(1, 11)], [round(0.01 * step, 2) for step in range(1, 11)]]
write_ride_bundle(Path(sys.argv[1]), intervals={"rows": 100, "levels": levels, "edges": [20.0], "widths": widths})
"""


class Server:
    """A gunicorn with the configuration of production.

    Args:
        folder: where its files go.
        root: the checkout whose code it runs.
        before: arguments of Python, for what must be done before it starts.
        environ: further settings.
    """

    def __init__(self, folder: Path, root: Path, before: Sequence[str] = (), **environ: str) -> None:
        self.folder, self._root = folder, root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        install(folder / "site", "regression-model", "1.2.3", ENTRY_POINTS)
        hide_other_models(folder / "site")
        (folder / "site/rides_package.py").write_text(PACKAGE)
        path = [str(folder / "site"), str(root / "packages/model_kit/src"), *filter(None, sys.path)]
        self._environ = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "DEFAULT_MODEL": "rides",
            "PYTHONPATH": os.pathsep.join(path),
            "RIDES_BUNDLE": str(folder / "bundle"),
            **environ,
        }
        self.run("-c", WRITE, str(folder / "bundle"))
        if before:
            self.run(*before)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str) -> None:
        """Run Python with the code of the server."""
        api = self._root / "packages/ml_api"
        subprocess.run([sys.executable, *arguments], cwd=api, env=self._environ, check=True, capture_output=True)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with Path(self.folder, "out").open("ab") as out, Path(self.folder, "err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=self._root / "packages/ml_api",
                env=self._environ,
                stdout=out,
                stderr=err,
            )
        give_up = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > give_up or self.process.poll() is not None:
                self.process.kill()
                raise AssertionError(f"gunicorn did not start:\n{Path(self.folder, 'err').read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it and its workers."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], check=True, capture_output=True, text=True
        )
        for pid in [self.process.pid, *map(int, listed.stdout.split())]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_SECONDS)


Serve: TypeAlias = Callable[..., Server]
