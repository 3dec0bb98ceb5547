"""What our make targets pass on and who must have judged: holds a CI's config to it before a job is run.

A job that requires too little may run too early, without a file, or past a judgement. This finds it in the config
alone; that the targets do make and need these files is what a run shows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol

#: Target -> the files that it makes and others need. `make plan` in a job makes them there; a workspace passes them on.
MAKES: Mapping[str, Collection[str]] = {
    "data": {"data"},
    "plan": {"build/plan.json"},
    "model": {"packages/*/src/*/bundle"},
    "wheels": {"build/wheels"},
    "release": {"build/published.txt"},
    "released": {"build/wheels", "build/published.txt"},
    "release-notes": {"build/notes.md"},
    "image": {"the image"},
}
#: Target -> the files without which it fails, or would do something else.
NEEDS: Mapping[str, Collection[str]] = {
    "plan": {"data"},
    "model": {"build/plan.json", "data"},
    "wheels": {"build/plan.json", "packages/*/src/*/bundle"},
    "test-wheel": {"build/wheels"},
    "compare": {"build/plan.json", "packages/*/src/*/bundle"},
    "held-back": {"build/wheels"},
    "release": {"build/wheels"},
    "release-notes": {"build/wheels"},
    "image": {"build/published.txt"},
    "smoke-image": {"build/published.txt", "the image"},
    "push-image": {"the image"},
    "deploy-kubernetes": {"build/wheels"},
    "deploy": {"build/wheels"},
    "deploy-container": {"build/wheels"},
    "promote": {"build/wheels"},
}
TESTS = ".ci/run"
_OF_A_COMMIT = frozenset({"lint", "typecheck", "imports", "tracked", "audit", TESTS})
#: What goes out -> what must have succeeded before, in every job that does it.
AFTER: Mapping[str, Collection[str]] = {
    "wheels": {"compare"},
    "release": _OF_A_COMMIT | {"test-wheel", "compare"},
    "push-image": _OF_A_COMMIT | {"test-wheel", "smoke-image"},
    "deploy-kubernetes": {"push-image"},
    "deploy": {"release", "smoke-image"},
    "deploy-container": {"release", "smoke-image"},
    "promote": {"deploy"},
}


#: Steps that pass files on, and that take what was passed on.
_PASSES_ON = frozenset({"persist_to_workspace", "upload_artifact"})
_TAKES = frozenset({"attach_workspace", "download_artifact"})


class Job(Protocol):
    """The interface of a job; :class:`pipelines.jobs.Job` has it."""

    @property
    def name(self) -> str: ...
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def steps(self) -> tuple[tuple[str, Any], ...]: ...


def targets(command: str) -> list[str]:
    """Return the targets of make that a command names, and the tests, in order."""
    found: list[str] = []
    for line in command.splitlines():
        words = line.split()
        if words[:1] == ["make"]:
            for word in words[1:]:
                if not re.fullmatch("[a-z-]+", word):
                    break
                found.append(word)
        elif words[:1] == [TESTS]:
            found.append(TESTS)
    return found


def faults(jobs: Sequence[Job]) -> list[str]:
    """Return the faults of the jobs of a workflow, which come in an order that fulfils what they require."""
    return [fault for job in jobs for fault in (*_missing_files(job, jobs), *_missing_judges(job, jobs))]


def _missing_files(job: Job, jobs: Sequence[Job]) -> Iterator[str]:
    passed = {path: upstream.name for upstream in _upstream(job, jobs) for path in _persisted(upstream)}
    have: set[str] = set()
    for kind, options in job.steps:
        if kind in _TAKES:
            have |= set(passed)
        elif kind == "run":
            for target in targets(options["command"]):
                for path in sorted(set(NEEDS.get(target, ())) - have):
                    why = _why(path, job, jobs, attached=path in passed)
                    yield f"job {job.name}: `make {target}` needs {path}, {why}"
                have |= set(MAKES.get(target, ()))
        elif kind in _PASSES_ON:
            for path in sorted(set(_paths(kind, options)) & {path for made in MAKES.values() for path in made} - have):
                yield f"job {job.name}: passes on {path}, which nothing makes there"


def _why(path: str, job: Job, jobs: Sequence[Job], *, attached: bool) -> str:
    if attached:
        return "and the job does not attach the workspace before"
    makers = [other.name for other in jobs if path in _persisted(other)]
    if makers:
        return f"which {' and '.join(makers)} passes on; {job.name} does not require it"
    return "and no job persists it to the workspace"


def _missing_judges(job: Job, jobs: Sequence[Job]) -> Iterator[str]:
    before = {upstream.name for upstream in _upstream(job, jobs)}
    done: set[str] = set()
    for kind, options in job.steps:
        for target in targets(options["command"]) if kind == "run" else ():
            for judge in sorted(AFTER.get(target, ())):
                judging = [other.name for other in jobs if other is not job and judge in _all_targets(other)]
                if not judging and judge not in done:
                    yield f"job {job.name}: `make {target}`, and no job runs {judge}"
                for name in judging:
                    if name not in before:
                        yield f"job {job.name}: `make {target}` does not wait for {name}, which runs {judge}"
            done.add(target)


def _upstream(job: Job, jobs: Sequence[Job]) -> list[Job]:
    """Return all that must have succeeded before a job."""
    by_name = {other.name: other for other in jobs}
    found: dict[str, Job] = {}
    left = list(job.requires)
    while left:
        name = left.pop()
        if name not in found:
            found[name] = by_name[name]
            left += by_name[name].requires
    return list(found.values())


def _all_targets(job: Job) -> set[str]:
    return {target for kind, options in job.steps if kind == "run" for target in targets(options["command"])}


def _persisted(job: Job) -> set[str]:
    return {path for kind, options in job.steps if kind in _PASSES_ON for path in _paths(kind, options)}


def _paths(kind: str, options: Mapping[str, Any]) -> list[str]:
    if kind == "upload_artifact":
        return [str(PurePosixPath(path)) for path in options["with"]["path"].split()]
    return [str(PurePosixPath(options["root"], path)) for path in options["paths"]]
