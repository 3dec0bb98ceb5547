"""Build the wheels of model-kit, the client and every model that has a bundle; publish them on the private index.

Development (default): versions are X.Y.Z+<digest of what is inside>; what the index has already is not sent again.
Release (--release):   versions are X.Y.Z; the model must be evaluated, trained on real data and by the code that is
                       there; a version that the index has already is refused. If there are wheels that
                       scripts/wheels.py made, these very files are published, and nothing is built. Each is
                       compared with the newest release first; what compare would not release is refused, or with
                       --ignore-comparison published all the same.
Released (--released): publishes nothing; the index must have the very wheels that scripts/wheels.py made.

Writes the exact versions with their sha256 to build/published.txt, which scripts/install_models.py installs; that of
the client, which no server needs, to build/published-client.txt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from model_kit.errors import ModelKitError
from model_kit.retraining.publication import upload

import compare
from build_wheels import build_wheel, development_version, identity, release_version, require_releasable
from index_client import IndexClient, Listed, sha256
from local_index import open_index
from package_index import HELP, URL, PackageIndex
from plan import card_of
from processes import script
from project import MODEL_HELP, Package, Project, Say, ScriptError, write_atomically
from wheels import read_manifest

#: Called with the models that are going to be published and their wheels, before any is; raises what refuses them.
Judge = Callable[[Sequence[tuple[Package, Path]]], None]


def publish(
    project: Project,
    index: PackageIndex,
    *,
    model: str | None = None,
    release: bool = False,
    judge: Judge = lambda _: None,
    say: Say = print,
) -> Path:
    """Publish what the index doesn't have yet, and write down what to install.

    Args:
        project: what is here.
        index: where it goes.
        model: only this model (default: every one that has a bundle).
        release: as ``X.Y.Z`` instead of a development version.
        judge: of the models that are new.
        say: told what happens.

    Returns:
        The requirements file: one exact version with its sha256 a line.

    Raises:
        ScriptError: the index refuses, a release may not be, or the index has the version with other content.
    """
    packages = (project.kit, *project.trained_models(model, say), *project.clients)
    versions = {p.name: (release_version if release else development_version)(p) for p in packages}
    client = IndexClient(index)
    project.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.build, prefix=".publish-") as temporary:
        hashes: dict[str, str] = {}
        new: list[Path] = []
        judged: list[tuple[Package, Path]] = []
        for package in packages:
            wheel = build_wheel(package, versions[package.name], Path(temporary, "new"))
            listed = client.files(package.name).get(wheel.name)
            if listed is None:
                new.append(wheel)
                judged += [(package, wheel)] if package.model else []
                hashes[package.name] = sha256(wheel)
            else:
                hashes[package.name] = _same_as_listed(client, listed, wheel, Path(temporary), release=release)
                what = "is released already" if release else "is there already, nothing to publish"
                say(f"{package.name} {versions[package.name]} {what}")
        if release and not new:
            raise ScriptError(
                "these versions are released already, and a release is never replaced: "
                + ", ".join(f"{name} {version}" for name, version in versions.items())
                + "\nraise __version__ in the package's __init__.py to release again"
            )
        judge(judged)
        for wheel in new:
            _send(client, wheel, say)
    clients = [package.name for package in project.clients]
    pins = {name: f"{name}=={version} --hash=sha256:{hashes[name]}\n" for name, version in versions.items()}
    return _write_down(
        project,
        "".join(pin for name, pin in pins.items() if name not in clients),
        "".join(pins[name] for name in clients),
    )


def publish_made(
    project: Project,
    index: PackageIndex,
    *,
    model: str | None = None,
    judge: Judge = lambda _: None,
    is_released: bool = False,
    say: Say = print,
) -> Path:
    """Publish the very wheels of ``build/wheels`` that the index doesn't have, and write down what to install.

    Args:
        project: whose wheels they are.
        index: where they go.
        model: only this model.
        judge: of the models that are new.
        is_released: the index must have every wheel already.
        say: told what happens.

    Returns:
        The requirements file: one exact version with its sha256 a line.

    Raises:
        ScriptError: the wheels are not what was made, may not be released, or the index has another file.
    """
    manifest = read_manifest(project).of(model)
    for wheel in manifest.models:
        (package,) = project.models(wheel.model)
        require_releasable(wheel.name, wheel.version, card_of(project.wheels / wheel.file, package))
    client = IndexClient(index)
    new: list[Path] = []
    judged: list[tuple[Package, Path]] = []
    for wheel in manifest.wheels:
        listed = client.files(wheel.name).get(wheel.file)
        path = project.wheels / wheel.file
        if listed is None:
            new.append(path)
            judged += [(package, path) for package in (project.models(wheel.model) if wheel.model else ())]
            continue
        with tempfile.TemporaryDirectory(prefix="listed-") as temporary:
            theirs = listed.sha256 or sha256(client.download(listed, Path(temporary)))
        if theirs != wheel.sha256:
            raise ScriptError(
                f"{index.host} has another {wheel.file} than the one in {project.wheels}, and a release is never "
                "replaced; `make wheels` fetches it, or raise __version__"
            )
        say(f"{wheel.name} {wheel.version} is released already, as this very file")
    if is_released and new:
        raise ScriptError(
            f"{index.host} does not have {', '.join(path.name for path in new)}; `make release` of the main branch "
            "publishes them, and nothing was published now"
        )
    judge(judged)
    for path in new:
        _send(client, path, say)
    return _write_down(project, manifest.pins(), manifest.client_pins())


def require_comparison(
    models: Sequence[tuple[Package, Path]], project: Project, index: PackageIndex, *, ignore: bool, say: Say = print
) -> None:
    """Compare each wheel with the model's newest release.

    Raises:
        ScriptError: a comparison has something beyond its threshold, or cannot be made, and that is not ignored.
    """
    refused = []
    for package, wheel in models:
        done = subprocess.run(
            compare.command(package, "latest", str(wheel)),
            env=compare.environment(index),
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            say(f"{wheel.name} compared with the newest release: passed")
            continue
        say(f"{done.stdout}{done.stderr}".rstrip())
        refused.append(f"{wheel.name} {'is beyond its thresholds' if done.returncode == 1 else 'cannot be compared'}")
    if not refused:
        return
    text = f"compared with the newest release, {'; '.join(refused)}"
    if not ignore:
        raise ScriptError(
            f"{text}: nothing was published. Correct the model, or accept what was reviewed in the package's gate.toml "
            "(docs/comparison.md); IGNORE_COMPARISON=1 (--ignore-comparison) releases it all the same"
        )
    say(f"*** WARNING *** {text}; --ignore-comparison: it is published all the same")


def _send(client: IndexClient, wheel: Path, say: Say) -> None:
    _upload(client.index, wheel)
    listed = client.files(wheel.name.split("-")[0].replace("_", "-")).get(wheel.name)
    if listed is None or listed.sha256 not in {None, sha256(wheel)}:
        raise ScriptError(f"{wheel.name} was sent, but {client.index.url} ({URL}) doesn't list it")
    say(f"Published {wheel.name} on {client.index.host}")


def _write_down(project: Project, pins: str, client_pins: str) -> Path:
    heading = "# What scripts/publish.py published last.\n"
    if client_pins:
        write_atomically(project.published_client, heading + client_pins)
    write_atomically(project.published, heading + pins)
    return project.published


def _same_as_listed(client: IndexClient, listed: Listed, wheel: Path, folder: Path, *, release: bool) -> str:
    """Return the sha256 of the wheel that the index has, if its content is what was built."""
    if listed.sha256 == sha256(wheel):
        return listed.sha256
    theirs = client.download(listed, folder)
    have, built = identity(theirs), identity(wheel)
    if have != built:
        differ = sorted(name for name in have.keys() | built.keys() if have.get(name) != built.get(name))
        word = "is released already" if release else "is on the index already"
        raise ScriptError(
            f"{wheel.name} {word}, with other content ({', '.join(differ)}); "
            "raise __version__ in the package's __init__.py"
        )
    return sha256(theirs)


def _upload(index: PackageIndex, wheel: Path) -> None:
    try:
        upload(wheel, index.upload_url, index.user, index.token)
    except ModelKitError as error:
        raise ScriptError(str(error)) from error


@script("publish")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "publish.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", action="store_true", help="publish X.Y.Z instead of a development version")
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument(
        "--ignore-comparison", action="store_true", help="with --release: publish whatever the comparison says"
    )
    parser.add_argument("--released", action="store_true", help="publish nothing, and fail if anything were to be")
    options = parser.parse_args(arguments)
    project = project or Project()
    with open_index(project, os.environ) as index:
        judge = partial(require_comparison, project=project, index=index, ignore=options.ignore_comparison)
        if options.released:
            publish_made(project, index, model=options.model, is_released=True)
        elif options.release and project.wheels.is_dir():
            publish_made(project, index, model=options.model, judge=judge)
        elif options.release:
            publish(project, index, model=options.model, release=True, judge=judge)
        else:
            publish(project, index, model=options.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
