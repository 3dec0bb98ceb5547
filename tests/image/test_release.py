"""The image of a release: held to what was published, and released through a real registry; Heroku is a stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from heroku_standin import heroku

from docker_client import PATIENCE, Docker
from docker_registry import docker_registry
from live_service import Service
from project import Project
from wheels import Manifest

if "TEST_IMAGE" not in os.environ:
    pytest.skip("needs a Docker engine: make test-image", allow_module_level=True)

Released = tuple[Project, Manifest, dict[str, str]]


def script(docker: Docker, project: Project, *command: str, **variables: str) -> tuple[int, str]:
    """Status and output of one of the project's scripts."""
    done = subprocess.run(
        [sys.executable, project.root / "scripts" / command[0], *command[1:]],
        env=docker.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def release_image(docker: Docker, released: Released) -> Generator[str]:
    """The image of the release, by the name of it."""
    project, _, variables = released
    name = f"ml-api-release-{os.getpid()}"
    status, output = script(docker, project, "image.py", "build", **variables, IMAGE=name)
    assert status == 0, output
    yield name
    docker("image", "rm", "--force", name)


def test_the_image_of_a_release_is_what_was_published(docker: Docker, released: Released, release_image: str) -> None:
    project, manifest, variables = released
    status, output = script(docker, project, "smoke_image.py", **variables, IMAGE=release_image)
    assert status == 0, output
    served = "; ".join(f"{m.model} {m.version}, artefact {m.artifact_sha256}" for m in manifest.models)
    assert [wheel.model for wheel in manifest.models] == ["regression", "rides"]
    assert f"{release_image} serves {served}, commit {manifest.commit}; golden row" in output
    assert "smoke-" not in docker("ps", "--all", "--format", "{{.Names}}")


def test_it_is_released_through_a_real_registry_and_one_that_is_not_ready_is_rolled_back(
    docker: Docker, released: Released, release_image: str, tmp_path: Path
) -> None:
    project, manifest, _ = released
    sick = f"{release_image}-sick"
    (tmp_path / "Dockerfile").write_text(f"FROM {release_image}\nENV MODEL_DIR=/no/model\n")
    docker("build", "--tag", sick, str(tmp_path))
    # What runs before it must be told from it: while the new container starts, the old one answers.
    older = f"{release_image}-older"
    (tmp_path / "Dockerfile").write_text(f"FROM {release_image}\nENV GIT_COMMIT={'0' * 40}\n")
    docker("build", "--tag", older, str(tmp_path))
    with (
        heroku(tmp_path / "heroku", pip_environ={}, delay=1.0) as platform,
        docker_registry(tmp_path / "registry", platform.key, docker.environ) as registry,
    ):
        platform.image_command = registry.run_command
        app = platform.create("houses", WEB_CONCURRENCY="1", HOST="127.0.0.1")
        variables = platform.environ | {"HEROKU_REGISTRY": registry.host, "APP": "houses"}

        status, output = script(docker, project, "deploy.py", "container", **variables, IMAGE=release_image)
        assert status == 0, output
        assert f"houses: release v2 serves regression {manifest.models[0].version}" in output
        identifier = docker("image", "inspect", "--format", "{{.Id}}", release_image).strip()
        assert app.releases[-1].image == registry.image("houses") == identifier
        assert platform.key not in output

        identifier = docker("image", "inspect", "--format", "{{.Id}}", older).strip()
        platform.release(app, None, identifier, "Another commit")
        service, deadline = Service(app.router.url), time.monotonic() + PATIENCE
        while (service.version() or {}).get("git_commit") != "0" * 40:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        status, output = script(docker, project, "deploy.py", "container", **variables, IMAGE=sick, LIMIT="15")
        assert status == 1, output
        assert "/health/ready answers 503: regression: MODEL_DIR" in output
        assert "ROLLED BACK houses to release v3 (as release v5), which serves what it served before" in output
        assert app.releases[-1].image == identifier
        found = service.version() or {}
        assert found["models"]["regression"]["artifact_sha256"] == manifest.models[0].artifact_sha256
        assert platform.key not in output

        # The registry knows the key and no other.
        with_another = variables | {"HEROKU_API_KEY": "another"}
        assert script(docker, project, "deploy.py", "container", **with_another, IMAGE=release_image)[0] == 1
    docker("image", "rm", "--force", sick, older)
