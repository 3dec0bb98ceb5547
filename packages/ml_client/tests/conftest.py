"""Fixtures: real servers, of the code here and of the release before."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from project import ROOT
from rides_server import Serve, Server

#: What callers had before the client: no release is tagged yet, so it is the commit.
PREVIOUS = "9543361f221cf3fe463d6daca044d2dff9108e5f"


@pytest.fixture(autouse=True, scope="session")
def no_settings() -> Iterator[None]:
    """Nothing of the user's settings of the client."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ML_API_URL", "ML_API_KEY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers; those that still run at the end are stopped."""
    servers: list[Server] = []

    def start(root: Path = ROOT, before: Sequence[str] = (), **environ: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("server"), root, before, **environ))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def current(serve: Serve) -> Server:
    """The code here."""
    return serve()


@pytest.fixture(scope="session")
def previous(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The release before, from the repository."""
    git = [shutil.which("git") or "git", "-c", "safe.directory=*"]
    if subprocess.run([*git, "cat-file", "-e", PREVIOUS], cwd=ROOT, check=False, capture_output=True).returncode:
        pytest.skip("needs the repository's history, which a shallow clone lacks: git fetch --unshallow")
    command = [*git, "archive", PREVIOUS, "packages/model_kit", "packages/ml_api"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return serve(folder)


@pytest.fixture(params=["current", "previous"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two, in turn."""
    found: Any = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found
