from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
import requests

import local_index
from local_index import open_index, serve_index
from package_index import PackageIndex
from processes import child, end, stop_on_signals
from project import Project, ScriptError


def get(url: str, *auth: str) -> int:
    return requests.get(url, auth=(auth[0], auth[1]) if auth else None, timeout=5).status_code


def test_everything_asks_for_the_password_and_nothing_is_redirected(index: PackageIndex) -> None:
    for path in ("simple/", "simple/flask/", "packages/x.whl"):
        url = index.upload_url + path
        assert get(url) == 401
        assert get(url, index.user, "wrong") == 403
    assert requests.post(index.upload_url, timeout=5).status_code == 401
    assert get(index.url, index.user, index.token) == 200
    assert get(index.url + "flask/", index.user, index.token) == 404


def test_it_listens_on_loopback_and_ends_with_the_block(tmp_path: Path) -> None:
    with serve_index(tmp_path) as first, serve_index(tmp_path) as second:
        assert first.local
        assert first.token != second.token
        assert first.url != second.url
    for index in (first, second):
        with pytest.raises(requests.ConnectionError):
            get(index.url)


def test_a_server_that_does_not_start_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "print('no luck today'); raise SystemExit(3)"]
    monkeypatch.setattr(local_index, "_server", lambda *_: broken)
    with pytest.raises(ScriptError, match="did not start; its last words:\nno luck today"), serve_index(tmp_path):
        pass


def test_an_index_of_the_environment_starts_no_server(tmp_path: Path) -> None:
    environ = {"PACKAGE_INDEX_URL": "https://me:x@index.example/simple/"}
    with open_index(Project(tmp_path), environ) as index:
        assert index.host == "index.example"
    assert list(tmp_path.iterdir()) == []


def test_password_file_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    start = local_index._server

    def spy(folder: Path, passwords: Path, port: int) -> list[str]:
        modes.append(stat.S_IMODE(passwords.stat().st_mode))
        return start(folder, passwords, port)

    monkeypatch.setattr(local_index, "_server", spy)
    with serve_index(tmp_path, "known"):
        pass
    assert modes == [0o600]
    assert not list(tmp_path.iterdir())


def test_sigterm_ends_the_block_in_order() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():  # noqa: PT012 - the signal comes during either line
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_child_that_ignores_sigterm_and_its_own_children_are_ended(tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    grandchild = """if True:
        import fcntl, sys, time
        held = open(sys.argv[1], "w")
        fcntl.flock(held, fcntl.LOCK_EX)
        open(sys.argv[2], "w").close()
        time.sleep(60)
    """
    code = """if True:
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
        time.sleep(60)
    """
    with child([sys.executable, "-c", code, grandchild, lock, ready], patience=0.2) as process:
        while not ready.exists():
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL
    with lock.open("w") as held:
        for _ in range(100):
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        else:
            pytest.fail("the grandchild lives on")
    end(process)
