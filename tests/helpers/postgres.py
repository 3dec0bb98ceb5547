"""A PostgreSQL server of its own, started and killed by a test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

BOOT_SECONDS = 60
#: The user that runs it where this process is root's, which PostgreSQL refuses.
USER = "postgres"


def programs() -> Path:
    """The folder of PostgreSQL's programs; skips the test if there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("PostgreSQL is not installed here; Debian's package is postgresql")
    return folders[-1]


class Postgres:
    """A server whose data is in ``folder``; without fsync, for the tests kill processes and not machines."""

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        self._programs, self._data = programs(), folder / "data"
        self._user = pwd.getpwnam(USER) if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-A", "trust", "-U", "test", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_user())
        self.process: subprocess.Popen[bytes] | None = None

    def _as_user(self) -> dict[str, Any]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}

    @property
    def url(self) -> str:
        """As ``PREDICTION_LOG`` takes it."""
        return f"postgres://test@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = {
            "port": self.port,
            "fsync": self._fsync,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *arguments]
        log = self._data.with_name("log")
        give_up = time.monotonic() + BOOT_SECONDS
        while not self._answers():
            assert time.monotonic() < give_up, f"PostgreSQL did not start:\n{log.read_text()[-2000:]}"
            # It refuses to start beside a process of before, which may be ending.
            if self.process is None or self.process.poll() is not None:
                with log.open("ab") as file:
                    self.process = subprocess.Popen(
                        command, stdout=file, stderr=file, start_new_session=True, **self._as_user()
                    )
            time.sleep(0.05)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        if self.process is not None:
            # Its processes lead groups of their own.
            for pid in (self.process.pid, *self._children()):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _children(self) -> list[int]:
        if self.process is None:
            return []
        command = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        return [int(pid) for pid in subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()]

    def kill(self) -> None:
        """End all of its processes with SIGKILL."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Have it end at once, without a checkpoint, and start it again."""
        assert self.process is not None
        command = [str(self._programs / "pg_ctl"), "-D", str(self._data), "-m", "immediate", "-W", "stop"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_user())
        self.process.wait()
        self.process = None
        self.start()

    def kill_postmaster(self) -> None:
        """End its first process with SIGKILL, and wait until the others have noticed."""
        assert self.process is not None
        others = self._children()
        self.process.kill()
        self.process.wait()
        self.process = None
        give_up = time.monotonic() + BOOT_SECONDS
        while any(map(_runs, others)):
            assert time.monotonic() < give_up, "PostgreSQL's processes did not end"
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Return whether a process has not ended, whether or not its parent has taken notice."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


@contextmanager
def running_postgres(*, fsync: bool = False) -> Generator[Postgres]:
    """A server that runs; killed and deleted afterwards."""
    # pytest's folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder), fsync=fsync)
        try:
            server.start()
            yield server
        finally:
            server.signal(signal.SIGCONT)
            server.kill()
