"""A server on one processor, in a file system of which nothing but /tmp may be written."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local_index import free_port
from on_vm import PATIENCE, Response, ask, children
from operated import wait_until
from project import ROOT

#: Arguments: folders below /tmp that stay visible, `--`, and a command.
SCRIPT = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
number=0
while [ "$1" != -- ]; do
    number=$((number + 1))
    mkdir "/mnt/$number"
    mount --rbind "$1" "/mnt/$number"
    printf '%s\\n' "$1" >>/mnt/folders
    shift
done
shift
mount -t tmpfs -o mode=1777 tmpfs /tmp
number=0
while read -r folder; do
    number=$((number + 1))
    mkdir -p "$folder"
    mount --rbind "/mnt/$number" "$folder"
done </mnt/folders
cut -d ' ' -f 2 /proc/self/mounts | while read -r place; do
    [ "$place" = /tmp ] || mount -o remount,bind,ro "$place" 2>/dev/null || true
done
mount -t tmpfs -o ro tmpfs /dev/shm
cd "$PWD"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def confined_command(release: Path, *command: str) -> list[str]:
    """Return a command in such a file system, without capabilities; skips the test where root may not mount."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("root may not mount here")
    folders = [str(folder) for folder in (release, ROOT) if folder.is_relative_to("/tmp")]
    processor = min(os.sched_getaffinity(0))
    return ["taskset", "-c", str(processor), "unshare", "--mount", "sh", "-c", SCRIPT, "sh", *folders, "--", *command]


class Confined:
    """The server of a release, in such a file system.

    Args:
        release: what :func:`on_vm.make_release` made.
        folder: where its log goes.
        environ: settings.
    """

    def __init__(self, release: Path, folder: Path, **environ: str) -> None:
        self.port, self._out = free_port(), folder / "out"
        settings = {"HOST": "127.0.0.1", "PORT": str(self.port), "WEB_CONCURRENCY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                confined_command(release, "sh", "run.sh"),
                cwd=release,
                env=os.environ | settings | environ,
                stdout=out,
                stderr=out,
            )

        def is_ready() -> bool:
            assert self.process.poll() is None, self.log
            try:
                return self.ask("GET", "/health/ready")[0] == 200
            except OSError:
                return False

        wait_until(is_ready)

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._out.read_text()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return children(self.process.pid)

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None) -> Response:
        """Send a request on a connection of its own."""
        return ask(self.port, method, path, body)

    def stop(self) -> None:
        """Stop it as a platform does."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log
