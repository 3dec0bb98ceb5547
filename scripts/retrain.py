"""Retrain a model on its data and on outcomes: `model-kit retrain`, with the index on this machine if none is named.

What is not listed below is passed on: --data, --outcomes, --holdout, --if-drifted FILE, --publish and so on. Records
and the candidate go to retraining/<model>.

exit status: 0 passed, published, nothing has drifted or too few outcomes; 1 bad outcomes, or training, the gate or
publishing failed; 2 something that was given cannot be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import compare
from local_index import open_index
from package_index import HELP
from processes import child, script
from project import MODEL_KIT, NO_MODEL, Project, ScriptError


@script("retrain")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "retrain.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name of the model (default: the only one under packages/)")
    options, rest = parser.parse_known_args(arguments)
    models = project.models(options.model)
    if len(models) != 1:
        names = "|".join(package.model for package in models)
        raise ScriptError(f"a run retrains one model; say which: MODEL={names}" if models else NO_MODEL, 2)
    (package,) = models
    command = [*MODEL_KIT, "retrain", "--model", package.model]
    # Beside what is built here and may be deleted: records are kept.
    command += ["--output", str(project.root / "retraining" / package.model), *rest]
    with open_index(project, os.environ) as index, child(command, env=compare.environment(index)) as process:
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
