"""Suspends a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def suspended(pid: int) -> Generator[None]:
    """Stop all threads of a process in the block; a signal may take a while to reach them."""
    os.kill(pid, signal.SIGSTOP)
    try:
        give_up = time.monotonic() + 10
        while {state(thread) for thread in Path(f"/proc/{pid}/task").iterdir()} != {"T"}:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def state(thread: Path) -> str:
    """Return the state of a thread, as in ``/proc/PID/task/TID/stat``."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]
