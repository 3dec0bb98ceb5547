"""Giving back to the system what a large body took."""

from __future__ import annotations

import ctypes
import gc


def trim() -> None:
    """Return the C library's free memory to the system, where it can; it keeps what lies between other things else."""
    # Exceptions and their frames may refer to each other, and keep a body that nobody else does.
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
