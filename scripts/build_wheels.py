"""Build the wheel of a package from a copy of it, under a version that says what is inside. Needs no network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import model_kit
from model_kit.errors import ModelKitError
from model_kit.scoring.bundle import CARD, MANIFEST, Bundle, expected_files, read_bundle
from model_kit.scoring.installed import source_digest
from packaging.version import Version

from project import Package, ScriptError, find_version

#: The time that every file in a wheel bears, so that the same content makes the same wheel: 2020-02-02.
EPOCH = "1580601600"
#: What a bundle's local version shows of a digest.
_DIGITS, _CODE_DIGITS = 12, 8


def read_trained(package: Package) -> Bundle:
    """Return the bundle of a package that has one, every sha256 checked.

    Raises:
        ScriptError: there is none, or it is damaged; the text names the file.
    """
    if not package.bundle.is_dir():
        raise ScriptError(f"{package.model} has no bundle in {package.bundle}; {package.how_to_train}")
    try:
        return read_bundle(package.bundle)
    except ModelKitError as error:
        raise ScriptError(f"{package.bundle}: {error}\n{package.how_to_train}") from error


def development_version(package: Package) -> str:
    """Return ``X.Y.Z+<digest of what is inside>``: of the bundle where there is one, else of the code.

    A bundle trained by other code than what is there now has the code's digest after its own:
    the two together have not been published yet.
    """
    code = source_digest(package.source)
    if package.model:
        bundle = read_trained(package)
        local = bundle.artifact_sha256[:_DIGITS]
        if bundle.json(CARD).get("code_sha256") != code:
            local += "." + code[:_CODE_DIGITS]
    else:
        local = hashlib.sha256(code.encode() + (package.folder / "pyproject.toml").read_bytes()).hexdigest()[:_DIGITS]
    # As installers spell it: a part of digits alone loses its leading zeros.
    return str(Version(f"{package.base_version()}+{local}"))


def release_version(package: Package) -> str:
    """Return ``X.Y.Z``, if what is inside may be released.

    Raises:
        ScriptError: the bundle was not evaluated, was trained on the synthetic sample or by other code.
    """
    version = package.base_version()
    if Version(version).local is not None:
        raise ScriptError(f"{package.source / '__init__.py'}: __version__ is {version}; a release is X.Y.Z")
    if not package.model:
        return version
    card = read_trained(package).json(CARD)
    trained_by = {"code_sha256": package.source, "kit_sha256": Path(model_kit.__file__).parent}
    faults = [
        f"was trained by other code than {source} has now; {package.how_to_train}"
        for digest, source in trained_by.items()
        if card.get(digest) != source_digest(source)
    ]
    require_releasable(package.name, version, card, faults)
    return version


def require_releasable(name: str, version: str, card: Mapping[str, Any], faults: Sequence[str] = ()) -> None:
    """Check that a model may be released: evaluated, and trained on real data.

    Args:
        name: the package.
        version: what it would be released as.
        card: the bundle's card.
        faults: what else is wrong with it.

    Raises:
        ScriptError: it may not be released; the text names every reason.
    """
    found = []
    if card.get("evaluated") is not True:
        found.append("was not evaluated; train it with cross-validation")
    if card.get("data", {}).get("synthetic") is not False:
        found.append("was trained on the synthetic sample; make train with DATA=path.csv trains on real data")
    if found := [*found, *faults]:
        raise ScriptError(f"{name} {version} is not released, because its bundle\n  - " + "\n  - ".join(found))


def build_wheel(package: Package, version: str, folder: Path, *, bundle: Path | None = None) -> Path:
    """Build the wheel of ``package`` as ``version`` into ``folder``; nothing is written to the sources.

    Args:
        package: what to build.
        version: what the wheel says it is.
        folder: where it goes.
        bundle: carried in place of the package's own.

    Raises:
        ScriptError: building failed, or the wheel would carry what doesn't belong in it.
    """
    with tempfile.TemporaryDirectory(prefix="wheel-") as temporary:
        staged = Path(temporary, package.folder.name)
        staged.mkdir()
        shutil.copy(package.folder / "pyproject.toml", staged)
        source = staged / package.source.relative_to(package.folder)
        shutil.copytree(package.source, source, ignore=shutil.ignore_patterns("__pycache__", "*.py[co]", ".*"))
        if bundle is not None:
            shutil.rmtree(source / package.bundle.name, ignore_errors=True)
            shutil.copytree(bundle, source / package.bundle.name)
        stated = find_version(source / "__init__.py")
        text = f"{stated.string[: stated.start(1)]}{version}{stated.string[stated.end(1) :]}"
        (source / "__init__.py").write_text(text, "utf-8")
        out = Path(temporary, "out")
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(staged)]
        environ = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        wheels = list(out.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise ScriptError(f"{package.name}: the wheel could not be built:\n{done.stdout}{done.stderr}")
        check_content(wheels[0], package)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheels[0], folder / wheels[0].name))


def check_content(wheel: Path, package: Package) -> None:
    """Check that a wheel has code, templates, tables and a complete bundle, and nothing else: no data, no pickle.

    Raises:
        ScriptError: the wheel has another file, or a part of the bundle is missing.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    own = [name.relative_to(package.source.name) for name in names if name.parts[0] == package.source.name]
    bundle = {name.name for name in own if name.parent == PurePosixPath("bundle")}
    code = {name for name in own if name.suffix in {".py", ".jinja", ".toml"} or name.name == "py.typed"}
    expected = {*expected_files(bundle), MANIFEST} if package.model else set()
    strange = [str(name) for name in own if name not in code and not (name.parts[0] == "bundle" and package.model)]
    strange += [f"bundle/{name}" for name in sorted(bundle - expected) if package.model]
    if strange:
        raise ScriptError(f"{package.source}: a wheel carries code and a bundle only, not {', '.join(strange)}")
    if bundle != expected:
        raise ScriptError(f"{wheel.name}: the bundle lacks {', '.join(sorted(expected - bundle))}")


def identity(wheel: Path) -> dict[str, str]:
    """Return what two wheels of one version must share, independent of compression and of the time of training.

    The code file by file, the bundle by its artefact's digest, dependencies and entry points.
    """
    same: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            content = archive.read(name)
            if path.parts[0].endswith(".dist-info"):
                if path.name == "METADATA":
                    lines = content.decode().split("\n\n", 1)[0].splitlines()
                    same["dependencies"] = "\n".join(sorted(line for line in lines if line.startswith("Requires-")))
                elif path.name == "entry_points.txt":
                    same["entry points"] = content.decode()
            elif path.parent.name != "bundle":
                same[name] = hashlib.sha256(content).hexdigest()
            elif path.name == MANIFEST:
                same["bundle"] = json.loads(content)["artifact_sha256"]
    return same
