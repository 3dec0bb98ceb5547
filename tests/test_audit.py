"""`make audit`: pip-audit over the locks, against a service on this machine that answers as OSV does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import audit
from lock import LOCKS
from project import ROOT

VULNERABLE = ("werkzeug", "PYSEC-2026-77")


class Service(ThreadingHTTPServer):
    """Answers as https://google.github.io/osv.dev/post-v1-query/ describes.

    Attributes:
        known: package -> id of its vulnerability.
        asked: packages and versions.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.known = dict([("jinja2", "PYSEC-2014-8"), VULNERABLE])
        self.asked: set[tuple[str, str]] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = sent["package"]["name"], sent["version"]
        self.server.asked.add((name, version))
        found = {}
        # The service knows of old versions; what is locked is newer, but for the one that is vulnerable.
        if name in self.server.known and (name != "jinja2" or version == "2.4.1"):
            fixed = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": fixed}]
            found = {"vulns": [{"id": self.server.known[name], "summary": "Reads any file.", "affected": affected}]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        yield running
        running.shutdown()


def accept(folder: Path, until: str) -> Path:
    """Write a file that accepts the vulnerability."""
    path = folder / "audit.toml"
    path.write_text(f'[[accepted]]\nid = "{VULNERABLE[1]}"\nreason = "not called"\nuntil = {until}\n')
    return path


def test_known_vulnerability_of_a_locked_package_fails(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--service", service.url]) == 1
    out = capsys.readouterr().out
    pin = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("werkzeug=="))
    version = pin.removeprefix("werkzeug==").split(" ")[0]
    places = "(requirements.txt, dev.txt, bench.txt, notebook.txt)"
    assert f"werkzeug {version} {places}: {VULNERABLE[1]}, fixed by 99.1: Reads any file.\n" in out
    assert f" packages in {len(LOCKS)} locks, 1 with a vulnerability; 0 accepted\n" in out
    # Of the locks that no other contains, too.
    names = {name for name, _ in service.asked}
    assert len(LOCKS) == 11
    assert {"flask", "pandas", "sqlalchemy", "limits", "opentelemetry-sdk", "skops", "pytest", "fastapi"} <= names


def test_lock_without_one_passes_and_an_acceptance_has_a_last_day(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = str(ROOT / "requirements.txt")
    assert audit.main(["--service", service.url, "--accepted", str(accept(tmp_path, "2999-01-01")), lock]) == 0
    assert " in 1 locks, 0 with a vulnerability; 1 accepted\n" in capsys.readouterr().out
    assert audit.main(["--service", service.url, "--accepted", str(accept(tmp_path, "2026-01-01")), lock]) == 1
    assert f"{VULNERABLE[1]} was accepted until 2026-01-01 (not called); update" in capsys.readouterr().err
    del service.known["werkzeug"]
    assert audit.main(["--service", service.url, lock]) == 0


def test_acceptance_without_a_reason_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.toml"
    path.write_text('[[accepted]]\nid = "PYSEC-1"\nuntil = 2999-01-01\n')
    assert audit.main(["--accepted", str(path)]) == 1
    assert "each entry has an id, a reason and a date until" in capsys.readouterr().err


def test_without_the_service_it_says_that_nothing_was_audited(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known.clear()
    closed = "http://127.0.0.1:9/v1/query"
    for url, reason in ((closed, "refused"), (service.url, "it does not know what has been known")):
        assert audit.main(["--service", url]) == 0
        assert f"audit: NOTHING WAS AUDITED: {url} cannot be asked: " in (err := capsys.readouterr().err)
        assert reason in err
