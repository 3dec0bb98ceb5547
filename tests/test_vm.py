"""deploy/vm: the commands of the systemd unit, run for real, behind Debian's nginx with the site; systemd's checks."""

from __future__ import annotations

import json
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

from ml_api.settings import Settings
from on_vm import HOST, PATIENCE, VM, Nginx, Unit, ask, exchange, make_release, read_unit, receive, request
from project import ROOT

URL = "/v1/predict/rides"
#: Seconds for which the tests' nginx waits for a client.
CLIENT_TIMEOUT = 2
ANSWER = {"predictions": [GOLDEN_PREDICTION], "errors": None, "version": "1.2.3"}
#: Points of exposure that `systemd-analyze security` may find, of 100; 96 for a unit that says nothing.
EXPOSURE = 15


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be in /opt/ml-api/current."""
    return make_release(tmp_path_factory.mktemp("opt"))


@pytest.fixture(scope="module")
def unit(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Unit]:
    """The server as the unit starts it, which counts what each address asks."""
    unit = Unit(
        release, tmp_path_factory.mktemp("unit"), WEB_CONCURRENCY="1", API_KEYS_FILE="", RATE_LIMIT="1000000/day"
    )
    unit.start()
    yield unit
    unit.close()


@pytest.fixture(scope="module")
def nginx(unit: Unit, tmp_path_factory: pytest.TempPathFactory) -> Generator[Nginx]:
    """The nginx in front of it, more impatient with clients than in production, and with the documented prefix."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("there is no nginx here; Debian's package is nginx")
    (prefix,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/vm.md").read_text("utf-8"), re.DOTALL)
    impatient = {
        "client_body_timeout 20s;": f"client_body_timeout {CLIENT_TIMEOUT}s;",
        "client_header_timeout 20s;": f"client_header_timeout {CLIENT_TIMEOUT}s;",
    }
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), unit.port, impatient, f"server {{ listen PORT; {prefix} }}")
    yield nginx
    nginx.stop()
    assert "[emerg]" not in nginx.errors


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def is_problem_of_nginx(response: Any, status: int) -> bool:
    """Whether a response is nginx's own, in the server's format."""
    found, headers, document = response
    assert document.keys() == {"type", "title", "status", "detail", "request_id"}
    assert headers["Content-Type"] == "application/problem+json"
    assert document["request_id"] == headers["X-Request-ID"]
    assert document["title"]
    return bool(found == document["status"] == status and headers["X-Content-Type-Options"] is None)


def test_a_request_over_tls_and_http2_has_one_id_in_both_logs(nginx: Nginx, unit: Unit) -> None:
    command = ["curl", "-sS", "--http2", "--cacert", str(nginx.folder / "fullchain.pem"), "-D", "-"]
    command += ["--resolve", f"{HOST}:{nginx.tls}:127.0.0.1", "--noproxy", "*", "-H", "Content-Type: application/json"]
    command += ["-H", "X-Request-ID: trace-1", "-d", json.dumps(GOLDEN_ROW), f"https://{HOST}:{nginx.tls}{URL}"]
    head, _, body = subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition("\n\n")
    assert head.startswith("HTTP/2 200")
    assert "\nx-request-id: trace-1\n" in f"{head}\n"
    assert "\nstrict-transport-security: max-age=31536000" in head
    assert json.loads(body) == ANSWER
    _, headers, _ = nginx.ask("GET", "/health?secret=1", None, "X-Request-ID: not {sane}")
    made = headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    wait_until(lambda: len(nginx.lines) >= 2)
    first, second = nginx.lines[:2]
    assert (first["path"], first["status"], first["request_id"]) == (URL, 200, "trace-1")
    assert (second["path"], second["request_id"]) == ("/health", made)
    assert {"trace-1", made} <= {line["request_id"] for line in unit.lines}


def test_plain_http_is_sent_to_tls(nginx: Nginx) -> None:
    status, headers, _ = ask(nginx.http, "GET", "/docs?x=1")
    assert (status, headers["Location"]) == (301, f"https://{HOST}/docs?x=1")


def test_the_server_counts_the_address_of_the_client_whatever_it_says(nginx: Nginx) -> None:
    def left(source: str, *headers: str) -> int:
        status, found, _ = nginx.ask("POST", URL, GOLDEN_ROW, *headers, source=source)
        assert status == 200
        return int(re.findall(r"r=(\d+)", found["RateLimit"])[0])

    first = left("127.0.0.2")
    assert left("127.0.0.2", "X-Forwarded-For: 203.0.113.9") == first - 1
    assert left("127.0.0.2", "X-Forwarded-For: 127.0.0.1, 203.0.113.9", "Forwarded: for=203.0.113.9") == first - 2
    assert left("127.0.0.3") == first


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_nginx_takes_what_the_server_takes_and_refuses_a_byte_more(nginx: Nginx, unit: Unit, chunked: bool) -> None:
    limit = Settings().max_body_bytes

    def send(size: int) -> Any:
        body = b"[" + b" " * (size - 2) + b"]"
        with nginx.connect() as connection:
            if not chunked:
                connection.sendall(request("POST", URL, b"")[:-5] + f"{size}\r\n\r\n".encode())
                with suppress(OSError):  # nginx answers at once, and closes after a moment
                    connection.sendall(body)
            else:
                head = request("POST", URL, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
                connection.sendall(head)
                with suppress(OSError):
                    connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
            return receive(connection)

    if not chunked:
        assert send(limit)[::2] == (200, {"predictions": [], "errors": None, "version": "1.2.3"})
    before = len(unit.lines)
    refused = send(limit + 1)
    assert is_problem_of_nginx(refused, 413)
    assert refused[2]["detail"] == f"The body is longer than the {limit} bytes that are taken."
    assert len(unit.lines) == before


def test_errors_of_the_server_pass_as_they_are(nginx: Nginx) -> None:
    for method, path, body, status in (
        ("POST", URL, {}, 422),
        ("POST", URL, b"{", 400),
        ("GET", "/nowhere", None, 404),
    ):
        found, headers, document = nginx.ask(method, path, body)
        assert (found, headers["X-Content-Type-Options"]) == (status, "nosniff")
        assert status == 422 or document["request_id"] == headers["X-Request-ID"]


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/metrics?x=1",
        "//metrics",
        "/a/../metrics",
        "/%6detrics",
        "/report",
        "/health/ready",
        "/health//ready",
    ],
)
def test_what_is_for_the_machine_alone_is_not_there(nginx: Nginx, unit: Unit, path: str) -> None:
    before = len(unit.lines)
    assert is_problem_of_nginx(nginx.ask("GET", path), 404)
    assert nginx.ask("GET", "/health")[0] == 200
    assert len(unit.lines) == before + 1


def test_documented_prefix(nginx: Nginx) -> None:
    port = nginx.more
    status, headers, _ = ask(port, "GET", "/houses?x=1")
    assert (status, headers["Location"]) == (308, f"http://{HOST}:{port}/houses/?x=1")
    assert ask(port, "POST", f"/houses{URL}", GOLDEN_ROW)[::2] == (200, ANSWER)
    (server,) = ask(port, "GET", "/houses/openapi.json")[2]["servers"]
    assert urljoin("https://host/houses/openapi.json", server["url"]) == "https://host/houses/"
    assert is_problem_of_nginx(ask(port, "GET", "/houses/health/ready"), 404)
    assert ask(port, "GET", "/houses/health")[0] == 200
    # The rest of the host is not ours.
    assert ask(port, "GET", "/health")[::2] == (404, None)


def established(port: int) -> int:
    """Connections to a port of 127.0.0.1, by the system's table."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] == "01" for row in rows)


def has_ended(connection: socket.socket) -> bool:
    """Whether nginx has closed a connection; it has sent nothing on it."""
    connection.settimeout(0.001)
    try:
        return not connection.recv(1)
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def test_slow_clients_cost_the_server_nothing_and_end(nginx: Nginx, unit: Unit) -> None:
    source, before = "127.0.0.4", len(unit.lines)
    with ExitStack() as stack:

        def begin(count: int, sent: bytes) -> list[ssl.SSLSocket]:
            connections = [stack.enter_context(nginx.connect(source)) for _ in range(count)]
            for connection in connections:
                connection.sendall(sent)
            return connections

        # As many requests as one address may have under way.
        bodies = begin(50, request("POST", URL, b" " * 1000)[:-1000])
        heads = begin(100, request("POST", URL, None, "X-Slow: ")[:-4])
        wait_until(lambda: is_problem_of_nginx(nginx.ask("POST", URL, GOLDEN_ROW, source=source), 429))
        assert nginx.ask("POST", URL, GOLDEN_ROW)[::2] == (200, ANSWER)
        assert established(unit.port) < 10
        give_up = time.monotonic() + PATIENCE
        # A head that drips ends, a body that drips goes on, and one that stalls ends.
        while heads:
            assert time.monotonic() < give_up
            time.sleep(CLIENT_TIMEOUT / 8)
            for connection in (*heads, *bodies):
                with suppress(OSError):
                    connection.sendall(b" ")
            heads = [connection for connection in heads if not has_ended(connection)]
        assert not any(map(has_ended, bodies))
        wait_until(lambda: all(map(has_ended, bodies)))
        assert nginx.ask("POST", URL, GOLDEN_ROW, source=source)[::2] == (200, ANSWER)
    assert [line["status"] for line in unit.lines[before:]] == [200, 200]


def test_a_thousand_idle_connections_are_in_nobodys_way(nginx: Nginx, unit: Unit) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most > 0 else 8192, most))
    with ExitStack() as stack:
        connect = socket.create_connection
        idle = [
            stack.enter_context(connect(("127.0.0.1", nginx.tls), timeout=PATIENCE, source_address=("127.0.0.5", 0)))
            for _ in range(1000)
        ]
        with nginx.connect() as connection:
            for _ in range(20):
                assert exchange(connection, "POST", URL, GOLDEN_ROW)[::2] == (200, ANSWER)
        assert established(nginx.tls) >= len(idle)
        assert established(unit.port) < 10


def test_a_burst_of_one_address_is_refused_beyond_its_share(nginx: Nginx) -> None:
    with nginx.connect("127.0.0.6") as connection:
        connection.sendall(request("GET", "/health") * 899 + request("GET", "/health", None, "Connection: close"))
        received = b""
        while piece := connection.recv(65536):
            received += piece
    statuses = Counter(re.findall(rb"HTTP/1\.1 (\d+) ", received))
    assert set(statuses) == {b"200", b"429"}
    assert sum(statuses.values()) == 900
    assert statuses[b"200"] >= 200
    assert received.count(b"\r\nRetry-After: 1\r\n") == statuses[b"429"]
    assert nginx.ask("GET", "/health", source="127.0.0.7")[0] == 200


def test_no_request_is_lost_when_the_server_restarts(nginx: Nginx, unit: Unit) -> None:
    found: Counter[Any] = Counter()
    done = threading.Event()

    def load(number: int) -> None:
        while not done.is_set():
            with nginx.connect(f"127.0.1.{number}") as connection:
                for _ in range(10):
                    status, _, document = exchange(connection, "POST", URL, GOLDEN_ROW)
                    found[status, document == ANSWER] += 1
                    time.sleep(0.01)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: found.total() > 100)
        before = unit.process
        unit.stop()
        unit.start()
        assert unit.process is not before
        reached = found.total()
        wait_until(lambda: found.total() > reached + 100)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(found) == {(200, True)}


def test_reload_tells_what_became_of_it(unit: Unit) -> None:
    done = unit.run("ExecReload")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"rides 1\.2\.3 \(artefact [0-9a-f]{12}\), unchanged\n", done.stdout)


def test_tables_of_a_log_are_made_before_the_start(unit: Unit) -> None:
    assert unit.run("ExecStartPre", PREDICTION_LOG="").returncode == 0
    log = unit.folder / "log.db"
    done = unit.run("ExecStartPre", PREDICTION_LOG=str(log))
    assert done.returncode == 0, done.stderr
    assert log.exists()


def test_a_server_that_is_down_is_a_problem_too(nginx: Nginx, unit: Unit) -> None:
    # The last test: nothing listens any more.
    unit.close()
    response = nginx.ask("POST", URL, GOLDEN_ROW)
    assert is_problem_of_nginx(response, 502)
    assert response[1]["Retry-After"] == "2"


# What needs neither server nor nginx.


def test_limits_and_times_of_unit_and_nginx_are_those_of_the_server() -> None:
    settings, unit = Settings(), read_unit("ml-api.service")
    proxy, site, shared = (
        (VM / "nginx" / name).read_text("utf-8") for name in ("ml-api-proxy.conf", "site.conf", "ml-api.conf")
    )
    conf = (ROOT / "packages/ml_api/gunicorn.conf.py").read_text("utf-8")
    (graceful,), (keepalive,) = (
        re.findall(rf"^{name} = (\d+)", conf, re.MULTILINE) for name in ("graceful_timeout", "keepalive")
    )
    assert f"client_max_body_size {settings.max_body_bytes};" in proxy
    assert f"client_body_timeout {settings.request_timeout}s;\nsend_timeout {settings.request_timeout}s;" in proxy
    assert f"client_header_timeout {settings.request_timeout}s;" in site
    (kept,) = re.findall(r"keepalive_timeout (\d+)s;", shared)
    assert int(kept) < int(keepalive)
    assert int(unit["TimeoutStopSec"][0]) > int(graceful)
    (address,) = read_unit("ml-api.socket")["ListenStream"]
    assert f"server {address};" in shared
    host, _, port = address.partition(":")
    assert f"HOST={host} PORT={port} " in unit["Environment"][0]


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Both units where systemd looks for neither, and finds the programs that they name."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here; Debian's package is systemd")
    for name in ("ml-api.service", "ml-api.socket"):
        shutil.copy(VM / name, tmp_path)
    return [str(tmp_path / "ml-api.service"), str(tmp_path / "ml-api.socket")]


def test_systemd_finds_no_fault(units: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "ml-api" in line]) == (0, [])


def test_the_unit_is_hardened(units: list[str]) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", units[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level for ml-api.service" in done.stdout
