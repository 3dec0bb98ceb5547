"""Runs the jobs of a workflow one after the other, each in a clean clone with an empty home."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.jobs import Job, Trigger
from processes import child
from project import ScriptError


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
        make_job: makes what runs one job.
        upstream: name of a job that ran -> all that had succeeded before.
        outputs: name of a job that ran -> what it passes on by name.
        not_run: what jobs asked for and cannot be run here.
    """

    root: Path
    trigger: Trigger
    folder: Path
    contexts: Mapping[str, Mapping[str, str]]
    passed: Mapping[str, str]
    python: Callable[[str], Path | None]
    make_job: Callable[[Runner, Job], RunningJob]
    upstream: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    not_run: set[str] = field(default_factory=set)

    def record(self, job: Job) -> None:
        """Note what came before a job; one that is left out passes on what it was given."""
        self.upstream[job.name] = tuple(
            dict.fromkeys(name for needed in job.requires for name in (*self.upstream[needed], needed))
        )

    def run(self, job: Job) -> bool:
        """Run a job; whether it succeeded."""
        self.record(job)
        return self.make_job(self, job).run()


class RunningJob:
    """One job while it runs; what a CI does in its own way is in a class of its module."""

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
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            **runner.passed,
            "HOME": str(self.home),
            "CI": "true",
        }

    def use_python(self, version: str) -> None:
        """Put a version of Python first on the path, and nothing else of its folder, which may be /usr/bin.

        Raises:
            ScriptError: it is not here.
        """
        folder = self.runner.python(version)
        if folder is None:
            raise ScriptError(f"job {self.job.name} needs Python {version}; there is no Python {version} here")
        programs = self.home / "python"
        programs.mkdir(exist_ok=True)
        for name in ("python", "python3", f"python{version}"):
            # No link: an environment that is made with it would be of this job's home.
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(str(folder / "python3"))} "$@"\n', "utf-8")
            (programs / name).chmod(0o755)
        self.environ["PATH"] = f"{programs}{os.pathsep}{self.environ['PATH']}"

    def run(self) -> bool:
        """Run its steps; whether it succeeded."""
        failed = False
        for kind, options in self.job.steps:
            if not self.is_wanted(kind, options, failed=failed):
                continue
            title = options.get("name") or options.get("command", "").strip().partition("\n")[0] or kind
            self.note(f"--- {title}")
            failed |= not getattr(self, f"_{kind}")(options)
        return not failed

    def is_wanted(self, kind: str, options: Mapping[str, Any], *, failed: bool) -> bool:
        """Whether a step is run, after an earlier one ``failed`` or not."""
        raise NotImplementedError

    def note(self, text: str) -> None:
        """Write a line to the job's log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def execute(self, shell: Sequence[str], command: str, environ: Mapping[str, str]) -> bool:
        """Run a command in the clone; whether it succeeded."""
        with (
            self.log.open("ab") as log,
            child([*shell, command], cwd=self.project, env=environ, output=log.fileno()) as process,
        ):
            status = process.wait()
        if status:
            self.note(f"exit status {status}")
        return status == 0

    def path(self, path: str) -> Path:
        """Return a path of a step: below the home, or relative to the clone."""
        return self.home / path.removeprefix("~/") if path.startswith("~/") else self.project / path

    def copy(self, root: Path, paths: Sequence[str], target: Path) -> bool:
        """Copy files below a folder to another one; whether each pattern was found."""
        for pattern in paths:
            found = sorted(root.glob(pattern))
            if not found:
                self.note(f"{root / pattern}: there is no such file")
                return False
            for source in found:
                to = target / source.relative_to(root)
                to.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, to, dirs_exist_ok=True, symlinks=True)
                else:
                    shutil.copy2(source, to)
        return True

    def _checkout(self, _options: Mapping[str, Any]) -> bool:
        trigger = self.runner.trigger
        at = ["-B", trigger.branch] if trigger.branch else ["--detach"]
        for command in (
            ["clone", "--quiet", "--no-hardlinks", "--no-checkout", str(self.runner.root), "."],
            ["checkout", "--quiet", *at, trigger.sha],
        ):
            subprocess.run(["git", *command], cwd=self.project, check=True)
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
            runner.record(job)
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
