"""What an export carries so that it loads where nothing of ours is installed: code, bundle, pinned requirements."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

import model_kit
from model_kit.scoring.bundle import CARD, MANIFEST, Bundle
from model_kit.scoring.definition import ModelDefinition, find_entry_point
from model_kit.scoring.protocol import ENTRY_POINT_GROUP

#: Files of a package that are code: no bundle, no cache, no tests.
_CODE: Final = frozenset({".py", ".toml", ".jinja", ".typed"})
_KIT: Final = "model-kit"
#: A requirement: its name, and the extra that it belongs to, if any.
_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9._-]+)[^;]*(?:;.*\bextra\s*==\s*['\"]([^'\"]+)['\"])?")


def copy_code(definition: ModelDefinition, folder: Path) -> None:
    """Copy the kit and the model's package to ``folder``, which is then as a folder of installed packages is.

    Where it is on ``sys.path``, the model is found by its name.
    """
    point = find_entry_point(definition.name)
    for package in (Path(model_kit.__file__).parent, definition.folder):
        for path in sorted(package.rglob("*")):
            if path.suffix in _CODE and "__pycache__" not in path.parts:
                copy = folder / package.name / path.relative_to(package)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    announced = f"[{ENTRY_POINT_GROUP}]\n{point.name} = {point.value}\n"
    _write_metadata(folder, _KIT, model_kit.__version__, "")
    _write_metadata(folder, definition.distribution, definition.version, announced)


def _write_metadata(folder: Path, name: str, version: str, entry_points: str) -> None:
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    (metadata / "entry_points.txt").write_text(entry_points, "utf-8")


def copy_bundle(bundle: Bundle, source: Path, folder: Path) -> None:
    """Copy the bundle that was read from ``source`` to ``folder``, the very bytes whose hashes were checked."""
    folder.mkdir(parents=True)
    for name, content in bundle.files.items():
        (folder / name).write_bytes(content)
    shutil.copyfile(source / MANIFEST, folder / MANIFEST)


def pinned_requirements(definition: ModelDefinition, bundle: Bundle) -> list[str]:
    """What the kit and the model's package require, each with the version that is installed here."""
    served_by = (bundle.json(CARD).get("runtime") or {}).get("kind")
    point = find_entry_point(definition.name)
    names = _required(distribution(_KIT), served_by) | (_required(point.dist, None) if point.dist else set())
    return sorted(f"{name}=={distribution(name).version}" for name in names)


def _required(found: Distribution, extra: str | None) -> set[str]:
    """The names of what a distribution requires, with one of its extras, without ours."""
    names = set()
    for line in found.requires or ():
        if (matched := _REQUIREMENT.match(line)) and matched[2] in {None, extra}:
            names.add(re.sub(r"[-_.]+", "-", matched[1]).lower())
    return names - {_KIT}
