"""Functions of NumPy arrays, written as NumPy source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_kit.errors import ExportError
from model_kit.exports.numpy_source import numpy_source

MATRIX = np.array([[1.0, np.nan, -1.0], [2.5, 0.0, 3.0], [np.inf, 4.0, -2.0]])


def run(source: str) -> Callable[[Any], Any]:
    names: dict[str, Any] = {"np": np}
    exec(source, names)
    found: Callable[[Any], Any] = names["derive"]
    return found


def elaborate(encoded: Any) -> Any:
    columns = encoded.T.copy()
    columns[[0, 2]] = np.where(columns[[0, 2]] < 0, np.array([[0.0], [-9.0]]), columns[[0, 2]])
    view = columns[1]
    view[...] = np.nan_to_num(view, nan=7.5)
    first, _, last = columns
    missing = np.array([True, False, True]) & np.isnan(encoded)
    sums = [np.log1p(np.maximum(last, 0.0)), last // 2 % 3 + 1 * (first >= 2), np.add.reduce(missing, axis=1)]
    return np.vstack([columns, np.column_stack(sums).T, -columns[:, 1:].clip(0, 1).sum(axis=1)[:, np.newaxis].T]).T


def test_source_does_what_the_function_does_on_other_rows() -> None:
    source = numpy_source(elaborate, MATRIX)
    other = np.random.default_rng(3).normal(size=(3, 3))
    other[1, 1] = np.nan
    for matrix in (MATRIX, other):
        np.testing.assert_array_equal(run(source)(matrix), elaborate(matrix))
    assert "model_kit" not in source


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x if x[0, 0] > 0 else -x, "decides by the values"),
        (lambda x: x * float(x[0, 0]), "decides by the values"),
        (lambda x: np.apply_along_axis(sum, 1, x), "cannot be written as NumPy source"),
        (lambda x: np.ones(3), "not made of its argument"),
        (lambda x: x.no_such_thing(), "AttributeError"),
        (lambda x: np.log(np.asarray(x)), "more than NumPy does"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_reason(function: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        numpy_source(function, MATRIX)
