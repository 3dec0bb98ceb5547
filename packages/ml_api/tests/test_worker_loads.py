from __future__ import annotations

import os

from ml_api.worker_loads import NOBODY, Shares


def test_who_has_more_than_another_has_much() -> None:
    shares = Shares(2)
    one, other = shares.take(), shares.take()
    one.tell(1)
    other.tell(0)
    assert (one.is_large(), other.is_large()) == (True, False)
    other.tell(1)
    assert (one.is_large(), other.is_large()) == (False, False)


def test_an_eighth_more_is_not_much() -> None:
    shares = Shares(2)
    one, other = shares.take(), shares.take()
    other.tell(16)
    one.tell(18)
    assert not one.is_large()
    one.tell(19)
    assert one.is_large()


def test_nobody_has_less() -> None:
    shares = Shares(2)
    one, other = shares.take(), shares.take()
    one.tell(5)
    assert not one.is_large()
    other.tell(0)
    assert one.is_large()
    other.tell(NOBODY)
    assert not one.is_large()


def test_place_of_the_dead_is_their_successors() -> None:
    shares = Shares(1)
    places = [shares.take() for _ in range(4)]
    for load, place in enumerate(places):
        place.tell(load)
    late = shares.take()
    late.tell(9)
    assert not late.is_large()  # there was no place left
    places[0].leave()
    places[0].leave()
    assert not places[1].is_large()
    successor = shares.take()
    successor.tell(0)
    assert places[1].is_large()


def test_processes_see_each_other() -> None:
    shares = Shares(2)
    ours, theirs = shares.take(), shares.take()
    ours.tell(1)
    child = os.fork()
    if child == 0:
        theirs.tell(0)
        os._exit(0)
    os.waitpid(child, 0)
    assert ours.is_large()
