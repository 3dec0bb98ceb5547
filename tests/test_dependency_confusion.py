"""Somebody else owns our packages' names on the public index; nothing of theirs may get in, whatever pip is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from install_models import install
from package_index import PackageIndex
from project import Project, ScriptError
from public_index import PublicIndex, foreign_wheel, serve_public
from publish import publish
from small_project import TOKEN


@pytest.fixture
def public(tmp_path: Path) -> Generator[PublicIndex]:
    """Another index, with higher versions of both our packages."""
    folder = tmp_path / "public"
    folder.mkdir()
    for name in ("model-kit", "regression-model"):
        foreign_wheel(folder, name, "99.0")
    with serve_public(folder) as server:
        yield server


@pytest.fixture
def hostile(public: PublicIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every way to point pip at the other index."""
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {public.url}\nextra-index-url = {public.url}\n[install]\npre = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", public.url)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", public.url)
    monkeypatch.setenv("PIP_FIND_LINKS", str(public.folder))
    monkeypatch.setenv("PIP_REQUIREMENT", "")
    return public.url


def installed(environment: Path) -> dict[str, str]:
    site = next(environment.glob("lib/python*/site-packages"))
    return {found.metadata["Name"]: found.version for found in distributions(path=[str(site)])}


def test_only_our_packages_are_installed_whatever_pip_is_told(
    project: Project, index: PackageIndex, environment: Path, public: PublicIndex, hostile: str
) -> None:
    install(publish(project, index), index, environment)
    pins = [line.split(" ")[0].split("==") for line in project.published.read_text().splitlines()[1:]]
    assert installed(environment) == dict(pins)
    assert set(installed(environment)) == {"model-kit", "regression-model"}
    assert public.asked == []


def test_plain_pip_with_both_indexes_would_take_theirs(
    project: Project, index: PackageIndex, environment: Path, public: PublicIndex
) -> None:
    """The control: what the test above would see if our way of installing were the usual one."""
    publish(project, index)
    ours = index.url.replace("http://", f"http://{index.user}:{TOKEN.replace('/', '%2F').replace('@', '%40')}@")
    command = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install", "--no-deps"]
    command += ["--index-url", public.url, "--extra-index-url", ours, "model-kit"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PIP_CONFIG_FILE": os.devnull})
    assert installed(environment) == {"model-kit": "99.0"}
    assert public.asked != []


def test_another_file_under_our_exact_version_is_refused_by_its_sha256(
    project: Project, index: PackageIndex, environment: Path, public: PublicIndex
) -> None:
    published = publish(project, index)
    for line in published.read_text().splitlines()[1:]:
        foreign_wheel(public.folder, *line.split(" ")[0].split("=="))
    theirs = PackageIndex(public.url, public.url, index.user, index.token)
    with pytest.raises(ScriptError, match="DO NOT MATCH THE HASHES"):
        install(published, theirs, environment)
    assert installed(environment) == {}
