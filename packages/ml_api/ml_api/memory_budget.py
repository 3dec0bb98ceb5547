"""Limits the memory that large requests may hold at the same time.

A request holds memory for its body, the values made of it, and its response until the client has read it. Small
requests need little; a worker has memory for only a few large ones at a time. So a request with a large body reserves
memory before the body is read, and waits if none is free. A large response reserves memory at once or fails, because it
exists already.
"""

from __future__ import annotations

import threading
from collections import deque

#: Bytes of a body or response up to which no reservation is needed. A worker's threads hold 32 MB of these at most.
SMALL = 64 * 1024


class MemoryBudget:
    """A number of bytes, reserved in first-come, first-served order; a larger request reserves the whole budget.

    Args:
        size: bytes in total.
        timeout: seconds for which :meth:`acquire` waits.
    """

    def __init__(self, size: int, timeout: float) -> None:
        self._size = self._free = size
        self._timeout = timeout
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def contended(self) -> bool:
        """Whether a request is waiting for memory."""
        return bool(self._queue)

    def acquire(self, wanted: int) -> int | None:
        """Wait for memory; returns the number of bytes reserved, or ``None`` after the timeout."""
        wanted = min(wanted, self._size)
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._queue[0] is ticket and self._free >= wanted, self._timeout):
                    return None
                self._free -= wanted
                return wanted
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def resize(self, reserved: int, wanted: int) -> int | None:
        """Replace a reservation without waiting; returns its new size, or ``None`` if too little is free.

        In that case the old reservation is released too.
        """
        wanted = min(wanted, self._size)
        with self._changed:
            self._free += reserved
            fits = self._free >= wanted
            if fits:
                self._free -= wanted
            self._changed.notify_all()
        return wanted if fits else None


class Reservation:
    """The part of a budget that one request holds.

    Attributes:
        size: bytes; 0 at first.
    """

    __slots__ = ("_budget", "size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    @property
    def contended(self) -> bool:
        """Whether other requests wait for memory."""
        return self._budget.contended

    def acquire(self, wanted: int) -> bool:
        """Wait for ``wanted`` bytes; returns whether they were reserved."""
        self.size = self._budget.acquire(wanted) or 0
        return self.size > 0

    def resize(self, wanted: int) -> bool:
        """Change the size to ``wanted`` bytes, or to 0 if they are few, without waiting; returns whether it worked."""
        if not self.size and wanted <= SMALL:
            return True
        size = self._budget.resize(self.size, wanted if wanted > SMALL else 0)
        self.size = size or 0
        return size is not None

    def release(self) -> None:
        """Return all bytes to the budget; does nothing if none are held."""
        if self.size:
            self.resize(0)
