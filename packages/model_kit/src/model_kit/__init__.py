"""Everything that model packages share: fields, validation, encoding, scoring, training, files, comparison."""

from __future__ import annotations

import os
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_kit.scaffold.save import save
    from model_kit.scoring.about import About
    from model_kit.scoring.definition import ModelDefinition

__version__ = "0.1.0"

# ONNX Runtime reports every process and model to its maker (from 1.29 on, on Linux too) and keeps an id in the home
# folder, unless it is told otherwise before it is imported. Set the variable to 0 to allow that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["About", "ModelDefinition", "save"]


#: Name -> where it is. Imported when asked for: serving needs neither, and one of them needs scikit-learn.
_EXPORTS = {
    "About": "model_kit.scoring.about:About",
    "ModelDefinition": "model_kit.scoring.definition:ModelDefinition",
    "save": "model_kit.scaffold.save:save",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_EXPORTS[name])
