"""A clock that a test sets, in place of the module ``time``."""

from __future__ import annotations


class Clock:
    """Tells the same time until the test moves it.

    Args:
        now: seconds.
    """

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """The time of the day."""
        return self.now

    def monotonic(self) -> float:
        """The time since some start."""
        return self.now
