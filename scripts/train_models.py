"""Train models: one on a file, one or all on the synthetic samples that their packages generate, or what a plan says.

  --model NAME --data FILE   train this model on a file; without --model where there is only one
  --model NAME               train this model on its sample
  (nothing)                  train every model that has a sample on it
  --planned                  train what `make plan` decided to train, each on the data that the plan is about
  --planned --hold-back      the same; a model that cannot be trained, or is below its floors, keeps its last release
                             while another one is new

exit status: 0 done, 1 a training failed, 2 it is not clear what is meant.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model_kit.errors import ModelKitError
from model_kit.scoring.definition import ModelDefinition, find_definition

from local_index import open_index
from package_index import HELP
from plan import TRAIN, hold_back, require_one, require_plan
from processes import child, script
from project import MODEL_HELP, MODEL_KIT, NO_MODEL, Package, Project, Say, ScriptError, say

#: Settings that neither training nor serving needs: of package indexes, and of other programs for their Python.
_HIDDEN = ("PACKAGE_INDEX_", "HEROKU_", "PIP_", "TWINE_", "PYTHONPATH", "PYTHONHOME", "FLASK_", "WERKZEUG_")


def quiet_environment() -> dict[str, str]:
    """Return the environment for training and serving: without what ``_HIDDEN`` names."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}


def train(package: Package, data: Path | None, *options: str | Path) -> None:
    """Train a model on a file, or on its sample.

    Raises:
        ScriptError: training failed; its own words are above.
    """
    source: list[str | Path] = ["--sample"] if data is None else ["--data", data]
    command: list[str | Path] = [*MODEL_KIT, "train", "--model", package.model, *source, *options]
    with child(command, env=quiet_environment()) as process:
        if process.wait():
            what = "the sample" if data is None else str(data)
            raise ScriptError(f"training {package.model} on {what} failed; the reason is above")


def definition_of(package: Package) -> ModelDefinition:
    """Return what a package declares.

    Raises:
        ScriptError: the package is not installed, or cannot be imported.
    """
    try:
        return find_definition(package.model)
    except ModelKitError as error:
        raise ScriptError(f"{package.folder}: {error} (`make tools` installs a new package)") from error


def has_sample(package: Package) -> bool:
    """Return whether a package generates a synthetic sample."""
    return definition_of(package).sample is not None


def train_samples(models: Sequence[Package], say: Say) -> None:
    """Train each model that has a sample on it.

    Raises:
        ScriptError: none has one, or training failed; the text says what to do.
    """
    if not models:
        raise ScriptError(NO_MODEL)
    sampled = [package for package in models if has_sample(package)]
    without = [f"{p.model} has no synthetic sample; {p.how_to_train}" for p in models if p not in sampled]
    if not sampled:
        raise ScriptError("\n".join(without), 2)
    for text in without:
        say(f"Left out: {text}")
    for package in sampled:
        train(package, None)


def train_planned(project: Project, model: str | None, say: Say, *, holds_back: bool = False) -> None:
    """Train what the plan says.

    Args:
        project: whose plan it is.
        model: only this model.
        say: told what happens.
        holds_back: a model whose training fails is held back, and the others are trained.

    Raises:
        ScriptError: there is no plan, the data are not there, or training failed.
    """
    plan = require_plan(project)
    faults = {}
    for package in project.models(model):
        planned = plan.models.get(package.model)
        if planned is None:
            raise ScriptError(f"{project.plan} does not name {package.model}; `make plan` again")
        say(planned.sentence)
        if planned.decision == TRAIN:
            try:
                train(package, project.root / planned.data)
            except ScriptError as error:
                if not holds_back:
                    raise
                say(str(error))
                faults[package.model] = f"training on {planned.data} failed"
    if faults:
        with open_index(project, os.environ) as index:
            hold_back(project, index, faults, say)


def run(project: Project, options: argparse.Namespace, say: Say) -> None:
    """Train what is meant.

    Raises:
        ScriptError: it is not clear what is meant, or training failed.
    """
    if options.planned:
        train_planned(project, options.model, say, holds_back=options.hold_back)
        return
    models = project.models(options.model)
    if options.data is None:
        train_samples(models, say)
        return
    if not models:
        raise ScriptError(NO_MODEL)
    require_one(models, options.data)
    marks = {"--decimal": options.decimal, "--thousands": options.thousands}
    train(models[0], options.data, *(part for option, mark in marks.items() if mark for part in (option, mark)))


@script("train")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "train_models.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--data", type=Path, help="training data of the one model that is meant")
    parser.add_argument("--decimal", help="decimal mark of the numbers in the data: , or .")
    parser.add_argument("--thousands", help="what stands between thousands in the data")
    parser.add_argument("--planned", action="store_true", help="train what the plan says")
    parser.add_argument("--hold-back", action="store_true", help="see above; uses the package index")
    options = parser.parse_args(arguments)
    run(project or Project(), options, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
