"""Counts of rate limits in a file that all workers of a server map.

They are taken and read as those of the library ``limits`` are, whose own storages count for one process or in a server.
A table of fixed size holds, for each caller, the counts of the current window and of the one before. An update holds a
lock of the operating system, which it releases when a process dies. Its stores are ordered so that death between any
two of them leaves either the old counts or a current window that has not begun.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from math import floor
from pathlib import Path
from typing import Final

#: A caller may be in any entry of its bucket. If all are taken, the one with the oldest and lowest count is replaced,
#: and that caller begins anew: beyond some 50,000 callers in two windows.
BUCKETS: Final = 8192
ENTRIES: Final = 8
#: Places of an entry: digest of the key (2), and for windows of even and odd number the number and the count.
_PLACES = 6
_COUNTS = 2
_NO_WINDOW = -1


class SharedStorage:
    """Counts of sliding windows in a file; each process opens it itself, after it has been forked.

    It has what is used of :class:`limits.storage.SlidingWindowCounterSupport`.

    Args:
        path: the file; created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._threads = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = BUCKETS * ENTRIES * _PLACES * 8
        os.ftruncate(self._file, size)
        self._map = mmap.mmap(self._file, size)
        self._places = memoryview(self._map).cast("q")

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add ``amount`` to a count unless that would exceed ``limit``; returns whether it was added."""
        now = time.time()
        window, passed = divmod(now, expiry)
        number = int(window)
        with self._locked():
            entry = self._find(key, create=True)
            previous, current = self._count(entry, number - 1), self._count(entry, number)
            if floor(previous * (1 - passed / expiry)) + current + amount > limit:
                return False
            place = entry + _COUNTS + 2 * (number % 2)
            if self._places[place] != number:
                # In this order: the count of a window of longer ago is of no account any more.
                self._places[place + 1] = 0
                self._places[place] = number
            self._places[place + 1] += amount
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return count and seconds left of the previous window, and the same of the current one."""
        window, passed = divmod(time.time(), expiry)
        left = expiry - passed
        with self._locked():
            entry = self._find(key, create=False)
            if entry < 0:
                return 0, 0.0, 0, 0.0
            return self._count(entry, int(window) - 1), left, self._count(entry, int(window)), left + expiry

    def close(self) -> None:
        """Close the file."""
        self._places.release()
        self._map.close()
        os.close(self._file)

    @contextmanager
    def _locked(self) -> Generator[None]:
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _find(self, key: str, *, create: bool) -> int:
        """Return the first place of the entry of a key, -1 if it has none."""
        digest = blake2b(key.encode(), digest_size=16).digest()
        # 0 is an entry that has never been used.
        first, second = int.from_bytes(digest[:8], "little") >> 1 or 1, int.from_bytes(digest[8:], "little") >> 1
        start = first % BUCKETS * ENTRIES * _PLACES
        places = self._places
        entries = range(start, start + ENTRIES * _PLACES, _PLACES)
        for entry in entries:
            if places[entry] == first and places[entry + 1] == second:
                return entry
        if not create:
            return -1
        entry = min(entries, key=self._recent)
        self._forget(entry)
        places[entry + 1] = second
        places[entry] = first
        return entry

    def _recent(self, entry: int) -> tuple[int, int]:
        """The last window of an entry and its count; entries that were never used come first."""
        if not self._places[entry]:
            return _NO_WINDOW - 1, 0
        windows = self._places[entry + _COUNTS : entry + _PLACES].tolist()
        return max((windows[0], windows[1]), (windows[2], windows[3]))

    def _forget(self, entry: int) -> None:
        self._places[entry + _COUNTS] = self._places[entry + _COUNTS + 2] = _NO_WINDOW
        self._places[entry] = 0

    def _count(self, entry: int, window: int) -> int:
        place = entry + _COUNTS + 2 * (window % 2)
        return self._places[place + 1] if self._places[place] == window else 0
