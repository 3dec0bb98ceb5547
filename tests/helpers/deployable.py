"""A small project in a repository of its own, as it is deployed; and a client that keeps asking."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import requests

from check_tracked import tracked
from project import ROOT, Project
from small_project import make_project

GIT = {f"GIT_{role}_{part}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
#: What is asked for at the root of a project that is deployed.
_FILES = (
    "run.sh",
    "Procfile",
    "requirements.txt",
    "requirements/train.txt",
    "requirements/operations.txt",
    "requirements/log.txt",
    "requirements/otel.txt",
    "requirements/tables.txt",
)


def make_deployable(root: Path) -> Project:
    """A project with a model of rides and our API, committed; the model itself is not, as it never is."""
    project = make_project(root)
    api = root / "packages/ml_api"
    api.unlink()
    shutil.copytree(ROOT / "packages/ml_api", api, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    kit = root / "packages/model_kit"
    kit.unlink()
    shutil.copytree(ROOT / "packages/model_kit", kit, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    for name in _FILES:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / ".python-version").write_text(".".join(map(str, sys.version_info[:2])) + "\n")
    (root / ".gitignore").write_text("build/\nbundle/\n__pycache__/\n")
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project)
    return project


def copied(root: Path) -> Project:
    """A copy of what git tracks or would add."""
    for name in tracked(ROOT):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return Project(root)


def git(project: Project, *arguments: str) -> str:
    """What git prints."""
    command = ["git", "-C", str(project.root), "-c", "commit.gpgSign=false", *arguments]
    return subprocess.run(command, env=os.environ | GIT, check=True, capture_output=True, text=True).stdout.strip()


def commit(project: Project) -> str:
    """Commit everything; returns the commit."""
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "A change")
    return git(project, "rev-parse", "HEAD")


def release_version(project: Project, version: str) -> None:
    """Raise the model's version."""
    source = project.models("regression")[0].source / "__init__.py"
    source.write_text(f'__version__ = "{version}"\n')


class Client:
    """Asks over and over, on one connection after another, and counts what is no answer.

    Attributes:
        asked: how many requests were made.
        failures: what went wrong with each that failed.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.failures: list[str] = []


@contextmanager
def asking(url: str, record: object, *, pause: float = 0.0) -> Generator[Client]:
    """A client that keeps asking for a prediction while the block lasts, with a pause in seconds after each answer."""
    client, done = Client(), threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not done.wait(pause):
                client.asked += 1
                try:
                    answer = session.post(
                        url, json.dumps([record]), headers={"Content-Type": "application/json"}, timeout=30
                    )
                    if answer.status_code != 200 or answer.json()["errors"] is not None:
                        client.failures.append(f"{answer.status_code} {answer.text[:200]}")
                except (requests.RequestException, ValueError) as error:
                    client.failures.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield client
    finally:
        done.set()
        for thread in threads:
            thread.join()
