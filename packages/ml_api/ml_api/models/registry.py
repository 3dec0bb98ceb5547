"""The models that are installed, loaded or broken.

A model package announces ``load() -> Model`` as an entry point of the group ``ml_api.models``; the entry point's name
is the model's. A model that cannot be loaded does not keep the others from answering: it is kept with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from model_kit.errors import ModelKitError
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import ENTRY_POINT_GROUP, Model

from ml_api.logs import LOGGER

#: Loads a model; may raise anything.
Load: TypeAlias = Callable[[], Model]

#: Seconds after which it is worth asking a broken model again: about what a new release takes to start.
RETRY_AFTER = 30


class UnknownModelError(LookupError):
    """No model of that name is installed; the text names those that are."""


class BrokenModelError(Exception):
    """The model is installed and cannot answer; the text says why."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    predictor: Predictor
    lineage: Mapping[str, Any]


def installed_models() -> dict[str, Load]:
    """Name -> how to load it, for every model that an installed package announces."""
    found: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry_point.name, []).append(entry_point)
    return {name: _loader(name, announced) for name, announced in found.items()}


def _loader(name: str, announced: list[EntryPoint]) -> Load:
    def load() -> Model:
        if len(announced) > 1:
            raise BrokenModelError(f"announced by several packages: {', '.join(e.value for e in announced)}")
        model: Model = announced[0].load()()
        return model

    load.__name__ = f"load_{name}"
    return load


class Registry:
    """Every installed model, loaded and checked once; by name.

    Args:
        models: name -> how to load it.
    """

    def __init__(self, models: Mapping[str, Load]) -> None:
        self._loaded: dict[str, _Loaded] = {}
        self._broken: dict[str, str] = {}
        self.names = tuple(sorted(models))
        for name in self.names:
            try:
                self._loaded[name] = _load(name, models[name])
            except Exception as error:  # noqa: BLE001  whatever a model package does wrong, the others answer
                self._broken[name] = _reason(error)
                LOGGER.error(
                    "model cannot be loaded",
                    exc_info=None if isinstance(error, ModelKitError) else error,
                    extra={"fields": {"model": name, "reason": f"{type(error).__name__}: {error}"}},
                )
        if not self.names:
            LOGGER.error("no model is installed", extra={"fields": {"entry_point_group": ENTRY_POINT_GROUP}})

    def predictor(self, name: str) -> Predictor:
        """The model ``name`` with the validator of its records.

        Raises:
            UnknownModelError: no model of that name is installed.
            BrokenModelError: it could not be loaded.
        """
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded.predictor
        if name in self._broken:
            raise BrokenModelError(f"Model {name} cannot answer: {self._broken[name]}")
        raise UnknownModelError(f"There is no model of that name; installed: {', '.join(self.names) or 'none'}.")

    @property
    def broken(self) -> Mapping[str, str]:
        """Name -> why, of every model that could not be loaded."""
        return self._broken

    def models(self) -> dict[str, Model]:
        """Name -> model, of every model that could be loaded."""
        return {name: loaded.predictor.model for name, loaded in self._loaded.items()}

    def faults(self) -> dict[str, str]:
        """Name -> why it cannot be relied on, of every model that was not loaded or misses its golden value now."""
        faults = dict(self._broken)
        for name, loaded in self._loaded.items():
            try:
                loaded.predictor.model.check()
            except Exception as error:  # noqa: BLE001  any failure of the check is a reason, none is an error of this API
                faults[name] = _reason(error)
        return dict(sorted(faults.items()))

    def lineages(self) -> dict[str, Mapping[str, Any]]:
        """Name -> where the model comes from, or ``{"error": reason}`` for one that could not be loaded."""
        return {
            name: self._loaded[name].lineage if name in self._loaded else {"error": self._broken[name]}
            for name in self.names
        }

    def default_version(self, default: str) -> str | None:
        """Version of the model ``default``, or of the only one there is; ``None`` if that says nothing."""
        name = self.names[0] if len(self.names) == 1 else default
        loaded = self._loaded.get(name)
        return loaded.predictor.model.version if loaded else None


def _load(name: str, load: Load) -> _Loaded:
    """Load a model, hold it to its golden value, and tell the log what it is.

    Raises:
        Exception: whatever the model package raises.
        BrokenModelError: what it returned is no model.
    """
    model = load()
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
        LOGGER.warning("NOT EVALUATED: nobody knows how good its predictions are", extra={"fields": fields})
    return loaded


def _reason(error: Exception) -> str:
    """Why a model is broken, for everybody to read: only errors that were written to be read show their text."""
    if isinstance(error, ModelKitError | BrokenModelError):
        return str(error)
    return f"{type(error).__name__}; the log has the details"
