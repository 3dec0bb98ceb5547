"""The command ``export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from model_kit.cli.common import OK, add_bundle_argument, report, synthetic_notice
from model_kit.errors import DataError
from model_kit.scoring.bundle import CARD, read_bundle
from model_kit.scoring.definition import ModelDefinition

HELP: Final = "write the model for others: ONNX alone, MLflow, Azure Machine Learning"
EXAMPLES: Final = """\
examples:
  {program} export onnx -o model-onnx       graph, preprocessing as NumPy source, a script that scores without us
  {program} export mlflow -o model-mlflow   for mlflow models serve and mlflow.pyfunc.load_model
  {program} export azure -o model-azure     score.py with init() and run(), its environment

MLflow's and Azure's folders carry the code of model-kit and of the model's package, and pin what they need as it is
installed here. There is no pickle in any of them. docs/exports.md has more.
"""
FORMATS: Final = ("onnx", "mlflow", "azure")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to make")
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Write the folder.

    Raises:
        DataError: it is there already, or there is no folder for it.
        ExportError: the model cannot be written in this format.
        BundleError: its bundle cannot be used.
    """
    definition: ModelDefinition = arguments.definition
    folder: Path = arguments.output
    if folder.exists():
        raise DataError(f"{folder} is there already; name a folder that is to be made")
    if not folder.absolute().parent.is_dir():
        raise DataError(f"{folder.parent}: there is no such folder")
    source: Path = arguments.bundle or definition.bundle
    # Loaded as a server loads it: what cannot be served is not exported.
    definition.load_bundle(source).check()
    bundle = read_bundle(source)
    if arguments.format == "onnx":
        from model_kit.exports.onnx import write_onnx  # noqa: PLC0415 - each format imports what it needs

        write_onnx(definition, bundle, folder)
    elif arguments.format == "mlflow":
        from model_kit.exports.mlflow import write_mlflow  # noqa: PLC0415

        write_mlflow(definition, bundle, source, folder)
    else:
        from model_kit.exports.azure import write_azure  # noqa: PLC0415

        write_azure(definition, bundle, source, folder)
    if bundle.json(CARD)["data"]["synthetic"]:
        report(synthetic_notice(definition))
    report(f"Wrote {definition.name} {definition.version} to {folder}")
    return OK
