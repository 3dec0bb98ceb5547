"""The bundle: a trained model as a folder of data files, whose hashes are checked before anything is parsed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_kit.errors import BundleError

FORMAT = 1

MODEL = "model.onnx"
#: The estimator itself, of a model whose runtime is scikit-learn.
ESTIMATOR = "model.skops"
SPEC = "spec.json"
#: What makes numbers of texts; only of a model that has texts.
VOCABULARY = "vocabulary.json"
CARD = "card.json"
GOLDEN = "golden.json"
REFERENCE = "reference.json"
MANIFEST = "manifest.json"

#: Files of a bundle besides its manifest and its model, which is one of two.
CONTENT = (CARD, GOLDEN, REFERENCE, SPEC)
MODELS = (MODEL, ESTIMATOR)
#: Size up to which a file is read: a model of 700 trees has 0.3 MB, and a worker must hold all files in memory.
MAX_FILE_BYTES = 256 * 1024 * 1024
#: Environment variable that names a folder of bundles by model name, mounted into a container for instance.
MODEL_DIR: Final = "MODEL_DIR"
#: Environment variable with the artefact's sha256 that a served bundle must have; several models, several of them.
MODEL_SHA256: Final = "MODEL_SHA256"
#: Section of the card about the training run (time, duration, git commit); not part of the artefact's digest.
RUN = "run"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose hashes have been checked.

    Attributes:
        files: file name -> content.
        hashes: file name -> sha256, as in the manifest.
        artifact_sha256: digest of the content without the card's ``run`` section.
    """

    files: Mapping[str, bytes]
    hashes: Mapping[str, str]
    artifact_sha256: str

    @property
    def model(self) -> bytes:
        """Content of the model's file."""
        return self.files[next(name for name in MODELS if name in self.files)]

    def json(self, name: str) -> Any:
        """Parse a JSON file.

        Raises:
            BundleError: the file is not JSON.
        """
        try:
            return json.loads(self.files[name])
        except ValueError as error:
            raise BundleError(name, f"not JSON: {error}") from error


def dump_json(document: Any) -> bytes:
    """Encode as JSON with sorted keys, so that the same content has the same sha256."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest(files: Mapping[str, bytes]) -> str:
    """Compute the artefact's sha256: of all files, without the card's ``run`` section.

    Two trainings with the same data and library versions on the same machine have the same digest.
    """
    card = json.loads(files[CARD])
    card.pop(RUN, None)
    hashes = {name: _sha256(content) for name, content in files.items()} | {CARD: _sha256(dump_json(card))}
    return _sha256(dump_json(hashes))


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> str:
    """Write ``files`` and their manifest to ``folder``; replaces an existing bundle only when the new one is complete.

    Returns:
        The artefact's sha256.

    Raises:
        BundleError: a file is missing or unexpected.
    """
    _check_names(files, "the bundle")
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "artifact_sha256": digest(files),
        "files": {name: _sha256(content) for name, content in files.items()},
    }
    manifest["sha256"] = _sha256(dump_json(manifest))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        new.mkdir()
        for name, content in (*files.items(), (MANIFEST, dump_json(manifest))):
            (new / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    artifact: str = manifest["artifact_sha256"]
    return artifact


#: Folder -> bundle that was read before, or why it could not be; ``None`` if there was no folder.
_held: dict[Path, Bundle | BundleError | None] = {}


def hold(bundles: Mapping[Path, Bundle | BundleError | None]) -> None:
    """Have this process, and those that it forks, read these bundles, whatever their folders have by then."""
    _held.clear()
    _held.update(bundles)


def bundle_exists(folder: Path) -> bool:
    """Return whether there is a folder for a bundle, or was when it was read to be held."""
    return _held[folder] is not None if folder in _held else folder.exists()


def read_bundle(folder: Path, *, pinned: bool = False) -> Bundle:
    """Read a bundle and check every sha256, without parsing anything but the manifest and, if ``pinned``, the card.

    Args:
        folder: its folder.
        pinned: whether it must be one of those that ``MODEL_SHA256`` names, if that is set.

    Raises:
        BundleError: a file is missing, damaged, too large or unexpected; the message names it, or ``MODEL_SHA256``.
    """
    held = _held.get(folder)
    if isinstance(held, BundleError):
        raise held
    bundle = held or read_folder(folder)
    expected = os.environ.get(MODEL_SHA256, "").replace(",", " ").lower().split()
    # The manifest states the digest too, but whoever can write the folder can write that.
    if pinned and expected and (found := digest(bundle.files)) not in expected:
        raise BundleError(MODEL_SHA256, f"the artefact's sha256 is {found}, which is not the one given")
    return bundle


def read_folder(folder: Path) -> Bundle:
    """Read a bundle as :func:`read_bundle` does, whatever is held.

    Raises:
        BundleError: as there.
    """
    manifest = _read_manifest(folder)
    hashes: dict[str, str] = manifest["files"]
    for path in folder.iterdir():
        if path.name not in hashes and path.name != MANIFEST:
            raise BundleError(path.name, "not listed in manifest.json")
    files = {}
    for name, expected in hashes.items():
        content = _read(folder / name)
        found = _sha256(content)
        if found != expected:
            raise BundleError(name, f"sha256 is {found}, manifest.json says {expected}; the file is damaged")
        files[name] = content
    return Bundle(files, hashes, manifest["artifact_sha256"])


def _read_manifest(folder: Path) -> dict[str, Any]:
    content = _read(folder / MANIFEST)
    damaged = BundleError(MANIFEST, "it does not have the sha256 that it states; the file is damaged")
    try:
        manifest = json.loads(content)
        stated = manifest.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise damaged from error
    # Compare the bytes, not only the values: a change in white space is damage too.
    if stated != _sha256(dump_json(manifest)) or content != dump_json(manifest | {"sha256": stated}):
        raise damaged
    if manifest["format"] != FORMAT:
        raise BundleError(MANIFEST, f"format {manifest['format']}; this version reads {FORMAT}")
    _check_names(manifest["files"], MANIFEST)
    return dict(manifest)


def expected_files(names: Iterable[str]) -> set[str]:
    """The files that a bundle must have, without its manifest: one of them is the model that is among ``names``."""
    found = set(names)
    model = ESTIMATOR if ESTIMATOR in found and MODEL not in found else MODEL
    return {*CONTENT, model} | found & {VOCABULARY}


def _check_names(names: Iterable[str], where: str) -> None:
    """Make sure that a bundle has all files, one of them a model, and no other."""
    found = set(names)
    expected = expected_files(found)
    for name in sorted(expected ^ found):
        raise BundleError(name, f"missing from {where}" if name in expected else "no part of a bundle")


def _read(path: Path) -> bytes:
    try:
        # Without waiting: a pipe has no end, and a device may have none either.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(path.name, "it is not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise BundleError(
                    path.name, f"it has {status.st_size:,} bytes; a file of a bundle has at most {MAX_FILE_BYTES:,}"
                )
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise BundleError(path.name, f"cannot be read from {path.parent}: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
