from __future__ import annotations

import threading
import time

from ml_api.compute_lock import Turns


def test_one_after_the_other() -> None:
    turns = Turns()
    done: list[str] = []

    def work(name: str) -> None:
        turn = turns.take(60)
        done.append(f"{name} begins")
        time.sleep(0.05)
        done.append(f"{name} ends")
        turn.release()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.split()[1] for line in done] == ["begins", "ends"] * 3
    assert all(one[0] == other[0] for one, other in zip(done[::2], done[1::2], strict=True))


def test_who_takes_long_is_waited_for_once() -> None:
    turns = Turns()
    long = turns.take(60)
    second = turns.take(0.01)  # waits, and goes on beside the first
    assert second is not long
    second.release()
    assert turns.take(60) is second  # nobody waits for the first any longer


def test_who_waits_for_a_turn_that_was_lost_waits_for_its_successor() -> None:
    turns = Turns()
    long = turns.take(60)
    got: list[threading.Lock] = []
    waiting = threading.Thread(target=lambda: got.append(turns.take(60)))
    waiting.start()
    time.sleep(0.05)
    successor = turns.take(0.01)
    long.release()
    time.sleep(0.05)
    assert got == []
    successor.release()
    waiting.join(10)
    assert got == [successor]
