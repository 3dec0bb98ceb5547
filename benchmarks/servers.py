"""The contestants: how each is started, and what its processes use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import _scripts  # noqa: F401
from processes import child
from project import ROOT, ScriptError

HERE = Path(__file__).parent
CONTESTANTS = HERE / "contestants"
BUILD = ROOT / "build/benchmarks"
ML_API = ROOT / "packages/ml_api"

#: Worker processes of each contestant.
WORKERS = 2
#: Seconds until a server must be ready: importing pandas and scikit-learn takes 4, twice at a time.
PATIENCE = 60.0
#: Seconds without work after which every worker is taken to have started.
IDLE = 0.4

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """How a contestant is started.

    Attributes:
        title: what tables call it.
        command: ``{port}`` stands for the port.
        environ: variables on top of this process's.
        folder: where it is started.
        ready: path that answers 200 once it can predict.
        logs: whether it writes a line for each request.
    """

    title: str
    command: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    ready: str = "/health"
    logs: bool = False


@dataclass(frozen=True)
class Running:
    """A server that is ready.

    Attributes:
        seconds: from its start to ready.
        log: what it has written.
    """

    server: Server
    process: subprocess.Popen[bytes]
    port: int
    seconds: float
    log: Path

    def url(self, path: str) -> str:
        """Where to ask."""
        return f"http://127.0.0.1:{self.port}{path}"

    def lines(self, word: bytes) -> int:
        """Lines of the log that hold ``word``."""
        with self.log.open("rb") as file:
            return sum(word in line for line in file)

    def resident(self) -> list[float]:
        """Resident memory of its processes but the first, its workers, in MB (10^6 bytes); largest first."""
        found = [pages for pid, (_, pages) in group(self.process.pid).items() if pid != self.process.pid]
        return sorted((pages * PAGE / 1e6 for pages in found), reverse=True)


def shipped(python: Path | None = None) -> dict[str, str]:
    """The environment in which ``run.sh`` starts ``python``, and everything that comes beside it.

    ``run.sh`` takes build/serving where that is; elsewhere the Python on PATH, which is this one.
    """
    serving = ROOT / "build/serving/bin/python"
    python = python or (serving if serving.exists() else Path(sys.executable))
    return {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "WEB_CONCURRENCY": str(WORKERS),
        # As in run.sh.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_TRIM_THRESHOLD_": "131072",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
    }


def ours(environ: Mapping[str, str] | None = None) -> Server:
    """The service as it is shipped."""
    return Server(
        "ml_api",
        (str(ROOT / "run.sh"),),
        shipped() | dict(environ or {}),
        ready="/health/ready",
        logs=True,
    )


def bare(environ: Mapping[str, str] | None = None) -> Server:
    """A Flask view that returns a constant, in the same environment under gunicorn's own threaded worker."""
    options = ("--bind", "127.0.0.1:{port}", "--workers", str(WORKERS), "--threads", "4", "--no-control-socket")
    return Server(
        "Flask, a constant",
        ("python", "-m", "gunicorn", *options, "bare:app"),
        shipped() | {"PYTHONPATH": str(CONTESTANTS)} | dict(environ or {}),
    )


def naive(pickle: Path) -> Server:
    """Flask, marshmallow, pandas and scikit-learn under gunicorn: as it comes, but for workers and threads.

    Threads keep connections alive: alone, a request takes 25 ms where it takes 40 without.
    """
    command = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", str(WORKERS), "--threads", "4", "naive:app")
    return Server("Flask, marshmallow, pandas", (sys.executable, *command), tutorial(pickle))


def modern(pickle: Path) -> Server:
    """FastAPI, pydantic, pandas and scikit-learn under uvicorn."""
    command = ("-m", "uvicorn", "--port", "{port}", "--workers", str(WORKERS), "--no-access-log", "modern:app")
    return Server("FastAPI, pydantic, pandas", (sys.executable, *command), tutorial(pickle))


def under_granian() -> Server:
    """ml_api's sources in this environment, under granian instead of gunicorn."""
    options = ("--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", str(WORKERS))
    command = ("-m", "granian", *options, "--no-access-log", "ml_api.wsgi:app")
    return Server(
        "ml_api under granian", (sys.executable, *command), {"PYTHONPATH": str(ML_API)}, ready="/health/ready"
    )


def tutorial(pickle: Path) -> dict[str, str]:
    """The environment of the servers that load a pickle."""
    return {"PYTHONPATH": str(CONTESTANTS), "MODEL": str(pickle)}


def constant() -> Server:
    """A native server, compiled if it has not been.

    Raises:
        ScriptError: there is no C compiler.
    """
    source, program = CONTESTANTS / "constant.c", BUILD / "constant"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ScriptError(f"{source.name} cannot be compiled: {error}") from error
    return Server("a constant in C", (str(program), "{port}"))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(server: Server, folder: Path) -> Generator[Running]:
    """Start a server, wait until all of it is ready, and end it with the block.

    Args:
        server: what to start.
        folder: gets the log.

    Raises:
        ScriptError: it does not start; the text has its last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / f"{''.join(c if c.isalnum() else '-' for c in server.title)}.log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GUNICORN_"))}
    environ |= {"PORT": str(port)} | server.environ
    command = [part.replace("{port}", str(port)) for part in server.command]
    if "/" not in command[0]:
        command = ["/usr/bin/env", *command]  # which looks along the PATH of the new environment
    with log.open("wb") as output:
        start = time.monotonic()
        with child(command, cwd=server.folder, env=environ, output=output.fileno()) as process:
            wait_until_ready(process, port, server.ready, log)
            seconds = time.monotonic() - start
            wait_until_idle(process.pid)
            yield Running(server, process, port, seconds, log)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    """Ask until the answer is 200.

    Raises:
        ScriptError: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if status(port, path) == 200:
            return
        time.sleep(0.01)
    last = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
    how = f"ended with status {process.returncode}" if process.poll() is not None else f"{PATIENCE:.0f} s passed"
    raise ScriptError(f"a server did not become ready: {how}; its last words:\n{last}")


def status(port: int, path: str) -> int:
    """Status of a GET on a connection of its own; 0 if there is no answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def wait_until_idle(group_id: int) -> None:
    """Wait until a group of processes does nothing: the first worker to be ready answers for all the others."""
    deadline, since, used = time.monotonic() + PATIENCE, time.monotonic(), -1
    while time.monotonic() < min(deadline, since + IDLE):
        now = sum(ticks for ticks, _ in group(group_id).values())
        if now > used + 1:
            since, used = time.monotonic(), now
        time.sleep(0.05)


def group(group_id: int) -> dict[int, tuple[int, int]]:
    """Processes of a group: id -> (processor time in ticks, resident pages)."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # it has ended
        parts = text[text.rindex(")") + 2 :].split()
        if int(parts[2]) == group_id:
            found[int(folder.name)] = (int(parts[11]) + int(parts[12]), int(parts[21]))
    return found
