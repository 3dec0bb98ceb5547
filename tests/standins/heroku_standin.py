"""A stand-in for Heroku: its API, its git over HTTP, its router and its dynos, on this machine.

One app has a repository whose pre-receive hook builds, a list of releases, a router with a port of its own, and one web
dyno. A release is as with preboot (devcenter.heroku.com/articles/preboot): the new dyno is started beside the old one;
once it has bound its port and a while has passed - 3 minutes there, ``delay`` here - the router sends everything to
it, whether it is well or not, and the old one gets SIGTERM. Before that the Procfile's release process runs; if it
fails, so does the release, and nothing changes. Readiness is none of the platform's business
(github.com/heroku/roadmap/issues/139): that is why a deployment is verified.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import queue
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local_index import free_port

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}
_JSON = "application/vnd.heroku+json; version=3"
#: Seconds in which a dyno must bind its port, and seconds that it has after SIGTERM.
BOOT, GRACE = 60, 30


@dataclass
class Dyno:
    """A running web process."""

    process: subprocess.Popen[bytes]
    port: int
    busy: int = 0


@dataclass
class Release:
    """A release: what runs, with which config vars."""

    id: str
    version: int
    slug: dict[str, str] | None
    image: str | None
    config: dict[str, str]
    description: str
    status: str = "pending"


@dataclass
class App:
    """An app and what it has."""

    name: str
    folder: Path
    router: Router
    config: dict[str, str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    releases: list[Release] = field(default_factory=list)
    dyno: Dyno | None = None
    live: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)
    starts: queue.SimpleQueue[Release | None] = field(default_factory=queue.SimpleQueue)
    starter: threading.Thread | None = None


class Router(ThreadingHTTPServer):
    """Sends each request to the dyno of the moment; keeps the caller's connection whatever happens behind it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RouterHandler)
        self.app: App | None = None
        self.url = f"http://127.0.0.1:{self.server_port}/"


class RouterHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Router

    def _forward(self) -> None:
        app = self.server.app
        assert app is not None
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with app.lock:
            dyno = app.dyno
            if dyno is not None:
                dyno.busy += 1
        if dyno is None:
            self._answer(503, [("Content-Type", "text/html")], b"<h1>Application error</h1>")
            return
        try:
            connection = http.client.HTTPConnection("127.0.0.1", dyno.port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers | {"Connection": "close"})
            answer = connection.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            kept = [(name, value) for name, value in kept if name.lower() != "content-length"]
            self._answer(answer.status, kept, content)
            connection.close()
        except (OSError, http.client.HTTPException):
            self._answer(503, [("Content-Type", "text/html")], b"<h1>Application error</h1>")  # H10
        finally:
            with app.lock:
                dyno.busy -= 1
                app.lock.notify_all()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Heroku(ThreadingHTTPServer):
    """The platform.

    Args:
        folder: where everything goes.
        pip_environ: what this machine's pip needs to reach the default index; Heroku's needs nothing.
        cache: a site-packages whose content each build begins with.
        delay: seconds between a bound port and the switch to it.
        image_command: registry, app, image's digest, port -> the command that runs a released image; raises
            ``LookupError`` if the registry has no such image.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        *,
        pip_environ: Mapping[str, str],
        cache: Path | None = None,
        delay: float = 3.0,
        image_command: Callable[[str, str, int], list[str]] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.folder = folder
        self.key = "HRKU-" + secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.apps: dict[str, App] = {}
        self.pipeline = str(uuid.uuid4())
        self.promotions: dict[str, Any] = {}
        self.pip_environ, self.cache, self.delay = dict(pip_environ), cache, delay
        self.image_command = image_command
        self.asked: list[str] = []

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point our scripts here."""
        return {"HEROKU_API_KEY": self.key, "HEROKU_API_URL": self.url, "HEROKU_GIT_URL": f"{self.url}/git"}

    def create(self, name: str, **config: str) -> App:
        """A new app, with its first release, which has no code."""
        folder = self.folder / name
        repository = folder / "repository.git"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
        hook = repository / "hooks/pre-receive"
        hook.parent.mkdir(exist_ok=True)
        build = Path(__file__).with_name("buildpack.py")
        hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{build}" "{folder}/settings.json"\n')
        hook.chmod(0o755)
        router = Router()
        app = router.app = self.apps[name] = App(name, folder, router, dict(config))
        threading.Thread(target=router.serve_forever, args=(0.05,), daemon=True).start()
        app.starter = threading.Thread(target=self._starter, args=(app,), daemon=True)
        app.starter.start()
        self.release(app, None, None, "Initial release")
        self.write_settings(app)
        return app

    def write_settings(self, app: App) -> None:
        """What the hook must know."""
        settings = {
            "folder": str(app.folder),
            "config": app.config,
            "pip_environ": self.pip_environ,
            "cache": str(self.cache) if self.cache else "",
            "released": f"{self.url}/internal/{app.name}",
            "secret": self.key,
        }
        (app.folder / "settings.json").write_text(json.dumps(settings))

    def release(self, app: App, slug: dict[str, str] | None, image: str | None, description: str) -> Release:
        """Add a release and start what it has."""
        release = Release(str(uuid.uuid4()), len(app.releases) + 1, slug, image, dict(app.config), description)
        app.releases.append(release)
        app.starts.put(release)
        return release

    def _starter(self, app: App) -> None:
        while (release := app.starts.get()) is not None:
            if release.slug is not None or release.image is not None:
                self._start(app, release)
            else:
                release.status = "succeeded"

    def _start(self, app: App, release: Release) -> None:
        if not self._release_phase(app, release):
            release.status = "failed"
            return
        release.status = "succeeded"
        dyno = self._dyno(app, release)
        until = time.monotonic() + BOOT
        while dyno.process.poll() is None and time.monotonic() < until and not _bound(dyno.port):
            time.sleep(0.05)
        if app.dyno is not None:
            time.sleep(self.delay)
        with app.lock:
            old, app.dyno = app.dyno, dyno
            app.live = release.version
            app.lock.notify_all()
            app.lock.wait_for(lambda: old is None or old.busy == 0, GRACE)
        if old is not None:
            _stop(old)

    def _release_phase(self, app: App, release: Release) -> bool:
        if release.slug is None or "release" not in release.slug:
            return True
        command, environ = ["bash", "-c", release.slug["release"]], self._environ(release.slug, "release.1")
        with (app.folder / f"v{release.version}.release.log").open("wb") as log:
            done = subprocess.run(
                command,
                cwd=release.slug["folder"],
                env=environ | release.config,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return done.returncode == 0

    @staticmethod
    def _environ(slug: Mapping[str, str], dyno: str) -> dict[str, str]:
        folder = slug["folder"]
        path = f"{folder}/.heroku/python/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": folder, "LANG": "C.UTF-8", "DYNO": dyno}

    def _dyno(self, app: App, release: Release) -> Dyno:
        port = free_port()
        with (app.folder / f"v{release.version}.log").open("wb") as log:
            if release.slug is not None:
                folder = release.slug["folder"]
                command = ["bash", "-c", release.slug["command"]]
                environ = self._environ(release.slug, "web.1") | {"PORT": str(port)} | release.config
            else:
                assert self.image_command is not None
                assert release.image is not None
                folder, environ = str(app.folder), {**os.environ, "PORT": str(port)} | release.config
                command = self.image_command(app.name, release.image, port)
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return Dyno(process, port)

    def close(self) -> None:
        """End everything."""
        for app in self.apps.values():
            app.starts.put(None)
            # A release that is starting just now would outlive this.
            if app.starter is not None:
                app.starter.join()
            app.router.shutdown()
            app.router.server_close()
            if app.dyno is not None:
                _stop(app.dyno)
        self.shutdown()
        self.server_close()


def _bound(port: int) -> bool:
    # Without a connection, which a server would have to take: who listens stands in the system's table, on Linux.
    wanted = f":{port:04X}"
    if not Path("/proc/net/tcp").exists():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                parts = line.split()
                if parts[1].endswith(wanted) and parts[3] == "0A":
                    return True
    return False


def _stop(dyno: Dyno) -> None:
    with suppress(ProcessLookupError):
        os.killpg(dyno.process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        dyno.process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(dyno.process.pid, signal.SIGKILL)
    dyno.process.wait()


class ApiHandler(BaseHTTPRequestHandler):
    server: Heroku

    def _handle(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        if path.startswith("/git/"):
            self._git(path.removeprefix("/git"), query, body)
            return
        self.server.asked.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self._json(401, {"id": "unauthorized", "message": "Invalid credentials provided."})
            return
        if not path.startswith("/internal/") and not (self.headers.get("Accept") or "").startswith(_JSON):
            self._json(404, {"id": "not_found", "message": "The requested API endpoint was not found."})
            return
        try:
            status, answer = self._answer(path, json.loads(body) if body else {})
        except LookupError as error:
            status, answer = 404, {"id": "not_found", "message": f"Couldn't find that: {error}."}
        self._json(status, answer)

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815

    def _answer(self, path: str, body: Any) -> tuple[int, Any]:
        server = self.server
        parts = path.strip("/").split("/")
        match (self.command, *parts):
            case ("POST", "internal", name):
                release = server.release(server.apps[name], body, None, f"Deploy {body['commit'][:8]}")
                return 201, self._release(server.apps[name], release)
            case ("GET", "apps", name):
                app = server.apps[name]
                return 200, {"id": app.id, "name": app.name, "web_url": app.router.url}
            case ("GET", "apps", name, "releases"):
                app = server.apps[name]
                return 206, [self._release(app, release) for release in reversed(app.releases)]
            case ("GET", "apps", name, "slugs", slug):
                found = [r.slug for r in server.apps[name].releases if r.slug is not None and r.slug["id"] == slug]
                return 200, {"id": found[0]["id"], "commit": found[0]["commit"]}
            case ("POST", "apps", name, "releases"):
                app = server.apps[name]
                (old,) = [release for release in app.releases if release.id == body["release"]]
                if old.slug is None and old.image is None:
                    return 422, {"id": "unprocessable_entity", "message": "Cannot roll back to a release without code"}
                app.config = dict(old.config)
                server.write_settings(app)
                return 201, self._release(app, server.release(app, old.slug, old.image, f"Rollback to v{old.version}"))
            case ("GET", "apps", name, "config-vars"):
                return 200, server.apps[name].config
            case ("PATCH", "apps", name, "config-vars"):
                app = server.apps[name]
                app.config |= body
                server.write_settings(app)
                newest = app.releases[-1]
                server.release(app, newest.slug, newest.image, f"Set {', '.join(body)} config vars")
                return 200, app.config
            case ("PATCH", "apps", name, "formation"):
                return self._formation(server.apps[name], body)
            case ("GET", "apps", name, "pipeline-couplings"):
                return 200, {"app": {"id": server.apps[name].id}, "pipeline": {"id": server.pipeline}}
            case ("POST", "pipeline-promotions"):
                return self._promote(body)
            case ("GET", "pipeline-promotions", promotion):
                return 200, server.promotions[promotion]
            case ("GET", "pipeline-promotions", promotion, "promotion-targets"):
                return 200, server.promotions[promotion]["targets"]
        raise LookupError(path)

    def _formation(self, app: App, body: Any) -> tuple[int, Any]:
        if not (self.headers.get("Accept") or "").endswith("version=3.docker-releases"):
            return 422, {"id": "invalid_params", "message": "docker_image needs version=3.docker-releases"}
        (update,) = body["updates"]
        if update["type"] != "web" or not re.fullmatch("sha256:[0-9a-f]{64}", update["docker_image"]):
            return 422, {"id": "invalid_params", "message": f"no image: {update}"}
        if self.server.image_command is None:
            raise LookupError("a registry")
        self.server.image_command(app.name, update["docker_image"], 0)
        self.server.release(app, None, update["docker_image"], "Deployed web")
        return 200, [{"type": "web", "quantity": 1}]

    def _promote(self, body: Any) -> tuple[int, Any]:
        server = self.server
        by_id = {app.id: app for app in server.apps.values()}
        if body["pipeline"]["id"] != server.pipeline:
            raise LookupError("pipeline")
        source = by_id[body["source"]["app"]["id"]].releases[-1]
        targets = []
        for target in body["targets"]:
            app = by_id[target["app"]["id"]]
            server.release(app, source.slug, source.image, f"Promote v{source.version}")
            targets.append({"app": {"id": app.id}, "status": "succeeded", "error_message": None})
        promotion = {"id": str(uuid.uuid4()), "status": "completed", "targets": targets}
        server.promotions[str(promotion["id"])] = promotion
        return 201, promotion | {"status": "pending"}

    @staticmethod
    def _release(app: App, release: Release) -> dict[str, Any]:
        slug = None if release.slug is None else {"id": release.slug["id"]}
        facts = {"id": release.id, "version": release.version, "slug": slug, "description": release.description}
        return facts | {"current": release is app.releases[-1], "status": release.status}

    def _json(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _git(self, path: str, query: str, body: bytes) -> None:
        """Git's own smart HTTP server, for whoever knows the key."""
        found = re.fullmatch(r"/([a-z0-9-]+)\.git(/.*)", path)
        scheme, _, credentials = (self.headers.get("Authorization") or "").partition(" ")
        password = base64.b64decode(credentials).decode().partition(":")[2] if scheme == "Basic" else None
        if password != self.server.key:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if found is None or found.group(1) not in self.server.apps:
            self._json(404, {"message": "No such app"})
            return
        environ = {
            "PATH": os.environ["PATH"],
            "STANDIN_PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.apps[found.group(1)].folder / "repository.git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(self.server.folder),
            "PATH_INFO": found.group(2),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "heroku",
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }
        with subprocess.Popen(
            ["git", "http-backend"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(body)
            process.stdin.close()
            status, headers = 200, []
            while line := process.stdout.readline().strip().decode():
                name, _, value = line.partition(": ")
                if name == "Status":
                    status = int(value.split()[0])
                else:
                    headers.append((name, value))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            while piece := process.stdout.read1(65536):  # type: ignore[attr-defined]
                self.wfile.write(piece)
                self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def heroku(folder: Path, **settings: Any) -> Generator[Heroku]:
    """The platform while the block lasts; every process of its apps has ended afterwards."""
    server = Heroku(folder, **settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
