"""What a workflow of any CI is here: what starts it, its jobs, in order, and their steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from project import ScriptError


class ConfigError(ScriptError):
    """A config has something that is not understood; the text says where."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{where}: {text}", 2)


@dataclass(frozen=True)
class Trigger:
    """What starts a pipeline.

    Attributes:
        branch: the branch that was pushed; empty for a tag.
        sha: its commit.
        source: ``webhook`` for a push, ``scheduled_pipeline`` for a schedule.
        parameters: pipeline parameters that differ from their defaults.
        tag: the tag that was pushed.
    """

    branch: str
    sha: str
    source: str = "webhook"
    parameters: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""


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
        outputs: what it passes on to jobs that require it: name -> expression.
    """

    name: str
    requires: tuple[str, ...]
    image: str
    environment: Mapping[str, str]
    contexts: tuple[str, ...]
    steps: tuple[tuple[str, Any], ...]
    outputs: Mapping[str, str] = field(default_factory=dict)


def ordered(jobs: Mapping[Job, bool], where: str) -> list[Job]:
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


def only(of: Any, where: str, known: Collection[str]) -> None:
    """Require a mapping that has no other keys than these.

    Raises:
        ConfigError: it is something else, or has another key.
    """
    if not isinstance(of, dict):
        raise ConfigError(where, f"{of!r} is not understood")
    unknown = set(of) - set(known)
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


def load_yaml(text: str) -> Any:
    """Return a YAML document in which no key is given twice.

    Raises:
        ConfigError: it is no YAML, or a key is given twice.
    """
    try:
        return yaml.load(text, _UniqueKeys)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ConfigError("not YAML", str(error)) from error
