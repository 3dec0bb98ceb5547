"""Who has how much to do: a number for each worker, in memory that all of them see.

The system wakes every worker for a new connection and gives it to the quickest, and the one that has just answered is
quicker than those that sleep. So a worker looks here first, and leaves the connection to one that has less to do.
"""

from __future__ import annotations

import mmap

#: Stands where there is no worker that takes connections.
NOBODY = -1


class Shares:
    """One number for each worker; made before the workers are.

    Args:
        workers: how many there are at a time. While they are replaced there are twice as many, and an operator may ask
            for more; who finds no place shares with nobody.
    """

    def __init__(self, workers: int) -> None:
        places = 4 * workers
        self._loads = memoryview(mmap.mmap(-1, 8 * places)).cast("q")
        self._free = set(range(places))
        for place in self._free:
            self._loads[place] = NOBODY

    def take(self) -> Share:
        """A place for a worker that is about to be forked."""
        return Share(self._loads, self._free, self._free.pop() if self._free else None)


class Share:
    """One worker's place."""

    def __init__(self, loads: memoryview[int], free: set[int], place: int | None) -> None:
        self._loads = loads
        self._free = free
        self._place = place

    def tell(self, load: int) -> None:
        """How much this worker has to do; ``NOBODY``: it takes no connections."""
        if self._place is not None:
            self._loads[self._place] = load

    def is_large(self) -> bool:
        """Whether some worker has less to do than this one, by more than an eighth."""
        if self._place is None:
            return False
        loads = self._loads.tolist()
        least = min((load for load in loads if load > NOBODY), default=0)
        return loads[self._place] > least + least // 8

    def leave(self) -> None:
        """Make room, in the process that made the place, for the worker's successor."""
        self.tell(NOBODY)
        if self._place is not None:
            self._free.add(self._place)
            self._place = None
