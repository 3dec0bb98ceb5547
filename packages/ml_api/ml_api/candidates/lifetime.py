"""Ties the life of a process to that of its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, sig: signal.Signals) -> None:
    """Have the system send this process a signal when its parent dies (on Linux); exit if it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sig.value)
    if os.getppid() != parent:
        sys.exit(0)
