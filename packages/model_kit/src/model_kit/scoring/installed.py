"""The installed model packages as a server serves them: code and bundles, read once for all of its processes.

The first process reads them (:func:`read_installed`) and, after checking them, keeps them for those that it forks
(:func:`serve`): all serve the same bytes, whatever the folders have by then.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from model_kit.errors import BundleError, SpecError
from model_kit.scoring.bundle import CARD, MODEL_DIR, SPEC, Bundle, hold, read_folder
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.spec import InputSpec
from model_kit.spec.compatibility import declared_changes

#: Changes that the reason of a refusal names.
_NAMED = 5
#: The version that a package states, and what building a wheel of it adds: a post release, or a digest.
_VERSION = re.compile(rb'^(__version__ = "[^"+]+?)(?:\.post[0-9]+)?(?:\+[^"]*)?"$', re.MULTILINE)


@dataclass(frozen=True)
class InstalledModel:
    """What was read of one model package.

    Attributes:
        folder: of its code; ``None`` if it is no package of Python with a folder of its own.
        code_sha256: of its code, see :func:`source_digest`.
        source_sha256: of its code as it was before the version of a wheel was written into it, which is what a model
            was trained with.
        bundles: folder -> bundle, or why there is none; ``None`` if there is no such folder. Where there are two, the
            first is the one in ``MODEL_DIR``, which is served if its folder exists.
    """

    folder: Path | None
    code_sha256: str | None
    source_sha256: str | None
    bundles: Mapping[Path, Bundle | BundleError | None]

    @property
    def served(self) -> Bundle | None:
        """The bundle that is served; ``None`` if it is broken, or the package has none."""
        found = next((bundle for bundle in self.bundles.values() if bundle is not None), None)
        return found if isinstance(found, Bundle) else None


#: Folder of a package -> digest that its code must have.
_code: dict[Path, str] = {}


def source_digest(package: Path, *, is_built: bool = False) -> str:
    """sha256 over the names and contents of all Python and TOML files below ``package``, in order of their names.

    Args:
        package: a folder.
        is_built: leave out what building a wheel adds to the version in ``__init__.py``.
    """
    digest = hashlib.sha256()
    paths = [path for path in package.rglob("*") if path.suffix in {".py", ".toml"}]
    for path in sorted(paths, key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes()
        if is_built and path == package / "__init__.py":
            content = _VERSION.sub(rb'\1"', content)
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def read_installed() -> dict[str, InstalledModel]:
    """Read code and bundles of every installed model package, by the model's name, without importing them."""
    outside = os.environ.get(MODEL_DIR)
    found = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        folder = _folder(point)
        bundles: dict[Path, Bundle | BundleError | None] = {}
        if outside:
            given = Path(outside, point.name)
            bundles[given] = _read(given) if given.exists() else None
        if folder is not None:
            bundles[folder / "bundle"] = _read(folder / "bundle")
        code, source = (None if folder is None else source_digest(folder, is_built=built) for built in (False, True))
        found[point.name] = InstalledModel(folder, code, source, bundles)
    return found


def field_names(installed: Mapping[str, InstalledModel]) -> set[str] | None:
    """Return the names of all fields of the models; ``None`` if a model has no bundle, or a broken one."""
    found: set[str] = set()
    for model in installed.values():
        try:
            if model.served is None:
                return None
            found |= set(_spec(model.served).names)
        except SpecError:
            return None
    return found


def serve(installed: Mapping[str, InstalledModel]) -> None:
    """Have this process, and those that it forks, load these bundles, and refuse other code than was read."""
    hold({folder: bundle for model in installed.values() for folder, bundle in model.bundles.items()})
    _code.clear()
    for model in installed.values():
        if model.folder is not None and model.code_sha256 is not None:
            _code[model.folder] = model.code_sha256


def check_code(folder: Path) -> None:
    """Make sure that the code in ``folder`` is what :func:`serve` was given, if it was.

    Raises:
        BundleError: it has changed.
    """
    if folder in _code and source_digest(folder) != _code[folder]:
        raise BundleError(folder.name, "its code has changed since the server loaded it; reload the server")


def replacement_faults(served: Mapping[str, InstalledModel], new: Mapping[str, InstalledModel]) -> dict[str, str]:
    """Return name -> reason, of every model that must not be replaced while callers use it.

    A served model must keep its contract (:func:`~model_kit.spec.compatibility.declared_changes`), and a bundle must
    have been trained with the code that is installed (``code_sha256`` of its card). A fresh start is free of both.
    """
    faults = {name: "it is served, and no longer installed" for name in served if name not in new}
    for name, after in new.items():
        before, bundle = served.get(name), after.served
        if bundle is None or after == before:
            continue
        try:
            old = before.served if before else None
            changes = [] if old is None else [change.text for change in declared_changes(_spec(old), _spec(bundle))]
            trained_with = bundle.json(CARD).get("code_sha256")
        except (BundleError, SpecError, AttributeError) as error:
            faults[name] = str(error)
            continue
        if changes:
            more = f", and {len(changes) - _NAMED} more changes" if len(changes) > _NAMED else ""
            faults[name] = f"callers would have to change: {'; '.join(changes[:_NAMED])}{more}"
        elif after.folder and trained_with and trained_with not in (after.code_sha256, after.source_sha256):
            faults[name] = (
                f"the bundle was trained with other code than is installed: its card has code_sha256 {trained_with}, "
                f"and that of {after.folder} is {after.source_sha256}"
            )
    return faults


def _spec(bundle: Bundle) -> InputSpec:
    return InputSpec.from_json(bundle.files[SPEC])


def _folder(point: EntryPoint) -> Path | None:
    # A package that is not imported: it may start threads, or be replaced by another version later.
    with suppress(ImportError, ValueError):
        spec = find_spec(point.module.partition(".")[0])
        if spec is not None and spec.submodule_search_locations and spec.origin:
            return Path(spec.origin).parent
    return None


def _read(folder: Path) -> Bundle | BundleError:
    try:
        return read_folder(folder)
    except BundleError as error:
        return error
    except OSError as error:
        return BundleError(folder.name, f"cannot be read from {folder.parent}: {error.strerror}")
