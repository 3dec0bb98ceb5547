from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
from werkzeug.exceptions import ServiceUnavailable

from ml_api import admission, connection
from ml_api.admission import (
    BUSY,
    CALM,
    MAX_WORK,
    OVERLOADED_WORK,
    SHORT,
    STANDING,
    ClientLeftError,
    ConcurrencyLimit,
    WaitLimit,
    cost,
)

LONG = SHORT + 1


@pytest.mark.parametrize(
    ("rows", "details", "expected"),
    [
        (7, {}, 7),
        (1, {"explain": True}, 401),
        (10, {"warnings": True}, 110),
        (2, {"explain": True, "warnings": True}, 822),
    ],
)
def test_cost_is_what_is_asked_for(rows: int, details: dict[str, bool], expected: int) -> None:
    assert cost(rows, **details) == expected


def test_queue_is_no_overload_before_it_is_long_in_work_and_in_time() -> None:
    limit, long_ago = WaitLimit(), time.monotonic() - 2 * STANDING
    assert not limit.is_exceeded(100_000, long_ago)
    for _ in range(200):
        limit.observe(0.001)
    most = round(MAX_WORK / 0.001)
    # A burst, and many clients that wait for their responses.
    assert not limit.is_exceeded(10 * most, time.monotonic())
    assert not limit.is_exceeded(most - 1, long_ago)
    assert not limit.is_exceeded(most - 1, time.monotonic(), full=True)
    assert limit.is_exceeded(most - 1, long_ago, full=True)
    assert limit.is_exceeded(most + 1, long_ago)


def test_request_that_takes_far_longer_than_others_hardly_counts() -> None:
    limit, long_ago = WaitLimit(), time.monotonic() - 2 * STANDING
    for _ in range(200):
        limit.observe(0.001)
    few = round(MAX_WORK / 0.001 / 2)
    limit.observe(1.0)
    assert not limit.is_exceeded(few, long_ago)
    for _ in range(30):
        limit.observe(1.0)
    assert limit.is_exceeded(few, long_ago)


def test_overload_has_a_lower_bound_until_none_has_been_refused_for_a_while() -> None:
    limit, long_ago = WaitLimit(), time.monotonic() - 2 * STANDING
    for _ in range(200):
        limit.observe(0.001)
    few = round(OVERLOADED_WORK / 0.001)
    assert not limit.is_exceeded(few + 1, time.monotonic())
    assert limit.is_exceeded(1000, long_ago)
    assert limit.is_exceeded(few + 1, time.monotonic())
    assert not limit.is_exceeded(few - 1, time.monotonic())
    time.sleep(CALM)
    assert not limit.is_exceeded(few + 1, time.monotonic())


def test_short_request_never_waits() -> None:
    limit = ConcurrencyLimit(1)
    environ: dict[str, Any] = {connection.LEAVE_LOOP: pytest.fail}
    with limit.admit(LONG, {}), limit.admit(SHORT, environ), limit.admit(1, environ):
        pass


def test_long_requests_compute_one_at_a_time_outside_of_the_event_loop() -> None:
    limit = ConcurrencyLimit(1)
    done: list[str] = []

    def work() -> None:
        with limit.admit(LONG, {connection.LEAVE_LOOP: lambda: done.append("leaves")}):
            done.append("begins")
            time.sleep(0.05)
            done.append("ends")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [word for word in done if word != "leaves"] == ["begins", "ends"] * 3
    assert done.count("leaves") == 3


def test_long_request_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_WAIT", 0.01)
    limit = ConcurrencyLimit(1)
    with limit.admit(LONG, {}):
        with pytest.raises(ServiceUnavailable, match=BUSY) as caught, limit.admit(LONG, {}):
            pytest.fail("it computes")
        assert caught.value.retry_after == 5
    with limit.admit(LONG, {}):
        pass


def test_one_more_than_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_WAITING", 0)
    started = time.monotonic()
    with pytest.raises(ServiceUnavailable, match=BUSY), ConcurrencyLimit(1).admit(LONG, {}):
        pytest.fail("it computes")
    assert time.monotonic() - started < 1


def test_nothing_is_computed_for_a_client_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ConcurrencyLimit(1)
    monkeypatch.setattr(connection, "has_left", lambda environ: environ["left"])
    with pytest.raises(ClientLeftError) as left, limit.admit(LONG, {"left": True}):
        pytest.fail("it computes")
    assert left.value.get_response().status_code == 499
    with limit.admit(LONG, {"left": False}):
        pass


def test_threads_take_turns_more_often_beside_a_long_request() -> None:
    limit = ConcurrencyLimit(2)
    assert sys.getswitchinterval() == pytest.approx(0.005)
    with limit.admit(LONG, {}):
        with limit.admit(LONG, {}):
            pass
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.005)
