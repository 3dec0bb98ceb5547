"""Every prediction that was answered is in the log, once, with its value: whatever dies, hangs or is full."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from operated import Load, Serve, Service, load_on, wait_until
from postgres import Postgres


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


def kill_workers(service: Service, load: Load) -> None:
    """Kill each worker in turn, under load."""
    for _ in range(4):
        load.reaches(200)
        os.kill(service.workers()[0], signal.SIGKILL)
    load.reaches(200)


def test_killed_worker_loses_no_answer_with_sqlite(serve: Serve, file: str) -> None:
    service = serve(file)
    with load_on(service) as load:
        kill_workers(service, load)
    assert set(load.statuses) <= {0, 200}


def test_killed_worker_loses_no_answer_with_postgres(serve: Serve, postgres: Postgres) -> None:
    service = serve(postgres.url)
    with load_on(service) as load:
        kill_workers(service, load)
    assert set(load.statuses) <= {0, 200}


def test_killed_postgres_loses_no_answer_and_comes_back(serve: Serve, postgres: Postgres) -> None:
    service = serve(postgres.url)
    with load_on(service) as load:
        for _ in range(2):
            load.reaches(200)
            postgres.kill()
            load.reaches(503, 50)
            assert service.status("/health") == service.status("/health/ready") == 200
            postgres.start()
            load.reaches(200)
    assert set(load.statuses) == {200, 503}
    assert load.retry_after == {"1"}
    # Each response has one line, with its own status, also where the commit failed after the prediction was made.
    lines = [line for line in service.lines("request") if line["route"] == "/v1/predict/<name>"]
    assert Counter(line["status"] for line in lines) == load.statuses
    assert service.lines("the prediction log works again")


def test_postgres_that_hangs_is_given_up_and_comes_back(serve: Serve, postgres: Postgres) -> None:
    service = serve(postgres.url, PREDICTION_LOG_TIMEOUT="1")
    with load_on(service) as load:
        load.reaches(200)
        postgres.signal(signal.SIGSTOP)
        load.reaches(503, 50)
        assert service.status("/health") == service.status("/health/ready") == 200
        postgres.signal(signal.SIGCONT)
        load.reaches(200)
    assert set(load.statuses) == {200, 503}


def test_postgres_that_restarts_is_not_noticed_for_longer_than_that(serve: Serve, postgres: Postgres) -> None:
    """Connections of before are stale, and no request fails for that alone."""
    service = serve(postgres.url)
    with load_on(service) as load:
        load.reaches(200)
    postgres.kill()
    postgres.start()
    with load_on(service) as load:
        load.reaches(200)
    assert set(load.statuses) == {200}


def test_file_that_another_process_locks_is_given_up_and_comes_back(serve: Serve, file: str) -> None:
    service = serve(file, PREDICTION_LOG_TIMEOUT="1")
    with load_on(service) as load:
        load.reaches(200)
        other = sqlite3.connect(file, isolation_level=None, timeout=30)
        other.execute("BEGIN EXCLUSIVE")
        load.reaches(503, 50)
        other.execute("ROLLBACK")
        other.close()
        load.reaches(200)
    assert set(load.statuses) == {200, 503}


def test_without_the_requirement_a_dead_database_costs_no_answer(serve: Serve, postgres: Postgres) -> None:
    service = serve(postgres.url, PREDICTION_LOG_REQUIRED="false")
    with Load(service.port) as load:
        load.reaches(200)
        postgres.kill()
        load.reaches(200, 500)
        postgres.start()
        # A worker says so as soon as it has something to write.
        wait_until(lambda: bool(service.lines("the prediction log works again")))
    assert set(load.statuses) == {200}
    (again, *_) = service.lines("the prediction log works again")
    assert again["refused"] + again["failed"] > 0
    assert 0 < len(service.logged()) < len(load.answered)


def test_server_starts_before_its_database(serve: Serve, postgres: Postgres) -> None:
    postgres.kill()
    service = serve(postgres.url, migrate=False)
    with Load(service.port) as load:
        load.reaches(503, 20)
    postgres.start()
    service.command("migrate")
    with load_on(service) as load:
        load.reaches(200)


def test_stopping_writes_what_is_queued(serve: Serve, file: str) -> None:
    service = serve(file, PREDICTION_LOG_REQUIRED="false", SHUTDOWN_DELAY="1")
    with Load(service.port) as load:
        load.reaches(200)
        # Asked until nobody listens.
        service.stop()
    assert service.logged() == load.answered
