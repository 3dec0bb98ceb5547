"""Run a config of CI on this machine, every job's steps in order: .circleci/config.yml or a workflow of GitHub Actions.

Each job gets a clean clone of the commit, an empty home and an environment with nothing but what the config, its
contexts and the CI's own variables say. What passes files and values on, filters, parameters and matrices mean what
they mean there. Only what our configs use is understood; anything else ends the run before a step is run.

Before that the config is held to what scripts/pipelines/flow.py knows of our targets: no job may use a file that
nothing before it passes on, and nothing is published or deployed before everything that judges has judged.

What differs from the CI: jobs run one after the other, on this machine instead of in an image (its Python is looked
up by the image's tag, or as actions/setup-python has it), and Docker's engine is the one that is here. What is left out
or handed on (--skip, --pass), and actions that are not run here, are told at the end and stand in outcome.json.

  python scripts/pipeline.py --list
  python scripts/pipeline.py --branch main --context publishing=secrets.env --keep build/pipeline
  python scripts/pipeline.py --config .github/workflows/release.yml --tag v1.2.0 --context production=secrets.env

exit status: 0 every job succeeded, 1 one did not, 2 the config, or an argument, is not understood or not sound.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipelines import actions, circleci
from pipelines.flow import faults
from pipelines.jobs import ConfigError, Job, Trigger
from pipelines.running import Runner, run_workflow
from processes import script
from project import ROOT, ScriptError

ACTIONS_FOLDER = Path(".github/workflows")


def read(root: Path, config: Path, trigger: Trigger) -> dict[str, list[Job]]:
    """Return the workflows of a commit's config that a trigger starts, each with its jobs in order.

    Raises:
        ScriptError: the commit has no such file, or it is not understood.
    """

    def load(path: str) -> str:
        command = ["git", "-C", str(root), "show", f"{trigger.sha}:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ScriptError(f"{trigger.sha} has no {path}", 2)
        return done.stdout

    text = load(str(config))
    try:
        if is_actions(config):
            return actions.read(text, trigger, load)
        return circleci.read(text, trigger)
    except ConfigError as error:
        raise ScriptError(f"{config}: {error}", 2) from error


def is_actions(config: Path) -> bool:
    """Return whether a config is a workflow of GitHub Actions."""
    return config.is_relative_to(ACTIONS_FOLDER)


def find_python(version: str) -> Path | None:
    """Return the folder with a ``python3`` of that version, on PATH or among pyenv's."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    folders += sorted(pyenv.glob(f"{version}.*/bin"))
    for folder in folders:
        for name in (f"python{version}", "python3"):
            if not (folder / name).exists() or "shims" in folder.parts:
                continue
            asked = subprocess.run([folder / name, "--version"], capture_output=True, text=True, check=False)
            if asked.stdout.startswith(f"Python {version}.") and (folder / "python3").exists():
                theirs = subprocess.run([folder / "python3", "--version"], capture_output=True, text=True, check=False)
                if theirs.stdout == asked.stdout:
                    return folder
    return None


def _variables(assignment: str) -> tuple[str, dict[str, str]]:
    name, _, path = assignment.partition("=")
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise ScriptError(f"--context {assignment}: {error.strerror}", 2) from error
    pairs = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    return name, {key: value for key, _, value in pairs}


@script("pipeline")
def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "pipeline.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=circleci.CONFIG, help="the config's file (%(default)s)")
    pushed = parser.add_mutually_exclusive_group()
    pushed.add_argument("--branch", default="main", help="the branch that was pushed (main)")
    pushed.add_argument("--tag", default="", help="the tag that was pushed")
    parser.add_argument("--commit", default="HEAD", help="its commit (HEAD)")
    parser.add_argument("--scheduled", action="store_true", help="as the schedule starts it, not a push")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a pipeline parameter")
    parser.add_argument("--context", action="append", default=[], metavar="NAME=FILE", help="variables of a context")
    parser.add_argument(
        "--pass", action="append", default=[], dest="passed", metavar="NAME", help="a variable of this machine"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="JOB", help="leave a job out, as if it had succeeded"
    )
    parser.add_argument("--unchecked", action="store_true", help="do not look first whether the config is sound")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs, artifacts and caches here")
    parser.add_argument("--list", action="store_true", help="say what would run, in order")
    options = parser.parse_args(arguments)
    revision = ["git", "-C", str(root), "rev-parse", "--verify", f"{options.commit}^{{commit}}"]
    sha = subprocess.run(revision, capture_output=True, text=True, check=False).stdout.strip()
    if not sha:
        raise ScriptError(f"--commit {options.commit}: no such commit", 2)
    source = "scheduled_pipeline" if options.scheduled else "webhook"
    parameters = dict(item.split("=", 1) for item in options.parameter)
    trigger = Trigger("" if options.tag else options.branch, sha, source, parameters, options.tag)
    workflows = read(root, options.config, trigger)
    if not workflows:
        raise ScriptError(f"{options.config} is not started by {options.tag or options.branch}", 2)
    unknown = set(options.skip) - {job.name for jobs in workflows.values() for job in jobs}
    if unknown:
        raise ScriptError(f"--skip {', '.join(sorted(unknown))}: no such job", 2)
    found = [] if options.unchecked else [fault for jobs in workflows.values() for fault in faults(jobs)]
    if found:
        raise ScriptError(f"{options.config} is not sound:\n" + "\n".join(f"  - {fault}" for fault in found), 2)
    if options.list:
        for name, jobs in workflows.items():
            print(name, *(f"  {job.name}  after {', '.join(job.requires) or 'nothing'}" for job in jobs), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
        folder = options.keep or Path(temporary)
        for made in ("logs", "workspace", "artifacts", "test-results"):
            shutil.rmtree(folder / made, ignore_errors=True)
        passed = {name: os.environ[name] for name in options.passed if name in os.environ}
        contexts = dict(_variables(assignment) for assignment in options.context)
        outcome: dict[str, Any] = {}
        not_run: set[str] = set()
        make_job = actions.ActionsJob if is_actions(options.config) else circleci.CircleJob
        for jobs in workflows.values():
            runner = Runner(root, trigger, folder, contexts, passed, find_python, make_job, not_run=not_run)
            outcome |= run_workflow(runner, jobs, skip=options.skip)
        folder.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {"branch": trigger.branch, "tag": trigger.tag, "commit": sha, "jobs": outcome}
        document |= {"passed": sorted(passed), "not_run": sorted(not_run)}
        (folder / "outcome.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        if options.skip or options.unchecked or passed or not_run:
            print(_left_out(options.skip, passed, not_run, checked=not options.unchecked))
    return 0 if all(job["status"] in {"success", "skipped"} for job in outcome.values()) else 1


def _left_out(skipped: Sequence[str], passed: Collection[str], not_run: Collection[str], *, checked: bool) -> str:
    """Return a sentence about the parts of the pipeline that this run left out."""
    parts = [f"left out: {', '.join(skipped)}"] if skipped else []
    parts += [f"not run here: {', '.join(sorted(not_run))}"] if not_run else []
    parts += [] if checked else ["the config was not checked"]
    parts += [f"handed on from here: {', '.join(sorted(passed))}"] if passed else []
    return f"Not all as the CI runs it: {'; '.join(parts)}."


if __name__ == "__main__":
    sys.exit(main())
