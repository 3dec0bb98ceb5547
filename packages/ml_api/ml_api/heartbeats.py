"""Keeps the master from killing workers that were suspended together with it: SIGSTOP, a frozen container, AWS Lambda.

A worker that has sent no heartbeat for ``timeout`` seconds hangs, and gunicorn's master kills it. After a suspension of
the whole server that is true of every worker, because the clock has gone on, and the master may run first.
"""

from __future__ import annotations

import time
from typing import Any

#: Seconds between two checks, which are made every second, that only a suspension (or a reload) takes.
SUSPENDED = 5.0


class HeartbeatMonitor:
    """Checks the heartbeats of the workers, in the master process.

    Args:
        server: gunicorn's arbiter.
    """

    def __init__(self, server: Any) -> None:
        self._server, self._kill_hanging = server, server.murder_workers
        self._checked = time.monotonic()

    def install(self) -> None:
        """Replace gunicorn's own check."""
        self._server.murder_workers = self.check

    def check(self) -> None:
        """Kill workers that hang; after a suspension every worker has as long as after a heartbeat."""
        now = time.monotonic()
        if now > self._checked + SUSPENDED:
            for worker in self._server.WORKERS.values():
                worker.tmp.notify()
        self._checked = now
        self._kill_hanging()
