"""A stand-in for a registry, as far as one image's manifest goes, and for the docker client that pushes to it.

Where a Docker engine is at hand, a real registry (Debian's docker-registry) and the real client do the same.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: Logs in, tags, pushes and inspects, as docker does: credentials by standard input, kept in DOCKER_CONFIG alone.
CLIENT = """#!{python}
import base64, json, os, sys, urllib.request
from pathlib import Path

what, *rest = sys.argv[1:]
config = Path(os.environ["DOCKER_CONFIG"], "config.json")
tags = Path(__file__).with_name("tags.json")
known = json.loads(tags.read_text())
if what == "login":
    assert rest[:3] == ["--username", "_", "--password-stdin"], rest
    config.write_text(json.dumps(dict(auth=base64.b64encode(b"_:" + sys.stdin.buffer.read()).decode())))
elif what == "tag":
    if rest[0] not in known:
        sys.exit(f"Error response from daemon: No such image: {{rest[0]}}")
    tags.write_text(json.dumps(known | {{rest[1]: known[rest[0]]}}))
elif what == "push":
    host, _, name = rest[0].partition("/")
    manifest = json.dumps(dict(schemaVersion=2, config=dict(digest=known[rest[0]]), layers=[])).encode()
    headers = dict(Authorization="Basic " + json.loads(config.read_text())["auth"])
    request = urllib.request.Request(f"http://{{host}}/v2/{{name}}/manifests/latest", manifest, headers, method="PUT")
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request)
    except urllib.error.HTTPError as error:
        sys.exit(f"unauthorized: {{error.code}}")
    print("latest: digest: pushed")
elif [what, *rest[:3]] == ["image", "inspect", "--format", "{{{{.Id}}}}"]:
    print(known[rest[3]])
else:
    sys.exit(f"docker: unknown command {{sys.argv[1:]}}")
"""


class Registry(ThreadingHTTPServer):
    """Holds the newest manifest of each name, for whoever knows the key."""

    daemon_threads = True

    def __init__(self, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authorization = "Basic " + base64.b64encode(f"_:{key}".encode()).decode()
        self.host = f"127.0.0.1:{self.server_port}"
        self.manifests: dict[str, dict[str, dict[str, str]]] = {}

    def image(self, app: str) -> str | None:
        """The digest of the configuration of what an app's web process is."""
        manifest = self.manifests.get(f"/v2/{app}/web/manifests/latest")
        return None if manifest is None else manifest["config"]["digest"]


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers.get("Authorization") == self.server.authorization
        if known:
            self.server.manifests[self.path] = json.loads(content)
        self.send_response(201 if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def registry(key: str) -> Generator[Registry]:
    """A registry while the block lasts."""
    with Registry(key) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def write_client(folder: Path, python: str, images: dict[str, str]) -> Path:
    """A docker client that has ``images``: name -> digest of the configuration."""
    path = folder / "docker"
    path.write_text(CLIENT.format(python=python))
    path.chmod(0o755)
    (folder / "tags.json").write_text(json.dumps(images))
    return path
