from __future__ import annotations

from typing import Any, cast

from ml_api.connection import SMALL, Connection
from ml_api.memory_budget import MemoryBudget


class Client:
    def __init__(self, wanted: int) -> None:
        self.wanted, self.reserved = wanted, 0


def client(wanted: int) -> Connection:
    return cast("Connection", cast("Any", Client(wanted)))


def test_reservations_do_not_exceed_the_budget() -> None:
    budget = MemoryBudget(100 * SMALL)
    first, second, third = client(60 * SMALL), client(50 * SMALL), client(40 * SMALL)
    assert budget.acquire(first)
    assert not budget.acquire(second)
    # It would fit, and waits behind the second.
    assert not budget.acquire(third)
    assert budget.admit() is None
    budget.resize(first, 20 * SMALL)
    assert budget.admit() is second
    assert (first.reserved, second.reserved, third.reserved) == (20 * SMALL, 50 * SMALL, 0)
    assert budget.admit() is None
    budget.resize(first, 0)
    assert budget.admit() is third
    assert budget.admit() is None


def test_request_for_more_than_the_budget_reserves_all_of_it() -> None:
    budget = MemoryBudget(2 * SMALL)
    large = client(10**9)
    assert budget.acquire(large)
    assert large.reserved == 2 * SMALL
    assert not budget.acquire(client(SMALL + 1))


def test_response_that_exists_is_counted_though_nothing_is_free() -> None:
    budget = MemoryBudget(4 * SMALL)
    one, other, third = client(3 * SMALL), client(0), client(2 * SMALL)
    assert budget.acquire(one)
    budget.resize(other, 3 * SMALL)
    budget.resize(one, 0)
    assert not budget.acquire(third)
    budget.resize(other, SMALL)
    assert other.reserved == 0
    assert budget.admit() is third
