"""Where things are in this project, and how its scripts fail."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import needs_scikit_learn

#: The folder that has the Makefile.
ROOT = Path(__file__).resolve().parent.parent

#: The command model-kit. Its script in bin/ does not start where the path of the checkout has a quote or a $.
MODEL_KIT = (sys.executable, "-m", "model_kit.cli.main")
#: How a script tells its user what it does.
Say = Callable[[str], None]

#: Group of the entry point by which a package announces its model; the entry point's name is the model's.
ENTRY_POINT_GROUP = "ml_api.models"
MODEL_HELP = "name of the model (default: every model under packages/)"

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class ScriptError(Exception):
    """Something that the user can put right; the text says how, and is all that is shown.

    Attributes:
        status: exit status of the script: 1, or 2 for settings that make no sense.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def say(text: str) -> None:
    """Print at once, even when the output is a pipe."""
    print(text, flush=True)


@dataclass(frozen=True)
class Package:
    """A package that is built and published.

    Attributes:
        name: as the index spells it.
        folder: where its ``pyproject.toml`` is.
        model: name of the model inside, the last part of its URL; empty if there is none.
        needs_scikit_learn: whether that serves the model.
    """

    name: str
    folder: Path
    model: str = ""
    needs_scikit_learn: bool = False

    @property
    def source(self) -> Path:
        """The folder that is imported."""
        return self.folder / "src" / self.name.replace("-", "_")

    @property
    def bundle(self) -> Path:
        """The folder of the trained model, for a package that has one."""
        return self.source / "bundle"

    @property
    def how_to_train(self) -> str:
        """What makes the bundle, as a command."""
        return f"make train MODEL={self.model} DATA=path.csv"

    def base_version(self) -> str:
        """Return the version that ``__init__.py`` states, ``X.Y.Z``."""
        return find_version(self.source / "__init__.py").group(1)


@dataclass(frozen=True)
class Project:
    """The files and folders below one root."""

    root: Path = ROOT

    @property
    def kit(self) -> Package:
        """The package that every model package imports."""
        return Package("model-kit", self.root / "packages/model_kit")

    @property
    def clients(self) -> tuple[Package, ...]:
        """The package that callers install, which serves nothing; empty if it is not under ``packages/``."""
        package = Package("ml-client", self.root / "packages/ml_client")
        return (package,) if (package.folder / "pyproject.toml").exists() else ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The kit, every model package under ``packages/`` and the client, in the order of dependence."""
        return (self.kit, *self.models(), *self.clients)

    def models(self, name: str | None = None) -> tuple[Package, ...]:
        """Return the packages under ``packages/`` that announce a model, or the one whose model has this name.

        Raises:
            ScriptError: a ``pyproject.toml`` cannot be used, two packages announce the same model, or there is no
                model of this name.
        """
        found: dict[str, Package] = {}
        for path in sorted(self.root.glob("packages/*/pyproject.toml")):
            package = _announced(path)
            if package is None:
                continue
            if package.model in found:
                raise ScriptError(f"{path}: the model {package.model} is in {found[package.model].folder} already")
            found[package.model] = package
        if not name:
            return tuple(found.values())
        if name not in found:
            there = ", ".join(found) or "none"
            raise ScriptError(f"MODEL={name}: no such model under packages/; there are: {there}", 2)
        return (found[name],)

    def trained_models(self, name: str | None = None, say: Say | None = None) -> tuple[Package, ...]:
        """Of :meth:`models`, those that have a bundle.

        Args:
            name: only this model.
            say: told of each package that has none, and what to do.

        Raises:
            ScriptError: none has one; the text says what to do.
        """
        models = self.models(name)
        trained = tuple(model for model in models if model.bundle.is_dir())
        missing = [f"{model.model} has no bundle; {model.how_to_train}" for model in models if model not in trained]
        if not trained:
            raise ScriptError("\n".join(missing) or NO_MODEL)
        if say:
            for text in missing:
                say(f"Left out: {text}")
        return trained

    def data(self, model: Package) -> Path:
        """Return where `make data` puts the training file of a model."""
        return self.root / "data" / f"{model.model}.csv"

    @property
    def build(self) -> Path:
        """Whatever is made here and may be deleted."""
        return self.root / "build"

    @property
    def published(self) -> Path:
        """The requirements file that publishing writes and installing reads."""
        return self.build / "published.txt"

    @property
    def published_client(self) -> Path:
        """The requirements file with which callers install the client."""
        return self.build / "published-client.txt"

    @property
    def plan(self) -> Path:
        """What `make plan` decided."""
        return self.build / "plan.json"

    @property
    def wheels(self) -> Path:
        """The wheels of a release, built or fetched once, and their manifest."""
        return self.build / "wheels"

    @property
    def image(self) -> Path:
        """The image that was pushed last, by its digest."""
        return self.build / "image.txt"

    @property
    def notes(self) -> Path:
        """The notes of a release."""
        return self.build / "notes.md"

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


#: What to do where there is no model package at all.
NO_MODEL = "there is no model package under packages/; make new-model NAME=diamonds DATA=diamonds.csv TARGET=price"


def _announced(path: Path) -> Package | None:
    """Return the package of a ``pyproject.toml``; ``None`` if it announces no model.

    Raises:
        ScriptError: the file cannot be read, or announces several models.
    """
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text("utf-8")).get("project", {})
        models = list(found.get("entry-points", {}).get(ENTRY_POINT_GROUP, {}))
        if len(models) > 1:
            raise ScriptError(f"{path}: announces {len(models)} models, {', '.join(models)}; a package has one")
        return Package(found["name"], path.parent, models[0], needs_scikit_learn(found)) if models else None
    except (OSError, ValueError) as error:
        raise ScriptError(f"{path}: {error}") from error
    except KeyError as error:
        raise ScriptError(f"{path}: [project] has no name") from error


def find_version(path: Path) -> re.Match[str]:
    """Return the one line ``__version__ = "X.Y.Z"`` of a file.

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
