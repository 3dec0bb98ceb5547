"""A model for Azure Machine Learning: score.py with init() and run(), its environment, the model, and our code."""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Final

from model_kit.exports.carried import copy_bundle, copy_code, pinned_requirements
from model_kit.scoring.bundle import GOLDEN, Bundle
from model_kit.scoring.definition import ModelDefinition

#: What Azure Machine Learning runs ``score.py`` with.
SERVER: Final = "azureml-inference-server-http"

_SCORE: Final = '''\
"""Scores requests on Azure Machine Learning: its server calls init() once a worker, and run() for each request."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "code"))


def init():
    """Load the model: of a deployment the registered one, else the one beside this file."""
    global scorer
    from model_kit.exports.scoring_script import ScoringScript

    scorer = ScoringScript(Path(os.environ.get("AZUREML_MODEL_DIR") or HERE / "model"))


def run(raw_data):
    """Answer a request's body: an array of records, one record, or {"input_data": records, "params": {...}}."""
    return scorer(raw_data)
'''
_README: Final = """\
# {name} {version} for Azure Machine Learning

Made by `model-kit export azure`. On this machine:

    pip install -r requirements.txt
    azmlinfsrv --entry_script score.py --model_dir model
    curl -H 'Content-Type: application/json' --data @sample-request.json http://127.0.0.1:5001/score

In Azure, `model/` is registered as a custom model, and a deployment names this folder as code and `score.py` as scoring
script, with `conda.yml` as its environment:

    az ml model create --name {name} --path model --type custom_model
    az ml online-deployment create --file deployment.yml --endpoint-name ENDPOINT

`deployment.yml` names both. A body is an array of records, one record, or

    {{"input_data": [...], "params": {{"interval": 0.9, "probabilities": true, "warnings": true}}}}

The answer has `predictions` and `errors` as POST /v1/predict has them.
"""
_DEPLOYMENT: Final = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
model: azureml:{name}@latest
code_configuration:
  code: .
  scoring_script: score.py
environment:
  image: mcr.microsoft.com/azureml/minimal-ubuntu22.04-py311-cpu-inference:latest
  conda_file: conda.yml
instance_type: Standard_DS2_v2
instance_count: 1
"""


def write_azure(definition: ModelDefinition, bundle: Bundle, source: Path, folder: Path) -> None:
    """Write the model to ``folder``, which must not be there yet.

    Args:
        definition: the model's.
        bundle: its bundle.
        source: the bundle's folder.
        folder: is made.
    """
    requirements = [SERVER, *pinned_requirements(definition, bundle)]
    version = ".".join(platform.python_version_tuple()[:2])
    pip = "".join(f"  - {line}\n" for line in requirements)
    packages = f"dependencies:\n- python={version}\n- pip\n- pip:\n{pip}"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary, "new")
        copy_code(definition, new / "code")
        copy_bundle(bundle, source, new / "model")
        files = {
            "score.py": _SCORE,
            "requirements.txt": "".join(f"{line}\n" for line in requirements),
            "conda.yml": f"name: model\nchannels:\n- conda-forge\n{packages}",
            "deployment.yml": _DEPLOYMENT.format(name=definition.name),
            "sample-request.json": json.dumps([bundle.json(GOLDEN)["row"]], indent=1, ensure_ascii=False),
            "README.md": _README.format(name=definition.name, version=definition.version),
        }
        for name, text in files.items():
            (new / name).write_text(text, "utf-8")
        new.rename(folder)
