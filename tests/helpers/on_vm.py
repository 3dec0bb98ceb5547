"""What a virtual machine runs, on free ports: the commands of ml-api.service, its socket, and nginx with its site."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_kit.testing import write_ride_bundle

from certificates import make_certificate
from installed import hide_other_models, install
from local_index import free_port
from project import ROOT
from small_project import make_environment

VM = ROOT / "deploy/vm"
HOST = "api.example.com"
PATIENCE = 60
PACKAGE = """
import os
from pathlib import Path

from model_kit.testing import load_rides


def load():
    return load_rides(Path(os.environ.get("RIDES_BUNDLE") or Path(__file__).with_name("rides")))
"""
#: Has the program that follows the descriptor find it as systemd passes sockets on.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def make_release(folder: Path, seen_as: Path | None = None) -> Path:
    """Make a folder like /opt/ml-api/current, with a model of rides and the packages of this environment.

    Args:
        folder: where it is made.
        seen_as: where the processes find it, if elsewhere.
    """
    release = folder / "release"
    site = release / "site"
    install(site, "regression-model", "1.2.3", "[ml_api.models]\nrides = rides_package:load\n")
    hide_other_models(site)
    (site / "rides_package.py").write_text(PACKAGE)
    write_ride_bundle(site / "rides")
    shutil.copy(ROOT / "run.sh", release)
    (release / "packages").symlink_to(ROOT / "packages")
    serving = release / "build/serving"
    make_environment(serving)
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(serving), "platbase": str(serving)}))
    path = [str((seen_as or release) / "site"), *filter(None, sys.path)]
    (purelib / "rides.pth").write_text("".join(f"{entry}\n" for entry in path))
    return release


def read_unit(name: str) -> Mapping[str, list[str]]:
    """Return the settings of a unit file, each with all of its values."""
    settings: dict[str, list[str]] = defaultdict(list)
    for setting, value in re.findall(r"^([A-Za-z]+)=(.*)$", (VM / name).read_text("utf-8"), re.MULTILINE):
        settings[setting].append(value)
    return settings


class Unit:
    """Runs the commands of ml-api.service with the listener of ml-api.socket, as systemd does, without the sandbox.

    Args:
        release: what :func:`make_release` made.
        folder: stands for /run/ml-api, /var/lib/ml-api and /etc/ml-api, and has the logs.
        environ: settings in addition to those of ml-api.env.
    """

    def __init__(self, release: Path, folder: Path, **environ: str) -> None:
        self._release, self.folder = release, folder
        self.unit = read_unit("ml-api.service")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=int(read_unit("ml-api.socket")["Backlog"][0]))
        self.port: int = self.listener.getsockname()[1]
        assignments = " ".join(self.unit["Environment"]).split()
        settings = dict(assignment.split("=", 1) for assignment in assignments)
        settings |= dict(re.findall(r"^([A-Z_]+)=(.*)$", (VM / "ml-api.env").read_text("utf-8"), re.MULTILINE))
        place = re.compile(r"^/(run|var/lib|etc)/ml-api\b")
        settings = {name: place.sub(str(folder), text) for name, text in settings.items()}
        self.environ = {**os.environ, **settings, "PORT": str(self.port), **environ}
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, setting: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a setting to its end."""
        (command,) = self.unit[setting]
        return subprocess.run(
            shlex.split(command.replace("$$", "$")),
            cwd=self._release,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self) -> None:
        """Start the server, and wait until it is ready: its first request waits at the socket."""
        (command,) = self.unit["ExecStart"]
        descriptor = self.listener.fileno()
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(descriptor), *shlex.split(command)],
                cwd=self._release,
                env=self.environ,
                pass_fds=[descriptor],
                stdout=out,
                stderr=err,
            )
        status, _, document = ask(self.port, "GET", "/health/ready")
        assert (status, document) == (200, {"status": "ready"}), (self.folder / "err").read_text()

    def stop(self) -> None:
        """Stop it as systemd does with KillMode=mixed; its socket stays."""
        assert self.process is not None
        self.process.send_signal(getattr(signal, self.unit["KillSignal"][0]))
        assert self.process.wait(int(self.unit["TimeoutStopSec"][0])) == 0, (self.folder / "err").read_text()

    def tree(self) -> list[int]:
        """Process ids of the server, the first one's first."""
        assert self.process is not None
        return [self.process.pid, *children(self.process.pid)]

    def kill(self) -> None:
        """End all of its processes with SIGKILL."""
        assert self.process is not None
        for pid in self.tree():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Stop it, and close the socket."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self.listener.close()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of its requests in its log."""
        lines = [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]
        return [line for line in lines if line["message"] == "request"]


class Nginx:
    """Debian's nginx with the configuration of deploy/vm, and a certificate made here.

    Args:
        folder: stands for /etc/nginx and /var/log/nginx.
        port: of the server behind it.
        changes: text -> another one, in any of the files.
        more: further servers, with ``PORT`` where they listen.
    """

    def __init__(self, folder: Path, port: int, changes: Mapping[str, str], more: str = "") -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        self.folder = folder
        self.http, self.tls, self.more = free_port(), free_port(), free_port()
        certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
        make_certificate(certificate, key, f"DNS:{HOST}")
        needed = {
            "server 127.0.0.1:5000;": f"server 127.0.0.1:{port};",
            "    listen [::]:80;\n": "",
            "    listen [::]:443 ssl http2;\n": "",
            "listen 80;": f"listen 127.0.0.1:{self.http};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.tls} ssl http2;",
            "/etc/ssl/ml-api": str(folder),
            "/var/log/nginx": str(folder),
            **changes,
        }
        text = {
            name: (VM / "nginx" / name).read_text("utf-8")
            for name in ("ml-api.conf", "ml-api-proxy.conf", "ml-api-problem.conf", "site.conf")
        }
        for old, new in needed.items():
            assert any(old in content for content in text.values()), old
            text = {name: content.replace(old, new) for name, content in text.items()}
        (folder / "snippets").mkdir()
        for name, content in text.items():
            (folder / ("snippets" if name.startswith("ml-api-") else ".") / name).write_text(content)
        (folder / "more.conf").write_text(more.replace("PORT", f"127.0.0.1:{self.more}"))
        temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
        (folder / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\ndaemon off;\nworker_processes 2;\n"
            f"worker_rlimit_nofile 8192;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
            "events { worker_connections 4096; }\n"
            f"http {{\n{temporary}    access_log off;\n"
            "    include ml-api.conf;\n    include site.conf;\n    include more.conf;\n}\n"
        )
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [program, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")], stderr=stderr
            )
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < give_up
                assert self.process.poll() is None, self.errors
                time.sleep(0.02)
        self.context = ssl.create_default_context(cafile=str(certificate))

    @property
    def errors(self) -> str:
        """What it says of itself."""
        log = self.folder / "error.log"
        return (self.folder / "stderr").read_text() + (log.read_text() if log.exists() else "")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of its access log."""
        return [json.loads(line) for line in (self.folder / "ml-api.log").read_text().splitlines()]

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """A connection with TLS from an address."""
        plain = socket.create_connection(("127.0.0.1", self.tls), timeout=PATIENCE, source_address=(source, 0))
        return self.context.wrap_socket(plain, server_hostname=HOST)

    def ask(self, method: str, path: str, body: Any = None, *headers: str, source: str = "127.0.0.1") -> Response:
        """Send a request from an address on a connection of its own."""
        with self.connect(source) as connection:
            return exchange(connection, method, path, body, *headers)

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(PATIENCE)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
#: Status, headers, document.
Response = tuple[int, http.client.HTTPMessage, Any]


def exchange(connection: socket.socket, method: str, path: str, body: Any = None, *headers: str) -> Response:
    """Send a request on a connection, and receive the response; a body that is no bytes is sent as JSON."""
    connection.sendall(request(method, path, body, *headers))
    return receive(connection)


def request(method: str, path: str, body: Any = None, *headers: str) -> bytes:
    """Return a request as bytes."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def receive(connection: socket.socket) -> Response:
    """Receive a response; the document is ``None`` if it is no JSON."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    content = response.read()
    is_json = response.headers.get_content_type().endswith("json")
    return response.status, response.headers, json.loads(content) if is_json else None


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process; ps fails if there are none."""
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    return [*map(int, subprocess.run(command, check=False, capture_output=True, text=True).stdout.split())]


def ask(port: int, method: str, path: str, body: Any = None) -> Response:
    """Ask the server itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        return exchange(connection, method, path, body)
