"""A model as MLflow has it: a folder with an MLmodel file, loaded by a module of ours, without a pickle."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from pathlib import Path
from typing import Any, Final

from model_kit.exports import pyfunc
from model_kit.exports.carried import copy_bundle, copy_code, pinned_requirements
from model_kit.scoring.bundle import CARD, GOLDEN, RUN, SPEC, Bundle
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.table_columns import prediction_columns
from model_kit.spec import Field, InputSpec

#: The version that tests/doors loads and serves the export with; others of MLflow 3 do as well.
MLFLOW_VERSION: Final = "3.17.2"
#: MLflow's types of fields. A number is a double even where it is whole: a column of pandas that lacks a value is.
_TYPES: Final = {"boolean": "boolean", "integer": "double", "number": "double"}
_OUTPUT_TYPES: Final = {"number": "double", "integer": "long", "boolean": "boolean", "text": "string"}
#: What a caller may ask for beside predictions, see :class:`~model_kit.exports.pyfunc.PyFunc`.
_PARAMS: Final = [
    {"name": "interval", "type": "double", "default": 0.0, "shape": None},
    {"name": "probabilities", "type": "boolean", "default": False, "shape": None},
    {"name": "warnings", "type": "boolean", "default": False, "shape": None},
]


def write_mlflow(definition: ModelDefinition, bundle: Bundle, source: Path, folder: Path) -> None:
    """Write the model to ``folder``, which must not be there yet.

    Args:
        definition: the model's.
        bundle: its bundle.
        source: the bundle's folder.
        folder: is made.
    """
    spec = InputSpec.from_json(bundle.files[SPEC])
    requirements = [f"mlflow=={MLFLOW_VERSION}", *pinned_requirements(definition, bundle)]
    python = platform.python_version()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary, "new")
        copy_code(definition, new / "code")
        copy_bundle(bundle, source, new / "bundle")
        files = {
            "MLmodel": _mlmodel(definition, bundle, spec, python),
            "requirements.txt": "".join(f"{line}\n" for line in requirements),
            "python_env.yaml": f"python: {python}\ndependencies:\n- -r requirements.txt\n",
            "conda.yaml": _conda(python, requirements),
            **_example(bundle, spec),
        }
        for name, text in files.items():
            (new / name).write_text(text, "utf-8")
        new.rename(folder)


def _mlmodel(definition: ModelDefinition, bundle: Bundle, spec: InputSpec, python: str) -> str:
    card = bundle.json(CARD)
    outputs = [
        {"type": _OUTPUT_TYPES[kind], "name": name, "required": False}
        for name, kind in prediction_columns(spec.target).items()
    ]
    facts = {
        "model": definition.name,
        "version": definition.version,
        "artifact_sha256": bundle.artifact_sha256,
        "target": spec.target.name,
        "unit": spec.target.unit or None,
        "data": card["data"],
        "metrics": card["metrics"],
        "git_commit": card[RUN]["git_commit"],
    }
    # Each of these is JSON, which YAML takes as it is.
    return f"""\
flavors:
  python_function:
    code: code
    data: bundle
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: {pyfunc.__name__}
    python_version: {python}
mlflow_version: {MLFLOW_VERSION}
model_uuid: {hashlib.sha256(bundle.artifact_sha256.encode()).hexdigest()[:32]}
utc_time_created: {_quoted(card[RUN]["trained_at"])}
metadata: {json.dumps(facts, ensure_ascii=False)}
saved_input_example_info:
  artifact_path: input_example.json
  type: dataframe
  pandas_orient: split
  serving_input_path: serving_input_example.json
signature:
  inputs: {_quoted(json.dumps([_column(field) for field in spec.fields], ensure_ascii=False))}
  outputs: {_quoted(json.dumps(outputs))}
  params: {_quoted(json.dumps(_PARAMS))}
"""


def _quoted(text: str) -> str:
    """A text as a YAML scalar in single quotes, in which a quote alone means anything else."""
    return "'" + text.replace("'", "''") + "'"


def _column(field: Field) -> dict[str, Any]:
    return {"type": _TYPES.get(field.kind, "string"), "name": field.name, "required": field.required}


def _conda(python: str, requirements: list[str]) -> str:
    pip = "".join(f"  - {line}\n" for line in requirements)
    return f"name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n- python={python}\n- pip\n- pip:\n{pip}"


def _example(bundle: Bundle, spec: InputSpec) -> dict[str, str]:
    """The golden row, which is no row of the training data, as MLflow keeps an example."""
    row = bundle.json(GOLDEN)["row"]
    # A whole number would be read as an integer, which is no double.
    values = {
        field.name: float(row[field.name]) if field.is_number else row[field.name]
        for field in spec.fields
        if row.get(field.name) is not None
    }
    table = {"columns": list(values), "data": [list(values.values())]}
    return {
        "input_example.json": json.dumps(table, indent=1, ensure_ascii=False),
        "serving_input_example.json": json.dumps({"dataframe_split": table}, indent=1, ensure_ascii=False),
    }
