"""Writes a function of NumPy arrays as plain NumPy source, by recording what it does to an array.

What is recorded is the sequence of operations on arrays, each written as one line. A function that decides by values,
or by the number of rows, is written as it went for the rows that it was tried on: whoever uses the source compares it
with the function on other rows.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from model_kit.errors import ExportError


class _Recorder:
    """The lines recorded so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def assign(self, expression: str, value: Any) -> Recorded:
        """Add a line that gives a value a name."""
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        return Recorded(self, name, value)

    def call(self, function: str, called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function, and add the line that does so."""
        words = [*map(_literal, args), *(f"{key}={_literal(value)}" for key, value in kwargs.items())]
        found = called(*map(_value, args), **{key: _value(value) for key, value in kwargs.items()})
        return self.assign(f"{function}({', '.join(words)})", found)


class Recorded(NDArrayOperatorsMixin):
    """An array whose operations are recorded; it has values, so that shapes are known."""

    __array_priority__ = 1000

    def __init__(self, recorder: _Recorder, name: str, value: Any) -> None:
        self._recorder, self.name, self.value = recorder, name, value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        called = ufunc if method == "__call__" else getattr(ufunc, method)
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        return self._recorder.call(name, called, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._recorder.call(f"np.{function.__name__}", function, args, kwargs)

    def __getitem__(self, key: Any) -> Recorded:
        return self._recorder.assign(f"{self.name}[{_literal(key)}]", self.value[_value(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.value[_value(key)] = _value(value)
        self._recorder.lines.append(f"{self.name}[{_literal(key)}] = {_literal(value)}")

    def __getattr__(self, name: str) -> Any:
        # Else NumPy would take it for an array of numbers, and its values for constants.
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.value, name)
        if callable(found):
            return lambda *args, **kwargs: self._recorder.call(f"{self.name}.{name}", found, args, kwargs)
        # Its shape and type are what they are; a view of it, such as .T, is an array.
        return self._recorder.assign(f"{self.name}.{name}", found) if isinstance(found, np.ndarray) else found

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Recorded]:
        return (self[position] for position in range(len(self.value)))

    def __bool__(self) -> bool:
        raise ExportError("it decides by the values of an array")

    __float__ = __int__ = __bool__
    __hash__ = None  # type: ignore[assignment]


def _value(found: Any) -> Any:
    """What stands in an expression, with values in place of recorded arrays."""
    if isinstance(found, Recorded):
        return found.value
    if isinstance(found, list | tuple):
        return type(found)(map(_value, found))
    return found


def _literal(found: Any) -> str:
    """What stands in an expression, as source.

    Raises:
        ExportError: there is no source for it.
    """
    if isinstance(found, Recorded):
        return found.name
    if isinstance(found, np.ndarray):
        return f"np.array({_literal(found.tolist())}, np.{found.dtype.name})"
    if isinstance(found, np.generic):
        return _literal(found.item())
    if isinstance(found, list):
        return f"[{', '.join(map(_literal, found))}]"
    if isinstance(found, tuple):
        return f"({''.join(f'{_literal(one)}, ' for one in found)})"
    if isinstance(found, slice):
        return f"slice({_literal(found.start)}, {_literal(found.stop)}, {_literal(found.step)})"
    if isinstance(found, float) and not math.isfinite(found):
        return "np.nan" if math.isnan(found) else f"{'-' * (found < 0)}np.inf"
    if isinstance(found, type) and issubclass(found, np.generic):
        return f"np.{found.__name__}"
    if found is None or found is Ellipsis or isinstance(found, bool | int | float | str):
        return repr(found)
    raise ExportError(f"it uses a {type(found).__name__}, which cannot be written as NumPy source")


def numpy_source(function: Callable[[Any], Any], example: NDArray[np.float64]) -> str:
    """The source of a function ``derive(encoded)`` that does what a function does to an array.

    Args:
        function: array -> array.
        example: what it is tried on, several rows.

    Raises:
        ExportError: it does what cannot be recorded; the text says what.
    """
    recorder = _Recorder()
    try:
        found = function(Recorded(recorder, "encoded", example.copy()))
    except ExportError:
        raise
    except Exception as error:  # it may do anything to an array
        raise ExportError(f"it does more than NumPy does with arrays ({type(error).__name__}: {error})") from error
    if not isinstance(found, Recorded):
        raise ExportError("what it returns is not made of its argument by NumPy")
    body = [*recorder.lines, f"return {found.name}"]
    source = "def derive(encoded):\n" + "".join(f"    {line}\n" for line in body)
    ast.parse(source)
    return source
