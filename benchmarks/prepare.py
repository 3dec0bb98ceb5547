"""What the naive servers serve: the scikit-learn estimator of the trained model, fitted anew and pickled.

A pickle is what those servers load; it is made here, in build/benchmarks, and loaded on this machine alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import joblib
from model_kit.scoring.bundle import CARD, MANIFEST
from model_kit.scoring.definition import ModelDefinition, find_definition
from model_kit.spec import Field, InputSpec
from model_kit.training import dataset
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import fit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import _scripts  # noqa: F401
from project import ROOT, Package, ScriptError
from servers import BUILD, CONTESTANTS

#: Kinds of fields that the naive servers read as they are, beside categories.
TYPES = ("integer", "number", "boolean")
#: Where the training file may be if DATA does not say so: where `make data` puts it, and where the tests look.
USUAL = ("data/{model}.csv", "../shared/data/ames/train.csv")


def training_data(definition: ModelDefinition, card: dict[str, Any], data: str | None = None) -> Dataset:
    """The very data that the served model was trained on.

    Args:
        definition: of the model.
        card: of the trained model.
        data: path of a CSV file; looked for in the usual places unless given.

    Raises:
        ScriptError: it is not there.
    """
    if card["data"]["synthetic"]:
        return dataset.synthetic(definition)
    named = data or os.environ.get("DATA")
    usual = [path.format(model=definition.name) for path in USUAL]
    for path in [Path(named)] if named else [ROOT / path for path in usual]:
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == card["data"]["sha256"]:
            return dataset.load(definition, path)
    raise ScriptError(
        f"the naive servers need what the model was trained on, {card['data']['name']} (sha256 "
        f"{card['data']['sha256'][:12]}...), which is not at {named or ' or '.join(usual)}. "
        f"Name it: make bench MODEL={definition.name} DATA=path.csv"
    )


def pickle_pipeline(package: Package, data: str | None = None) -> Path:
    """The path of the pickle for the trained model of a package, made if it has not been.

    Raises:
        ScriptError: the training data cannot be found.
    """
    bundle, definition = package.bundle, find_definition(package.model)
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes() + (CONTESTANTS / "levels.py").read_bytes()).hexdigest()
    path = BUILD / f"pipeline-{digest[:12]}.joblib"
    if path.exists():
        return path
    rows = training_data(definition, json.loads((bundle / CARD).read_bytes()), data)
    fitted = fit(definition, rows.rows, rows.target)
    sys.path.append(str(CONTESTANTS))
    from levels import Codes, Levels  # noqa: PLC0415 - by the name that the servers know it by

    pipeline = Pipeline(
        [
            ("levels", Levels({field.name: Codes(codes_of(field, fitted.spec)) for field in categories(fitted.spec)})),
            ("features", FunctionTransformer(fitted.features.derive)),
            ("estimator", fitted.estimator),
        ]
    )
    fields = {field.name: (type_of(field), field.required) for field in fitted.spec.fields}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    target = fitted.spec.target
    joblib.dump({"pipeline": pipeline, "offset": target.offset, "scale": target.scale, "fields": fields}, unfinished)
    unfinished.replace(path)
    return path


def categories(spec: InputSpec) -> list[Field]:
    """The fields that have levels."""
    return [field for field in spec.fields if field.kind == "category"]


def codes_of(field: Field, spec: InputSpec) -> dict[Any, int]:
    """Level -> code; levels that are whole numbers as such."""
    codes = spec.learned[field.name].codes or {}
    return {int(level): code for level, code in codes.items()} if field.numeric_codes else dict(codes)


def type_of(field: Field) -> str:
    """What a schema calls the field's values.

    Raises:
        ScriptError: the naive servers do not read such values.
    """
    if field.kind == "category":
        return "integer" if field.numeric_codes else "text"
    if field.kind not in TYPES:
        raise ScriptError(f"{field.name} is a {field.kind}, which the naive servers do not read")
    return field.kind
