"""A folder in memory that the processes of one server share, for metrics and rate limits.

The master creates it before it forks, and deletes it when it ends. The folder of a server that was killed is deleted
by the next one that starts: the system releases the lock on it when its last process is gone.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "ml-api-"
_MEMORY = Path("/dev/shm")  # noqa: S108  each server creates a folder of its own there


class SharedFolder:
    """A new folder, locked as long as a process of this server lives.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        base = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        for left in base.glob(f"{_PREFIX}*"):
            _remove_unlocked(left)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            # Forked workers inherit the descriptor, and so the lock.
            self._lock = os.open(self.path, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Another server that has started at this moment may have found it unlocked.
            if self.path.exists():
                return
            os.close(self._lock)

    def remove(self) -> None:
        """Delete the folder; called once, by the process that created it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_unlocked(folder: Path) -> None:
    with suppress(OSError):  # it is another user's, or is gone
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Place:
    """Where a process counts.

    Attributes:
        folder: the path of the server's folder.
        slot: the number of the worker, which no other living one has.
    """

    folder: Path
    slot: int


#: The place of this process; a worker of gunicorn sets it.
place: Place | None = None


def current_place() -> Place:
    """Return the place of this process; without gunicorn it has a folder of its own."""
    global place  # noqa: PLW0603  a process has one
    if place is None:
        folder = SharedFolder()
        atexit.register(folder.remove)
        place = Place(folder.path, 0)
    return place
