"""Finds a model by wheel file, version on the package index, or bundle folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Generator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

import model_kit
from model_kit.comparison.index import URL, IndexClient, Listed, exactly, index_from_environment, newest_release
from model_kit.errors import DataError
from model_kit.scoring.bundle import CARD, MANIFEST
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.training.provenance import source_digest

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
        return None if wheel is None else replace(_unpacked(wheel, package, folder), kind="index")
    if path.suffix == ".whl":
        return _unpacked(path, package, folder)
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        return Source("bundle", text, package.loader, (path.resolve(),), (), size)
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
    with _opened(wheel) as archive:
        _distribution(archive, wheel, KIT)
        archive.extractall(folder / "code")
    return replace(source, paths=(*source.paths, folder / "code"))


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
            with _opened(client.download(listed, code)) as archive:
                archive.extractall(code)
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


def _unpacked(wheel: Path, package: Package, folder: Path) -> Source:
    code = folder / "code"
    with _opened(wheel) as archive:
        metadata = _distribution(archive, wheel, package.distribution)
        loader = _loader(archive, wheel, metadata)
        manifests = [PurePosixPath(name) for name in archive.namelist() if PurePosixPath(name).name == MANIFEST]
        if len(manifests) != 1:
            raise DataError(f"{wheel.name}: a wheel of a model carries one bundle, this one has {len(manifests)}")
        bundle = manifests[0].parent
        size = sum(info.file_size for info in archive.infolist() if PurePosixPath(info.filename).parent == bundle)
        kit = _kit_sha256(archive, str(bundle / CARD))
        archive.extractall(code)
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Source("wheel", wheel.name, loader, (), (code,), size, len(content), digest, kit)


def _kit_sha256(archive: zipfile.ZipFile, card: str) -> str | None:
    """Digest of the model kit according to the card, unchecked: it only decides which wheel is searched for."""
    try:
        found = json.loads(archive.read(card)).get("kit_sha256")
    except (KeyError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


@contextmanager
def _opened(wheel: Path) -> Generator[zipfile.ZipFile]:
    """Open a wheel as an archive; a damaged one is a ``DataError`` at any time within the block."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except OSError as error:
        raise DataError(f"{wheel}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{wheel}: is no wheel, or damaged: {error}") from error


def _distribution(archive: zipfile.ZipFile, wheel: Path, expected: str) -> PurePosixPath:
    """The folder of the metadata of a wheel, which must be one of the expected distribution."""
    found = [PurePosixPath(name) for name in archive.namelist()]
    metadata = [name for name in found if name.name == "METADATA" and name.parent.name.endswith(".dist-info")]
    if len(metadata) != 1:
        raise DataError(f"{wheel.name}: is no wheel: it has no metadata")
    name = str(Parser().parsestr(archive.read(str(metadata[0])).decode("utf-8", "replace"))["Name"])
    if re.sub(r"[-_.]+", "-", name).lower() != expected:
        raise DataError(f"{wheel.name}: is a wheel of {name}, not of {expected}")
    return metadata[0].parent


def _loader(archive: zipfile.ZipFile, wheel: Path, metadata: PurePosixPath) -> str:
    points = ConfigParser(delimiters=("=",), interpolation=None)
    points.optionxform = str  # type: ignore[assignment, method-assign] # the documented way to keep the case of names
    try:
        points.read_string(archive.read(f"{metadata}/entry_points.txt").decode())
        (loader,) = dict(points[ENTRY_POINT_GROUP]).values()
    except (KeyError, ValueError, ConfigError) as error:
        raise DataError(f"{wheel.name}: must announce one model under the entry points {ENTRY_POINT_GROUP}") from error
    return loader.strip()
