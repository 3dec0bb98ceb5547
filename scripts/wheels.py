"""Make the wheels of a release, once: what is tested, published and deployed are these very files.

The wheels are those of model-kit, of the client, and of every model that `make plan` decided about; without a plan, of
every model that is released or has a bundle. A version that the index has is fetched from it, and refused if it differs
from what is here. Any other is built; the model must be evaluated, trained on real data and by the code that is there.
The wheels go to build/wheels, with a manifest.json that has the sha256 of each, and a requirements.txt that pins those
that a server needs.

exit status: 0 done, 1 something may not be released or failed, 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model_kit.scoring.bundle import CARD, GOLDEN, read_bundle
from model_kit.training.provenance import git_commit
from packaging.version import Version

from build_wheels import build_wheel, read_trained, release_version, require_releasable
from index_client import IndexClient, sha256
from local_index import open_index
from package_index import HELP, PackageIndex
from plan import SKIP, Plan, code_changes, extract_bundle, read_plan
from processes import script
from project import MODEL_HELP, NO_MODEL, Package, Project, Say, ScriptError, write_atomically

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
        model: name of the model inside; empty if there is none.
        artifact_sha256: digest of the model inside.
        is_client: whether callers install it, and no server.
    """

    name: str
    version: str
    file: str
    sha256: str
    origin: str
    model: str = ""
    artifact_sha256: str = ""
    is_client: bool = False

    @property
    def pin(self) -> str:
        """A line of a requirements file that only this file satisfies."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Manifest:
    """The wheels of a release.

    Attributes:
        commit: what they belong to; ends in ``-dirty`` if files differed from it.
        wheels: in the order of dependence: the kit's is the first.
        held_back: name of a model -> why its new version is no part of the release, nor of any wheel here.
    """

    commit: str | None
    wheels: tuple[Wheel, ...]
    held_back: Mapping[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[Wheel, ...]:
        """The wheels that have a model."""
        return tuple(wheel for wheel in self.wheels if wheel.model)

    @property
    def served(self) -> tuple[Wheel, ...]:
        """The wheels that a server needs."""
        return tuple(wheel for wheel in self.wheels if not wheel.is_client)

    def of(self, model: str | None) -> Manifest:
        """Return the wheels that one model needs; all of them without a name.

        Raises:
            ScriptError: there is no wheel of that model.
        """
        if not model:
            return self
        if model not in {wheel.model for wheel in self.models}:
            there = ", ".join(wheel.model for wheel in self.models)
            raise ScriptError(f"MODEL={model}: build/wheels has no wheel of it, but of {there}; `make wheels` again", 2)
        return Manifest(self.commit, tuple(wheel for wheel in self.wheels if wheel.model in {"", model}))

    def pins(self) -> str:
        """Return what installs the files that a server needs, and no others."""
        return "".join(f"{wheel.pin}\n" for wheel in self.served)

    def client_pins(self) -> str:
        """Return what installs the client's."""
        return "".join(f"{wheel.pin}\n" for wheel in self.wheels if wheel.is_client)


def make_wheels(project: Project, index: PackageIndex, *, model: str | None = None, say: Say = print) -> Manifest:
    """Fetch or build the wheels of a release.

    Args:
        project: what is here.
        index: what is released.
        model: only this model.
        say: told what happens.

    Raises:
        ScriptError: one may not be released, has changed since it was, or cannot be built.
    """
    plan = read_plan(project)
    client = IndexClient(index)
    wheels: list[Wheel] = []
    left_out: list[str] = []
    project.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project.build, prefix=".wheels-") as temporary:
        folder = Path(temporary, "wheels")
        folder.mkdir()
        for package in (project.kit, *project.clients, *project.models(model)):
            planned = plan.models.get(package.model) if plan else None
            is_held_back = planned is not None and bool(planned.held_back)
            base = package.base_version()
            if is_held_back and plan and package.name in plan.versions:
                base = Version(plan.versions[package.name]).base_version
            released = client.released(package.name, base)
            if package.model and (text := _left_out(package, plan, is_released=released is not None)):
                left_out.append(text)
                say(text)
                continue
            version = plan.versions[package.name] if plan else base
            if released is not None and (plan is None or released[0].split("-")[1] == version):
                path, origin = client.download(released[1], folder), FETCHED
                version = path.name.split("-")[1]
                if not is_held_back:
                    require_unchanged(package, path, version, trained_here=plan is None)
            else:
                release_version(package)
                path, origin = build_wheel(package, version, folder), BUILT
            artifact = ""
            if package.model:
                bundle = read_bundle(extract_bundle(path, package, Path(temporary, package.model)))
                card, artifact = bundle.json(CARD), bundle.artifact_sha256
                require_releasable(package.name, version, card)
                if plan and plan.models[package.model].data_sha256 not in {None, card["data"]["sha256"]}:
                    raise ScriptError(
                        f"{project.plan} is about other data than {package.model} was trained on; "
                        "`make model` trains it"
                    )
            is_client = package in project.clients
            wheels.append(
                Wheel(package.name, version, path.name, sha256(path), origin, package.model, artifact, is_client)
            )
            say(f"{path.name} {'built' if origin == BUILT else f'fetched from {index.host}'}")
        decisions = plan.models if plan else {}
        held_back = {name: decided.held_back for name, decided in decisions.items() if decided.held_back}
        manifest = Manifest(git_commit(project.root), tuple(wheels), held_back)
        if not manifest.models:
            raise ScriptError("\n".join(left_out) or NO_MODEL)
        (folder / "requirements.txt").write_text(manifest.pins(), "utf-8")
        write_atomically(folder / "manifest.json", json.dumps(asdict(manifest), indent=1) + "\n")
        shutil.rmtree(project.wheels, ignore_errors=True)
        folder.rename(project.wheels)
    return manifest


def _left_out(package: Package, plan: Plan | None, *, is_released: bool) -> str:
    """Why a model is no part of this release, and what to do; empty if it is one."""
    if plan is None:
        there = is_released or package.bundle.is_dir()
        return "" if there else f"Left out: {package.model} is not released and has no bundle; {package.how_to_train}"
    planned = plan.models.get(package.model)
    if planned is None:
        return f"Left out: the plan does not name {package.model}; `make plan` again"
    return planned.sentence if planned.decision == SKIP else ""


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
    if trained_here and package.model and package.bundle.is_dir():
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
    """Return the manifest, every wheel held to its sha256.

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
    here = git_commit(project.root)
    if manifest.commit != here:
        raise ScriptError(f"{path} is about commit {manifest.commit}, and {here} is here; `make wheels` again")
    return manifest


def golden(project: Project, wheel: Wheel) -> dict[str, Any]:
    """Return the golden row of the model in a wheel of a release: ``row`` and ``prediction``."""
    (package,) = project.models(wheel.model)
    with tempfile.TemporaryDirectory(prefix="golden-") as temporary:
        bundle = read_bundle(extract_bundle(project.wheels / wheel.file, package, Path(temporary)))
    found: dict[str, Any] = bundle.json(GOLDEN)
    return found


@script("wheels")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "wheels.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument(
        "--held-back", action="store_true", help="make nothing: tell which models were held back, status 1 if any was"
    )
    options = parser.parse_args(arguments)
    project = project or Project()
    if options.held_back:
        faults = [f"{name} was held back: {fault}" for name, fault in read_manifest(project).held_back.items()]
        if faults:
            raise ScriptError("\n".join([*faults, "correct it, or take its new version back"]))
        print("No model was held back.")
        return 0
    with open_index(project, os.environ) as index:
        manifest = make_wheels(project, index, model=options.model)
    print(manifest.pins(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
