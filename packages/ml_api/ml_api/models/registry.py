"""Loads the installed models and keeps track of those that are broken.

A model package registers ``load() -> Model`` as an entry point of the group ``ml_api.models``; the entry point's name
is the model's, and that of its :class:`~model_kit.scoring.definition.ModelDefinition`. A model that cannot be loaded
does not affect the others: it is kept with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from model_kit.errors import ModelKitError
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import ENTRY_POINT_GROUP, Model

from ml_api.logs import LOGGER

#: Loads a model; may raise any exception.
Loader: TypeAlias = Callable[[], Model]

#: Seconds after which a client may retry a broken model: about the time that a new release takes to start.
RETRY_AFTER = 30


class UnknownModelError(LookupError):
    """No model of that name is installed; the message lists the installed ones."""


class BrokenModelError(Exception):
    """The model is installed but cannot be used; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    predictor: Predictor
    lineage: Mapping[str, Any]


def installed_models() -> dict[str, Loader]:
    """Return name -> loader for every model that an installed package registers."""
    found: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry_point.name, []).append(entry_point)
    return {name: _loader(name, registered) for name, registered in found.items()}


def _loader(name: str, registered: list[EntryPoint]) -> Loader:
    def load() -> Model:
        if len(registered) > 1:
            raise BrokenModelError(f"announced by several packages: {', '.join(e.value for e in registered)}")
        # In the worker only: it imports ONNX Runtime, which must not be in the master process.
        from model_kit.scoring.definition import check_name  # noqa: PLC0415

        loader = registered[0].load()
        check_name(name, getattr(loader, "__self__", None))
        model: Model = loader()
        return model

    load.__name__ = f"load_{name}"
    return load


class Registry:
    """All installed models by name; the constructor loads and checks each once.

    Args:
        models: name -> loader.
    """

    def __init__(self, models: Mapping[str, Loader]) -> None:
        self._loaded: dict[str, _Loaded] = {}
        self._broken: dict[str, str] = {}
        self.names = tuple(sorted(models))
        #: Further address of predictions -> name of its model.
        self.aliases: dict[str, str] = {}
        for name in self.names:
            try:
                loaded = _load(name, models[name])
                self._add_aliases(name, loaded.predictor.model)
                self._loaded[name] = loaded
            except Exception as error:  # noqa: BLE001  a broken model package must not affect the others
                self._broken[name] = _reason(error)
                LOGGER.error(
                    "model cannot be loaded",
                    exc_info=None if isinstance(error, ModelKitError) else error,
                    extra={"fields": {"model": name, "reason": f"{type(error).__name__}: {error}"}},
                )
        if not self.names:
            LOGGER.error("no model is installed", extra={"fields": {"entry_point_group": ENTRY_POINT_GROUP}})

    def _add_aliases(self, name: str, model: Model) -> None:
        """Take up the further addresses of a model.

        Raises:
            BrokenModelError: another model has one of them.
        """
        # An optional attribute of the protocol.
        aliases: Sequence[str] = getattr(model, "aliases", ())
        for alias in aliases:
            if (other := self.aliases.get(alias)) is not None:
                raise BrokenModelError(
                    f"the address {alias} is that of the model {other} too; take it from one of them"
                )
        self.aliases |= dict.fromkeys(aliases, name)

    def predictor(self, name: str) -> Predictor:
        """Return the predictor of the model ``name``.

        Raises:
            UnknownModelError: no model of that name is installed.
            BrokenModelError: the model could not be loaded.
        """
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded.predictor
        if name in self._broken:
            raise BrokenModelError(f"Model {name} cannot answer: {self._broken[name]}")
        raise UnknownModelError(f"There is no model of that name; installed: {', '.join(self.names) or 'none'}.")

    @property
    def broken(self) -> Mapping[str, str]:
        """Name -> reason, of every model that could not be loaded."""
        return self._broken

    def models(self) -> dict[str, Model]:
        """Return name -> model, of every model that was loaded."""
        return {name: loaded.predictor.model for name, loaded in self._loaded.items()}

    def faults(self) -> dict[str, str]:
        """Return name -> reason, of every model that was not loaded or does not score its golden row as recorded."""
        faults = dict(self._broken)
        for name, loaded in self._loaded.items():
            try:
                loaded.predictor.model.check()
            except Exception as error:  # noqa: BLE001  any failure makes the model unavailable, not the API
                faults[name] = _reason(error)
        return dict(sorted(faults.items()))

    def lineages(self) -> dict[str, Mapping[str, Any]]:
        """Return name -> lineage, or ``{"error": reason}`` of a model that could not be loaded."""
        return {
            name: self._loaded[name].lineage if name in self._loaded else {"error": self._broken[name]}
            for name in self.names
        }

    def identities(self) -> dict[str, dict[str, str]]:
        """Return name -> ``version`` and, of a bundle, ``artifact_sha256``; or ``error`` of a model without either."""
        found = {}
        for name in self.names:
            if name in self._broken:
                found[name] = {"error": self._broken[name]}
            else:
                lineage = self._loaded[name].lineage
                artifact = lineage.get("artifact_sha256")
                found[name] = {"version": self._loaded[name].predictor.model.version} | (
                    {"artifact_sha256": artifact} if artifact else {}
                )
        return found

    def default_name(self, default: str) -> str:
        """Return the name of the only model, else ``default``."""
        return self.names[0] if len(self.names) == 1 else default

    def default_version(self, default: str) -> str | None:
        """Return the version of the only model, else of the model ``default``; ``None`` if it was not loaded."""
        loaded = self._loaded.get(self.default_name(default))
        return loaded.predictor.model.version if loaded else None


def _load(name: str, loader: Loader) -> _Loaded:
    """Load a model, score its golden row, and log its version and data.

    Raises:
        Exception: any exception of the model package.
        BrokenModelError: the loader returned something else than a model.
    """
    model = loader()
    if not isinstance(model, Model):
        raise BrokenModelError(f"load() returned {type(model).__name__}, which is no model")
    model.check()
    loaded = _Loaded(Predictor(model), dict(model.lineage))
    data = model.card.get("data") or {}
    fields = {"model": name, "version": model.version, "data": data.get("name")}
    LOGGER.info("model loaded", extra={"fields": fields})
    if data.get("synthetic"):
        LOGGER.warning(
            "TRAINED ON SYNTHETIC DATA: its predictions mean nothing in the real world", extra={"fields": fields}
        )
    if not model.card.get("evaluated"):
        LOGGER.warning("NOT EVALUATED: the quality of its predictions is unknown", extra={"fields": fields})
    return loaded


def _reason(error: Exception) -> str:
    """Return the public reason why a model is broken; the message of an unexpected error goes to the log only."""
    if isinstance(error, ModelKitError | BrokenModelError):
        return str(error)
    return f"{type(error).__name__}; the log has the details"
