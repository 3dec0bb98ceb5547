"""Rate limits: exact over processes that are killed, and what callers are told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from model_kit.testing import GOLDEN_ROW, load_rides

from clock import Clock
from ml_api.app import create_app
from ml_api.client_address import TrustedProxies
from ml_api.keys import new_key
from ml_api.rate_limits import storage as storage_module
from ml_api.rate_limits.limiter import RateLimiter
from ml_api.rate_limits.storage import SharedStorage
from ml_api.settings import Settings
from ml_api.shared_folder import Place
from ml_api.views.media_types import ARROW, CSV

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

URL = "/v1/predict/rides"
JSON = {"Content-Type": "application/json"}
DAY = 86_400
KEYS = [new_key(name, ("predict", "read")) for name in ("one", "two", "two")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1_000_000 * 60 + 30.0)  # the middle of a minute
    monkeypatch.setattr(storage_module, "time", clock)
    return clock


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SharedStorage]:
    storage = SharedStorage(tmp_path / "limits")
    yield storage
    storage.close()


def take(storage: SharedStorage, amount: int = 1, *, key: str = "k", limit: int = 10) -> bool:
    return storage.acquire_sliding_window_entry(key, limit, 60, amount)


def test_amounts_are_added_as_long_as_they_fit(storage: SharedStorage, clock: Clock) -> None:
    assert [take(storage, amount) for amount in (6, 5, 4, 1)] == [True, False, True, False]
    assert take(storage, key="other")
    assert storage.get_sliding_window("k", 60) == (0, 30.0, 10, 90.0)
    assert storage.get_sliding_window("unheard of", 60) == (0, 0.0, 0, 0.0)


def test_window_slides(storage: SharedStorage, clock: Clock) -> None:
    assert take(storage, 10)
    clock.now += 29.9
    assert not take(storage)
    clock.now += 0.2  # the next window has begun: 10 count nearly all, and 9.98 is rounded down
    assert take(storage)
    assert not take(storage)
    clock.now += 30  # 4.98 of the 10 count, rounded down, and 1
    assert not take(storage, 6)
    assert take(storage, 5)
    clock.now += 60 * 10  # nothing counts any more, whether that number of a window was even or odd
    assert take(storage, 10)


@pytest.mark.parametrize("later", [60, 120, 180])
def test_earlier_windows_do_not_count_as_this_one(storage: SharedStorage, clock: Clock, later: int) -> None:
    take(storage, 4)
    clock.now += later
    assert storage.get_sliding_window("k", 60)[2] == 0
    assert storage.get_sliding_window("k", 60)[0] == (4 if later == 60 else 0)


def test_full_table_forgets_the_caller_of_longest_ago_and_least(
    storage: SharedStorage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "BUCKETS", 1)
    take(storage, 9, key="long ago")
    clock.now += 60
    for number in range(storage_module.ENTRIES - 1):
        take(storage, 2 + number, key=f"{number}")
    take(storage, 9, key="new")
    assert storage.get_sliding_window("long ago", 60)[:2] == (0, 0.0)
    take(storage, 9, key="newer")
    assert storage.get_sliding_window("0", 60)[2] == 0
    counts = [storage.get_sliding_window(f"{number}", 60)[2] for number in range(1, storage_module.ENTRIES - 1)]
    assert counts == [3, 4, 5, 6, 7, 8]


def in_child(work: Callable[[], None]) -> int:
    """Fork a process that does ``work`` and then exits with 0."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def test_processes_and_threads_together_take_exactly_the_limit(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def work() -> None:
        storage = SharedStorage(tmp_path / "limits")

        def attempts() -> None:
            for _ in range(300):
                if storage.acquire_sliding_window_entry("k", 1000, DAY):
                    os.write(writer, b"x")

        threads = [threading.Thread(target=attempts) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for child in [in_child(work) for _ in range(4)]:
        assert os.waitpid(child, 0)[1] == 0
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert len(pipe.read()) == 1000


def test_process_that_is_killed_holds_no_lock(tmp_path: Path, storage: SharedStorage) -> None:
    reader, writer = os.pipe()

    def hold() -> None:
        with SharedStorage(tmp_path / "limits")._locked():
            os.write(writer, b"x")
            signal.pause()

    child = in_child(hold)
    os.read(reader, 1)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(take(storage)))
    thread.start()
    thread.join(0.2)
    assert found == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    thread.join(10)
    assert found == [True]
    os.close(reader)
    os.close(writer)


class Deadly:
    """Places of which the store after so many kills the process."""

    def __init__(self, places: memoryview[int], stores: int) -> None:
        self.places, self.left = places, stores

    def __getitem__(self, place: Any) -> Any:
        return self.places[place]

    def __setitem__(self, place: int, value: int) -> None:
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        self.places[place] = value


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("stores", range(10))
def test_death_between_any_two_stores_leaves_counts_that_are_right(
    tmp_path: Path, storage: SharedStorage, clock: Clock, stores: int, known: bool
) -> None:
    if known:
        take(storage, 9)
        clock.now += 120  # its entry for windows of this parity has an old count
        take(storage, 3, key="other")

    def die() -> None:
        dying = SharedStorage(tmp_path / "limits")
        dying._places = Deadly(dying._places, stores)  # type: ignore[assignment]
        take(dying, 4)

    os.waitpid(in_child(die), 0)
    previous, _, current, _ = storage.get_sliding_window("k", 60)
    assert (previous, current) in {(0, 0), (0, 4)}
    assert take(storage, 10 - current)
    assert not take(storage)


# Through the application


@pytest.fixture
def limited(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Any]:
    """Creates clients of an application with a limit of 10 records a minute."""
    monkeypatch.setattr("ml_api.shared_folder.place", Place(tmp_path, 0))
    opened = []

    class Kept(SharedStorage):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(storage_module, "SharedStorage", Kept)

    def create(**settings: Any) -> FlaskClient:
        given = Settings(**({"rate_limit": "10/minute"} | settings))
        return create_app(given, {"rides": lambda: load_rides(bundle)}).test_client()

    yield create
    for storage in opened:
        storage.close()


def test_records_are_counted_and_the_caller_is_told_what_remains(limited: Any, log: list[dict[str, Any]]) -> None:
    client = limited()
    statuses, remaining = [], []
    for records in (1, 5, 0, 3, 1):
        response = client.post(URL, json=[GOLDEN_ROW] * records)
        statuses.append(response.status_code)
        remaining.append(response.headers["RateLimit"])
        assert response.headers["RateLimit-Policy"] == '"records";q=10;w=60'
    assert statuses == [200, 200, 200, 200, 429]
    assert remaining == [f'"records";r={left};t=30' for left in (9, 4, 3, 0, 0)]
    assert response.content_type == "application/problem+json"
    # 30 s to the end of the window, and a moment: of 10 records 9.83 count, rounded down.
    assert response.headers["Retry-After"] == "31"
    assert response.get_json()["detail"] == "This address may send 10 records per minute; try again in 31 s."
    assert log[-1]["refused"] == "rate_limit"


def test_batch_that_does_not_fit_any_more_costs_one(limited: Any) -> None:
    client = limited()
    assert client.post(URL, json=[GOLDEN_ROW] * 6).status_code == 200
    assert client.post(URL, json=[GOLDEN_ROW] * 6).status_code == 429
    assert client.post(URL, json=[GOLDEN_ROW] * 3).status_code == 200
    assert client.post(URL, json=[GOLDEN_ROW]).status_code == 429


def test_batch_beyond_the_limit_never_fits(limited: Any) -> None:
    response = limited().post(URL, json=[GOLDEN_ROW] * 11)
    assert (response.status_code, response.get_json()["detail"]) == (
        413,
        "The request has 11 records; the rate limit is 10 records per minute.",
    )


def test_other_requests_cost_one_and_those_of_operators_nothing(limited: Any) -> None:
    client = limited()
    for _ in range(20):
        response = client.get("/health")
        assert (response.status_code, "RateLimit" in response.headers) == (200, False)
    paths = ["/version", "/v1/models", "/nowhere", "/health/ready"] * 4
    assert Counter(client.get(path).status_code for path in paths) == {200: 3 + 4 + 4, 404: 3, 429: 2}
    assert client.post(URL, data="{").status_code == 429


@pytest.mark.parametrize("cost", [1, 4, 10])
@pytest.mark.parametrize("previous", [0, 3, 10])
@pytest.mark.parametrize("current", [0, 4, 10])
@pytest.mark.parametrize("passed", [0.5, 17.3, 59.9])
def test_request_fits_after_the_seconds_that_were_told_and_not_one_earlier(
    storage: SharedStorage, clock: Clock, cost: int, previous: int, current: int, passed: float
) -> None:
    limiter = RateLimiter("10/minute", storage, None, TrustedProxies(()), 1000)
    clock.now = 1_000_000 * 60.0
    for count in (previous, current):
        assert storage.acquire_sliding_window_entry(limiter._item.key_for("caller"), 100, 60, count)
        clock.now += 60
    clock.now += passed - 60
    accepted, counts = limiter._ask("caller", cost)
    if accepted:
        assert previous * (1 - passed / 60) + current < 11 - cost
        return
    wait = limiter._wait(10 - cost, counts)
    now = clock.now
    clock.now = now + wait - 1
    assert not limiter._ask("caller", cost)[0]
    clock.now = now + wait
    assert limiter._ask("caller", cost)[0]


@pytest.mark.parametrize(
    ("before", "records", "wait"),
    [
        # None fits. After this window (30 s) its 10 count less than 6, rounded down to 5, beyond 24 s of the next one.
        (10, 5, 55),
        # One fits, and is counted: 7 count less than 6 beyond 8.6 s. The four that remain would fit after 31 s.
        (6, 5, 39),
        # The whole limit: 10 count less than 1 beyond 54 s.
        (10, 10, 85),
    ],
)
def test_request_of_several_records_fits_after_the_seconds_that_it_was_told(
    limited: Any, clock: Clock, before: int, records: int, wait: int
) -> None:
    client = limited()
    assert client.post(URL, json=[GOLDEN_ROW] * before).status_code == 200
    refused = client.post(URL, json=[GOLDEN_ROW] * records)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, str(wait))
    clock.now += wait
    assert client.post(URL, json=[GOLDEN_ROW] * records).status_code == 200


def test_refused_body_is_not_parsed_to_tell_when_it_fits(limited: Any) -> None:
    client = limited()
    client.post(URL, json=[GOLDEN_ROW] * 10)

    def wait(body: str, path: str = URL, method: str = "POST") -> str:
        response = client.open(path, method=method, data=body, content_type="application/json")
        assert response.status_code == 429
        return str(response.headers["Retry-After"])

    # Each { counts, also where the JSON is broken; more than the limit count as the limit.
    assert [wait("{" * count) for count in (1, 5, 10, 99)] == ["31", "55", "85", "85"]
    assert [wait(""), wait("[]"), wait("[1, 2]")] == ["31"] * 3
    # Other requests cost one.
    assert [wait("{{{{{", "/nowhere"), wait("{{{{{", method="OPTIONS")] == ["31"] * 2


def test_tables_cost_their_rows(limited: Any) -> None:
    client = limited()
    lines = b"zone,distance\n" + b"A,8\n" * 6
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema({"zone": pa.string()})) as writer:
        writer.write_table(pa.table({"zone": ["A"] * 6}))
    stream = bytes(sink.getvalue())
    sent = ((CSV, lines), (CSV, lines[:26]), (ARROW, stream[:0]), (ARROW, stream))
    responses = [client.post(URL, data=body, content_type=kind) for kind, body in sent]
    assert [response.status_code for response in responses] == [200, 200, 400, 429]
    assert [response.headers["RateLimit"][12:13] for response in responses] == ["4", "1", "0", "0"]
    # Not one record fits any more: all six, and of CSV the header too, fit after as long as six and seven records.
    waits = [client.post(URL, data=body, content_type=kind).headers["Retry-After"] for kind, body in sent[::3]]
    assert waits == ["67", "61"]


def test_window_that_has_just_begun_has_all_its_seconds(limited: Any, clock: Clock) -> None:
    clock.now = 1_000_000 * 60.0
    assert limited().get("/version").headers["RateLimit"] == '"records";r=9;t=60'


def test_limit_is_that_of_a_key_else_of_an_address(limited: Any) -> None:
    client = limited(api_keys=" ".join(str(key) for _, key in KEYS))
    one, two, also_two = ({"X-API-Key": secret} for secret, _ in KEYS)
    assert client.post(URL, json=[GOLDEN_ROW] * 10, headers=one).status_code == 200
    refused = client.post(URL, json=GOLDEN_ROW, headers=one)
    assert refused.get_json()["detail"].startswith("The key one may send 10 records per minute")
    # Two keys of one name, of which one replaces the other, are one caller.
    assert client.post(URL, json=[GOLDEN_ROW] * 10, headers=two).status_code == 200
    assert client.post(URL, json=GOLDEN_ROW, headers=also_two).status_code == 429
    # Without a key nothing is counted, nor told.
    assert "RateLimit" not in client.post(URL, json=GOLDEN_ROW).headers


def test_address_is_the_clients_behind_a_proxy_that_is_trusted(limited: Any) -> None:
    client = limited(forwarded_allow_ips=("127.0.0.1",))

    def status(peer: str, forwarded: str) -> int:
        response = client.get("/version", headers={"X-Forwarded-For": forwarded}, environ_base={"REMOTE_ADDR": peer})
        return int(response.status_code)

    assert [status("127.0.0.1", "192.0.2.1") for _ in range(11)] == [200] * 10 + [429]
    assert status("127.0.0.1", "192.0.2.2") == 200
    assert [status("192.0.2.9", f"192.0.2.{number}") for number in range(11)] == [200] * 10 + [429]


def test_document_tells_of_the_limit(limited: Any, client: FlaskClient) -> None:
    document = limited().get("/openapi.json").get_json()
    assert document["paths"][URL]["post"]["responses"]["429"] == {"$ref": "#/components/responses/TooManyRequests"}
    assert "429" not in document["paths"]["/health"]["get"]["responses"]
    assert "429" not in client.get("/openapi.json").get_json()["paths"][URL]["post"]["responses"]


def test_nothing_is_imported_without_a_limit() -> None:
    script = (
        "import sys; from ml_api.app import create_app; from ml_api.settings import Settings; import ml_api.worker\n"
        "create_app(Settings(), {})\n"
        "assert not {'limits', 'redis', 'ml_api.rate_limits'} & set(sys.modules)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=True)


# Real servers


def send(servers: list[Server], count: int) -> Counter[int]:
    """Send requests of one record from eight threads, in turn to the servers; returns how often each status came."""
    found: Counter[int] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        for turn in range(count // 8):
            connection = servers[(number + turn) % len(servers)].connect()
            connection.request("POST", URL, json.dumps(GOLDEN_ROW), JSON)
            status = connection.getresponse().status
            connection.close()
            with lock:
                found[status] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_limit_is_exact_over_workers_that_are_killed_and_reloaded(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="2", RATE_LIMIT="500/day")
    # Of what the start of the server and the description of its responses have asked, the last counts one.
    taken = 1
    assert send([server], 200) == {200: 200}
    victims = {line["pid"] for line in server.lines if line["message"] == "model loaded"}
    os.kill(min(victims), signal.SIGKILL)
    assert send([server], 96) == {200: 96}
    server.process.send_signal(signal.SIGHUP)
    assert send([server], 96) == {200: 96}
    left = 500 - taken - 200 - 96 - 96
    assert send([server], 200) == {200: left, 429: 200 - left}
    server.process.terminate()
    assert server.process.wait(10) == 0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL of a Redis, and its process."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server here; Debian's package is redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen([*command, "--requirepass", "canary"], stdout=subprocess.DEVNULL)
    give_up = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    yield f"redis://:canary@127.0.0.1:{port}/0", process
    process.kill()
    process.wait()


def test_limit_is_exact_over_servers_that_share_a_redis(
    serve: Serve, redis: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, process = redis
    servers = [serve(RATE_LIMIT="300/day", RATE_LIMIT_REDIS=url) for _ in range(2)]
    taken = 2  # as above, for each server
    assert send(servers, 400) == {200: 300 - taken, 429: 100 + taken}
    # Without it each counts for itself, and says so.
    process.kill()
    process.wait()
    assert send(servers[:1], 400) == {200: 300, 429: 100}
    told = [line for line in servers[0].lines if line["message"].startswith("Redis failed")]
    assert {line["reason"] for line in told} == {"ConnectionError"}
    assert "canary" not in json.dumps(servers[0].lines) + servers[0].errors
