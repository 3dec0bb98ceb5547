"""Returns freed memory to the operating system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return the C library's free memory to the system, where it supports that; otherwise it keeps fragmented pages."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
