"""CircleCI's config: its jobs, and how one runs. Only what our config uses is understood."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.jobs import ConfigError, Job, Trigger, load_yaml, only, ordered
from pipelines.running import Runner, RunningJob
from project import ScriptError

CONFIG = Path(".circleci/config.yml")
_EXPRESSION = re.compile(r"<<\s*([\w.-]+)\s*>>")
_TEMPLATE = re.compile(r"{{\s*(.*?)\s*}}")


def read(text: str, trigger: Trigger) -> dict[str, list[Job]]:
    """Return the workflows that a trigger starts, each with its jobs in an order that fulfils ``requires``.

    Raises:
        ConfigError: the config has a construct that is not understood, or contradicts itself.
    """
    config = load_yaml(text)
    only(config, "the file", {"version", "parameters", "executors", "commands", "jobs", "workflows"})
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
        only(workflow, where, {"when", "jobs"})
        if _holds(_fill(workflow.get("when", True), values, where), where):
            entries = [entry for listed in workflow["jobs"] for entry in _entries(listed, where)]
            workflows[name] = ordered(dict(_jobs(config, entries, values, trigger, where)), where)
    return workflows


def _entries(listed: Any, where: str) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Return a workflow's entry for a job, once for each combination of its matrix."""
    name, options = (listed, {}) if isinstance(listed, str) else next(iter(listed.items()))
    matrix = options.get("matrix", {})
    only(matrix, f"{where}, {name}, matrix", {"parameters"})
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
        only(job, f"job {kind}", {"parameters", "executor", "environment", "steps", "description"})
        declared = _parameters(job, f"job {kind}")
        only(options, here, {"name", "requires", "filters", "context", *declared})
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
    only(found, f"executor {name}", {"parameters", "docker", "machine", "resource_class"})
    declared = _parameters(found, f"executor {name}")
    only(given, f"{where}, executor", {"name", *declared})
    inside = {f"parameters.{key}": given.get(key, default) for key, default in declared.items()}
    (inner,) = found["docker"] if "docker" in found else [found["machine"]]
    only(inner, f"executor {name}", {"image"})
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
            only(command, f"command {kind}", {"parameters", "steps", "description"})
            declared = _parameters(command, f"command {kind}")
            only(options, f"{where}, {kind}", set(declared))
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
        only(filled, f"{where}, {kind}", STEPS[kind])
        yield kind, filled


def _parameters(of: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Name -> default of declared parameters, ``None`` without one."""
    declared = of.get("parameters", {})
    for name, parameter in declared.items():
        only(parameter, f"{where}, parameter {name}", {"type", "default", "description"})
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
    only(filters, f"{where}, filters", {"branches"})
    branches = filters.get("branches", {})
    only(branches, f"{where}, filters", {"only", "ignore"})
    included, excluded = (branches.get(key) for key in ("only", "ignore"))
    for wanted in (included, excluded):
        if wanted is not None and (not isinstance(wanted, str) or wanted.startswith("/")):
            raise ConfigError(where, "a filter of more than one plain branch is not understood")
    return included in {None, branch} and branch != excluded


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


class CircleJob(RunningJob):
    """A job as CircleCI runs it."""

    def __init__(self, runner: Runner, job: Job) -> None:
        super().__init__(runner, job)
        if version := re.search(r"python:(\d+\.\d+)", job.image):
            self.use_python(version[1])
        own = {"HOME": self.environ["HOME"], "CI": self.environ["CI"]}
        for name in job.contexts:
            self.environ |= runner.contexts[name]
        # In this order: what a job says of itself counts more than CircleCI, and that more than a context.
        self.environ |= {
            **own,
            "CIRCLECI": "true",
            "CIRCLE_BRANCH": runner.trigger.branch,
            "CIRCLE_SHA1": runner.trigger.sha,
            "CIRCLE_JOB": job.name,
            "CIRCLE_WORKING_DIRECTORY": str(self.project),
            "BASH_ENV": str(self.home / ".bash_env"),
            **job.environment,
        }
        Path(self.environ["BASH_ENV"]).touch()

    def is_wanted(self, kind: str, options: Mapping[str, Any], *, failed: bool) -> bool:
        """Whether a step is run, after an earlier one ``failed`` or not."""
        when = options.get("when", "on_success")
        if when not in {"always", "on_success", "on_fail"}:
            raise ConfigError(f"job {self.job.name}", f"when: {when} is not understood")
        return kind.startswith("store_") or when == "always" or failed == (when == "on_fail")

    def _run(self, options: Mapping[str, Any]) -> bool:
        environ = self.environ | {name: str(value) for name, value in options.get("environment", {}).items()}
        # As CircleCI's default shell does.
        return self.execute(["/bin/bash", "-eo", "pipefail", "-c"], options["command"], environ)

    def _attach_workspace(self, options: Mapping[str, Any]) -> bool:
        for name in self.runner.upstream[self.job.name]:
            layer = self.runner.folder / "workspace" / name
            if layer.exists():
                shutil.copytree(layer, self.path(options["at"]), dirs_exist_ok=True, symlinks=True)
        return True

    def _persist_to_workspace(self, options: Mapping[str, Any]) -> bool:
        root = self.path(options["root"])
        return self.copy(root, options["paths"], self.runner.folder / "workspace" / self.job.name)

    def _restore_cache(self, options: Mapping[str, Any]) -> bool:
        for template in options["keys"]:
            key = self._key(template)
            found = [folder for folder in self._caches() if folder.joinpath("key").read_text("utf-8").startswith(key)]
            if found:
                newest = max(found, key=lambda folder: folder.stat().st_mtime_ns)
                shutil.copytree(newest / "home", self.home, dirs_exist_ok=True, symlinks=True)
                self.note(f"found {newest.joinpath('key').read_text('utf-8')}")
                return True
        self.note("nothing is cached")
        return True

    def _save_cache(self, options: Mapping[str, Any]) -> bool:
        key = self._key(options["key"])
        if any(folder.joinpath("key").read_text("utf-8") == key for folder in self._caches()):
            return True
        folder = self.runner.folder / "caches" / hashlib.sha256(key.encode()).hexdigest()
        folder.mkdir(parents=True)
        for path in options["paths"]:
            # One that is not there is told and no fault, there as well.
            self.copy(self.home, [str(self.path(path).relative_to(self.home))], folder / "home")
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
        source = self.path(options["path"])
        target = self.runner.folder / kind / self.job.name / options.get("destination", source.name)
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        else:
            self.note(f"{options['path']}: nothing there to store")
        return True

    def _setup_remote_docker(self, _options: Mapping[str, Any]) -> bool:
        return True
