"""Follows a page of the documentation in a copy of the project, as a reader would: files, commands, servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import requests

from check_tracked import tracked
from deployable import GIT, commit, git
from environment import STAMP, foundation, sha, write_stamp
from local_index import free_port
from pages import Block
from project import ENTRY_POINT_GROUP, ROOT, Project
from small_project import add_third_party, make_environment

#: Seconds for a server to start, `make run` with all that it does before.
PATIENCE = 600.0
#: The port of the service on a page, and that of the one that it replaces.
OURS, OTHERS = "5000", "8001"


class Clone(AbstractContextManager["Clone"]):
    """A copy of the project, with environments that need no network, where commands of a page are run.

    Args:
        root: where it is made.
        leave_out: what the reader's checkout does not have.
        environments: name -> folder of the programs of another environment, for blocks that are run in it.
    """

    def __init__(self, root: Path, leave_out: tuple[str, ...] = (), environments: Mapping[str, Path] | None = None):
        self.root, self.project = root, Project(root)
        self._ports = {OURS: free_port(), OTHERS: free_port()}
        self._environments = environments or {}
        self._servers = ExitStack()
        for name in tracked(ROOT):
            if (ROOT / name).is_file() and not name.startswith(leave_out):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes((ROOT / name).read_bytes())
                (root / name).chmod((ROOT / name).stat().st_mode)
        git(self.project, "init", "--quiet")
        commit(self.project)
        for folder, lock in ((root / ".venv", "requirements/train.txt"), (self.project.serving, "requirements.txt")):
            make_environment(folder)
            state = {"made of": foundation(folder), "locks": {lock: sha(root / lock)}, "editable": {}}
            write_stamp(folder / STAMP, state)
        add_third_party(self.project.serving)
        # Third-party packages are those of the tests; make installs ours from the clone.
        ours = {"model_kit", *(point.module.partition(".")[0] for point in entry_points(group=ENTRY_POINT_GROUP))}
        (site,) = (root / ".venv").glob("lib/python*/site-packages")
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if path.suffix != ".pth" and path.name.partition("-")[0] not in ours:
                (site / path.name).symlink_to(path)
        hidden = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        self.environ = {name: value for name, value in os.environ.items() if name not in hidden} | GIT
        self.environ |= {"PYTHON": getattr(sys, "_base_executable", sys.executable), "PORT": str(self._ports[OURS])}

    def __exit__(self, *_: object) -> None:
        self.stop()

    def follow(self, blocks: Iterable[Block]) -> dict[str, str]:
        """Write the files and run the commands of a page; returns what each block of commands printed.

        A server goes on running until the next block that calls make, as if the reader had ended it.
        """
        printed = {}
        for block in blocks:
            if not block.is_run:
                continue
            if block.file is not None:
                (self.root / block.file).write_text(self._here(block.text))
            elif block.is_shell and block.keeps_running:
                self.start(block)
            elif block.is_shell:
                if re.search(r"^make ", block.text, re.MULTILINE):
                    self.stop()
                printed[block.text] = self.run(block.text, block.environment)
        return printed

    def run(self, commands: str, environment: str | None = None) -> str:
        """Run a block of commands; returns what they print."""
        done = subprocess.run(
            ["bash", "-euc", self._here(commands)],
            cwd=self.root,
            env=self._environ(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}"
        return done.stdout

    def start(self, block: Block) -> None:
        """Start commands that keep running, and wait until the service is ready, or the other server answers."""
        self.stop()
        (self.root / "build").mkdir(exist_ok=True)
        log = self._servers.enter_context((self.root / "build/run.log").open("w"))
        process = subprocess.Popen(
            ["bash", "-euc", self._here(block.text)],
            cwd=self.root,
            env=self._environ(block.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._servers.callback(self._end, process)
        url = f"http://127.0.0.1:{self._ports[OURS]}/health/ready" if "make run" in block.text else None
        self._wait(process, url or f"http://127.0.0.1:{self._ports[OTHERS]}", has_to_be_ok=url is not None)

    def stop(self) -> None:
        """End what keeps running."""
        self._servers.close()

    def _here(self, text: str) -> str:
        """A text of a page with ports that are free."""
        return re.sub(r"(?<=:)5000\b|\b8001\b", lambda found: str(self._ports[found[0]]), text)

    def _environ(self, environment: str | None) -> dict[str, str]:
        if environment is None:
            return self.environ
        return self.environ | {"PATH": f"{self._environments[environment]}{os.pathsep}{self.environ['PATH']}"}

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)

    def _wait(self, process: subprocess.Popen[bytes], url: str, *, has_to_be_ok: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() < deadline and process.poll() is None:
                with suppress(requests.RequestException):
                    if session.get(url, timeout=5).ok or not has_to_be_ok:
                        return
                time.sleep(0.2)
        pytest.fail((self.root / "build/run.log").read_text())


def masked(text: str) -> list[str]:
    """Lines without what differs from one machine to another: decimals, digests and how wide a column is."""
    text = re.sub(r"\d+\.\d+|\b[0-9a-f]{12,64}\b|127\.0\.0\.1(:\d+)?|(?<=trees )\d+", "#", text)
    return [re.sub(r"[ ,]+", " ", line).strip() for line in text.strip().splitlines()]


def assert_shown(blocks: Iterable[Block], printed: Mapping[str, str]) -> None:
    """Hold the output that a page shows to what its commands printed, but for numbers with decimals."""
    for block in blocks:
        found = printed.get(block.text, block.shown)
        rest = iter(masked(found))
        for line in masked(block.shown):
            # A line of three dots stands for lines that are left out.
            assert line == "..." or line in rest, (
                f"{block.place}: does not print, or not in this place: {line}\n{found}"
            )
