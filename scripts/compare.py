"""Compare models that were trained here with their newest releases on the package index, or any two of one model.

The same as `model-kit compare`, for each model, with defaults and with the index on this machine where the environment
names none. --new may be a folder of wheels, as `make wheels` makes it: each model's wheel is taken from it. What is not
listed below is passed on: --data, --json, --html and so on.

With --hold-back, what `make plan` decided to train and `make model` trained is compared: a model that is beyond its
thresholds, or cannot be compared, keeps its last release while another one is new.

exit status: 0 nothing is beyond its threshold, 1 something is, 2 something is unusable; of several models, the highest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from local_index import open_index
from package_index import HELP, TOKEN, URL, USER, PackageIndex
from plan import TRAIN, hold_back, require_plan
from processes import stop_on_signals
from project import MODEL_HELP, MODEL_KIT, Package, Project, ScriptError

UNUSABLE = 2
#: Exit status of a comparison -> what that says of the new model.
REASONS = {1: "it is beyond the thresholds of its gate", UNUSABLE: "it cannot be compared"}


def chosen(project: Project, model: str | None, new: str | None) -> list[tuple[Package, str]]:
    """Return each model that is meant, and what it shall become: a wheel, a version or a bundle folder.

    Raises:
        ScriptError: there is nothing to compare, or one version is meant of several models.
    """
    if new is None:
        return [(package, str(package.bundle)) for package in project.trained_models(model, _report)]
    models = project.models(model)
    wheels = [path for path in Path(project.root, new).glob("*.whl") if Path(project.root, new).is_dir()]
    if wheels:
        by_name = {path.name.split("-")[0]: path for path in wheels}
        found = [(package, str(by_name[p])) for package in models if (p := package.source.name) in by_name]
        if not found:
            raise ScriptError(f"{new} has no wheel of {' or '.join(p.model for p in models) or 'a model'}", UNUSABLE)
        return found
    if len(models) > 1 and new != "latest":
        raise ScriptError(f"NEW={new} is of one model; say which: MODEL={'|'.join(p.model for p in models)}", UNUSABLE)
    return [(package, new) for package in models]


def planned(project: Project, model: str | None) -> list[tuple[Package, str]]:
    """Return each model that the plan decided to train, with the bundle that it has now.

    Raises:
        ScriptError: there is no plan, or one has no bundle.
    """
    plan = require_plan(project)
    models = [p for p in project.models(model) if p.model in plan.models and plan.models[p.model].decision == TRAIN]
    if missing := [package.model for package in models if not package.bundle.is_dir()]:
        raise ScriptError(f"{', '.join(missing)}: not trained yet; `make model` trains what the plan says", UNUSABLE)
    return [(package, str(package.bundle)) for package in models]


def command(package: Package, old: str, new: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command that compares two versions of a model, with the thresholds of its package."""
    gate = package.folder / "gate.toml"
    # The package's own thresholds; model_kit has defaults.
    own = ["--gate", str(gate)] if gate.exists() and "--gate" not in options else []
    return [*MODEL_KIT, "compare", "--model", package.model, old, new, *options, *own]


def environment(index: PackageIndex) -> dict[str, str]:
    """Return the environment in which a comparison finds the index."""
    # By environment, never by argument: arguments are for everybody to read.
    return os.environ | {URL: index.url, USER: index.user, TOKEN: index.token}


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    project = project or Project()
    parser = argparse.ArgumentParser(
        "compare.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--old", default="latest", help="wheel, version or bundle folder (default: %(default)s)")
    parser.add_argument("--new", help="the same, or a folder of wheels (default: the bundles that are there)")
    parser.add_argument("--reports", type=Path, metavar="DIR", help="write a report <model>.html into this folder")
    parser.add_argument("--hold-back", action="store_true", help="see above")
    options, rest = parser.parse_known_args(arguments)
    if options.hold_back and options.new:
        parser.error("--hold-back is about what was trained here, and not about --new")
    try:
        models = planned(project, options.model) if options.hold_back else chosen(project, options.model, options.new)
        if not models:
            _report("Nothing was trained, and so nothing is compared.")
            return 0
        with stop_on_signals(), open_index(project, os.environ) as index:
            environ = environment(index)
            statuses = {}
            for package, new in models:
                words = command(package, options.old, new, rest)
                if options.reports:
                    reports = project.root / options.reports
                    reports.mkdir(parents=True, exist_ok=True)
                    words += ["--html", str(reports / f"{package.model}.html")]
                statuses[package.model] = subprocess.run(words, env=environ, cwd=project.root, check=False).returncode
            faults = {name: REASONS.get(status, REASONS[UNUSABLE]) for name, status in statuses.items() if status}
            if options.hold_back and faults and len(faults) < len(statuses):
                hold_back(project, index, faults, _report)
                return 0
            return max(statuses.values())
    except (ScriptError, OSError) as error:
        _report(f"compare: {error}")
        return UNUSABLE
    except KeyboardInterrupt:
        _report("compare: stopped")
        return 130


def _report(text: str) -> None:
    """Print to standard error: the output may be JSON."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
