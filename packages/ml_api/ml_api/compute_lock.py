"""Lets one request at a time compute, as long as each is quick.

Threads that compute at the same time compete for the interpreter lock: each system call hands it to another thread, and
the order in which they get it back is random. With 128 connections per worker that costs a quarter of the throughput
and more than triples the 99th percentile of the latency (``benchmarks/settings.md``).
"""

from __future__ import annotations

import threading


class ComputeLock:
    """A lock that is replaced when a thread has waited for it too long; both threads compute from then on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, timeout: float) -> threading.Lock:
        """Wait for the lock, for a small multiple of ``timeout`` seconds at most.

        Returns:
            The lock that was acquired; the caller releases it.
        """
        while True:
            lock = self._lock
            if lock.acquire(timeout=timeout):
                if lock is self._lock:
                    return lock
                lock.release()  # it was replaced meanwhile: wait for its successor
            elif lock is self._lock:
                successor = threading.Lock()
                successor.acquire()
                self._lock = successor
                return successor
