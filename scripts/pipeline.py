"""Run .circleci/config.yml on this machine: every job's steps, in the order of the workflow.

Each job gets a clean clone of the commit, an empty home and an environment with nothing but what the config, its
contexts and CircleCI's own variables say. `requires`, branch filters, workspaces, caches, parameters and matrices mean
what they mean there. Only what our config uses is understood; anything else ends the run before a step is run.

Before that the config is held to what scripts/pipeline_flow.py knows of our targets: no job may use a file that nothing
before it passes on, and nothing is published or deployed before everything that judges has judged.

What differs from CircleCI: jobs run one after the other, on this machine instead of in an image (its Python is looked
up by the image's tag), and `setup_remote_docker` is the engine that is here. What is left out or handed on (--skip,
--pass) is told at the end and stands in outcome.json.

  python scripts/pipeline.py --list
  python scripts/pipeline.py --branch main --context publishing=secrets.env --keep build/pipeline

exit status: 0 every job succeeded, 1 one did not, 2 the config, or an argument, is not understood or not sound.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline_flow import faults
from processes import child, script
from project import ROOT, ScriptError

CONFIG = Path(".circleci/config.yml")
_EXPRESSION = re.compile(r"<<\s*([\w.-]+)\s*>>")
_TEMPLATE = re.compile(r"{{\s*(.*?)\s*}}")


class ConfigError(ScriptError):
    """The config has something that is not understood; the text says where."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{CONFIG}: {where}: {text}", 2)


@dataclass(frozen=True)
class Trigger:
    """What starts a pipeline.

    Attributes:
        branch: the branch that was pushed.
        sha: its commit.
        source: ``webhook`` for a push, ``scheduled_pipeline`` for a schedule.
        parameters: pipeline parameters that differ from their defaults.
    """

    branch: str
    sha: str
    source: str = "webhook"
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Job:
    """One job of a workflow, everything filled in.

    Attributes:
        name: as others require it.
        requires: names of the jobs that must have succeeded.
        image: what it runs in, for its Python.
        environment: variables of the job.
        contexts: names of the sets of variables that it is given.
        steps: its steps, without parameters and commands.
    """

    name: str
    requires: tuple[str, ...]
    image: str
    environment: Mapping[str, str]
    contexts: tuple[str, ...]
    steps: tuple[tuple[str, Any], ...]


def read(text: str, trigger: Trigger) -> dict[str, list[Job]]:
    """Return the workflows that a trigger starts, each with its jobs in an order that fulfils ``requires``.

    Raises:
        ConfigError: the config has a construct that is not understood, or contradicts itself.
    """
    try:
        config = yaml.load(text, _UniqueKeys)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ConfigError("not YAML", str(error)) from error
    _only(config, "the file", {"version", "parameters", "executors", "commands", "jobs", "workflows"})
    if config["version"] != 2.1:
        raise ConfigError("version", f"{config['version']}, not 2.1")
    values = {f"pipeline.parameters.{name}": value for name, value in _parameters(config, "parameters").items()}
    unknown = set(trigger.parameters) - {name.removeprefix("pipeline.parameters.") for name in values}
    if unknown:
        raise ScriptError(f"no pipeline parameter {', '.join(sorted(unknown))}", 2)
    values |= {f"pipeline.parameters.{name}": value for name, value in trigger.parameters.items()}
    values |= {"pipeline.trigger_source": trigger.source, "pipeline.git.branch": trigger.branch}
    values |= {"pipeline.git.revision": trigger.sha}
    workflows: dict[str, list[Job]] = {}
    for name, workflow in config["workflows"].items():
        where = f"workflow {name}"
        _only(workflow, where, {"when", "jobs"})
        if _holds(_fill(workflow.get("when", True), values, where), where):
            entries = [entry for listed in workflow["jobs"] for entry in _entries(listed, where)]
            workflows[name] = _ordered(dict(_jobs(config, entries, values, trigger, where)), where)
    return workflows


def _entries(listed: Any, where: str) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Return a workflow's entry for a job, once for each combination of its matrix."""
    name, options = (listed, {}) if isinstance(listed, str) else next(iter(listed.items()))
    matrix = options.get("matrix", {})
    _only(matrix, f"{where}, {name}, matrix", {"parameters"})
    axes: dict[str, list[str]] = matrix.get("parameters", {})
    for combination in itertools.product(*axes.values()):
        yield (
            name,
            {key: value for key, value in options.items() if key != "matrix"},
            dict(zip(axes, combination, strict=True)),
        )


def _jobs(
    config: Mapping[str, Any],
    entries: Sequence[tuple[str, dict[str, Any], dict[str, str]]],
    values: Mapping[str, str],
    trigger: Trigger,
    where: str,
) -> Iterator[tuple[Job, bool]]:
    """Return every job of a workflow, and whether the branch's filter lets it run."""
    for kind, options, axes in entries:
        here = f"{where}, {kind}"
        if kind not in config["jobs"]:
            raise ConfigError(here, "there is no such job")
        job = config["jobs"][kind]
        _only(job, f"job {kind}", {"parameters", "executor", "environment", "steps", "description"})
        declared = _parameters(job, f"job {kind}")
        _only(options, here, {"name", "requires", "filters", "context", *declared})
        wanted = _branch_wanted(options.get("filters", {}), trigger.branch, here)
        known = {**values, **{f"matrix.{name}": value for name, value in axes.items()}}
        given = axes | {name: _fill(options[name], known, here) for name in declared if name in options}
        missing = [name for name, value in (declared | given).items() if value is None]
        if missing:
            raise ConfigError(here, f"parameter {', '.join(missing)} has no value")
        inside = {**values, **{f"parameters.{name}": value for name, value in (declared | given).items()}}
        name = options.get("name", kind if not axes else "-".join((kind, *axes.values())))
        context = options.get("context", [])
        filled = Job(
            name=_fill(name, known, here),
            requires=tuple(_fill(options.get("requires", []), known, here)),
            image=_image(config, _fill(job["executor"], inside, here), here),
            environment={key: str(value) for key, value in _fill(job.get("environment", {}), inside, here).items()},
            contexts=(context,) if isinstance(context, str) else tuple(context),
            steps=tuple(_steps(config, job["steps"], inside, f"job {kind}")),
        )
        yield filled, wanted


def _image(config: Mapping[str, Any], executor: Any, where: str) -> str:
    """Return what an executor runs in; its parameters are filled in."""
    name, given = (executor, {}) if isinstance(executor, str) else (executor["name"], executor)
    if name not in config.get("executors", {}):
        raise ConfigError(where, f"there is no executor {name}")
    found = config["executors"][name]
    _only(found, f"executor {name}", {"parameters", "docker", "machine", "resource_class"})
    declared = _parameters(found, f"executor {name}")
    _only(given, f"{where}, executor", {"name", *declared})
    inside = {f"parameters.{key}": given.get(key, default) for key, default in declared.items()}
    (inner,) = found["docker"] if "docker" in found else [found["machine"]]
    _only(inner, f"executor {name}", {"image"})
    image: str = _fill(inner["image"], inside, f"executor {name}")
    return image


def _steps(
    config: Mapping[str, Any], steps: Sequence[Any], values: Mapping[str, Any], where: str
) -> Iterator[tuple[str, Any]]:
    """Steps with commands put in and parameters filled in."""
    for step in steps:
        kind, options = (step, {}) if isinstance(step, str) else next(iter(step.items()))
        if kind in config.get("commands", {}):
            command = config["commands"][kind]
            _only(command, f"command {kind}", {"parameters", "steps", "description"})
            declared = _parameters(command, f"command {kind}")
            _only(options, f"{where}, {kind}", set(declared))
            given = declared | _fill(options, values, where)
            missing = [name for name, value in given.items() if value is None]
            if missing:
                raise ConfigError(f"{where}, {kind}", f"parameter {', '.join(missing)} has no value")
            pipeline = {name: value for name, value in values.items() if name.startswith("pipeline.")}
            inside = pipeline | {f"parameters.{name}": value for name, value in given.items()}
            yield from _steps(config, command["steps"], inside, f"command {kind}")
            continue
        if kind not in STEPS:
            raise ConfigError(where, f"step {kind} is not understood")
        filled = _fill(options, values, where)
        if kind == "run" and isinstance(filled, str):
            filled = {"command": filled}
        _only(filled, f"{where}, {kind}", STEPS[kind])
        yield kind, filled


def _parameters(of: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Name -> default of declared parameters, ``None`` without one."""
    declared = of.get("parameters", {})
    for name, parameter in declared.items():
        _only(parameter, f"{where}, parameter {name}", {"type", "default", "description"})
        if parameter["type"] != "string":
            raise ConfigError(f"{where}, parameter {name}", f"type {parameter['type']} is not understood")
    return {name: parameter.get("default") for name, parameter in declared.items()}


def _fill(value: Any, values: Mapping[str, Any], where: str) -> Any:
    """Return ``value`` with every ``<< expression >>`` replaced."""

    def replace(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(where, f"<< {match[1]} >> is not understood")
        return str(values[match[1]])

    if isinstance(value, str):
        return _EXPRESSION.sub(replace, value)
    if isinstance(value, list):
        return [_fill(item, values, where) for item in value]
    if isinstance(value, dict):
        return {key: _fill(item, values, where) for key, item in value.items()}
    return value


def _holds(condition: bool | dict[str, Any], where: str) -> bool:
    if condition is True:
        return True
    if isinstance(condition, dict) and len(condition) == 1:
        ((operator, operand),) = condition.items()
        if operator == "equal":
            return len({str(item) for item in operand}) == 1
        if operator == "not":
            return not _holds(operand, where)
        if operator == "and":
            return all(_holds(item, where) for item in operand)
    raise ConfigError(where, f"the condition {condition!r} is not understood")


def _branch_wanted(filters: Mapping[str, Any], branch: str, where: str) -> bool:
    _only(filters, f"{where}, filters", {"branches"})
    branches = filters.get("branches", {})
    _only(branches, f"{where}, filters", {"only", "ignore"})
    only, ignore = (branches.get(key) for key in ("only", "ignore"))
    for wanted in (only, ignore):
        if wanted is not None and (not isinstance(wanted, str) or wanted.startswith("/")):
            raise ConfigError(where, "a filter of more than one plain branch is not understood")
    return only in {None, branch} and branch != ignore


def _ordered(jobs: Mapping[Job, bool], where: str) -> list[Job]:
    """Return the jobs that run, each after those it requires; a job that requires one that does not run is left out."""
    names = [job.name for job in jobs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(where, f"two jobs are called {', '.join(sorted(twice))}")
    done: list[Job] = []
    left = list(jobs)
    while left:
        ready = [job for job in left if set(job.requires) <= {before.name for before in done}]
        if not ready:
            unknown = {name for job in left for name in job.requires if name not in names}
            text = f"there is no job {', '.join(sorted(unknown))}" if unknown else "jobs require each other"
            raise ConfigError(where, text)
        done += ready
        left = [job for job in left if job not in ready]
    runs: list[Job] = []
    for job in done:
        if jobs[job] and set(job.requires) <= {before.name for before in runs}:
            runs.append(job)
    return runs


def _only(of: Any, where: str, known: set[str]) -> None:
    if not isinstance(of, dict):
        raise ConfigError(where, f"{of!r} is not understood")
    unknown = set(of) - known
    if unknown:
        raise ConfigError(where, f"{', '.join(sorted(map(str, unknown)))}: not understood")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ConfigError(f"line {node.start_mark.line + 1}", f"{', '.join(map(str, twice))} is given twice")
        return dict(super().construct_mapping(node, deep))


#: The steps that are understood, with the keys that they may have.
STEPS: dict[str, set[str]] = {
    "checkout": set(),
    "run": {"name", "command", "environment", "when", "no_output_timeout"},
    "attach_workspace": {"at"},
    "persist_to_workspace": {"root", "paths"},
    "restore_cache": {"keys"},
    "save_cache": {"key", "paths"},
    "store_artifacts": {"path", "destination"},
    "store_test_results": {"path"},
    "setup_remote_docker": set(),
}


@dataclass
class Runner:
    """Runs jobs and keeps what passes between them.

    Attributes:
        root: repository to clone.
        trigger: what started the pipeline.
        folder: what is kept: the home of the last job, a log of each, workspaces, caches, artifacts.
        contexts: name -> variables.
        passed: variables of this machine that every job gets.
        python: version of Python, ``3.12`` -> folder with its ``python3``.
    """

    root: Path
    trigger: Trigger
    folder: Path
    contexts: Mapping[str, Mapping[str, str]]
    passed: Mapping[str, str]
    python: Callable[[str], Path | None]
    upstream: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, job: Job) -> bool:
        """Run a job; whether it succeeded."""
        self.upstream[job.name] = tuple(
            dict.fromkeys(name for needed in job.requires for name in (*self.upstream[needed], needed))
        )
        return _Running(self, job).run()


class _Running:
    """One job while it runs."""

    def __init__(self, runner: Runner, job: Job) -> None:
        self.runner, self.job = runner, job
        # One place for all, as there: an environment that is cached works in it alone.
        self.home = (runner.folder / "home").resolve()
        shutil.rmtree(self.home, ignore_errors=True)
        self.project = self.home / "project"
        self.project.mkdir(parents=True)
        self.log = runner.folder / "logs" / f"{job.name}.txt"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        missing = [name for name in job.contexts if name not in runner.contexts]
        if missing:
            raise ScriptError(f"job {job.name} needs the context {', '.join(missing)}: --context NAME=FILE", 2)
        version = re.search(r"python:(\d+\.\d+)", job.image)
        folder = runner.python(version[1]) if version else None
        if version and folder is None:
            raise ScriptError(f"job {job.name} runs in {job.image}; there is no Python {version[1]} here")
        path = os.environ.get("PATH", os.defpath)
        self.environ = {
            "PATH": f"{folder}{os.pathsep}{path}" if folder else path,
            "LANG": "C.UTF-8",
            **runner.passed,
        }
        for name in job.contexts:
            self.environ |= runner.contexts[name]
        # In this order: what a job says of itself counts more than CircleCI, and that more than a context.
        self.environ |= {
            "HOME": str(self.home),
            "CI": "true",
            "CIRCLECI": "true",
            "CIRCLE_BRANCH": runner.trigger.branch,
            "CIRCLE_SHA1": runner.trigger.sha,
            "CIRCLE_JOB": job.name,
            "CIRCLE_WORKING_DIRECTORY": str(self.project),
            "BASH_ENV": str(self.home / ".bash_env"),
            **job.environment,
        }
        Path(self.environ["BASH_ENV"]).touch()

    def run(self) -> bool:
        failed = False
        for kind, options in self.job.steps:
            when = options.get("when", "on_success")
            if when not in {"always", "on_success", "on_fail"}:
                raise ConfigError(f"job {self.job.name}", f"when: {when} is not understood")
            always = kind.startswith("store_") or when == "always"
            if not always and failed != (when == "on_fail"):
                continue
            title = options.get("name") or options.get("command", "").strip().partition("\n")[0] or kind
            self._note(f"--- {title}")
            failed |= not getattr(self, f"_{kind}")(options)
        return not failed

    def _note(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def _checkout(self, _options: Mapping[str, Any]) -> bool:
        trigger = self.runner.trigger
        for command in (
            ["clone", "--quiet", "--no-hardlinks", "--no-checkout", str(self.runner.root), "."],
            ["checkout", "--quiet", "-B", trigger.branch, trigger.sha],
        ):
            subprocess.run(["git", *command], cwd=self.project, check=True)
        return True

    def _run(self, options: Mapping[str, Any]) -> bool:
        environ = self.environ | {name: str(value) for name, value in options.get("environment", {}).items()}
        with self.log.open("ab") as log:
            # As CircleCI's default shell does.
            command = ["/bin/bash", "-eo", "pipefail", "-c", options["command"]]
            with child(command, cwd=self.project, env=environ, output=log.fileno()) as process:
                status = process.wait()
        if status:
            self._note(f"exit status {status}")
        return status == 0

    def _attach_workspace(self, options: Mapping[str, Any]) -> bool:
        for name in self.runner.upstream[self.job.name]:
            layer = self.runner.folder / "workspace" / name
            if layer.exists():
                shutil.copytree(layer, self._path(options["at"]), dirs_exist_ok=True, symlinks=True)
        return True

    def _persist_to_workspace(self, options: Mapping[str, Any]) -> bool:
        root = self._path(options["root"])
        return self._copy(root, options["paths"], self.runner.folder / "workspace" / self.job.name)

    def _restore_cache(self, options: Mapping[str, Any]) -> bool:
        for template in options["keys"]:
            key = self._key(template)
            found = [folder for folder in self._caches() if folder.joinpath("key").read_text("utf-8").startswith(key)]
            if found:
                newest = max(found, key=lambda folder: folder.stat().st_mtime_ns)
                shutil.copytree(newest / "home", self.home, dirs_exist_ok=True, symlinks=True)
                self._note(f"found {newest.joinpath('key').read_text('utf-8')}")
                return True
        self._note("nothing is cached")
        return True

    def _save_cache(self, options: Mapping[str, Any]) -> bool:
        key = self._key(options["key"])
        if any(folder.joinpath("key").read_text("utf-8") == key for folder in self._caches()):
            return True
        folder = self.runner.folder / "caches" / hashlib.sha256(key.encode()).hexdigest()
        folder.mkdir(parents=True)
        for path in options["paths"]:
            # One that is not there is told and no fault, there as well.
            self._copy(self.home, [str(self._path(path).relative_to(self.home))], folder / "home")
        (folder / "key").write_text(key, "utf-8")
        return True

    def _caches(self) -> list[Path]:
        return [path.parent for path in (self.runner.folder / "caches").glob("*/key")]

    def _key(self, template: str) -> str:
        def replace(match: re.Match[str]) -> str:
            checksum = re.fullmatch(r'checksum "(.+)"', match[1])
            if checksum:
                return hashlib.sha256((self.project / checksum[1]).read_bytes()).hexdigest()
            raise ConfigError(f"job {self.job.name}", f"{match[0]} is not understood in a cache's key")

        return _TEMPLATE.sub(replace, template)

    def _store_artifacts(self, options: Mapping[str, Any]) -> bool:
        return self._store(options, "artifacts")

    def _store_test_results(self, options: Mapping[str, Any]) -> bool:
        return self._store(options, "test-results")

    def _store(self, options: Mapping[str, Any], kind: str) -> bool:
        source = self._path(options["path"])
        target = self.runner.folder / kind / self.job.name / options.get("destination", source.name)
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        else:
            self._note(f"{options['path']}: nothing there to store")
        return True

    def _setup_remote_docker(self, _options: Mapping[str, Any]) -> bool:
        return True

    def _path(self, path: str) -> Path:
        return self.home / path.removeprefix("~/") if path.startswith("~/") else self.project / path

    def _copy(self, root: Path, paths: Sequence[str], target: Path) -> bool:
        for pattern in paths:
            found = sorted(root.glob(pattern))
            if not found:
                self._note(f"{root / pattern}: there is no such file")
                return False
            for source in found:
                to = target / source.relative_to(root)
                to.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, to, dirs_exist_ok=True, symlinks=True)
                else:
                    shutil.copy2(source, to)
        return True


def run_workflow(
    runner: Runner, jobs: Sequence[Job], say: Callable[[str], None] = print, *, skip: Collection[str] = ()
) -> dict[str, Any]:
    """Run jobs in order; one whose requirements failed is not run.

    Args:
        runner: what runs them.
        jobs: in an order that fulfils what they require.
        say: told what happens.
        skip: names of jobs that are left out; what requires them goes on without them.

    Returns:
        Name -> ``{"status": "success", "failed", "not run" or "skipped", "seconds": ...}``.
    """
    outcome: dict[str, Any] = {}
    for job in jobs:
        status = ""
        if job.name in skip:
            status = "skipped"
            runner.upstream[job.name] = ()
        elif any(outcome[name]["status"] in {"failed", "not run"} for name in job.requires):
            status = "not run"
        if status:
            outcome[job.name] = {"status": status, "seconds": 0.0}
            say(f"{job.name}: {status}")
            continue
        say(f"{job.name} ...")
        start = time.monotonic()
        succeeded = runner.run(job)
        seconds = round(time.monotonic() - start, 1)
        outcome[job.name] = {"status": "success" if succeeded else "failed", "seconds": seconds}
        say(f"{job.name}: {outcome[job.name]['status']} in {seconds} s")
        if not succeeded:
            log = (runner.folder / "logs" / f"{job.name}.txt").read_text("utf-8").splitlines()
            say("\n".join(f"    {line}" for line in log[-30:]))
    return outcome


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
    parser.add_argument("--branch", default="main", help="the branch that was pushed (main)")
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
    trigger = Trigger(options.branch, sha, source, parameters)
    show = subprocess.run(
        ["git", "-C", str(root), "show", f"{sha}:{CONFIG}"], capture_output=True, text=True, check=False
    )
    if show.returncode:
        raise ScriptError(f"{sha} has no {CONFIG}", 2)
    workflows = read(show.stdout, trigger)
    unknown = set(options.skip) - {job.name for jobs in workflows.values() for job in jobs}
    if unknown:
        raise ScriptError(f"--skip {', '.join(sorted(unknown))}: no such job", 2)
    found = [] if options.unchecked else [fault for jobs in workflows.values() for fault in faults(jobs)]
    if found:
        raise ScriptError(f"{CONFIG} is not sound:\n" + "\n".join(f"  - {fault}" for fault in found), 2)
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
        for jobs in workflows.values():
            runner = Runner(root, trigger, folder, contexts, passed, find_python)
            outcome |= run_workflow(runner, jobs, skip=options.skip)
        folder.mkdir(parents=True, exist_ok=True)
        document = {"branch": trigger.branch, "commit": sha, "passed": sorted(passed), "jobs": outcome}
        (folder / "outcome.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        if options.skip or options.unchecked or passed:
            print(_left_out(options.skip, passed, checked=not options.unchecked))
    return 0 if all(job["status"] in {"success", "skipped"} for job in outcome.values()) else 1


def _left_out(skipped: Sequence[str], passed: Collection[str], *, checked: bool) -> str:
    """Return a sentence about the parts of the pipeline that this run left out."""
    parts = [f"left out: {', '.join(skipped)}"] if skipped else []
    parts += [] if checked else ["the config was not checked"]
    parts += [f"handed on from here: {', '.join(sorted(passed))}"] if passed else []
    return f"Not all as CircleCI runs it: {'; '.join(parts)}."


if __name__ == "__main__":
    sys.exit(main())
