"""The longer forms of tests/test_vm.py and tests/test_serverless.py: minutes under load, kills, and a minute frozen."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from confined import Confined
from on_vm import Nginx, Unit, exchange, make_release, receive, request
from operated import wait_until
from suspended import suspended

#: Keeps a figure in the report of pytest (``--junitxml``).
Note: TypeAlias = Callable[[str, object], None]
URL = "/v1/predict/rides"
CLIENTS = 16
MEBIBYTE = 1024 * 1024
#: MemoryMax of the unit.
MEMORY = 1024 * MEBIBYTE


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "opt")


@pytest.fixture
def unit(release: Path, tmp_path: Path) -> Generator[Unit]:
    (tmp_path / "unit").mkdir()
    unit = Unit(release, tmp_path / "unit", API_KEYS_FILE="")
    unit.start()
    yield unit
    unit.close()


@pytest.fixture
def nginx(unit: Unit, tmp_path: Path) -> Generator[Nginx]:
    (tmp_path / "nginx").mkdir()
    nginx = Nginx(tmp_path / "nginx", unit.port, {"proxy_read_timeout 60s;": "proxy_read_timeout 15s;"})
    yield nginx
    nginx.stop()


@contextmanager
def load(nginx: Nginx) -> Generator[Counter[Any]]:
    """Clients of different addresses that predict while the block runs: (status, whether the answer is right)."""
    found: Counter[Any] = Counter()
    done = threading.Event()

    def ask(number: int) -> None:
        while not done.is_set():
            with nginx.connect(f"127.0.1.{number}") as connection:
                for _ in range(20):
                    status, _, document = exchange(connection, "POST", URL, GOLDEN_ROW)
                    found[status, document.get("predictions") == [GOLDEN_PREDICTION]] += 1
                    time.sleep(0.012)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, CLIENTS + 1)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        done.set()
        for thread in threads:
            thread.join()


def goes_on(found: Counter[Any], count: int = 300) -> None:
    reached = found[200, True]
    wait_until(lambda: found[200, True] >= reached + count)


def test_ten_restarts_under_load_lose_nothing(nginx: Nginx, unit: Unit, record_property: Note) -> None:
    with load(nginx) as found:
        for _ in range(10):
            goes_on(found)
            unit.stop()
            unit.start()
        goes_on(found)
    record_property("statuses", str(found))
    assert set(found) == {(200, True)}


def test_killed_server_loses_only_what_it_was_computing(nginx: Nginx, unit: Unit, record_property: Note) -> None:
    with load(nginx) as found:
        for _ in range(5):
            goes_on(found)
            unit.kill()
            unit.start()
        goes_on(found)
    record_property("statuses", str(found))
    assert set(found) <= {(200, True), (502, False)}
    assert found[502, False] <= 5 * CLIENTS


def test_reloads_under_load_lose_nothing(nginx: Nginx, unit: Unit) -> None:
    with load(nginx) as found:
        for _ in range(5):
            goes_on(found)
            assert unit.run("ExecReload").returncode == 0
        goes_on(found)
    assert set(found) == {(200, True)}


def test_server_that_does_not_come_back_is_a_gateway_timeout(nginx: Nginx, unit: Unit) -> None:
    unit.stop()
    status, headers, document = nginx.ask("POST", URL, GOLDEN_ROW)
    assert (status, document["title"], document["request_id"]) == (504, "Gateway Timeout", headers["X-Request-ID"])
    unit.start()
    assert nginx.ask("POST", URL, GOLDEN_ROW)[0] == 200


def test_large_bodies_at_once_stay_within_the_memory_of_the_unit(
    nginx: Nginx, unit: Unit, record_property: Note
) -> None:
    rows = [{**GOLDEN_ROW, **{f"other {number}": float(number) for number in range(80)}}] * 10_000
    body = request("POST", f"{URL}?warnings=false", rows)
    assert len(body) > 12 * MEBIBYTE
    found: Counter[int] = Counter()
    most = 0

    def send(number: int) -> None:
        for _ in range(3):
            with nginx.connect(f"127.0.2.{number}") as connection:
                connection.sendall(body)
                status, _, document = receive(connection)
                found[status] += 1
                assert status != 200 or document["predictions"] == [GOLDEN_PREDICTION] * len(rows)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 21)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, sum(resident(pid) for pid in unit.tree()))
        time.sleep(0.2)
    record_property("statuses", str(found))
    record_property("MiB", most // MEBIBYTE)
    assert set(found) <= {200, 503}
    assert found.total() == 60
    assert most < MEMORY


def resident(pid: int) -> int:
    """Memory of a process that it shares with no other one, and its part of what it shares (bytes)."""
    (line,) = [line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024


def test_a_thousand_idle_connections_with_tls_are_in_nobodys_way(nginx: Nginx) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(nginx.connect(f"127.0.3.{number % 20 + 1}")) for number in range(1000)]
        for connection in idle:
            assert exchange(connection, "GET", "/health")[0] == 200
        with load(nginx) as found:
            goes_on(found, 2000)
        assert set(found) == {(200, True)}
        for connection in idle:
            assert exchange(connection, "POST", URL, GOLDEN_ROW)[0] == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_server_that_was_frozen_for_a_minute_answers_the_next_request(release: Path, tmp_path: Path) -> None:
    (tmp_path / "confined").mkdir()
    server = Confined(release, tmp_path / "confined")
    with server.connect() as kept:
        assert exchange(kept, "GET", "/health")[0] == 200
        workers = server.workers()
        with ExitStack() as stack:
            for pid in (*workers, server.process.pid):
                stack.enter_context(suspended(pid))
            time.sleep(65)
            # The platform passes the next request on, and continues the processes.
            kept.sendall(request("POST", URL, GOLDEN_ROW))
        assert receive(kept)[2]["predictions"] == [GOLDEN_PREDICTION]
        assert server.ask("POST", URL, GOLDEN_ROW)[2]["predictions"] == [GOLDEN_PREDICTION]
        time.sleep(3)
        assert server.workers() == workers
    server.stop()
    assert "WORKER TIMEOUT" not in server.log
