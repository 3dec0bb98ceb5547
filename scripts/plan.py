"""Decide whether a model is trained or the released one is used again; fail early if it changed without a new version.

Asks the package index for the release of __version__. If there is none, the model is to be trained. If there is one,
its wheel is compared with what is here: code, dependencies and entry points file by file, the code of model-kit, the
sha256 of the training data, and the versions of the libraries that the lock would train with now. Nothing changed:
the wheel is used as it is. Something changed: that needs a new version.

Writes build/plan.json and says the decision in one sentence.

exit status: 0 decided, 1 changed without a new version or the index failed, 2 a setting makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_kit.scoring.bundle import CARD, read_bundle
from model_kit.training.provenance import source_digest
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from build_wheels import build_wheel, identity
from index_client import IndexClient, sha256
from local_index import open_index
from package_index import HELP, PackageIndex
from processes import stop_on_signals
from project import Package, Project, Say, ScriptError, write_atomically
from repository import commit_of

TRAIN, REUSE = "train", "reuse"


@dataclass(frozen=True)
class Plan:
    """What to do about the model.

    Attributes:
        decision: ``train`` or ``reuse``.
        sentence: why, for people.
        commit: what was looked at.
        versions: package -> the version to build, or to fetch.
        data_sha256: of the training data, if they are there.
    """

    decision: str
    sentence: str
    commit: str | None
    versions: Mapping[str, str]
    data_sha256: str | None = None


def make_plan(project: Project, index: PackageIndex, data: Path, *, retrain: bool = False) -> Plan:
    """Compare what is released with what is here.

    Args:
        project: what is here.
        index: what is released.
        data: the training data; read only if the model is released already.
        retrain: newer data under the same version are no fault: the model is trained as ``X.Y.Z.postN``.

    Raises:
        ScriptError: something changed without a new version; the text names every change.
    """
    client = IndexClient(index)
    versions: dict[str, str] = {}
    faults: list[str] = []
    decision, sentence = REUSE, ""
    with tempfile.TemporaryDirectory(prefix="plan-") as temporary:
        for package in project.packages:
            base = package.base_version()
            found = client.released(package.name, base)
            versions[package.name] = base
            if found is None:
                if package.trained:
                    decision, sentence = TRAIN, f"{package.name} {base} is not released yet: it is trained."
                continue
            name, listed = found
            version = str(parse_wheel_filename(name)[1])
            versions[package.name] = version
            wheel = client.download(listed, Path(temporary))
            changed = code_changes(package, wheel, version)
            new_data = False
            if package.trained:
                card = card_of(wheel, package)
                changed += kit_changes(project, card) + lock_changes(project.train_lock, card)
                new_data = data_sha256(data) != card["data"]["sha256"]
            if package.trained and new_data and not changed and retrain:
                versions[package.name] = next_training(version)
                decision = TRAIN
                sentence = f"There are other data than {package.name} {version} was trained on: it is trained anew."
            elif changed or new_data:
                changed += ["data"] if new_data else []
                what = "the model" if package.trained else package.name
                faults.append(
                    f"{what} has changed ({'; '.join(changed)}) since {package.name} {version} was released; "
                    f"raise __version__ in {(package.source / '__init__.py').relative_to(project.root)}"
                )
            elif package.trained:
                sentence = f"Code, data and lock are those of {package.name} {version}: its wheel is used as it is."
    if faults:
        raise ScriptError("\n".join(faults))
    return Plan(decision, sentence, commit_of(project.root), versions, data_sha256(data) if data.is_file() else None)


def code_changes(package: Package, wheel: Path, version: str) -> list[str]:
    """How a released wheel differs from what would be built here around its model: files, dependencies, entry points.

    Raises:
        ScriptError: nothing can be built here.
    """
    with tempfile.TemporaryDirectory(prefix="compare-") as temporary:
        bundle = extract_bundle(wheel, package, Path(temporary, "released")) if package.trained else None
        built = identity(build_wheel(package, version, Path(temporary), bundle=bundle))
    have = identity(wheel)
    differ = [name for name in have.keys() | built.keys() if have.get(name) != built.get(name)]
    files = sorted(name.split("/", 1)[1] for name in differ if "/" in name)
    return ([f"code: {', '.join(files)}"] if files else []) + sorted(name for name in differ if "/" not in name)


def kit_changes(project: Project, card: Mapping[str, Any]) -> list[str]:
    """Whether the model was trained by another model-kit than the one here."""
    kit = project.packages[0]
    return [] if card.get("kit_sha256") == source_digest(kit.source) else [f"code of {kit.name}"]


def lock_changes(lock: Path, card: Mapping[str, Any]) -> list[str]:
    """Libraries that the lock would train with in another version than the card says, on the card's Python."""
    libraries: Mapping[str, str] = card["libraries"]
    python = libraries.get("python", "")
    markers = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])} if python else {}
    pins = locked(lock, markers)
    changed = [
        f"{name} {version} -> {pins.get(name, 'none')}"
        for name, version in sorted(libraries.items())
        if name != "python" and pins.get(name) != version
    ]
    return [f"lock: {', '.join(changed)}"] if changed else []


def locked(lock: Path, markers: Mapping[str, str]) -> dict[str, str]:
    """Package -> version, as a lock pins them where ``markers`` hold.

    Raises:
        ScriptError: the lock cannot be read.
    """
    try:
        text = lock.read_text("utf-8")
    except OSError as error:
        raise ScriptError(f"{lock}: {error.strerror}; `make lock` writes it") from error
    pins = {}
    for line in re.findall(r"^[A-Za-z0-9].*$", text, re.MULTILINE):
        pin = Requirement(line.rstrip("\\ "))
        if pin.marker is None or pin.marker.evaluate(dict(markers)):
            pins[pin.name] = next(iter(pin.specifier)).version
    return pins


def data_sha256(path: Path) -> str:
    """The digest of the training data.

    Raises:
        ScriptError: they are not there.
    """
    if not path.is_file():
        raise ScriptError(f"{path}: no data here; `make data` loads them, and DATA=path names others")
    return sha256(path)


def next_training(version: str) -> str:
    """``X.Y.Z`` -> ``X.Y.Z.post1`` -> ``X.Y.Z.post2``."""
    found = Version(version)
    return f"{found.base_version}.post{(found.post or 0) + 1}"


def extract_bundle(wheel: Path, package: Package, folder: Path) -> Path:
    """Write the bundle in a wheel to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = f"{package.source.name}/{package.bundle.name}/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(inside):
                (folder / Path(name).name).write_bytes(archive.read(name))
    return folder


def card_of(wheel: Path, package: Package) -> dict[str, Any]:
    """The card of the model in a wheel, every sha256 of its bundle checked."""
    with tempfile.TemporaryDirectory(prefix="card-") as temporary:
        card: dict[str, Any] = read_bundle(extract_bundle(wheel, package, Path(temporary))).json(CARD)
    return card


def read_plan(project: Project) -> Plan | None:
    """The plan for what is checked out; ``None`` if none was made.

    Raises:
        ScriptError: it was made for another commit.
    """
    try:
        plan = Plan(**json.loads(project.plan.read_text("utf-8")))
    except FileNotFoundError:
        return None
    if plan.commit != commit_of(project.root):
        raise ScriptError(f"{project.plan} is about commit {plan.commit}, not about what is here; `make plan` again")
    return plan


def main(arguments: Sequence[str] | None = None, project: Project | None = None, say: Say = print) -> int:
    """The command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "plan.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/house_prices.csv"), help="training data (%(default)s)")
    parser.add_argument(
        "--retrain", action="store_true", help="train newer data as X.Y.Z.postN instead of asking for a new version"
    )
    parser.add_argument("--show", action="store_true", help="print the decision that was made, and decide nothing")
    options = parser.parse_args(arguments)
    try:
        if options.show:
            plan = read_plan(project)
            if plan is None:
                raise ScriptError(f"{project.plan} is not here; `make plan` writes it")
            say(plan.decision)
            return 0
        project.plan.unlink(missing_ok=True)
        with stop_on_signals(), open_index(project, os.environ) as index:
            plan = make_plan(project, index, options.data, retrain=options.retrain)
        write_atomically(project.plan, json.dumps(asdict(plan), indent=1) + "\n")
        say(plan.sentence)
    except ScriptError as error:
        print(f"plan: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("plan: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
