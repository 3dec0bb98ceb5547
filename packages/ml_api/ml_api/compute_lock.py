"""One request after the other, as long as each is quick.

Threads that compute at the same time share one interpreter: each call of the system hands it to another thread, and who
gets it back when is a matter of luck. With 128 connections a worker that costs a quarter of the answers, and makes the
99th percentile more than three times as long (``benchmarks/settings.md``).
"""

from __future__ import annotations

import threading


class Turns:
    """A lock that whoever holds it for long loses to the one who waits; both go on then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def take(self, patience: float) -> threading.Lock:
        """Wait for the turn, at most some ``patience`` seconds; to be released by whoever took it."""
        while True:
            lock = self._lock
            if lock.acquire(timeout=patience):
                if lock is self._lock:
                    return lock
                lock.release()  # others wait for its successor by now
            elif lock is self._lock:
                successor = threading.Lock()
                successor.acquire()
                self._lock = successor
                return successor
