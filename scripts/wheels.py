"""Make the wheels of a release, once: what is tested, published and deployed are these very files.

A version that the index has is fetched from it, and refused if it differs from what is here. Any other is built; the
model must be evaluated, trained on real data and by the code that is there. The wheels go to build/wheels, with a
manifest.json that has the sha256 of each, and a requirements.txt that pins them.

exit status: 0 done, 1 something may not be released or failed, 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_kit.scoring.bundle import CARD, GOLDEN, read_bundle

from build_wheels import build_wheel, read_trained, release_version, require_releasable
from index_client import IndexClient, sha256
from local_index import open_index
from package_index import HELP, PackageIndex
from plan import code_changes, extract_bundle, read_plan
from processes import stop_on_signals
from project import Package, Project, Say, ScriptError, write_atomically
from repository import commit_of

BUILT, FETCHED = "built", "index"


@dataclass(frozen=True)
class Wheel:
    """A wheel of a release.

    Attributes:
        name: of the package.
        version: of the package.
        file: its name in the folder.
        sha256: its digest.
        origin: ``built`` here or fetched from the ``index``.
    """

    name: str
    version: str
    file: str
    sha256: str
    origin: str

    @property
    def pin(self) -> str:
        """A line of a requirements file that only this file satisfies."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Manifest:
    """The wheels of a release.

    Attributes:
        commit: what they belong to; ends in ``-dirty`` if files differed from it.
        artifact_sha256: digest of the model inside.
        wheels: in the order of dependence; the model's is the last.
    """

    commit: str | None
    artifact_sha256: str
    wheels: tuple[Wheel, ...]

    @property
    def model(self) -> Wheel:
        """The wheel that has the model."""
        return self.wheels[-1]

    def pins(self) -> str:
        """What installs these files and no others."""
        return "".join(f"{wheel.pin}\n" for wheel in self.wheels)


def make_wheels(project: Project, index: PackageIndex, *, say: Say = print) -> Manifest:
    """Fetch or build the wheels of a release.

    Raises:
        ScriptError: one may not be released, has changed since it was, or cannot be built.
    """
    plan = read_plan(project)
    client = IndexClient(index)
    wheels: list[Wheel] = []
    project.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.build, prefix=".wheels-") as temporary:
        folder = Path(temporary, "wheels")
        folder.mkdir()
        for package in project.packages:
            base = package.base_version()
            released = client.released(package.name, base)
            version = plan.versions[package.name] if plan else base
            if released is not None and (plan is None or released[0].split("-")[1] == version):
                path, origin = client.download(released[1], folder), FETCHED
                version = path.name.split("-")[1]
                require_unchanged(package, path, version, trained_here=plan is None)
            else:
                release_version(package)
                path, origin = build_wheel(package, version, folder), BUILT
            wheels.append(Wheel(package.name, version, path.name, sha256(path), origin))
            say(f"{path.name} {'built' if origin == BUILT else f'fetched from {index.host}'}")
        model = project.packages[-1]
        bundle = read_bundle(extract_bundle(folder / wheels[-1].file, model, Path(temporary, "bundle")))
        card = bundle.json(CARD)
        require_releasable(model.name, wheels[-1].version, card)
        if plan and plan.data_sha256 not in {None, card["data"]["sha256"]}:
            raise ScriptError(
                f"{project.plan} is about other data than the model was trained on; `make model` trains it"
            )
        manifest = Manifest(commit_of(project.root), bundle.artifact_sha256, tuple(wheels))
        (folder / "requirements.txt").write_text(manifest.pins(), "utf-8")
        write_atomically(folder / "manifest.json", json.dumps(asdict(manifest), indent=1) + "\n")
        shutil.rmtree(project.wheels, ignore_errors=True)
        folder.rename(project.wheels)
    return manifest


def require_unchanged(package: Package, wheel: Path, version: str, *, trained_here: bool) -> None:
    """Hold that a released wheel is what would be built here.

    Args:
        package: what is released.
        wheel: the file.
        version: what it says it is.
        trained_here: a model that lies here is meant to be released; with a plan it is the released one that is used.

    Raises:
        ScriptError: the code has changed, or there is another model here.
    """
    changed = code_changes(package, wheel, version)
    if trained_here and package.trained and package.bundle.is_dir():
        with tempfile.TemporaryDirectory(prefix="released-") as temporary:
            released = read_bundle(extract_bundle(wheel, package, Path(temporary))).artifact_sha256
        if read_trained(package).artifact_sha256 != released:
            changed.append("another model is trained here")
    if changed:
        raise ScriptError(
            f"{package.name} {version} is released, and is something else ({'; '.join(changed)}); "
            f"raise __version__ in {package.source / '__init__.py'}"
        )


def read_manifest(project: Project) -> Manifest:
    """The manifest, every wheel held to its sha256.

    Raises:
        ScriptError: there is none, a wheel is not what was tested, or they belong to another commit.
    """
    path = project.wheels / "manifest.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ScriptError(f"{path} is not here; `make wheels` makes it") from error
    found["wheels"] = tuple(Wheel(**wheel) for wheel in found["wheels"])
    manifest = Manifest(**found)
    for wheel in manifest.wheels:
        file = project.wheels / wheel.file
        if not file.is_file() or sha256(file) != wheel.sha256:
            raise ScriptError(f"{file} is not the file that {path.name} is about; `make wheels` again")
    here = commit_of(project.root)
    if manifest.commit != here:
        raise ScriptError(f"{path} is about commit {manifest.commit}, and {here} is here; `make wheels` again")
    return manifest


def golden(project: Project, manifest: Manifest) -> dict[str, Any]:
    """The golden row of the model in a release: ``row`` and ``prediction``."""
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        wheel = project.wheels / manifest.model.file
        bundle = read_bundle(extract_bundle(wheel, project.packages[-1], Path(temporary)))
    found: dict[str, Any] = bundle.json(GOLDEN)
    return found


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "wheels.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    project = project or Project()
    try:
        with stop_on_signals(), open_index(project, os.environ) as index:
            manifest = make_wheels(project, index)
    except ScriptError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("wheels: stopped", file=sys.stderr)
        return 130
    print(manifest.pins(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
