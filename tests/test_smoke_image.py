"""The image held to what was published; a docker client that runs run.sh in its place (tests/image has a real one)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import live_service
import smoke_image as command
from check_wheels import install_files
from deployable import git, make_deployable
from local_index import serve_index
from project import Project
from publish import publish_made
from small_project import TOKEN, add_third_party, make_environment
from wheels import make_wheels

#: Runs the project as the image would, with the variables that the image has and is given.
CLIENT = """\
#!{python}
import os, sys
what, *rest = sys.argv[1:]
with open({calls!r}, "a") as stream:
    stream.write(" ".join([what, *rest]) + "\\n")
if what == "image":
    if rest[-1] == "unknown":
        sys.exit("Error: No such image: unknown")
    print(os.environ.get("SIZE", "260000000"))
elif what == "run":
    settings = dict(rest[number + 1].split("=", 1) for number, word in enumerate(rest) if word == "--env")
    if rest[-1] == "broken":
        print("cannot start", flush=True)
        sys.exit(3)
    os.environ |= settings | dict(GIT_COMMIT={commit!r}, HOST="127.0.0.1", WEB_CONCURRENCY="1")
    os.execv({run!r}, [{run!r}])
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A published project, and an environment that serves what was published."""
    project = make_deployable(tmp_path_factory.mktemp("smoke") / "project")
    with serve_index(project.index, TOKEN) as index:
        manifest = make_wheels(project, index)
        publish_made(project, index)
    make_environment(project.serving)
    add_third_party(project.serving)
    install_files(project, manifest, project.serving)
    return project


@pytest.fixture
def named(published: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, and a client, named by the environment."""
    docker, here = tmp_path / "docker", git(published, "rev-parse", "HEAD")
    run = str(published.root / "run.sh")
    docker.write_text(CLIENT.format(python=sys.executable, calls=str(tmp_path / "calls"), commit=here, run=run))
    docker.chmod(0o755)
    monkeypatch.setenv("DOCKER", str(docker))
    monkeypatch.setenv("DOCKER_OPTIONS", "--network host")
    # Another model than the image's is nothing to hold it to.
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setattr(live_service, "ROUNDS", 2)
    return published


def test_an_image_that_serves_what_was_published_is_right_and_is_started_as_production_is(
    named: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main([], named) == 0
    said = capsys.readouterr().out
    assert "ml-api serves regression 0.3.0, artefact " in said
    assert said.endswith("golden row and contract are as they should be; 260 MB\n")
    looked, started, removed = (tmp_path / "calls").read_text().splitlines()
    assert looked.endswith("ml-api")
    assert started.startswith("run --rm --read-only --cap-drop ALL --security-opt no-new-privileges ")
    assert "--network host --name smoke-" in started
    assert "/model" not in started
    assert removed.startswith("rm --force smoke-")

    monkeypatch.setenv("SIZE", "301000000")
    assert command.main([], named) == 1
    assert "ml-api has 301 MB; with these models it must stay below 300" in capsys.readouterr().err
    monkeypatch.setattr(command, "LARGEST_MB", 300.999)
    assert command.main([], named) == 0, "the models' own bytes are allowed"


def test_a_broken_contract_is_told(
    named: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "contract_faults", lambda *_: ["GET /health is 200"])
    assert command.main([], named) == 1
    assert "ml-api breaks its contract:\n  - GET /health is 200" in capsys.readouterr().err


def test_an_image_that_does_not_start_is_told_at_once_with_its_last_words(
    named: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "broken")
    assert command.main([], named) == 1
    said = capsys.readouterr().err
    assert "is not what was meant and its process has ended" in said
    assert "the last words of broken:\ncannot start" in said


def test_what_cannot_be_tried_is_told(
    named: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", "unknown")
    assert command.main([], named) == 1
    assert "unknown cannot be looked at; `make image` builds it:\nError: No such image" in capsys.readouterr().err
    monkeypatch.setenv("DOCKER", "/no/docker")
    assert command.main([], named) == 1
    assert "/no/docker: not found" in capsys.readouterr().err
    assert command.main([], Project(tmp_path / "empty")) == 1
    assert "`make publish` writes it" in capsys.readouterr().err

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "smoke", stop)
    monkeypatch.setattr(command, "published", lambda *_: (None, 0))
    assert command.main([], named) == 130
    assert capsys.readouterr().err == "smoke-image: stopped\n"
