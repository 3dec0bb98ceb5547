"""The progress bar."""

from __future__ import annotations

import io
import os

import pytest
from model_kit.batch.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the clock shows, one after the other; the last for ever."""
    shown = [100.0]
    monkeypatch.setattr("model_kit.batch.progress.time.monotonic", lambda: shown.pop(0) if len(shown) > 1 else shown[0])
    monkeypatch.setattr("model_kit.batch.progress.shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    return shown


def test_bar_shows_share_and_time_left_and_is_wiped(clock: list[float]) -> None:
    clock[:] = [100.0, 110.0]
    stream = Terminal()
    with Progress("Predicting", 400, stream) as bar:
        bar.show(100, "1,000 rows")
    assert stream.getvalue() == "\r\x1b[KPredicting  25% [######..................] 1,000 rows, 30 s left\r\x1b[K"


def test_nothing_is_drawn_in_a_pipe() -> None:
    stream = io.StringIO()
    with Progress("Predicting", 400, stream) as bar:
        bar.show(100, "1,000 rows")
    assert stream.getvalue() == ""


def test_without_a_total_there_is_a_count_and_no_bar() -> None:
    stream = Terminal()
    with Progress("Predicting", None, stream) as bar:
        bar.show(0, "1,000 rows")
    assert stream.getvalue() == "\r\x1b[KPredicting: 1,000 rows\r\x1b[K"


def test_nothing_done_yet_is_no_division() -> None:
    stream = Terminal()
    Progress("Predicting", 400, stream).show(0, "0 rows")
    assert stream.getvalue() == "\r\x1b[KPredicting   0% [........................] 0 rows"


def test_more_done_than_there_was_is_all_of_it() -> None:
    stream = Terminal()
    Progress("Predicting", 400, stream).show(500, "5 rows")
    assert stream.getvalue() == f"\r\x1b[KPredicting 100% [{'#' * 24}] 5 rows, 0 s left"


def test_drawings_are_apart(clock: list[float]) -> None:
    clock[:] = [100.0, 100.5, 100.55, 100.7]
    stream = Terminal()
    bar = Progress("Predicting", None, stream)
    for number in range(3):
        bar.show(number, f"{number} rows")
    assert "0 rows" in stream.getvalue()
    assert "1 rows" not in stream.getvalue()
    assert "2 rows" in stream.getvalue()


def test_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_kit.batch.progress.shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    stream = Terminal()
    Progress("Predicting", 400, stream).show(200, "1,000 rows")
    assert stream.getvalue() == "\r\x1b[KPredicting  50% [##"
