"""A scikit-learn estimator as Python source that makes it again."""

from __future__ import annotations

import inspect
import sys
from itertools import accumulate
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from model_kit.errors import DefinitionError
from model_kit.scaffold.source import WIDTH, literal, render


class _Writer:
    """Expressions, and the imports that they need."""

    def __init__(self) -> None:
        self.imports: set[tuple[str, str]] = set()

    def expression(self, value: Any, where: str) -> str:
        """Source of a parameter's value.

        Raises:
            DefinitionError: the value has none; the text names the parameter.
        """
        if isinstance(value, str):
            return literal(value)
        if value is None or isinstance(value, bool | int):
            return repr(value)
        if isinstance(value, float):
            return repr(value) if np.isfinite(value) else f'float("{value}")'
        if isinstance(value, np.generic):
            return self.expression(value.item(), where)
        if isinstance(value, np.ndarray):
            self.imports.add(("numpy", "array"))
            return f"array({self.expression(value.tolist(), where)})"
        if isinstance(value, type) and value.__module__ == "builtins":
            return value.__name__
        if type(value).__module__.startswith("pandas.") and hasattr(value, "tolist"):
            # Columns of a DataFrame.
            return self.expression(value.tolist(), where)
        if isinstance(value, list | tuple):
            parts = [self.expression(one, where) for one in value]
            if isinstance(value, list):
                return f"[{', '.join(parts)}]"
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        if isinstance(value, dict):
            pairs = (f"{self.expression(key, where)}: {self.expression(one, where)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
        if isinstance(value, BaseEstimator):
            return self.estimator(value, where)
        if inspect.isroutine(value) or isinstance(value, type | np.ufunc):
            return self._imported(value, where)
        if type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
            # Splitters and the like: their arguments are their attributes.
            known = inspect.signature(type(value)).parameters
            return self._call(type(value), {name: one for name, one in vars(value).items() if name in known}, where)
        raise DefinitionError(
            f"{where} is a {type(value).__name__}, which cannot be written as source; write estimator.py by hand"
        )

    def estimator(self, estimator: Any, where: str) -> str:
        """Source of an unfitted estimator: its class with the parameters that differ from the defaults."""
        return self._call(type(estimator), estimator.get_params(deep=False), where)

    def _call(self, kind: type, parameters: dict[str, Any], where: str) -> str:
        defaults = {name: one.default for name, one in inspect.signature(kind).parameters.items()}
        changed = {name: value for name, value in parameters.items() if not _same(value, defaults.get(name))}
        arguments = [f"{name}={self.expression(value, f'{where}.{name}')}" for name, value in changed.items()]
        return f"{self._imported(kind, where)}({', '.join(arguments)})"

    def _imported(self, value: Any, where: str) -> str:
        module, name = getattr(value, "__module__", None) or "numpy", value.__name__
        if module in {"__main__", "builtins"} or "<" in getattr(value, "__qualname__", name) or "." in name:
            raise DefinitionError(
                f"{where} is {name}, which is defined in the notebook; put it into a module that can be imported"
            )
        # The shortest that has it is the public one: sklearn.ensemble, not sklearn.ensemble._forest.
        found = (path for path in accumulate(module.split("."), "{}.{}".format) if _has(path, name, value))
        self.imports.add((next(found, module), name))
        return str(name)


def _has(module: str, name: str, value: object) -> bool:
    return getattr(sys.modules.get(module), name, None) is value


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, BaseEstimator | np.ndarray) or isinstance(default, np.ndarray):
        return value is default
    return type(value) is type(default) and bool(value == default or value is default)


def estimator_source(estimator: Any, *, plain: bool) -> str:
    """``estimator.py`` that makes an estimator again.

    Args:
        estimator: with parameters that have a source.
        plain: whether the kit puts its preprocessing in front; else the estimator takes the features as they are.

    Raises:
        DefinitionError: a parameter has no source, a function of the notebook for instance.
    """
    writer = _Writer()
    expression = writer.estimator(estimator, type(estimator).__name__)
    modules: dict[str, set[str]] = {}
    for module, name in writer.imports:
        modules.setdefault(module, set()).add(name)
    if not plain:
        modules["model_kit.spec"] = {"InputSpec"}
    imports = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(modules.items())]
    line = f"{'ESTIMATOR =' if plain else '    return'} {expression}"
    return render(
        "estimator.py",
        title="The estimator as it was saved; "
        + ("the kit puts its preprocessing in front of it." if plain else "it takes the fields as they are, in order."),
        imports=imports,
        takes_spec=None if plain else False,
        returns=expression.partition("(")[0],
        comment="",
        # A formatter leaves a line alone that says so.
        expression=expression + ("  # fmt: skip  # noqa: E501" if len(line) > WIDTH else ""),
    )
