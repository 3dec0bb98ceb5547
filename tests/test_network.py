"""The tests themselves: held to this machine, and red when there are none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from project import ROOT


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "index.example"])
def test_tests_reach_no_other_machine(host: str) -> None:
    with pytest.raises(RuntimeError, match=f"this one reached for {host}"):
        socket.create_connection((host, 80), timeout=0.1)


def test_datagrams_reach_no_other_machine() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        pytest.raises(RuntimeError, match="reached for 192"),
    ):
        sender.sendto(b"x", ("192.0.2.1", 53))


def test_tests_reach_this_machine() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        socket.create_connection(("localhost", listener.getsockname()[1]), timeout=5).close()


def test_programs_have_proxies_that_lead_nowhere() -> None:
    assert os.environ["https_proxy"] == "http://127.0.0.1:9"
    assert os.environ["PIP_CONFIG_FILE"] == os.devnull
    assert "PIP_FIND_LINKS" not in os.environ


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", *arguments],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
def test_a_run_that_collects_nothing_is_red(tmp_path: Path, processes: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").symlink_to(ROOT / "conftest.py")
    (tmp_path / "tox.ini").write_text("[pytest]\ntestpaths = packages/*/tests tests\n")
    for name in ("packages/a/tests", "tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tests/test_something.py").write_text("def test_it():\n    pass\n")
    one_empty = pytest_in(tmp_path, *processes)
    assert one_empty.returncode != 0
    assert "no test was collected in packages/a/tests" in one_empty.stderr + one_empty.stdout
    assert pytest_in(tmp_path, *processes, "-k", "it").returncode == 0


def test_what_is_asked_for_alone_may_be_all_there_is(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").symlink_to(ROOT / "conftest.py")
    (tmp_path / "tox.ini").write_text("[pytest]\ntestpaths = packages/*/tests tests\n")
    for name in ("packages/a/tests", "tests"):
        (tmp_path / name).mkdir(parents=True)
    assert pytest_in(tmp_path).returncode != 0
    (tmp_path / "tests/test_something.py").write_text("def test_it():\n    pass\n")
    assert pytest_in(tmp_path, "tests").returncode == 0
    assert pytest_in(tmp_path, "-k", "nothing").returncode == 5


@pytest.mark.parametrize(
    ("reason", "red"), [("there is no chromium here", True), ("needs a Docker engine: make test-image", False)]
)
@pytest.mark.parametrize(
    "body",
    [
        "@pytest.mark.skipif(True, reason={!r})\ndef test_it():\n    pass\n",
        "@pytest.fixture\ndef it():\n    pytest.skip({!r})\n\n\ndef test_it(it):\n    pass\n",
        "def test_it():\n    pytest.skip({!r})\n",
    ],
)
def test_what_ci_installs_is_no_reason_to_skip_there(
    reason: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, red: bool
) -> None:
    (tmp_path / "conftest.py").symlink_to(ROOT / "conftest.py")
    (tmp_path / "test_something.py").write_text("import pytest\n\n\n" + body.format(reason))
    monkeypatch.delenv("CI", raising=False)
    quiet = pytest_in(tmp_path, "test_something.py")
    assert (quiet.returncode, "1 skipped" in quiet.stdout) == (0, True)
    monkeypatch.setenv("CI", "true")
    ended = pytest_in(tmp_path, "-rA", "test_something.py")
    assert ended.returncode == int(red)
    assert (f"must run in CI: {reason}" in ended.stdout) is red
    assert ("1 skipped" in ended.stdout) is not red
