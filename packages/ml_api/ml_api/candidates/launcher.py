"""Starts and stops the runners of the candidates, from gunicorn's master process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_api.candidates.status import Status, path, write
from ml_api.settings import Candidate, Settings

#: Seconds until a runner that has died is started again, doubled up to the second number.
BACKOFF, MAX_BACKOFF = 1.0, 60.0
#: Seconds for a runner to end by itself.
STOP_TIMEOUT = 3.0


@dataclass
class _Runner:
    candidate: Candidate
    number: int
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    backoff: float = BACKOFF


class Launcher:
    """Keeps a runner for each candidate.

    Args:
        settings: of the server.
        folder: that its processes share.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._runners = [
            _Runner(candidate, number)
            for models in (settings.shadow_models, settings.canary_models)
            for number, candidate in enumerate(models)
        ]

    def install(self, server: Any) -> None:
        """Have gunicorn's arbiter look after the runners, and start them anew on SIGHUP."""
        manage, reload = server.manage_workers, server.handle_hup

        def manage_workers() -> None:
            # About once a second; gunicorn has no hook for that.
            self._check(server.log)
            manage()

        def handle_hup() -> None:
            reload()
            # They read their bundles and wheels again.
            self.stop()
            for runner in self._runners:
                runner.start_at, runner.backoff = 0.0, BACKOFF

        server.manage_workers, server.handle_hup = manage_workers, handle_hup

    def _check(self, log: Any) -> None:
        """Start each runner that does not run."""
        now = time.monotonic()
        for runner in self._runners:
            if runner.process is not None and runner.process.poll() is not None:
                runner.process, runner.start_at = None, now + runner.backoff
                runner.backoff = min(2 * runner.backoff, MAX_BACKOFF)
                log.error("The runner of the %s of %s has died", runner.candidate.kind, runner.candidate.name)
            if runner.process is None and now >= runner.start_at:
                self._start(runner)

    def stop(self) -> None:
        """End all runners, and with them what they compute."""
        running = [runner.process for runner in self._runners if runner.process is not None]
        for process in running:
            process.terminate()
        give_up = time.monotonic() + STOP_TIMEOUT
        for process in running:
            try:
                process.wait(max(give_up - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for runner in self._runners:
            runner.process = None

    def _start(self, runner: _Runner) -> None:
        candidate = runner.candidate
        write(path(self._folder, candidate, runner.number, "status"), Status(candidate.kind, candidate.name))
        arguments = [candidate.kind, str(runner.number), str(self._folder), str(os.getpid())]
        runner.process = subprocess.Popen([sys.executable, "-m", "ml_api.candidates.runner", *arguments])
