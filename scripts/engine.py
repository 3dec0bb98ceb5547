"""Run a command with a Docker engine and the base image of the Dockerfile, made here where there are none.

An engine that answers is used as it is. Elsewhere, on Debian and as root, one is installed and started for as long as
the command runs, with everything of its own (socket, images, processes) in a temporary folder; without a network of its
own, so that containers need `--network host`. The command finds it by DOCKER and DOCKER_HOST.

A base image that can be neither found nor pulled is made of Debian's packages, under the same name, as a stand-in for
tests: another patch release of Python, in other folders. It is kept in build/, as a file.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import child, script
from project import Project, ScriptError

#: Seconds until the engine must answer; it takes 2.
PATIENCE = 60.0
#: Debian's; newer releases have the second line's apart.
PACKAGES = ("docker.io", "iptables", "debootstrap")
OPTIONAL_PACKAGES = ("docker-cli", "docker-buildx")
#: What python:X.Y-slim has besides Python; distutils for venv, which debootstrap would not find.
_BASE_PACKAGES = "{python}-venv,python3-distutils,ca-certificates,netbase,tzdata"
#: What the official image leaves out as well.
_NEEDLESS = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale")


@contextmanager
def engine(environ: Mapping[str, str]) -> Generator[dict[str, str]]:
    """Yield the environment with which ``DOCKER`` reaches an engine that builds with BuildKit, while the block lasts.

    Raises:
        ScriptError: there is no engine, and none can be started here.
    """
    client = find_client(environ)
    if client is not None:
        yield dict(environ) | {"DOCKER": client}
        return
    install_engine()
    with (
        tempfile.TemporaryDirectory(prefix="engine-") as temporary,
        unmounted(Path(temporary)),
        own_engine(Path(temporary), environ) as found,
    ):
        yield found


def find_client(environ: Mapping[str, str]) -> str | None:
    """Return a client on ``PATH`` whose engine answers and that can build with secrets; ``None`` if there is none."""
    folders = environ.get("PATH", "").split(os.pathsep)
    found = [path for folder in folders if (path := shutil.which("docker", path=folder))]
    return next((path for path in [environ.get("DOCKER"), *found] if path and answers(path, environ)), None)


def answers(client: str, environ: Mapping[str, str]) -> bool:
    """Return whether the client has an engine and BuildKit, which is a plug-in since version 23 and may be missing."""
    try:
        version = _ask([client, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"], environ)
        return int(version.split(".")[0]) < 23 or bool(_ask([client, "buildx", "version"], environ))
    except (OSError, ValueError, subprocess.CalledProcessError):
        return False


def install_engine() -> None:
    """Install Debian's Docker where it is missing.

    Raises:
        ScriptError: not on Debian, or not root.
    """
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ScriptError(
            "no Docker engine answers that can build with BuildKit, and one can be set up on Debian and as root only; "
            "start one, or name its client: DOCKER=..."
        )
    if all(shutil.which(program) for program in ("dockerd", "iptables", "debootstrap")):
        return
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environ, check=True)
    known = [
        name
        for name in OPTIONAL_PACKAGES
        if subprocess.run(["apt-cache", "show", name], capture_output=True, check=False).returncode == 0
    ]
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, *known]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def own_engine(folder: Path, environ: Mapping[str, str]) -> Generator[dict[str, str]]:
    """Yield an engine with everything of its own in ``folder``, while the block lasts.

    Raises:
        ScriptError: it does not start; the text has its last words.
    """
    host, log = f"unix://{folder}/docker.sock", folder / "log"
    own = dict(environ) | {"DOCKER_HOST": host, "DOCKER_CONFIG": str(folder / "config")}
    own["DOCKER_OPTIONS"] = " ".join(["--network host", environ.get("DOCKER_OPTIONS", "")]).strip()
    # Debian's client comes with the engine; another one may be first on PATH and lack BuildKit.
    own["DOCKER"] = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    own.pop("DOCKER_CONTEXT", None)
    command: list[str | Path] = [
        "dockerd",
        "--host",
        host,
        "--data-root",
        folder / "data",
        "--exec-root",
        folder / "exec",
    ]
    command += ["--pidfile", folder / "pid", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with log.open("wb") as stream, child(command, output=stream.fileno(), patience=60) as process:
        deadline = time.monotonic() + PATIENCE
        while not answers(own["DOCKER"], own):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ScriptError(f"the Docker engine did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.2)
        try:
            yield own
        finally:
            # Unless it has ended by itself.
            with suppress(subprocess.SubprocessError):
                for container in _ask([own["DOCKER"], "ps", "--all", "--quiet"], own).split():
                    _ask([own["DOCKER"], "rm", "--force", container], own)


@contextmanager
def unmounted(folder: Path) -> Generator[None]:
    """Unmount what an engine leaves in ``folder`` at the end: the network namespaces of its containers."""
    try:
        yield
    finally:
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
        for mount in reversed(mounts):
            if Path(mount).is_relative_to(folder.resolve()):
                subprocess.run(["umount", mount], check=True)


def base_image(project: Project) -> str:
    """Return the image that the Dockerfile starts from."""
    found = re.search(r"^FROM (\S+) AS base$", (project.root / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise ScriptError("Dockerfile: no line of the form FROM image AS base")
    return found.group(1)


def provide_base_image(project: Project, environ: Mapping[str, str]) -> None:
    """Provide the base image to the engine: pull it, or import the stand-in, unless the engine has it.

    Raises:
        ScriptError: the stand-in cannot be made either.
    """
    name, client = base_image(project), environ["DOCKER"]
    for attempt in (["image", "inspect", name], ["pull", "--quiet", name]):
        if subprocess.run([client, *attempt], env=environ, capture_output=True, check=False).returncode == 0:
            return
    python = "python" + ".".join(name.partition(":")[2].split(".")[:2])
    stand_in = project.build / f"base-{python}.tar"
    if not stand_in.exists():
        print(f"{name} cannot be pulled: making a stand-in of Debian's packages (1 or 2 minutes)", flush=True)
        make_stand_in(python, name.rpartition("-")[2], stand_in)
    print(f"{name} is a stand-in here, made of Debian's packages", flush=True)
    change = [part for line in ("ENV LANG=C.UTF-8", 'CMD ["python3"]') for part in ("--change", line)]
    subprocess.run([client, "import", *change, str(stand_in), name], env=environ, capture_output=True, check=True)


def make_stand_in(python: str, suite: str, archive: Path) -> None:
    """Write the root file system of a small Debian with Python, much like python:X.Y-slim.

    Raises:
        ScriptError: this needs root and debootstrap, or a package cannot be had.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-") as temporary:
        root, unfinished = Path(temporary, "root"), archive.with_suffix(".new")
        packages = _BASE_PACKAGES.format(python=python)
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ScriptError("debootstrap: not found; apt-get install debootstrap") from error
        if done.returncode:
            raise ScriptError(f"no stand-in for the base image; debootstrap's last words:\n{done.stdout[-2000:]}")
        for folder in _NEEDLESS:
            shutil.rmtree(root / folder)
            (root / folder).mkdir()
        for bytecode in root.glob("usr/**/__pycache__"):
            shutil.rmtree(bytecode)
        # Debian has python3 only; nothing but the engine's own devices belongs in /dev.
        (root / "usr/bin/python").symlink_to(python)
        subprocess.run(
            ["tar", "--create", "--file", unfinished, "--directory", root, "--exclude=./dev/*", "."], check=True
        )
        unfinished.rename(archive)


def _ask(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


@script("engine")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "engine.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, with its arguments")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("which command?")
    with engine(os.environ) as environ:
        provide_base_image(project or Project(), environ)
        with child(options.command, env=environ) as process:
            return process.wait()


if __name__ == "__main__":
    sys.exit(main())
