"""Serves an estimator by scikit-learn itself; imported only for a model package with ``runtime="scikit-learn"``.

The file is skops', which is no pickle: reading it makes objects of the types that it names. Only those of
:mod:`~model_kit.scoring.trusted_types` are made; a file that names another is refused before anything is made.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.base import is_classifier

from model_kit.errors import BundleError, first_line
from model_kit.records.encoding import Encoded, FeatureMaker
from model_kit.scoring.bundle import CARD, ESTIMATOR
from model_kit.scoring.classes import scores_of
from model_kit.scoring.decoding import FrameMaker, estimator_input
from model_kit.scoring.trusted_types import TRUSTED

#: Foreign types that a message names.
MOST_NAMED = 5


class ScikitLearn:
    """An estimator, called with the features or with a DataFrame.

    Raises:
        BundleError: the file names a type that is not trusted, or cannot be read.
    """

    def __init__(self, content: bytes, features: FeatureMaker | FrameMaker) -> None:
        names = require_trusted(content)
        try:
            estimator = skops.io.loads(content, trusted=sorted(names))
        except Exception as error:  # whatever the parts of a damaged estimator raise
            raise BundleError(ESTIMATOR, f"skops cannot read it: {first_line(error)}") from error
        self._features = features
        self._scores = scores_of(estimator)[0] if is_classifier(estimator) else estimator.predict

    def raw(self, encoded: Encoded) -> NDArray[np.floating[Any]]:
        """Scores as the estimator gives them, shape (n_rows, n_outputs)."""
        scores: NDArray[np.floating[Any]] = np.asarray(self._scores(estimator_input(self._features, encoded)))
        return scores.reshape(len(encoded), -1)


def require_version(card: Mapping[str, Any]) -> None:
    """Refuse an estimator of another scikit-learn, which may compute something else or nothing.

    Raises:
        BundleError: the card states another version than the one installed.
    """
    saved = (card.get("libraries") or {}).get("scikit-learn")
    if saved != sklearn.__version__:
        raise BundleError(
            CARD,
            f"the estimator was saved with scikit-learn {saved}, and {sklearn.__version__} is installed; train again, "
            "or install that version",
        )


def require_trusted(content: bytes) -> set[str]:
    """The names of all types and functions that a skops file is made of; nothing is made of it.

    Raises:
        BundleError: one of them is not trusted; the text names it. Or this is no skops file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            schema = json.loads(file.read("schema.json"))
        found = {(node["__loader__"], f"{node['__module__']}.{node['__class__']}") for node in _nodes(schema)}
    except Exception as error:  # a file may be anything
        raise BundleError(ESTIMATOR, f"it is no skops file: {first_line(error)}") from error
    if foreign := sorted({name for kind, name in found if name not in TRUSTED.get(kind, ())}):
        raise BundleError(ESTIMATOR, f"it has parts that are not trusted: {', '.join(foreign[:MOST_NAMED])}")
    return {name for _, name in found}


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the schema that makes something when it is read."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if not value.keys().isdisjoint(("__loader__", "__module__", "__class__")):
                yield value
            stack += value.values()
        elif isinstance(value, list):
            stack += value
