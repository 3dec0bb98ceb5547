from __future__ import annotations

import threading
import time

from ml_api.compute_lock import ComputeLock


def test_one_request_computes_at_a_time() -> None:
    compute_lock = ComputeLock()
    done: list[str] = []

    def work(name: str) -> None:
        lock = compute_lock.acquire(60)
        done.append(f"{name} begins")
        time.sleep(0.05)
        done.append(f"{name} ends")
        lock.release()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.split()[1] for line in done] == ["begins", "ends"] * 3
    assert all(one[0] == other[0] for one, other in zip(done[::2], done[1::2], strict=True))


def test_long_request_delays_only_one_other() -> None:
    compute_lock = ComputeLock()
    long = compute_lock.acquire(60)
    second = compute_lock.acquire(0.01)  # waits, then computes at the same time
    assert second is not long
    second.release()
    assert compute_lock.acquire(60) is second  # does not wait for the first


def test_waiting_request_waits_for_the_successor_of_a_replaced_lock() -> None:
    compute_lock = ComputeLock()
    long = compute_lock.acquire(60)
    acquired: list[threading.Lock] = []
    waiting = threading.Thread(target=lambda: acquired.append(compute_lock.acquire(60)))
    waiting.start()
    time.sleep(0.05)
    successor = compute_lock.acquire(0.01)
    long.release()
    time.sleep(0.05)
    assert acquired == []
    successor.release()
    waiting.join(10)
    assert acquired == [successor]
