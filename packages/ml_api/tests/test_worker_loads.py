from __future__ import annotations

import os

from ml_api.worker_loads import NO_WORKER, WorkerLoads


def test_worker_with_more_load_than_another_is_overloaded() -> None:
    loads = WorkerLoads(2)
    one, other = loads.acquire(), loads.acquire()
    one.publish(1)
    other.publish(0)
    assert (one.is_overloaded(), other.is_overloaded()) == (True, False)
    other.publish(1)
    assert (one.is_overloaded(), other.is_overloaded()) == (False, False)


def test_load_an_eighth_higher_is_no_overload() -> None:
    loads = WorkerLoads(2)
    one, other = loads.acquire(), loads.acquire()
    other.publish(16)
    one.publish(18)
    assert not one.is_overloaded()
    one.publish(19)
    assert one.is_overloaded()


def test_slot_without_a_worker_is_ignored() -> None:
    loads = WorkerLoads(2)
    one, other = loads.acquire(), loads.acquire()
    one.publish(5)
    assert not one.is_overloaded()
    other.publish(0)
    assert one.is_overloaded()
    other.publish(NO_WORKER)
    assert not one.is_overloaded()


def test_released_slot_is_reused() -> None:
    loads = WorkerLoads(1)
    slots = [loads.acquire() for _ in range(4)]
    for load, slot in enumerate(slots):
        slot.publish(load)
    late = loads.acquire()
    late.publish(9)
    assert not late.is_overloaded()  # it got no slot
    slots[0].release()
    slots[0].release()
    assert not slots[1].is_overloaded()
    successor = loads.acquire()
    successor.publish(0)
    assert slots[1].is_overloaded()


def test_loads_are_shared_between_processes() -> None:
    loads = WorkerLoads(2)
    ours, theirs = loads.acquire(), loads.acquire()
    ours.publish(1)
    child = os.fork()
    if child == 0:
        theirs.publish(0)
        os._exit(0)
    os.waitpid(child, 0)
    assert ours.is_overloaded()


def test_worker_that_starts_is_a_sister_and_takes_no_connection_yet() -> None:
    loads = WorkerLoads(1)
    one = loads.acquire()
    one.publish(3)
    assert not one.has_sisters()
    other = loads.acquire()
    assert one.has_sisters()
    assert not one.is_overloaded()
    other.publish(NO_WORKER)
    assert not one.has_sisters()
