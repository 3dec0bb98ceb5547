"""Where things are in this project, and how its scripts fail."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: The folder that has the Makefile.
ROOT = Path(__file__).resolve().parent.parent

#: How a script tells its user what it does.
Say = Callable[[str], None]

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class ScriptError(Exception):
    """Something that the user can put right; the text says how, and is all that is shown.

    Attributes:
        status: exit status of the script: 1, or 2 for settings that make no sense.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Package:
    """A package that is built and published.

    Attributes:
        name: as the index spells it.
        folder: where its ``pyproject.toml`` is.
        trained: whether a bundle belongs in its wheel.
    """

    name: str
    folder: Path
    trained: bool

    @property
    def source(self) -> Path:
        """The folder that is imported."""
        return self.folder / "src" / self.name.replace("-", "_")

    @property
    def bundle(self) -> Path:
        """The folder of the trained model, for a package that has one."""
        return self.source / "bundle"

    def base_version(self) -> str:
        """The version that ``__init__.py`` states, ``X.Y.Z``."""
        return find_version(self.source / "__init__.py").group(1)


@dataclass(frozen=True)
class Project:
    """The files and folders below one root."""

    root: Path = ROOT

    @property
    def packages(self) -> tuple[Package, ...]:
        """What is published, in the order of dependence."""
        return (
            Package("model-kit", self.root / "packages/model_kit", trained=False),
            Package("regression-model", self.root / "packages/regression_model", trained=True),
        )

    @property
    def build(self) -> Path:
        """Whatever is made here and may be deleted."""
        return self.root / "build"

    @property
    def published(self) -> Path:
        """The requirements file that publishing writes and installing reads."""
        return self.build / "published.txt"

    @property
    def plan(self) -> Path:
        """What `make plan` decided."""
        return self.build / "plan.json"

    @property
    def wheels(self) -> Path:
        """The wheels of a release, built or fetched once, and their manifest."""
        return self.build / "wheels"

    @property
    def train_lock(self) -> Path:
        """The lock that a model is trained with."""
        return self.root / "requirements/train.txt"

    @property
    def index(self) -> Path:
        """The wheels of the embedded index."""
        return self.build / "index"

    @property
    def serving(self) -> Path:
        """The environment that serves."""
        return self.build / "serving"


def find_version(path: Path) -> re.Match[str]:
    """The one line ``__version__ = "X.Y.Z"`` of a file.

    Raises:
        ScriptError: there is none, or more than one.
    """
    found = list(_VERSION.finditer(path.read_text("utf-8")))
    if len(found) != 1:
        raise ScriptError(f'{path}: needs exactly one line of the form __version__ = "X.Y.Z", has {len(found)}')
    return found[0]


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there either whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        new = Path(temporary, path.name)
        new.write_text(text, "utf-8")
        os.replace(new, path)
