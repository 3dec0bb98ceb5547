"""Decide for each model: train it, or use the released one again; fail early if it changed without a new version.

Asks the package index for the release of __version__. If there is none, the model is to be trained. If there is one,
its wheel is compared with what is here: code, dependencies and entry points file by file, the code of model-kit, the
sha256 of the training data, and the versions of the libraries that the lock would train with now. Nothing changed:
the wheel is used as it is. Something changed: that needs a new version. A model that is not released and whose training
data are not here is released as it was trained here; without a bundle, or with one of its sample, it is left out, which
fails if an earlier version is released.

Writes build/plan.json and says each decision in one sentence.

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

from model_kit.retraining.publication import next_training
from model_kit.scoring.bundle import CARD, read_bundle
from model_kit.scoring.installed import source_digest
from model_kit.training.provenance import git_commit
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from build_wheels import build_wheel, identity, read_trained
from index_client import IndexClient, sha256
from local_index import open_index
from package_index import HELP, PackageIndex
from processes import script
from project import MODEL_HELP, NO_MODEL, Package, Project, Say, ScriptError, write_atomically

TRAIN, REUSE, SKIP = "train", "reuse", "skip"


@dataclass(frozen=True)
class ModelPlan:
    """What to do about a model.

    Attributes:
        decision: ``train``, ``reuse``, or ``skip``: it is no part of this release.
        sentence: why, for people.
        data: the training data, relative to the root of the project if they are in it.
        data_sha256: of the training data, if they are there.
        held_back: why the new model is not released, and the one released before is used again (``reuse``) or the model
            is left out (``skip``); empty if it is released.
    """

    decision: str
    sentence: str
    data: str = ""
    data_sha256: str | None = None
    held_back: str = ""


@dataclass(frozen=True)
class Plan:
    """What to do about the models.

    Attributes:
        commit: what was looked at.
        versions: package -> the version to build, or to fetch; of the kit, the client and every model not skipped.
        models: name of a model -> what to do about it.
    """

    commit: str | None
    versions: Mapping[str, str]
    models: Mapping[str, ModelPlan]


def make_plan(
    project: Project,
    index: PackageIndex,
    data: Path | None = None,
    *,
    model: str | None = None,
    retrain: bool = False,
) -> Plan:
    """Compare what is released with what is here.

    Args:
        project: what is here.
        index: what is released.
        data: training data of the one model that is meant (default: where `make data` puts them).
        model: only this model.
        retrain: newer data under the same version are no fault: the model is trained as ``X.Y.Z.postN``.

    Raises:
        ScriptError: something changed without a new version; the text names every change. Or there is no model that
            could be released, or no such data.
    """
    models = project.models(model)
    if not models:
        raise ScriptError(NO_MODEL)
    require_one(models, data)
    if data is not None and not data.is_file():
        raise ScriptError(f"DATA={data}: no such file", 2)
    client = IndexClient(index)
    versions: dict[str, str] = {}
    decided: dict[str, ModelPlan] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="plan-") as temporary:
        for package in (project.kit, *project.clients, *models):
            path = data or project.data(package)
            try:
                released = _released(client, package, Path(temporary))
                if package.model:
                    version, planned = _plan_model(project, package, released, path, retrain=retrain)
                    decided[package.model] = planned
                    if planned.decision == SKIP:
                        if any("+" not in name for name in client.files(package.name)):
                            faults.append(f"{planned.sentence} (an earlier version is released)")
                        continue
                else:
                    version = _code_version(project, package, released)
                versions[package.name] = version
            except ChangedError as error:
                faults.append(str(error))
    if faults:
        raise ScriptError("\n".join(faults))
    if all(planned.decision == SKIP for planned in decided.values()):
        raise ScriptError("\n".join(planned.sentence for planned in decided.values()))
    return Plan(git_commit(project.root), versions, decided)


def hold_back(project: Project, index: PackageIndex, faults: Mapping[str, str], say: Say = print) -> None:
    """Replace the plan's decision to train models that proved unfit: each keeps its last release, or is left out.

    Args:
        project: whose plan it is.
        index: what is released.
        faults: name of a model -> why its new version is not released.
        say: told what becomes of each.

    Raises:
        ScriptError: no other model was trained, so that there is nothing new to release; or the index failed.
    """
    plan = require_plan(project)
    trained = {name for name, planned in plan.models.items() if planned.decision == TRAIN}
    if trained <= faults.keys():
        raise ScriptError("\n".join(f"{name}: {fault}" for name, fault in faults.items()))
    client, versions, models = IndexClient(index), dict(plan.versions), dict(plan.models)
    for name, fault in faults.items():
        (package,) = project.models(name)
        stated = versions.pop(package.name)
        version = client.newest(package.name)
        decision = SKIP if version is None else REUSE
        after = "it is left out, for none is released" if version is None else f"{version} is used as it is"
        sentence = f"HELD BACK: {package.name} {stated} ({fault}); {after}."
        models[name] = ModelPlan(decision, sentence, held_back=fault)
        if version is not None:
            versions[package.name] = version
        say(sentence)
    write_plan(project, Plan(plan.commit, versions, models))


def require_one(models: Sequence[Package], data: Path | None) -> None:
    """Require that there is one model where a file of training data is given.

    Raises:
        ScriptError: several models are meant; the text names them.
    """
    if data is not None and len(models) > 1:
        raise ScriptError(f"DATA={data} is of one model; say which: MODEL={'|'.join(m.model for m in models)}", 2)


class ChangedError(ScriptError):
    """A package has changed since its release, without a new version."""

    def __init__(self, project: Project, package: Package, version: str, changed: Sequence[str]) -> None:
        super().__init__(
            f"{package.model or package.name} has changed ({'; '.join(changed)}) since {package.name} {version} was "
            f"released; raise __version__ in {(package.source / '__init__.py').relative_to(project.root)}"
        )


@dataclass(frozen=True)
class _Released:
    """The release of the version that a package states."""

    wheel: Path
    version: str
    changed: list[str]


def _released(client: IndexClient, package: Package, folder: Path) -> _Released | None:
    found = client.released(package.name, package.base_version())
    if found is None:
        return None
    name, listed = found
    version = str(parse_wheel_filename(name)[1])
    wheel = client.download(listed, folder)
    return _Released(wheel, version, code_changes(package, wheel, version))


def _code_version(project: Project, package: Package, released: _Released | None) -> str:
    """Return the version to build, or to fetch, of a package that has no model.

    Raises:
        ChangedError: it is released and has changed.
    """
    if released is None:
        return package.base_version()
    if released.changed:
        raise ChangedError(project, package, released.version, released.changed)
    return released.version


def _plan_model(
    project: Project, package: Package, released: _Released | None, data: Path, *, retrain: bool
) -> tuple[str, ModelPlan]:
    """Return the version to build, or to fetch, and the decision.

    Raises:
        ChangedError: it is released and has changed.
        ScriptError: it cannot be compared.
    """
    base = package.base_version()
    shown = str(data.relative_to(project.root) if data.is_relative_to(project.root) else data)
    if released is None:
        if not data.is_file():
            return base, _without_data(package, base, shown)
        sentence = f"{package.name} {base} is not released yet: it is trained."
        return base, ModelPlan(TRAIN, sentence, shown, sha256(data))
    version = released.version
    card = card_of(released.wheel, package)
    changed = released.changed + kit_changes(project, card) + lock_changes(project.train_lock, card)
    digest = sha256(data) if data.is_file() else None
    new_data = digest not in {None, card["data"]["sha256"]}
    if new_data and not changed and retrain:
        sentence = f"There are other data than {package.name} {version} was trained on: it is trained anew."
        return next_training(version), ModelPlan(TRAIN, sentence, shown, digest)
    if changed or new_data:
        raise ChangedError(project, package, version, [*changed, *(["data"] if new_data else [])])
    same = "Code, data and lock" if digest else f"There is no {shown}; code and lock"
    sentence = f"{same} are those of {package.name} {version}: its wheel is used as it is."
    return version, ModelPlan(REUSE, sentence, shown, digest)


def _without_data(package: Package, version: str, data: str) -> ModelPlan:
    """What to do about a model that is not released and whose training data are not here.

    Raises:
        ScriptError: its bundle is damaged.
    """
    trained = read_trained(package).json(CARD)["data"] if package.bundle.is_dir() else None
    if trained and not trained["synthetic"]:
        return ModelPlan(
            REUSE,
            f"{package.name} {version} is not released yet, and there is no {data}: "
            f"its bundle, trained on {trained['name']}, is used as it is.",
        )
    reason = f"it is not released, and there is no {data}"
    if trained:
        reason = f"it is trained on its synthetic sample, which is never released, and there is no {data}"
    advice = f"make data MODEL={package.model} DATA_URL=url-or-path"
    return ModelPlan(SKIP, f"{package.name} {version} is left out: {reason}; {advice}")


def code_changes(package: Package, wheel: Path, version: str) -> list[str]:
    """Return how a released wheel differs from a build here: files, dependencies, entry points.

    Raises:
        ScriptError: nothing can be built here.
    """
    with tempfile.TemporaryDirectory(prefix="compare-") as temporary:
        bundle = extract_bundle(wheel, package, Path(temporary, "released")) if package.model else None
        built = identity(build_wheel(package, version, Path(temporary), bundle=bundle))
    have = identity(wheel)
    differ = [name for name in have.keys() | built.keys() if have.get(name) != built.get(name)]
    files = sorted(name.split("/", 1)[1] for name in differ if "/" in name)
    return ([f"code: {', '.join(files)}"] if files else []) + sorted(name for name in differ if "/" not in name)


def kit_changes(project: Project, card: Mapping[str, Any]) -> list[str]:
    """Return whether the model was trained by another model-kit than the one here."""
    kit = project.kit
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
    """Return the card of the model in a wheel, every sha256 of its bundle checked."""
    with tempfile.TemporaryDirectory(prefix="card-") as temporary:
        card: dict[str, Any] = read_bundle(extract_bundle(wheel, package, Path(temporary))).json(CARD)
    return card


def read_plan(project: Project) -> Plan | None:
    """Return the plan for what is checked out; ``None`` if none was made.

    Raises:
        ScriptError: it was made for another commit.
    """
    try:
        found = json.loads(project.plan.read_text("utf-8"))
    except FileNotFoundError:
        return None
    models = {name: ModelPlan(**planned) for name, planned in found["models"].items()}
    plan = Plan(found["commit"], found["versions"], models)
    if plan.commit != git_commit(project.root):
        raise ScriptError(f"{project.plan} is about commit {plan.commit}, not about what is here; `make plan` again")
    return plan


def require_plan(project: Project) -> Plan:
    """Return the plan for what is checked out.

    Raises:
        ScriptError: there is none, or it was made for another commit.
    """
    plan = read_plan(project)
    if plan is None:
        raise ScriptError(f"{project.plan} is not here; `make plan` writes it")
    return plan


def write_plan(project: Project, plan: Plan) -> None:
    """Write the plan for the commands that follow."""
    write_atomically(project.plan, json.dumps(asdict(plan), indent=1) + "\n")


@script("plan")
def main(arguments: Sequence[str] | None = None, project: Project | None = None, say: Say = print) -> int:
    """Run the command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "plan.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--data", type=Path, help="training data of the one model that is meant (data/<model>.csv)")
    parser.add_argument(
        "--retrain", action="store_true", help="train newer data as X.Y.Z.postN instead of asking for a new version"
    )
    parser.add_argument("--show", action="store_true", help="print the decisions that were made, and decide nothing")
    options = parser.parse_args(arguments)
    if options.show:
        for name, planned in require_plan(project).models.items():
            say(f"{name} {planned.decision}")
        return 0
    project.plan.unlink(missing_ok=True)
    with open_index(project, os.environ) as index:
        plan = make_plan(project, index, options.data, model=options.model, retrain=options.retrain)
    write_plan(project, plan)
    for planned in plan.models.values():
        say(planned.sentence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
