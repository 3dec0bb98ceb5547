"""Build, run or push the service's image, of the wheels that were published last; that of retraining, or JupyterLab's.

`build` publishes first if nothing was published yet. `run` starts the image as production should: a root file system
that cannot be written, no capabilities, no new privileges, and 30 s to finish what is under way when it is stopped.
`push` sends the image to REPOSITORY as TAG, where Docker is logged in already, and writes its name with the digest to
build/image.txt. `training` builds the image that retrains (docs/retraining.md), of what was published last. `notebook`
builds the image of JupyterLab, `run-notebook` starts it on 127.0.0.1:8888 with a folder mounted.

exit status: 0 done, 1 something failed (the text says what to do), 2 a setting makes no sense; of `run` and
`run-notebook`, that of the container.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_kit.training.provenance import git_commit

from build_wheels import read_trained
from index_client import IndexClient, sha256
from local_index import open_index
from package_index import HELP, PackageIndex
from processes import script
from project import Package, Project, Say, ScriptError, say, write_atomically
from publish import publish
from run import parse_settings, train_if_missing

IMAGE, TRAINING_IMAGE, NOTEBOOK_IMAGE = "ml-api", "ml-api-training", "ml-notebook"
#: Where bundles from outside are mounted, and where the notebooks are.
MOUNTED, WORK = "/model", "/notebooks"
NOTEBOOK_PORT = 8888
HARDENED = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
#: Seconds from SIGTERM to SIGKILL: more than gunicorn's graceful_timeout. Docker alone gives 10.
STOP_TIMEOUT = 30
_REPOSITORY = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: Settings of pip that say where packages are; all others stay out of the build.
_PIP_SETTINGS = frozenset(
    {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}
)
VARIABLES = f"""\
other variables: IMAGE ({IMAGE}, {TRAINING_IMAGE}, {NOTEBOOK_IMAGE}) name of the image; DOCKER (docker) the
client; DOCKER_OPTIONS more options for `docker build` or `docker run`; GIT_COMMIT where there is no git; PORT and
MODEL_DIR (a folder of bundles by model name) for `run`; NOTEBOOK_DIR (notebooks) the folder for `run-notebook`;
REPOSITORY (registry.example/models/ml-api) and TAG for `push`
"""


@dataclass(frozen=True)
class Identity:
    """The identity of an image, in its labels and at ``/version``.

    Attributes:
        model_version: version of the model's wheel; of several, each after its model's name.
        artifact_sha256: digest of the bundle in that wheel; of several, one after the other.
        git_commit: of the sources, with ``-dirty`` if tracked files differ from it; empty if unknown.
    """

    model_version: str
    artifact_sha256: str
    git_commit: str

    def __str__(self) -> str:
        commit = self.git_commit or "unknown"
        artifacts = " ".join(artifact[:12] for artifact in self.artifact_sha256.split())
        return f"model {self.model_version}, artefact {artifacts}, commit {commit}"


def build(project: Project, index: PackageIndex, environ: Mapping[str, str]) -> Identity:
    """Build the image ``IMAGE`` of what ``build/published.txt`` names.

    Raises:
        ScriptError: there is no Docker, the index lacks a wheel, or the build failed; its reason is above.
    """
    found = published_models(project, index)
    named = ", ".join(f"{model.model} {version}" for model, version, _ in found)
    version = found[0][1] if len(found) == 1 else named
    artifacts = " ".join(artifact for _, _, artifact in found)
    identity = Identity(version, artifacts, environ.get("GIT_COMMIT") or git_commit(project.root) or "")
    options = ["--tag", environ.get("IMAGE") or IMAGE, *index_network(index)]
    if any(model.needs_scikit_learn for model, _, _ in found):
        options += ["--build-arg", "SCIKIT_LEARN=1"]
    for name, value in vars(identity).items():
        options += ["--build-arg", f"{name.upper()}={value}"]
    docker_build(project, options, index_secrets(index), environ)
    return identity


def build_training(project: Project, index: PackageIndex, environ: Mapping[str, str]) -> str:
    """Build the image that retrains, ``IMAGE``, of what ``build/published.txt`` names; returns its name.

    Raises:
        ScriptError: there is no Docker, the index lacks a wheel, or the build failed; its reason is above.
    """
    published_models(project, index)
    name = environ.get("IMAGE") or TRAINING_IMAGE
    options = ["--tag", name, "--file", str(project.root / "deploy/retraining/Dockerfile"), *index_network(index)]
    docker_build(project, options, index_secrets(index), environ)
    return name


def index_secrets(index: PackageIndex) -> dict[str, str]:
    """Return what a build is told of the index.

    By environment from here to Docker's client, and from there to one RUN: never an argument, never a layer.
    """
    return index.variables


def index_network(index: PackageIndex) -> tuple[str, ...]:
    """Return the options with which a build reaches the index: one on this machine needs the machine's network."""
    return ("--network", "host") if index.local else ()


def build_notebook(project: Project, environ: Mapping[str, str]) -> str:
    """Build JupyterLab's image ``IMAGE`` of the sources; returns its name.

    Raises:
        ScriptError: there is no Docker, or the build failed; its reason is above.
    """
    name = environ.get("IMAGE") or NOTEBOOK_IMAGE
    docker_build(project, ["--tag", name, "--file", str(project.root / "Dockerfile.notebook")], {}, environ)
    return name


def docker_build(
    project: Project, options: Sequence[str], secrets: Mapping[str, str], environ: Mapping[str, str]
) -> None:
    """Build an image, with the places of this machine's pip and with secrets, by name.

    Raises:
        ScriptError: there is no Docker, or the build failed; its reason is above.
    """
    settings = pip_settings()
    secrets = dict(secrets) | {"pip_conf": pip_configuration(settings)}
    given = {name: f"IMAGE_SECRET_{name}" for name, value in secrets.items() if value}
    command = [*docker(environ), "build", *options]
    for name, variable in given.items():
        command += ["--secret", f"id={name},env={variable}"]
    if Path(settings.get("cert", "")).is_file():
        command += ["--secret", f"id=pip_cert,src={settings['cert']}"]
    command += [*shlex.split(environ.get("DOCKER_OPTIONS", "")), str(project.root)]
    variables = {name: value for name, value in environ.items() if not name.startswith("PACKAGE_INDEX_")}
    variables |= {"DOCKER_BUILDKIT": "1"} | {variable: secrets[name] for name, variable in given.items()}
    if start(command, variables):
        raise ScriptError("the image was not built; the reason is above")


def published_models(project: Project, index: PackageIndex) -> list[tuple[Package, str, str]]:
    """Package, version and digest of the artefact of every published model, whose wheels the index has.

    Raises:
        ScriptError: nothing was published, or the index does not have those very wheels.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="image-") as temporary:
        for model, version, wheel in published_wheels(project, index, Path(temporary)):
            with zipfile.ZipFile(wheel) as archive:
                manifest = json.loads(archive.read(f"{model.source.name}/bundle/manifest.json"))
            found.append((model, version, str(manifest["artifact_sha256"])))
    return found


def published_wheels(project: Project, index: PackageIndex, folder: Path) -> list[tuple[Package, str, Path]]:
    """Package, version and wheel of every published model; the wheels are fetched into ``folder``.

    Raises:
        ScriptError: nothing was published, or the index does not have those very wheels.
    """
    published = project.published
    try:
        lines = published.read_text("utf-8").splitlines()
    except OSError as error:
        raise ScriptError(f"{published}: {error.strerror}; `make publish` writes it") from error
    pins = dict(line.split(" --hash=sha256:") for line in lines if not line.startswith("#"))
    client = IndexClient(index)
    found = []
    for model in project.models():
        for pin in (pin for pin in pins if pin.startswith(f"{model.name}==")):
            version = pin.partition("==")[2]
            listed = client.files(model.name).get(f"{model.source.name}-{version}-py3-none-any.whl")
            wheel = client.download(listed, folder) if listed else None
            if wheel is None or sha256(wheel) != pins[pin]:
                raise ScriptError(f"{index.host} does not have {pin} as {published} names it; `make publish` sends it")
            found.append((model, version, wheel))
    if not found:
        raise ScriptError(f"{published} names no model package that is here; `make publish` writes it")
    return found


def pip_settings() -> dict[str, str]:
    """Return the settings of this machine's pip from its files and variables, by name."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    settings = {}
    # Each line is section.key='value'.
    for line in done.stdout.splitlines():
        key, _, quoted = line.partition("=")
        settings[key.rpartition(".")[2]] = "".join(shlex.split(quoted))
    return settings


def pip_configuration(settings: Mapping[str, str]) -> str:
    """Return a configuration file that says where pip finds third-party packages; without folders of this machine."""
    lines = []
    for name in sorted(_PIP_SETTINGS & set(settings)):
        words = [word for word in settings[name].split() if not word.startswith(("file:", "/"))]
        if words:
            lines.append(f"{name} = {' '.join(words)}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def docker(environ: Mapping[str, str]) -> list[str]:
    """Return the client, with the options that ``DOCKER`` may carry."""
    return shlex.split(environ.get("DOCKER") or "docker")


def start(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run Docker's client; returns its exit status.

    Raises:
        ScriptError: there is none.
    """
    try:
        return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError as error:
        raise ScriptError(
            f"{command[0]}: not found; install Docker, or name its client: make image DOCKER=..."
        ) from error


def run_command(environ: Mapping[str, str]) -> list[str]:
    """Return the command that starts the image as production should.

    Raises:
        ScriptError: ``PORT`` is no port, or ``MODEL_DIR`` no folder.
    """
    port = parse_settings({"PORT": environ.get("PORT", "")}).port
    command = [*docker(environ), "run", *HARDENED, "--stop-timeout", str(STOP_TIMEOUT)]
    command += ["--env", f"PORT={port}", "--publish", f"{port}:{port}"]
    folder = environ.get("MODEL_DIR")
    if folder:
        if not Path(folder).is_dir():
            raise ScriptError(f"MODEL_DIR={folder} is no folder", 2)
        source = Path(folder).resolve()
        command += ["--mount", f"type=bind,source={source},target={MOUNTED},readonly", "--env", f"MODEL_DIR={MOUNTED}"]
    return [*command, *shlex.split(environ.get("DOCKER_OPTIONS", "")), environ.get("IMAGE") or IMAGE]


def run_notebook_command(project: Project, environ: Mapping[str, str]) -> list[str]:
    """Return the command that starts JupyterLab, for this machine alone, with a folder mounted that its user owns.

    Raises:
        ScriptError: ``NOTEBOOK_DIR`` is no folder.
    """
    folder = Path(environ.get("NOTEBOOK_DIR") or project.root / "notebooks")
    if not folder.is_dir():
        raise ScriptError(f"NOTEBOOK_DIR={folder} is no folder", 2)
    command = [*docker(environ), "run", *HARDENED, "--init", "--tmpfs", "/tmp"]  # noqa: S108  the container's
    # Files that are saved belong to whoever started it. JupyterLab refuses to run as root.
    if os.getuid():
        command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    command += ["--publish", f"127.0.0.1:{NOTEBOOK_PORT}:{NOTEBOOK_PORT}"]
    command += ["--mount", f"type=bind,source={folder.resolve()},target={WORK}"]
    return [*command, *shlex.split(environ.get("DOCKER_OPTIONS", "")), environ.get("IMAGE") or NOTEBOOK_IMAGE]


def push(project: Project, environ: Mapping[str, str]) -> str:
    """Push the image ``IMAGE`` as ``REPOSITORY:TAG``; returns ``REPOSITORY@sha256:...``, which ``build/image.txt`` has.

    Raises:
        ScriptError: a variable is missing or malformed, or Docker fails; its reason is above.
    """
    repository, tag = environ.get("REPOSITORY", ""), environ.get("TAG", "")
    if not _REPOSITORY.fullmatch(repository):
        raise ScriptError(f"REPOSITORY is {repository!r}; it must be like ghcr.io/owner/ml-api, in lower case", 2)
    if not _TAG.fullmatch(tag):
        raise ScriptError(f"TAG is {tag!r}; it must be like v1.2.3", 2)
    image, target = environ.get("IMAGE") or IMAGE, f"{repository}:{tag}"
    for command in (["tag", image, target], ["push", target]):
        if start([*docker(environ), *command], environ):
            raise ScriptError(f"{image} was not pushed as {target}; the reason is above")
    command = [*docker(environ), "image", "inspect", "--format", '{{join .RepoDigests " "}}', target]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    found = [digest for digest in done.stdout.split() if digest.startswith(f"{repository}@sha256:")]
    if not found:
        raise ScriptError(f"{target} was pushed, but Docker does not know its digest: {done.stderr.strip()}")
    write_atomically(project.image, f"{found[0]}\n")
    return found[0]


def make_image(project: Project, environ: Mapping[str, str], say: Say, model: str | None = None) -> None:
    """Train and publish if nothing was published yet, and build.

    Raises:
        ScriptError: something failed; the text says what to do.
    """
    with open_index(project, environ) as index:
        if model or not project.published.exists():
            train_if_missing(project, say, model)
            publish(project, index, model=model, say=say)
        identity = build(project, index, environ)
    for package in project.models(model):
        if package.bundle.is_dir() and read_trained(package).artifact_sha256 not in identity.artifact_sha256.split():
            say(
                f"The bundle of {package.model} that was trained last is not published yet: "
                "`make publish`, then `make image` again."
            )
    say(f"Built {environ.get('IMAGE') or IMAGE}: {identity}. `make run-image` starts it.")


@script("image")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "image.py",
        description=__doc__,
        epilog=HELP + VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("build", "run", "push", "training", "notebook", "run-notebook"))
    parser.add_argument("--model", help="publish this model alone and build its image (default: what was published)")
    options = parser.parse_args(arguments)
    project = project or Project()
    if options.what == "build":
        make_image(project, os.environ, say, options.model)
        return 0
    if options.what == "push":
        say(f"Pushed {push(project, os.environ)}")
        return 0
    if options.what == "training":
        with open_index(project, os.environ) as index:
            say(f"Built {build_training(project, index, os.environ)}. docs/retraining.md says how it is run.")
        return 0
    if options.what == "notebook":
        say(f"Built {build_notebook(project, os.environ)}. `make run-notebook-image` starts it.")
        return 0
    command = run_command(os.environ) if options.what == "run" else run_notebook_command(project, os.environ)
    try:
        # No process of ours in between: signals are the client's, which passes them on.
        os.execvp(command[0], command)  # noqa: S606  what it runs is named above
    except FileNotFoundError as error:
        raise ScriptError(f"{command[0]}: not found; install Docker, or name its client by DOCKER") from error


if __name__ == "__main__":
    sys.exit(main())
