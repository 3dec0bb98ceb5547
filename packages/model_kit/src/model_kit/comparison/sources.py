"""Finds a model by wheel file, version on the package index, or bundle folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final, Literal, TypeAlias

from packaging.utils import canonicalize_name

import model_kit
from model_kit.comparison.index import URL, IndexClient, Listed, exactly, index_from_environment, newest_release
from model_kit.errors import DataError
from model_kit.scoring.bundle import CARD, MANIFEST
from model_kit.scoring.installed import source_digest
from model_kit.scoring.protocol import ENTRY_POINT_GROUP

Kind: TypeAlias = Literal["wheel", "index", "bundle"]
#: Stands for the newest release on the index.
LATEST: Final = "latest"
#: The distribution that every model package needs.
KIT: Final = "model-kit"
#: Newest wheels of the model kit that are searched for the one that a model was trained with.
_SEARCHED_KITS: Final = 100
_VERSION: Final = re.compile(r"\d[\w.+!-]*")


@dataclass(frozen=True, slots=True)
class Package:
    """The model package whose versions are compared.

    Attributes:
        distribution: name on the index.
        loader: ``module:function`` that loads a bundle folder, its argument, with the installed code.
    """

    distribution: str
    loader: str


@dataclass(frozen=True, slots=True)
class Source:
    """One of the two models.

    Attributes:
        kind: where it comes from.
        name: file, folder or wheel, for messages.
        loader: ``module:function`` that returns the model.
        arguments: of the function.
        paths: folders of its own code, put before all others; none for a bundle, which the installed code loads.
        bundle_bytes: size of the trained model on disk.
        wheel_bytes, wheel_sha256: of the wheel; ``None`` for a bundle.
        kit_sha256: digest of the model kit's code that the model was trained with; ``None`` if the card does not say.
        other_kit: whether the installed kit scores it because that one was not found.
    """

    kind: Kind
    name: str
    loader: str
    arguments: tuple[Path, ...]
    paths: tuple[Path, ...]
    bundle_bytes: int
    wheel_bytes: int | None = None
    wheel_sha256: str | None = None
    kit_sha256: str | None = None
    other_kit: bool = False


def find(text: str, package: Package, folder: Path, environ: Mapping[str, str]) -> Source | None:
    """Find the model that ``text`` names; ``None`` for "latest" if the index has no release.

    Args:
        text: a wheel file, a bundle folder, a version (``1.2.0``, ``<distribution>==1.2.0``) or ``latest``.
        package: the model's package.
        folder: a new one, where a wheel is unpacked.
        environ: names the index.

    Raises:
        DataError: it is none of these, or cannot be used.
    """
    path = Path(text)
    if version := _version(text, package.distribution):
        wheel = _fetched(version, package.distribution, folder, environ)
        return None if wheel is None else replace(_from_wheel(wheel, package, folder), kind="index")
    if path.suffix == ".whl":
        return _from_wheel(path, package, folder)
    if path.is_dir():
        return Source("bundle", text, package.loader, (path.resolve(),), (), _size(path))
    what = "a wheel file, a bundle folder, a version on the package index, or latest"
    raise DataError(f"{text}: {'is not' if path.exists() else 'there is no such file or folder; it is not'} {what}")


def with_kit(source: Source, text: str, folder: Path, environ: Mapping[str, str]) -> Source:
    """The same with another model kit than the installed one.

    Args:
        source: a wheel or a version on the index.
        text: a wheel file or version of model-kit.
        folder: a new one, where it is unpacked.
        environ: names the index.

    Raises:
        DataError: it cannot be found, or the model is a bundle folder, which is for the installed code.
    """
    if not source.paths:
        raise DataError(f"{source.name}: a bundle folder is scored by the installed code, model kit included")
    version = _version(text, KIT)
    wheel = _fetched(version, KIT, folder, environ) if version else Path(text)
    if wheel is None:
        raise DataError(f"the package index has no release of {KIT}")
    code = _extracted(wheel, folder / "code")
    _distribution(code, wheel, KIT)
    return replace(source, paths=(*source.paths, code))


def with_own_kit(source: Source, folder: Path, environ: Mapping[str, str]) -> Source:
    """Add the model kit that the model was trained with, if that is not the installed one.

    The model's card has the digest of that kit's code; the index is searched for a wheel with that digest.

    Args:
        source: a wheel or a version on the index; of a bundle folder nothing is changed.
        folder: a new one, where wheels are unpacked.
        environ: names the index; if it names none, the installed kit scores the model.

    Raises:
        DataError: the index cannot be read.
    """
    wanted = source.kit_sha256
    if not source.paths or wanted in {None, source_digest(Path(model_kit.__file__).parent)}:
        return source
    if environ.get(URL, "").strip():
        client = IndexClient(index_from_environment(environ))
        for number, listed in enumerate(reversed(client.wheels(KIT)[-_SEARCHED_KITS:])):
            code = folder / str(number)
            code.mkdir(parents=True)
            _extracted(client.download(listed, code), code)
            if source_digest(code / model_kit.__name__) == wanted:
                return replace(source, paths=(*source.paths, code))
            shutil.rmtree(code)
    return replace(source, other_kit=True)


def _version(text: str, distribution: str) -> str | None:
    """The version that the text names, ``latest`` included; ``None`` if it names a file."""
    text = text.strip().removeprefix(f"{distribution}==").strip()
    if text == LATEST:
        return text
    return text if _VERSION.fullmatch(text) and not text.endswith(".whl") else None


def _fetched(version: str, distribution: str, folder: Path, environ: Mapping[str, str]) -> Path | None:
    client = IndexClient(index_from_environment(environ))
    wheels = client.wheels(distribution)
    found: Listed | None = newest_release(wheels) if version == LATEST else exactly(wheels, version)
    if found is None and version != LATEST:
        raise DataError(f"the package index {client.index.url} has no wheel of {distribution} {version}")
    folder.mkdir(parents=True, exist_ok=True)
    return None if found is None else client.download(found, folder)


def _from_wheel(wheel: Path, package: Package, folder: Path) -> Source:
    code = _extracted(wheel, folder / "code")
    points = _distribution(code, wheel, package.distribution).entry_points.select(group=ENTRY_POINT_GROUP)
    if len(points) != 1:
        raise DataError(f"{wheel.name}: must announce one model under the entry points {ENTRY_POINT_GROUP}")
    bundles = [manifest.parent for manifest in code.rglob(MANIFEST)]
    if len(bundles) != 1:
        raise DataError(f"{wheel.name}: a wheel of a model carries one bundle, this one has {len(bundles)}")
    (loader,) = (point.value for point in points)
    content = wheel.read_bytes()
    digest, size, kit = hashlib.sha256(content).hexdigest(), _size(bundles[0]), _kit_sha256(bundles[0] / CARD)
    return Source("wheel", wheel.name, loader, (), (code,), size, len(content), digest, kit)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _kit_sha256(card: Path) -> str | None:
    """Digest of the model kit according to the card, unchecked: it only decides which wheel is searched for."""
    try:
        found = json.loads(card.read_bytes()).get("kit_sha256")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _extracted(wheel: Path, folder: Path) -> Path:
    """The folder, with the files of the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except OSError as error:
        raise DataError(f"{wheel}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{wheel}: is no wheel, or damaged: {error}") from error
    return folder


def _distribution(code: Path, wheel: Path, expected: str) -> Distribution:
    """The metadata of an extracted wheel, which must be one of the expected distribution."""
    found = [path.parent for path in code.glob("*.dist-info/METADATA")]
    if len(found) != 1:
        raise DataError(f"{wheel.name}: is no wheel: it has no metadata")
    distribution = Distribution.at(found[0])
    name = str(distribution.metadata["Name"])
    if canonicalize_name(name) != expected:
        raise DataError(f"{wheel.name}: is a wheel of {name}, not of {expected}")
    return distribution
