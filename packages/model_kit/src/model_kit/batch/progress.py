"""A progress bar on a terminal, and nothing anywhere else; without a library, as what serves has none for it."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

#: Seconds between two drawings.
INTERVAL: Final = 0.1
WIDTH: Final = 24


class Progress:
    """What has been done, drawn on one line of standard error if that is a terminal; the line is wiped at the end.

    Args:
        label: what is being done.
        total: how much there is to do, in any unit; ``None`` if that is not known, and there is no bar then.
        stream: where to draw, standard error by default.
    """

    def __init__(self, label: str, total: int | None, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = stream or sys.stderr
        self._visible = self._stream.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, done: int, text: str) -> None:
        """Draw, unless that was done a moment ago.

        Args:
            done: how much of the total.
            text: the same in words ("1,000 rows").
        """
        now = time.monotonic()
        if not self._visible or (self._drawn and now - self._drawn < INTERVAL):
            return
        self._drawn = now
        line = f"{self._label}: {text}"
        if self._total:
            share = min(done / self._total, 1.0)
            filled = int(share * WIDTH)
            seconds = now - self._started
            left = f", {seconds / share - seconds:,.0f} s left" if share > 0 else ""
            line = f"{self._label} {share:4.0%} [{'#' * filled}{'.' * (WIDTH - filled)}] {text}{left}"
        # One column is left free: some terminals wrap at the last.
        self._stream.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
        self._stream.flush()
