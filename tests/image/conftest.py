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
from model_kit.scoring.bundle import CARD, dump_json, read_bundle, write_bundle
from model_kit.scoring.installed import source_digest

import service
from deployable import commit, copied, git
from docker_client import COMMIT, Built, Docker
from local_index import serve_index
from package_index import PackageIndex
from project import Project
from publish import publish, publish_made
from small_project import TOKEN, add_model, train
from wheels import Manifest, make_wheels

#: As it was before the tests shut out the network: building takes packages from where this machine's pip does.
ENVIRON = dict(os.environ)
#: Files of a checkout that must not get in.
DECOYS = (".env", ".git/config", "data/houses.csv", "build/notes", "scripts/notes", "packages/ml_api/notes", "notes")


@pytest.fixture(scope="session")
def docker() -> Docker:
    return Docker(ENVIRON)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of what git tracks or would add, with two trained models and with files that must not get in."""
    project = copied(tmp_path_factory.mktemp("image") / "checkout")
    trained = Project().models("regression")[0].bundle
    (model,) = project.models("regression")
    if trained.is_dir():
        shutil.copytree(trained, model.bundle)
    else:
        service.train_houses(model.bundle)
    train(add_model(project, "rides"))
    for name in DECOYS:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(TOKEN)
    return project


@pytest.fixture(scope="session")
def released(
    checkout: Project, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Project, Manifest, dict[str, str]]]:
    """A commit whose two models are released; its manifest, and the variables of its index."""
    project = copied(tmp_path_factory.mktemp("released") / "checkout")
    (kit, model), (trained,) = (project.kit, *project.models("regression")), checkout.models("regression")
    files = dict(read_bundle(trained.bundle).files)
    card = json.loads(files[CARD])
    card |= {"evaluated": True, "data": card["data"] | {"synthetic": False}}
    card |= {"code_sha256": source_digest(model.source), "kit_sha256": source_digest(kit.source)}
    write_bundle(model.bundle, files | {CARD: dump_json(card)})
    train(add_model(project, "rides"))
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project)
    with serve_index(project.index, TOKEN) as index:
        manifest = make_wheels(project, index)
        publish_made(project, index)
        yield project, manifest, index.variables


@pytest.fixture(scope="session")
def index(checkout: Project) -> Generator[PackageIndex]:
    with serve_index(checkout.index, TOKEN) as served:
        publish(checkout, served)
        yield served


@pytest.fixture(scope="session")
def credentials(index: PackageIndex) -> dict[str, str]:
    """The variables by which `make image` is told of the index."""
    return index.variables


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
    (model,) = checkout.models("regression")
    artifact = json.loads((model.bundle / "manifest.json").read_text())["artifact_sha256"]
    yield Built(name, finished.stdout, lines, artifact)
    docker("image", "rm", "--force", name)
