"""Which Docker engine is used, and what is said where there is none; tests/image starts a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import engine
from project import Project, ScriptError

#: A client of some version, whose engine may answer and whose plug-in may be missing.
CLIENT = """\
#!/bin/sh
case "$1" in
    version) echo {version}; exit {engine} ;;
    buildx) echo buildx; exit {buildx} ;;
    image) exit {image} ;;
    pull) exit 1 ;;
    *) echo "$@" >>{calls} ;;
esac
"""


def client(
    folder: Path, version: str = "20.10.24 20.10.24", *, engine: int = 0, buildx: int = 1, image: int = 1
) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker"
    path.write_text(
        CLIENT.format(version=version, engine=engine, buildx=buildx, image=image, calls=folder / "calls"), "utf-8"
    )
    path.chmod(0o755)
    return str(path)


def path_of(*folders: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join(str(folder) for folder in folders)}


def test_a_client_that_cannot_build_with_secrets_is_passed_over(tmp_path: Path) -> None:
    client(tmp_path / "new", "28.2.2 28.2.2")
    client(tmp_path / "alone", engine=1)
    old = client(tmp_path / "old")
    environ = path_of(tmp_path / "new", tmp_path / "alone", tmp_path / "none", tmp_path / "old")
    assert engine.find_client(environ) == old
    whole = client(tmp_path / "whole", "28.2.2 28.2.2", buildx=0)
    assert engine.find_client(path_of(tmp_path / "whole") | environ | {"DOCKER": whole}) == whole
    assert engine.find_client(path_of(tmp_path / "new", tmp_path / "alone")) is None
    assert engine.find_client({"PATH": "", "DOCKER": "/no/docker"}) is None


def test_an_engine_that_answers_is_used_as_it_is(tmp_path: Path) -> None:
    found = client(tmp_path)
    with engine.engine(path_of(tmp_path) | {"DOCKER_HOST": "tcp://there"}) as environ:
        assert environ == path_of(tmp_path) | {"DOCKER_HOST": "tcp://there", "DOCKER": found}


def test_without_an_engine_only_root_on_debian_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ScriptError, match="no Docker engine answers"), engine.engine({"PATH": ""}):
        pass


def test_what_is_missing_is_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, int(command[-1] == "docker-cli"))

    there = {"apt-get"}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, **_: name if name in there else None)
    monkeypatch.setattr(subprocess, "run", run)
    engine.install_engine()
    # Only what this release of Debian knows.
    assert calls[-1][-4:] == ["docker.io", "iptables", "debootstrap", "docker-buildx"]
    there |= {"dockerd", "iptables", "debootstrap"}
    calls.clear()
    engine.install_engine()
    assert calls == []


def test_an_engine_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dockerd").write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    (tmp_path / "dockerd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(engine, "answers", lambda *_: False)
    with pytest.raises(ScriptError, match="did not start:\nno room"), engine.own_engine(tmp_path, os.environ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_an_engine_leaves_mounted_is_unmounted(tmp_path: Path) -> None:
    inner, outer = tmp_path / "engine/exec/netns", tmp_path / "other"
    inner.mkdir(parents=True)
    outer.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", outer], capture_output=True, check=False).returncode:
        pytest.skip("root may not mount here")
    try:
        with engine.unmounted(tmp_path / "engine"):
            subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=True)
            assert inner.is_mount()
        assert not inner.is_mount()
        assert outer.is_mount()
    finally:
        subprocess.run(["umount", outer], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Project:
    (tmp_path / "Dockerfile").write_text("# made for a test\nFROM python:3.12.9-slim-trixie AS base\n")
    return Project(tmp_path)


def test_base_image_is_the_dockerfile_s(small: Project) -> None:
    assert engine.base_image(small) == "python:3.12.9-slim-trixie"
    (small.root / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ScriptError, match="FROM image AS base"):
        engine.base_image(small)


def test_a_base_image_that_is_there_is_left_alone(small: Project, tmp_path: Path) -> None:
    engine.provide_base_image(small, os.environ | {"DOCKER": client(tmp_path / "bin", image=0)})
    assert not (tmp_path / "bin/calls").exists()


#: Makes the folders of a small Debian instead of loading it.
DEBOOTSTRAP = """\
#!/bin/sh
echo "$@" >{told}
for folder in var/cache/apt/archives var/lib/apt/lists var/log usr/share/doc usr/share/man usr/share/locale dev \\
        usr/lib/python3.12/__pycache__ usr/bin; do mkdir -p "$4/$folder"; done
echo x >"$4/var/cache/apt/archives/python.deb"
echo x >"$4/dev/null"
echo broken
exit {status}
"""


@pytest.mark.parametrize("status", [0, 1])
def test_a_base_image_that_cannot_be_had_is_made_and_kept(
    small: Project, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = client(tmp_path / "bin")
    debootstrap = tmp_path / "bin/debootstrap"
    debootstrap.write_text(DEBOOTSTRAP.format(status=status, told=tmp_path / "told"))
    debootstrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    environ = os.environ | {"DOCKER": docker}
    archive = small.build / "base-python3.12.tar"
    if status:
        with pytest.raises(ScriptError, match="debootstrap's last words:\nbroken"):
            engine.provide_base_image(small, environ)
        assert not archive.exists()
        return
    engine.provide_base_image(small, environ)
    told = (tmp_path / "told").read_text()
    assert told.startswith("--variant=minbase --include=python3.12-venv,python3-distutils,")
    assert told.split()[2] == "trixie"
    with tarfile.open(archive) as content:
        names = content.getnames()
        assert content.getmember("./usr/bin/python").linkname == "python3.12"
    assert not [name for name in names if "pycache" in name or name.endswith((".deb", "dev/null"))]
    debootstrap.write_text("#!/bin/sh\nexit 1\n")
    engine.provide_base_image(small, environ)
    imported = (tmp_path / "bin/calls").read_text().splitlines()
    assert len(imported) == 2
    assert imported[0].startswith("import --change ENV LANG=C.UTF-8 ")
    assert imported[0].endswith(f"{archive} python:3.12.9-slim-trixie")


def test_without_debootstrap_that_is_said(small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScriptError, match="apt-get install debootstrap"):
        engine.make_stand_in("python3.12", "trixie", tmp_path / "base.tar")


def test_the_command_runs_with_the_engine_and_gives_its_status(
    small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = client(tmp_path / "bin", image=0)
    monkeypatch.setenv("DOCKER", docker)
    code = f"import os, sys; sys.exit(7 if os.environ['DOCKER'] == {docker!r} else 1)"
    assert engine.main([sys.executable, "-c", code], small) == 7
    with pytest.raises(SystemExit):
        engine.main([], small)

    def fail(*_: object) -> None:
        raise ScriptError("no engine", 1)

    monkeypatch.setattr(engine, "provide_base_image", fail)
    assert engine.main(["true"], small) == 1
    assert "engine: no engine" in capsys.readouterr().err

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "provide_base_image", stop)
    assert engine.main(["true"], small) == 130
