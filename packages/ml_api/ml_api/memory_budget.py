"""Limits the memory that large requests may hold at the same time.

A request holds memory for its body, the values made of it, and its response until the client has read it. A worker has
memory for only a few large ones at a time, so a connection reserves memory before a large body is received, and waits
if none is free.
"""

from __future__ import annotations

from collections import deque

from ml_api.connection import SMALL, Connection


class MemoryBudget:
    """A number of bytes, reserved in first-come, first-served order; a larger request reserves the whole budget.

    Only the event loop uses it.

    Args:
        size: bytes in total.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self.waiting: deque[Connection] = deque()

    def acquire(self, connection: Connection) -> bool:
        """Reserve what ``connection`` wants; returns whether it was free, otherwise the connection waits for it."""
        if not self.waiting and self._reserve(connection):
            return True
        self.waiting.append(connection)
        return False

    def resize(self, connection: Connection, size: int) -> None:
        """Change a reservation to ``size`` bytes, or to 0 if they are few; the memory is in use already."""
        size = min(size, self._size) if size > SMALL else 0
        self._free += connection.reserved - size
        connection.reserved = size

    def admit(self) -> Connection | None:
        """Reserve memory for the first connection that waits and return it; ``None`` if that is not possible yet."""
        if self.waiting and self._reserve(self.waiting[0]):
            return self.waiting.popleft()
        return None

    def _reserve(self, connection: Connection) -> bool:
        wanted = min(connection.wanted, self._size)
        if wanted > self._free:
            return False
        self.resize(connection, wanted)
        return True
