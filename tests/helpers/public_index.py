"""An index of somebody else, who owns our packages' names."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def foreign_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of theirs."""
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('somebody else wrote this')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class PublicIndex(ThreadingHTTPServer):
    """An index without a password that has anything that it is asked for, and writes down who asks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), PublicHandler)
        self.folder = folder
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/simple/"


class PublicHandler(BaseHTTPRequestHandler):
    """Answers for it."""

    server: PublicIndex

    def do_GET(self) -> None:
        """A page of links, or a file."""
        self.server.asked.append(self.path)
        name = self.path.rstrip("/").rpartition("/")[2]
        file = self.server.folder / name.replace("%2B", "+")
        if file.suffix == ".whl":
            body = file.read_bytes()
        else:
            found = self.server.folder.glob(f"{name.replace('-', '_')}-*.whl")
            links = [
                f'<a href="/{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">{path.name}</a>'
                for path in found
            ]
            body = "".join(links).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        """Nothing."""


@contextmanager
def serve_public(folder: Path) -> Generator[PublicIndex]:
    """Serve what is in ``folder`` while the block lasts."""
    with PublicIndex(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
