"""`make audit`: pip-audit over the locks, against a service on this machine that answers as OSV does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import audit
from lock import LOCKS, separate_locks
from project import ROOT

VULNERABLE = ("werkzeug", "PYSEC-2026-77")


class Service(ThreadingHTTPServer):
    """Answers as https://google.github.io/osv.dev/post-v1-query/ describes.

    Attributes:
        known: package, or package and version -> id of its vulnerability.
        asked: packages and versions.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.known = dict([("jinja2==2.4.1", "PYSEC-2014-8"), VULNERABLE])
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
        known = self.server.known
        if identity := known.get(name) or known.get(f"{name}=={version}"):
            fixed = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": fixed}]
            found = {"vulns": [{"id": identity, "summary": "Reads any file.", "affected": affected}]}
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
    places = "(requirements.txt, dev.txt, bench.txt, notebook.txt, azure.txt, mlflow.txt)"
    assert f"werkzeug {version} {places}: {VULNERABLE[1]}, fixed by 99.1: Reads any file.\n" in out
    n_locks = len(LOCKS) + len(separate_locks(ROOT))
    assert f" packages in {n_locks} locks, 1 with a vulnerability, 0 in environments of their own; 0 accepted\n" in out
    # Of the locks that no other contains, too, and of those that share no pins.
    names = {name for name, _ in service.asked}
    assert {"flask", "pandas", "sqlalchemy", "limits", "opentelemetry-sdk", "skops", "pytest", "fastapi"} <= names
    assert {"kubernetes-validate", "jupyterlab", "mlflow", "ray", "pyspark", "sphinx"} <= names
    # Also what only another Python installs.
    assert len({version for name, version in service.asked if name == "numpy"}) > 1


def test_what_only_an_environment_of_its_own_has_is_told_and_fails_nothing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, door = tmp_path / "served.txt", tmp_path / "ray.txt"
    served.write_text("werkzeug==3.2 ; python_version < '3'\n")
    door.write_text("werkzeug==3.1\nray[data]==2.1 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(audit, "LOCKS", [("", str(served))])
    monkeypatch.setattr(audit, "separate_locks", lambda root: [("", str(door))])
    # Another version than the one that is served.
    service.known = {"jinja2==2.4.1": "PYSEC-2014-8", "ray": "PYSEC-2026-78", "werkzeug==3.1": VULNERABLE[1]}
    assert audit.main(["--service", service.url]) == 0
    assert capsys.readouterr().out == (
        "ray 2.1 (ray.txt; not what is served): PYSEC-2026-78, fixed by 99.1: Reads any file.\n"
        f"werkzeug 3.1 (ray.txt; not what is served): {VULNERABLE[1]}, fixed by 99.1: Reads any file.\n"
        "audit: 3 packages in 2 locks, 0 with a vulnerability, 2 in environments of their own; 0 accepted\n"
    )


def test_lock_without_one_passes_and_an_acceptance_has_a_last_day(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = str(ROOT / "requirements.txt")
    assert audit.main(["--service", service.url, "--accepted", str(accept(tmp_path, "2999-01-01")), lock]) == 0
    assert (
        " in 1 locks, 0 with a vulnerability, 0 in environments of their own; 1 accepted\n" in capsys.readouterr().out
    )
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
