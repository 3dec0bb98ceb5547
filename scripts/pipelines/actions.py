"""Workflows of GitHub Actions: their jobs, and how one runs. Only what our workflows use is understood.

An action must be pinned by its commit. Of actions, those that fetch and pass on files or set up Python are done here;
those of ``NOT_RUN`` are left out, and told. Secrets and variables of an environment are those of the context of its
name, those of the repository (``GITHUB_TOKEN`` among them) those of the context ``repository``.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipelines.jobs import ConfigError, Job, Trigger, load_yaml, only, ordered
from pipelines.running import Runner, RunningJob

#: Actions that are understood -> the kind of their step, and the inputs that they may have.
ACTIONS: Mapping[str, tuple[str, frozenset[str]]] = {
    "actions/checkout": ("checkout", frozenset({"persist-credentials", "fetch-depth"})),
    "actions/setup-python": ("setup_python", frozenset({"python-version"})),
    "actions/upload-artifact": ("upload_artifact", frozenset({"name", "path", "if-no-files-found"})),
    "actions/download-artifact": ("download_artifact", frozenset({"name", "path"})),
}
#: Actions that talk to services that are not here.
NOT_RUN = frozenset({"actions/attest", "anchore/sbom-action"})
REPOSITORY = "repository"
#: What an expression may begin with.
_ROOTS = frozenset({"github", "matrix", "needs", "secrets", "steps", "vars"})
#: YAML 1.1 reads the key `on` as true.
_ON: Any = True
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_PINNED = re.compile(r"(?P<action>[\w.-]+/[\w./-]+)@[0-9a-f]{40}")
_STEP = {"name", "id", "if", "uses", "with", "env", "run"}
_JOB = {"name", "needs", "runs-on", "strategy", "environment", "permissions", "env", "outputs", "steps"} | {
    "timeout-minutes"
}


def read(text: str, trigger: Trigger, load: Callable[[str], str]) -> dict[str, list[Job]]:
    """Return the workflow, if the trigger starts it, with its jobs in an order that fulfils ``needs``.

    Args:
        text: of the workflow's file.
        trigger: the push of a branch or a tag.
        load: path of another file of the commit -> its text.

    Raises:
        ConfigError: the workflow has a construct that is not understood, or contradicts itself.
    """
    workflow = _workflow(text)
    events = workflow[_ON]
    only(events, "on", {"push", "workflow_call"})
    only(events.get("push", {}), "on, push", {"branches", "tags"})
    kind, name = ("tags", trigger.tag) if trigger.tag else ("branches", trigger.branch)
    if not any(_matches(pattern, name) for pattern in events.get("push", {}).get(kind, [])):
        return {}
    return {workflow["name"]: ordered(dict.fromkeys(_jobs(workflow, load), True), f"workflow {workflow['name']}")}


def _workflow(text: str) -> Any:
    workflow = load_yaml(text)
    only(workflow, "the file", {"name", _ON, "permissions", "concurrency", "jobs"})
    return workflow


def _matches(pattern: str, name: str) -> bool:
    """Return whether a name is what a filter of branches or tags means."""
    parts = {"**": ".*", "*": "[^/]*", ".": r"\."}
    return re.fullmatch(re.sub(r"\*\*|\*|\.", lambda found: parts[found[0]], pattern), name) is not None


def _jobs(workflow: Any, load: Callable[[str], str], prefix: str = "") -> Iterator[Job]:
    """Return the jobs, those of workflows that are called by theirs put in."""
    made: dict[str, list[Job]] = {}
    called: dict[str, list[Job]] = {}
    for name, job in workflow["jobs"].items():
        here = f"job {prefix}{name}"
        if "uses" in job:
            only(job, here, {"uses", "permissions", "needs"})
            if not job["uses"].startswith("./"):
                raise ConfigError(here, f"{job['uses']} is not of this repository")
            called[name] = list(_jobs(_workflow(load(job["uses"][2:])), load, f"{prefix}{name}-"))
            made[name] = called[name]
        else:
            made[name] = list(_matrix(f"{prefix}{name}", job, here))
    for name, job in workflow["jobs"].items():
        wanted = _names(job.get("needs", []))
        unknown = [needed for needed in wanted if needed not in made]
        if unknown:
            raise ConfigError(f"job {prefix}{name}", f"there is no job {', '.join(unknown)}")
        requires = tuple(one.name for needed in wanted for one in made[needed])
        for one in made[name]:
            yield replace(one, requires=one.requires + requires)


def _matrix(name: str, job: Any, where: str) -> Iterator[Job]:
    """Return a job, once for each combination of its matrix."""
    only(job, where, _JOB)
    strategy = job.get("strategy", {})
    only(strategy, f"{where}, strategy", {"fail-fast", "matrix"})
    axes: dict[str, list[str]] = strategy.get("matrix", {})
    environment = job.get("environment")
    if environment is not None and not isinstance(environment, str):
        raise ConfigError(where, "an environment that is no name is not understood")
    for combination in itertools.product(*axes.values()):
        values = {f"matrix.{axis}": value for axis, value in zip(axes, combination, strict=True)}
        yield Job(
            name="-".join((name, *combination)),
            requires=(),
            image=job["runs-on"],
            environment=_fill(job.get("env", {}), values, where),
            contexts=(environment,) if environment else (),
            steps=tuple(_steps(job, values, where)),
            outputs=_fill(job.get("outputs", {}), values, where),
        )


def _steps(job: Any, values: Mapping[str, str], where: str) -> Iterator[tuple[str, Any]]:
    known: set[str] = set()
    needs = _names(job.get("needs", []))
    for number, step in enumerate(job["steps"], 1):
        here = f"{where}, step {number}"
        only(step, here, _STEP)
        if step.get("if", "always()") not in {"always()", "failure()"}:
            raise ConfigError(here, f"if: {step['if']} is not understood")
        filled = _fill(step, values, here)
        for root, name in re.findall(r"\$\{\{\s*(steps|needs)\.([\w-]+)", str(filled)):
            if name not in (known if root == "steps" else needs):
                raise ConfigError(here, f"{root}.{name}: there is no such one before")
        known |= {step["id"]} if "id" in step else set()
        if "run" in step:
            if _EXPRESSION.search(step["run"]):
                raise ConfigError(here, "an expression in run would be code; pass it by env")
            yield "run", {"command": filled.pop("run"), **filled}
            continue
        pinned = _PINNED.fullmatch(step["uses"])
        if pinned is None:
            raise ConfigError(here, f"{step['uses']} is not pinned by its commit")
        if pinned["action"] in NOT_RUN:
            yield "not_run", filled | {"uses": pinned["action"]}
            continue
        if pinned["action"] not in ACTIONS:
            raise ConfigError(here, f"the action {pinned['action']} is not understood")
        kind, inputs = ACTIONS[pinned["action"]]
        only(step.get("with", {}), here, inputs)
        yield kind, filled


def _names(needs: str | list[str]) -> list[str]:
    return [needs] if isinstance(needs, str) else needs


def _fill(value: Any, values: Mapping[str, str], where: str) -> Any:
    """Return ``value`` with what is known before a run put in.

    Raises:
        ConfigError: an expression is no name.
    """

    def fill(match: re.Match[str]) -> str:
        if not re.fullmatch(r"[a-z]+(\.[\w-]+)+", match[1]) or match[1].partition(".")[0] not in _ROOTS:
            raise ConfigError(where, f"the expression {match[1]} is not understood")
        if match[1].startswith("matrix.") and match[1] not in values:
            raise ConfigError(where, f"the matrix has no {match[1]}")
        return values.get(match[1], match[0])

    if isinstance(value, str):
        return _EXPRESSION.sub(fill, value)
    return {key: _fill(item, values, where) for key, item in value.items()} if isinstance(value, dict) else value


class ActionsJob(RunningJob):
    """A job as GitHub's runner runs it."""

    def __init__(self, runner: Runner, job: Job) -> None:
        super().__init__(runner, job)
        trigger = runner.trigger
        self.variables = dict(runner.contexts.get(REPOSITORY, {}))
        for name in job.contexts:
            self.variables |= runner.contexts[name]
        kind, name = ("tag", trigger.tag) if trigger.tag else ("branch", trigger.branch)
        self.github = {
            "actor": self.variables.get("GITHUB_ACTOR", "somebody"),
            "ref": f"refs/{'tags' if trigger.tag else 'heads'}/{name}",
            "ref_name": name,
            "ref_type": kind,
            "repository": self.variables.get("GITHUB_REPOSITORY", "somebody/something"),
            "sha": trigger.sha,
        }
        self.steps: dict[str, str] = {}
        temporary = self.home / "temp"
        temporary.mkdir()
        self.environ |= {f"GITHUB_{name.upper()}": value for name, value in self.github.items()}
        self.environ |= {
            "GITHUB_ACTIONS": "true",
            "GITHUB_JOB": job.name,
            "GITHUB_WORKSPACE": str(self.project),
            "RUNNER_TEMP": str(temporary),
        }
        self.environ |= {name: self.evaluate(value) for name, value in job.environment.items()}

    def run(self) -> bool:
        """Run its steps; whether it succeeded."""
        succeeded = super().run()
        self.runner.outputs[self.job.name] = {name: self.evaluate(text) for name, text in self.job.outputs.items()}
        return succeeded

    def evaluate(self, text: object) -> str:
        """Return a text with its expressions filled in; a secret or variable that is not set is empty."""

        def value(match: re.Match[str]) -> str:
            root, _, name = match[1].partition(".")
            if root == "github":
                return self.variables.get("GITHUB_TOKEN", "") if name == "token" else self.github[name]
            if root == "steps":
                return self.steps.get(name, "")
            if root == "needs":
                job, _, output = name.partition(".outputs.")
                return self.runner.outputs.get(job, {}).get(output, "")
            return self.variables.get(name, "")

        return _EXPRESSION.sub(value, str(text))

    def is_wanted(self, kind: str, options: Mapping[str, Any], *, failed: bool) -> bool:
        """Whether a step is run, after an earlier one ``failed`` or not."""
        condition = options.get("if")
        return condition == "always()" or failed == (condition == "failure()")

    def _run(self, options: Mapping[str, Any]) -> bool:
        output = self.home / "temp/output"
        output.write_text("", "utf-8")
        environ = self.environ | {name: self.evaluate(value) for name, value in options.get("env", {}).items()}
        # As the runner's default shell does.
        succeeded = self.execute(
            ["/bin/bash", "-e", "-c"], options["command"], environ | {"GITHUB_OUTPUT": str(output)}
        )
        if "id" in options:
            pairs = [line.partition("=") for line in output.read_text("utf-8").splitlines()]
            self.steps |= {f"{options['id']}.outputs.{name}": value for name, _, value in pairs}
        return succeeded

    def _setup_python(self, options: Mapping[str, Any]) -> bool:
        self.use_python(options["with"]["python-version"])
        return True

    def _upload_artifact(self, options: Mapping[str, Any]) -> bool:
        paths = options["with"]["path"].split()
        # As there: one folder is the root of the artifact, of several paths what they have in common.
        root = self.path(paths[0] if len(paths) == 1 else os.path.commonpath(paths))
        names = [str(self.path(path).relative_to(root)) for path in paths] if len(paths) > 1 else ["*"]
        target = self.runner.folder / "artifacts" / options["with"]["name"]
        return self.copy(root, names, target)

    def _download_artifact(self, options: Mapping[str, Any]) -> bool:
        source = self.runner.folder / "artifacts" / options["with"]["name"]
        if not source.is_dir():
            self.note(f"there is no artifact {options['with']['name']}")
            return False
        shutil.copytree(source, self.path(options["with"]["path"]), dirs_exist_ok=True)
        return True

    def _not_run(self, options: Mapping[str, Any]) -> bool:
        self.note(f"{options['uses']} is not run here")
        self.runner.not_run.add(options["uses"])
        return True
