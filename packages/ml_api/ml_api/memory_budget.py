"""Room in memory for what is large, shared out among requests before it is read.

What a request holds is its body, what is made of it, and its answer until the client has taken that. Small ones are
many and harmless; a few large ones at a time are all that a worker has memory for. So whoever brings a large body asks
for room first and waits a while, with nothing read; an answer that is large gets its room at once or not at all, since
it is there already.
"""

from __future__ import annotations

import threading
from collections import deque

#: Bytes of a body or an answer up to which nobody asks for room. As many threads as a worker has hold 32 MB of them.
SMALL = 64 * 1024


class Room:
    """So many bytes, given in the order in which they were asked for; who asks for more than all gets all.

    Args:
        size: bytes in all.
        patience: seconds for which a request waits.
    """

    def __init__(self, size: int, patience: float) -> None:
        self._size = self._free = size
        self._patience = patience
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    def take(self, wanted: int) -> int | None:
        """Wait for room; what was taken, or ``None`` if there was none in time."""
        wanted = min(wanted, self._size)
        me = object()
        with self._changed:
            self._queue.append(me)
            try:
                if not self._changed.wait_for(lambda: self._queue[0] is me and self._free >= wanted, self._patience):
                    return None
                self._free -= wanted
                return wanted
            finally:
                self._queue.remove(me)
                self._changed.notify_all()

    def swap(self, taken: int, wanted: int) -> int | None:
        """Give back what was taken, for other room at once; ``None``, and all is given back, if there is too little."""
        wanted = min(wanted, self._size)
        with self._changed:
            self._free += taken
            fits = self._free >= wanted
            if fits:
                self._free -= wanted
            self._changed.notify_all()
        return wanted if fits else None


class Place:
    """What one request has of a room.

    Attributes:
        taken: bytes; none at first.
    """

    __slots__ = ("_room", "taken")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.taken = 0

    @property
    def crowded(self) -> bool:
        """Whether others wait for a place."""
        return self._room.crowded

    def take(self, wanted: int) -> bool:
        """Wait for room for ``wanted`` bytes; whether there is."""
        self.taken = self._room.take(wanted) or 0
        return self.taken > 0

    def keep(self, wanted: int) -> bool:
        """Have room for ``wanted`` bytes, none if they are few, instead of what is had; whether there is."""
        if not self.taken and wanted <= SMALL:
            return True
        taken = self._room.swap(self.taken, wanted if wanted > SMALL else 0)
        self.taken = taken or 0
        return taken is not None

    def leave(self) -> None:
        """Give back what there is."""
        if self.taken:
            self.keep(0)
