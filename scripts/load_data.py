"""Load training files into data/<model>.csv: from a URL or a path, or from OpenML where the model names a data set.

Where a model's file comes from: DATA_URL_<MODEL>, e.g. DATA_URL_DIAMONDS, its name in capitals and _ for -; or DATA_URL
where one model is meant. DATA_SHA256_<MODEL> and DATA_SHA256 hold the file to its digest. A model for which nothing is
named keeps the file that is there. More: `model-kit data --help`.

exit status: 0 done, 1 a file cannot be loaded, 2 it is not clear what is meant.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from processes import script
from project import MODEL_HELP, MODEL_KIT, NO_MODEL, Package, Project, Say, ScriptError
from train_models import definition_of

URL, SHA256 = "DATA_URL", "DATA_SHA256"


def variable(name: str, package: Package) -> str:
    """Return the variable ``name`` for one model."""
    return f"{name}_{package.model.upper().replace('-', '_')}"


def load(project: Project, model: str | None, environ: Mapping[str, str], say: Say = print) -> None:
    """Load the file of one model, or of all.

    Raises:
        ScriptError: nothing says where a file is, or it cannot be loaded; its reason is above.
    """
    models = project.models(model)
    if not models:
        raise ScriptError(NO_MODEL)
    if len(models) > 1 and environ.get(URL):
        each = ", ".join(variable(URL, package) for package in models)
        raise ScriptError(f"{URL} is of one model; say which by MODEL, or name one for each: {each}", 2)
    failed = []
    (project.root / "data").mkdir(exist_ok=True)
    for package in models:
        alone = environ if len(models) == 1 else {}
        url = environ.get(variable(URL, package)) or alone.get(URL) or ""
        sha256 = environ.get(variable(SHA256, package)) or alone.get(SHA256) or ""
        path = project.data(package)
        if not url and not _on_openml(package):
            there = f"keeping {path.name}, which is there" if path.is_file() else f"there is no {path.name}"
            text = f"nothing says where its file is, and {there}; make data MODEL={package.model} DATA_URL=url-or-path"
            if model and not path.is_file():
                raise ScriptError(f"{package.model}: {text}")
            say(f"{package.model}: {text}")
            continue
        command = [*MODEL_KIT, "data", "--model", package.model, "-o", str(path)]
        command += [*(["--from", url] if url else []), *(["--sha256", sha256] if sha256 else [])]
        if subprocess.run(command, cwd=project.root, check=False).returncode:
            failed.append(package.model)
    if failed:
        raise ScriptError(f"the file of {', '.join(failed)} could not be loaded; the reason is above")


def _on_openml(package: Package) -> bool:
    return definition_of(package).openml_id is not None


@script("data")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "load_data.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    options = parser.parse_args(arguments)
    load(project or Project(), options.model, os.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main())
