"""Giving back to the system what a large body took."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return the C library's free memory to the system, where it can; it keeps what lies between other things else."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
