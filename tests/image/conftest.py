"""The image, built once by a real Docker engine from a copy of the project, with an index whose token is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

import service
from check_tracked import tracked
from docker_client import COMMIT, Built, Docker
from local_index import serve_index
from package_index import PackageIndex
from project import ROOT, Project
from publish import publish
from small_project import TOKEN

#: As it was before the tests shut out the network: building takes packages from where this machine's pip does.
ENVIRON = dict(os.environ)
#: What lies about in a checkout and must not get in.
DECOYS = (".env", ".git/config", "data/houses.csv", "build/notes", "scripts/notes", "packages/ml_api/notes", "notes")


@pytest.fixture(scope="session")
def docker() -> Docker:
    return Docker(ENVIRON)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of what git tracks or would add, with a trained model and with things that are nobody's business."""
    root = tmp_path_factory.mktemp("image") / "checkout"
    for name in tracked(ROOT):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    project = Project(root)
    trained = Project().packages[-1].bundle
    if trained.is_dir():
        shutil.copytree(trained, project.packages[-1].bundle)
    else:
        service.train_houses(project.packages[-1].bundle)
    for name in DECOYS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(TOKEN)
    return project


@pytest.fixture(scope="session")
def index(checkout: Project) -> Generator[PackageIndex]:
    with serve_index(checkout.index, TOKEN) as served:
        publish(checkout, served)
        yield served


@pytest.fixture(scope="session")
def credentials(index: PackageIndex) -> dict[str, str]:
    """The variables by which `make image` is told of the index."""
    return {"PACKAGE_INDEX_URL": index.url, "PACKAGE_INDEX_USER": index.user, "PACKAGE_INDEX_TOKEN": index.token}


@pytest.fixture(scope="session")
def image(docker: Docker, checkout: Project, credentials: dict[str, str]) -> Generator[Built]:
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    name = f"ml-api-test-{os.getpid()}"
    environ = docker.environ | credentials | {"IMAGE": name, "GIT_COMMIT": COMMIT}
    try:
        finished = subprocess.run(
            [sys.executable, checkout.root / "scripts/image.py", "build"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        done.set()
        watcher.join()
    assert finished.returncode == 0, finished.stdout
    lines = b"\n".join(seen).replace(b"\0", b" ").decode("utf-8", "replace")
    artifact = json.loads((checkout.packages[-1].bundle / "manifest.json").read_text())["artifact_sha256"]
    yield Built(name, finished.stdout, lines, artifact)
    docker("image", "rm", "--force", name)
