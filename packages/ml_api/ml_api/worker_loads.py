"""Balances connections between workers: each worker publishes its load in memory that all workers share.

The kernel wakes every worker for a new connection and the fastest one gets it, which is usually the worker that has
just answered, because the others sleep. So a worker compares loads first, and leaves the connection to a worker with
less load.
"""

from __future__ import annotations

import mmap
from itertools import count

#: Load of a slot whose worker does not exist or accepts no connections.
NO_WORKER = -1
#: Load of a worker that has not published any yet: more than any other.
STARTING = 1 << 32
#: State of a slot's worker: it has loaded the expected models, or others; another worker replaces it. At first it is 0.
READY, UNEXPECTED, REPLACED = 1, 2, 3


class WorkerLoads:
    """One load for each worker; created before the workers are forked.

    Args:
        workers: workers that run at a time. While they are replaced there are twice as many, and an operator may start
            more; a worker whose slot has no load does no load balancing.
    """

    def __init__(self, workers: int) -> None:
        slots = 4 * workers
        self._loads = memoryview(mmap.mmap(-1, 8 * slots)).cast("q")
        # More than there are loads: workers that only finish their requests are not compared, but are told apart.
        self._states = memoryview(mmap.mmap(-1, 64 * workers))
        self._taken: set[int] = set()
        for slot in range(slots):
            self._loads[slot] = NO_WORKER

    def acquire(self) -> LoadSlot:
        """Allocate the first free slot for a worker that is about to be forked."""
        number = next(number for number in count() if number not in self._taken)
        self._taken.add(number)
        slot = LoadSlot(self._loads, self._states, self._taken, number)
        slot.publish(STARTING)
        return slot


class LoadSlot:
    """The slot of one worker.

    Attributes:
        number: 0, 1, ...; no other living worker has it.
    """

    def __init__(self, loads: memoryview[int], states: memoryview[int], taken: set[int], number: int) -> None:
        self._loads = loads
        self._states = states
        self._taken = taken
        self.number = number
        self._slot = number if number < len(loads) else None
        self._released = False
        self.state = 0

    @property
    def state(self) -> int:
        """``READY``, ``UNEXPECTED``, ``REPLACED`` or 0, the same in every process."""
        return self._states[self.number] if self.number < len(self._states) else READY

    @state.setter
    def state(self, state: int) -> None:
        if self.number < len(self._states):
            self._states[self.number] = state

    def publish(self, load: int) -> None:
        """Set the load of this worker; ``NO_WORKER`` if it accepts no connections."""
        if self._slot is not None:
            self._loads[self._slot] = load

    def is_overloaded(self) -> bool:
        """Whether the load is more than an eighth above that of the least loaded worker."""
        if self._slot is None:
            return False
        loads = self._loads.tolist()
        least = min((load for load in loads if load > NO_WORKER), default=0)
        return loads[self._slot] > least + least // 8

    def has_sisters(self) -> bool:
        """Whether another worker accepts connections, or is about to."""
        loads = self._loads.tolist()
        return any(load > NO_WORKER for slot, load in enumerate(loads) if slot != self._slot)

    def release(self) -> None:
        """Free the slot for the worker's successor; called in the process that allocated it."""
        if not self._released:
            self._released = True
            self.publish(NO_WORKER)
            self._taken.remove(self.number)
