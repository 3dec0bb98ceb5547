from __future__ import annotations

import threading
import time

from ml_api.memory_budget import SMALL, MemoryBudget, Reservation


def wait_for_queue(length: int, budget: MemoryBudget) -> None:
    while len(budget._queue) != length:
        time.sleep(0.001)


def test_reservations_do_not_exceed_the_budget() -> None:
    budget = MemoryBudget(100, 0)
    assert (budget.acquire(60), budget.acquire(50), budget.acquire(40), budget.acquire(1)) == (60, None, 40, None)
    assert budget.resize(60, 0) == 0
    assert (budget.acquire(61), budget.acquire(60)) == (None, 60)


def test_request_for_more_than_the_budget_reserves_all_of_it() -> None:
    budget = MemoryBudget(100, 0)
    assert budget.acquire(10**9) == 100
    assert budget.resize(100, 10**9) == 100
    assert budget.acquire(1) is None


def test_memory_is_reserved_in_order_of_arrival() -> None:
    """The second request waits although its amount is free, because the first waits for more."""
    budget = MemoryBudget(100, 60)
    budget.acquire(50)
    reserved: list[int | None] = []
    threads = [threading.Thread(target=lambda size=size: reserved.append(budget.acquire(size))) for size in (90, 20)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        wait_for_queue(number, budget)
    assert budget.contended
    assert reserved == []
    budget.resize(50, 0)
    threads[0].join()
    assert reserved == [90]
    budget.resize(90, 0)
    threads[1].join()
    assert reserved == [90, 20]
    assert not budget.contended


def test_timeout_of_one_request_lets_the_next_proceed() -> None:
    budget = MemoryBudget(100, 0.05)
    budget.acquire(50)
    first = threading.Thread(target=lambda: budget.acquire(90))
    first.start()
    wait_for_queue(1, budget)
    budget._timeout = 60  # for later requests
    second = threading.Thread(target=lambda: budget.acquire(20))
    second.start()
    second.join()
    first.join()
    budget._timeout = 0
    assert budget.acquire(31) is None
    assert not budget.contended


def test_resize_succeeds_at_once_or_releases_everything() -> None:
    budget = MemoryBudget(100, 60)
    assert (budget.acquire(30), budget.acquire(30)) == (30, 30)
    assert budget.resize(30, 70) == 70
    assert budget.resize(70, 71) is None
    assert budget.acquire(70) == 70


def test_only_large_requests_need_a_reservation() -> None:
    budget = MemoryBudget(3 * SMALL, 0)
    reservation = Reservation(budget)
    assert reservation.resize(SMALL)
    assert reservation.size == 0
    assert reservation.resize(SMALL + 1)
    assert reservation.size == SMALL + 1
    assert not Reservation(budget).resize(2 * SMALL)
    assert reservation.resize(SMALL)
    assert reservation.size == 0
    assert reservation.acquire(2 * SMALL)
    assert not Reservation(budget).acquire(2 * SMALL)
    assert not reservation.contended
    reservation.release()
    reservation.release()
    assert budget.acquire(3 * SMALL) == 3 * SMALL
