from __future__ import annotations

import threading
import time

from ml_api.memory_budget import SMALL, Place, Room


def wait_until(count: int, room: Room) -> None:
    while len(room._queue) != count:
        time.sleep(0.001)


def test_no_more_is_given_than_there_is() -> None:
    room = Room(100, 0)
    assert (room.take(60), room.take(50), room.take(40), room.take(1)) == (60, None, 40, None)
    assert room.swap(60, 0) == 0
    assert (room.take(61), room.take(60)) == (None, 60)


def test_who_needs_more_than_all_gets_all() -> None:
    room = Room(100, 0)
    assert room.take(10**9) == 100
    assert room.swap(100, 10**9) == 100
    assert room.take(1) is None


def test_room_is_given_in_the_order_of_asking() -> None:
    """The second does not get what would do for it as long as the first waits for more."""
    room = Room(100, 60)
    room.take(50)
    given: list[int | None] = []
    threads = [threading.Thread(target=lambda size=size: given.append(room.take(size))) for size in (90, 20)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        wait_until(number, room)
    assert room.crowded
    assert given == []
    room.swap(50, 0)
    threads[0].join()
    assert given == [90]
    room.swap(90, 0)
    threads[1].join()
    assert given == [90, 20]
    assert not room.crowded


def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    room = Room(100, 0.05)
    room.take(50)
    first = threading.Thread(target=lambda: room.take(90))
    first.start()
    wait_until(1, room)
    room._patience = 60  # of those who come now
    second = threading.Thread(target=lambda: room.take(20))
    second.start()
    second.join()
    first.join()
    room._patience = 0
    assert room.take(31) is None
    assert not room.crowded


def test_other_room_is_had_at_once_or_everything_is_given_back() -> None:
    room = Room(100, 60)
    assert (room.take(30), room.take(30)) == (30, 30)
    assert room.swap(30, 70) == 70
    assert room.swap(70, 71) is None
    assert room.take(70) == 70


def test_place_needs_room_for_what_is_large_only() -> None:
    room = Room(3 * SMALL, 0)
    place = Place(room)
    assert place.keep(SMALL)
    assert place.taken == 0
    assert place.keep(SMALL + 1)
    assert place.taken == SMALL + 1
    assert not Place(room).keep(2 * SMALL)
    assert place.keep(SMALL)
    assert place.taken == 0
    assert place.take(2 * SMALL)
    assert not Place(room).take(2 * SMALL)
    assert not place.crowded
    place.leave()
    place.leave()
    assert room.take(3 * SMALL) == 3 * SMALL
