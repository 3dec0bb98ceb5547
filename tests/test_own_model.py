"""docs/own-model.md is true: its commands are run in their order, in a clone, and print what it shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import requests

from check_tracked import tracked
from deployable import GIT, commit, git
from environment import STAMP, foundation, sha, write_stamp
from local_index import free_port
from project import ENTRY_POINT_GROUP, ROOT, Project
from small_project import add_third_party, make_environment

DOC = (ROOT / "docs/own-model.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
#: Blocks that need a Docker engine or Heroku: `make test-image` and `make rehearse-deploy` run such commands.
ELSEWHERE = re.compile(r"^make (image|configure-app) ", re.MULTILINE)
PATIENCE = 120.0


class Clone:
    """A copy of the project, with environments that need no network, where commands of the document are run."""

    def __init__(self, root: Path) -> None:
        self.root, self.project, self.port = root, Project(root), free_port()
        for name in tracked(ROOT):
            # Who follows the document has this package.
            if (ROOT / name).is_file() and not name.startswith("packages/diabetes_model/"):
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
        self.environ |= {"PYTHON": getattr(sys, "_base_executable", sys.executable), "PORT": str(self.port)}

    def run(self, commands: str) -> str:
        """Run a block of commands; returns what they print."""
        # The port is one that is free.
        commands = commands.replace(":5000", f":{self.port}")
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}"
        return done.stdout

    @contextmanager
    def running(self) -> Generator[None]:
        """`make run` in another terminal, while the block lasts."""
        with (
            (self.root / "build/run.log").open("w") as log,
            subprocess.Popen(
                ["make", "run"],
                cwd=self.root,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                self._wait(process)
                yield
            finally:
                os.killpg(process.pid, signal.SIGTERM)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    if session.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).ok:
                        return
                except requests.ConnectionError:
                    time.sleep(0.2)
        pytest.fail((self.root / "build/run.log").read_text())


def blocks() -> list[tuple[str, str]]:
    """Each block of commands, and the output that follows it."""
    return re.findall(r"```sh\n(.*?)```(?:\n\n```(?:json)?\n(.*?)```)?", DOC, re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("own") / "clone")


@pytest.fixture(scope="module")
def printed(clone: Clone) -> dict[str, str]:
    """What each block of commands that can be run here prints."""
    found = {}
    for commands, _ in blocks():
        if commands == "make run\n" or ELSEWHERE.search(commands):
            continue
        if commands.startswith("curl"):
            with clone.running():
                found[commands] = clone.run(commands)
        else:
            found[commands] = clone.run(commands)
    return found


def masked(text: str) -> list[str]:
    """Lines without what differs from one machine to another: decimals, digests and how wide a column is."""
    text = re.sub(r"\d+\.\d+|\b[0-9a-f]{12,64}\b|127\.0\.0\.1(:\d+)?|(?<=trees )\d+", "#", text)
    return [re.sub(r"[ ,]+", " ", line).strip() for line in text.strip().splitlines()]


def test_every_command_prints_what_the_document_shows(printed: dict[str, str]) -> None:
    ran = {target for line in re.findall("^make (.*)", "".join(printed), re.MULTILINE) for target in line.split()}
    assert {"new-model", "plan", "model", "wheels", "test-wheel", "compare", "release"} <= ran
    for commands, shown in blocks():
        rest = iter(masked(printed.get(commands, shown)))
        for line in masked(shown):
            # A line of three dots stands for lines that are left out.
            assert line == "..." or line in rest, f"{commands}does not print, or not in this place: {line}"


def test_readme_counts_files_and_lines_of_a_package(clone: Clone, printed: dict[str, str]) -> None:
    (promised,) = re.findall(r"(\d+) files, about (\d+) lines beside one line for each field", README)
    package = clone.root / "packages/diabetes_model"
    files = [path for path in package.rglob("*") if path.is_file() and not {"bundle", "__pycache__"} & set(path.parts)]
    assert len(files) == int(promised[0])
    lines = sum(len(path.read_text().splitlines()) for path in files) - 10
    assert lines <= int(promised[1]) * 1.2


def test_two_versions_are_released_with_the_artefacts_that_were_trained(clone: Clone, printed: dict[str, str]) -> None:
    wheels = sorted(path.name for path in clone.project.index.glob("diabetes_model-*.whl") if "+" not in path.name)
    assert wheels == ["diabetes_model-0.1.0-py3-none-any.whl", "diabetes_model-0.2.0-py3-none-any.whl"]
    manifest = json.loads((clone.project.wheels / "manifest.json").read_text())
    assert {wheel["name"] for wheel in manifest["wheels"]} == {"model-kit", "ml-client", "diabetes-model"}
    assert manifest["commit"] == git(clone.project, "rev-parse", "HEAD"), "and nothing is left to be committed"


def test_generated_package_passes_mypy(clone: Clone, printed: dict[str, str]) -> None:
    clone.run("MYPYPATH=packages/diabetes_model/src .venv/bin/python -m mypy packages/diabetes_model")
