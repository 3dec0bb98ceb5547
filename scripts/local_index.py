"""The embedded package index: a real server on loopback with a password, for those who have no index yet.

It listens on 127.0.0.1 only, requires the password for everything, uses no other index, and never overwrites a file.
The password is made anew at each start and lives in memory; the server gets nothing but its hash.
"""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from passlib.hash import sha256_crypt

from package_index import PackageIndex, index_from_environment
from processes import child
from project import Project, ScriptError

USER = "developer"
#: Seconds until the server must answer; it takes 0.3.
PATIENCE = 30.0
#: The password has 256 random bits, so that slow hashing would protect nothing; each request pays for a round.
_ROUNDS = 1000
_ATTEMPTS = 3


@contextmanager
def open_index(project: Project, environ: Mapping[str, str]) -> Generator[PackageIndex]:
    """Yield the index that the environment names, or else the embedded one while the block lasts.

    Raises:
        ScriptError: the environment's settings cannot be used, or the embedded index does not start.
    """
    named = index_from_environment(environ)
    if named is not None:
        yield named
        return
    with serve_index(project.index) as index:
        yield index


@contextmanager
def serve_index(folder: Path, token: str | None = None) -> Generator[PackageIndex]:
    """Serve the packages in ``folder`` on a free port of 127.0.0.1 while the block lasts.

    Raises:
        ScriptError: the server does not start; the text has its last words.
    """
    token = token or secrets.token_urlsafe(32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="index-") as temporary:
        passwords, log = Path(temporary, "htpasswd"), Path(temporary, "log")
        passwords.touch(0o600)
        passwords.write_text(f"{USER}:{sha256_crypt.using(rounds=_ROUNDS).hash(token)}\n")
        for _attempt in range(_ATTEMPTS):  # another process may take the free port first
            port = free_port()
            with (
                log.open("wb") as stream,
                child(_server(folder, passwords, port), output=stream.fileno(), patience=5) as process,
            ):
                index = PackageIndex(f"http://127.0.0.1:{port}/simple/", f"http://127.0.0.1:{port}/", USER, token)
                deadline = time.monotonic() + PATIENCE
                while process.poll() is None and time.monotonic() < deadline:
                    if _answers(index):
                        yield index
                        return
                    time.sleep(0.05)
        words = log.read_text("utf-8", "replace")[-2000:]
    raise ScriptError(f"the embedded package index did not start; its last words:\n{words}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _server(folder: Path, passwords: Path, port: int) -> list[str]:
    options = "--disable-fallback --hash-algo sha256 --authenticate list,download,update --interface 127.0.0.1"
    return [
        *(sys.executable, "-m", "pypiserver", "run"),
        *(*options.split(), "--port", str(port), "--passwords", str(passwords), str(folder)),
    ]


def _answers(index: PackageIndex) -> bool:
    """Return whether the server at this address is ours: it accepts our password."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(index.url, auth=(index.user, index.token), timeout=5).status_code == requests.codes.ok
        except requests.RequestException:
            return False
