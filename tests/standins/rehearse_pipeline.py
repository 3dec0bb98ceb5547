"""Run CircleCI's whole config, job by job, in clean clones against stand-ins: `make rehearse-pipeline DATA=path.csv`.

  branch     a branch is pushed: it stops before anything is published
  main       from lint to a verified production deployment
  container  the tested image is released through a real registry
  worse      models trained on 50 and on 200 rows are stopped by the floors or the comparison
  sick       a release whose readiness fails is rolled back
  api        the API alone: redeployed without retraining, while a client keeps asking
  honest     what a job no longer persists is missed by the job that needs it

The config, make, pip, git, gunicorn, the package index and Docker are the real ones; Heroku is a stand-in on this
machine. Each stage is a commit of its own in one clone. The jobs that look at the commit and not at the model (lint,
tests) run in `main` and are left out of the stages after it. The tests of each Python take the machine a while:
PYTEST_ADDOPTS='-k "plan or wheels" --cov-fail-under=0' chooses among them, and that is told.

exit status: 0 everything went as it should, 1 something did not; the last words of the job are above.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "helpers"),
    str(Path(__file__).resolve().parents[2] / "scripts"),
]

from heroku_standin import Heroku, heroku
from rehearse import Clone, RehearsalError, require, say

import pipeline
from deploy import extra_index_url
from deployable import asking
from docker_registry import Registry, docker_registry
from live_service import Service
from local_index import serve_index
from package_index import PackageIndex
from processes import stop_on_signals
from project import find_version

STAGES = ("branch", "main", "container", "worse", "sick", "api", "honest")
STAGING, PRODUCTION, CONTAINERS = "houses-staging", "houses", "houses-container"
TESTS = ("test-3.11", "test-3.12", "test-3.13")
#: What looks at the commit alone.
COMMIT_JOBS = ("lint", *TESTS)
#: Rows of worse models. Of the real data, 50 are too few for the floors, and 200 for the comparison alone.
TOO_FEW = (50, 200)
#: Exit status of what was stopped.
STOPPED = 130
#: Seconds until a release must be right, here.
LIMIT = 60
#: What jobs need of this machine and a real one has: where pip and Docker are, which tests are wanted.
PASSED = re.compile(r"PIP_.*|.*_proxy|.*_PROXY|DOCKER.*|PYTEST_ADDOPTS")


class Rehearsal:
    """The clone, the stand-ins, and the runs of the pipeline."""

    def __init__(
        self, clone: Clone, folder: Path, index: PackageIndex, platform: Heroku, registry: Registry | None, data: Path
    ) -> None:
        self.clone, self.folder, self.index, self.platform, self.registry = clone, folder, index, platform, registry
        self.data = data
        self.skip: tuple[str, ...] = ()
        self.good: tuple[str, str] = ("", "")
        self.times: list[tuple[str, str, float]] = []

    def run(self, stage: str, *, data: Path | None = None, skip: tuple[str, ...] = (), **arguments: str) -> Any:
        """Run the pipeline of what is committed in the clone; returns job -> status."""
        data = data or self.data
        contexts = {
            "data": {
                "DATA_URL_REGRESSION": str(data),
                "DATA_SHA256_REGRESSION": hashlib.sha256(data.read_bytes()).hexdigest(),
            },
            "package-index": self.index_variables,
            "heroku": self.platform.environ
            | {"STAGING_APP": STAGING, "PRODUCTION_APP": PRODUCTION, "LIMIT": str(LIMIT)},
        }
        command = ["--keep", str(self.folder / "kept"), "--branch", arguments.get("branch", "main")]
        for name, variables in contexts.items():
            path = self.folder / f"{name}.env"
            path.touch(0o600)
            path.write_text("".join(f"{key}={value}\n" for key, value in variables.items()))
            command += ["--context", f"{name}={path}"]
        for name in sorted(filter(PASSED.fullmatch, os.environ)):
            command += ["--pass", name]
        if arguments.get("branch", "main") == "main" and self.registry is None:
            skip = (*skip, "image")
        for name in {*skip, *self.skip}:
            command += ["--skip", name]
        if "unchecked" in arguments:
            command.append("--unchecked")
        started = time.monotonic()
        status = pipeline.main(command, self.clone.root)
        if status == STOPPED:
            raise KeyboardInterrupt
        self.times.append((stage, "in all", time.monotonic() - started))
        jobs = json.loads((self.folder / "kept/outcome.json").read_text("utf-8"))["jobs"]
        self.times += [(stage, name, job["seconds"]) for name, job in jobs.items() if job["seconds"]]
        found = {name: job["status"] for name, job in jobs.items()}
        require(bool(status) == bool({"failed", "not run"} & set(found.values())), f"exit status {status}")
        return found

    @property
    def index_variables(self) -> dict[str, str]:
        """The context of the package index."""
        return {
            "PACKAGE_INDEX_URL": self.index.url,
            "PACKAGE_INDEX_USER": self.index.user,
            "PACKAGE_INDEX_TOKEN": self.index.token,
        }

    def log(self, job: str) -> str:
        """What a job of the last run said."""
        return (self.folder / "kept/logs" / f"{job}.txt").read_text("utf-8")

    def told(self, job: str, *patterns: str) -> None:
        """Show lines of a job's log."""
        for line in self.log(job).splitlines():
            if any(re.search(pattern, line) for pattern in patterns):
                say(f"          {line}")

    def served(self, app: str) -> tuple[Any, Any]:
        """Artefact and commit that an app serves."""
        found = Service(self.platform.apps[app].router.url).version() or {}
        return found.get("models", {}).get("regression", {}).get("artifact_sha256"), found.get("git_commit")

    def released(self) -> dict[str, str]:
        """The wheels on the index: name -> sha256."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.folder / "index").glob("*.whl")
        }

    def change(self, path: str, old: str, new: str, message: str) -> str:
        """Commit a change of a file; returns the commit."""
        file = self.clone.root / path
        text = file.read_text("utf-8")
        require(old in text, f"{path} is changed: {message}")
        file.write_text(text.replace(old, new, 1), "utf-8")
        return self.clone.commit(message)

    def without(self, *patterns: str) -> None:
        """Hold that no secret stands in what was kept of a run."""
        secrets = {self.index.token, self.platform.key}
        for path in (self.folder / "kept").glob("logs/*"):
            require_silently(not any(secret in path.read_text("utf-8") for secret in secrets), f"a secret is in {path}")


def require_silently(condition: object, text: str) -> None:
    """Hold what need not be told."""
    if not condition:
        raise RehearsalError(text)


def succeeded(found: Mapping[str, str], *, but: tuple[str, ...] = ()) -> bool:
    """Whether every job that was not left out succeeded."""
    return all(status in {"success", "skipped"} for name, status in found.items() if name not in but)


def branch(this: Rehearsal) -> None:
    """A branch."""
    found = this.run("branch", skip=TESTS, branch="idea")
    require(list(found)[-1] == "compare" and succeeded(found), f"a branch runs {', '.join(found)}")
    require(not this.released(), "nothing is published")
    require(len(this.platform.apps[STAGING].releases) == 1, "nothing is deployed")


def main_(this: Rehearsal) -> None:
    """The main branch."""
    found = this.run("main")
    require(succeeded(found) and found["production"] == "success", "every job has succeeded")
    this.told("image", r"ml-api serves") if found["image"] == "success" else say("        image: left out")
    manifest = json.loads((this.folder / "kept/artifacts/model/wheels/manifest.json").read_text("utf-8"))
    this.good = (artifact_in(manifest), this.clone.git("rev-parse", "HEAD"))
    for app in (STAGING, PRODUCTION):
        require(this.served(app) == this.good, f"{app} serves artefact {this.good[0]} of commit {this.good[1]}")
    tested = {wheel["file"]: wheel["sha256"] for wheel in manifest["wheels"]}
    require(this.released() == tested, "published sha256 = tested sha256")
    slug = this.platform.apps[PRODUCTION].releases[-1].slug
    assert slug is not None
    pushed = Path(slug["folder"], "requirements.txt").read_text("utf-8")
    require(all(f"sha256:{digest}" in pushed for digest in tested.values()), "deployed sha256 = tested sha256")
    require(
        Path(this.folder, "kept/artifacts/compare/comparison/regression.html").exists(), "the comparison is an artifact"
    )


def artifact_in(manifest: Any) -> str:
    """The artefact of the house-price model among the wheels."""
    (artifact,) = (wheel["artifact_sha256"] for wheel in manifest["wheels"] if wheel["model"] == "regression")
    return str(artifact)


def container(this: Rehearsal) -> None:
    """The image, through a registry."""
    if this.registry is None:
        say("        left out: there is no engine")
        return
    this.platform.create(CONTAINERS, WEB_CONCURRENCY="1", HOST="127.0.0.1")
    wheels = this.folder / "kept/artifacts/model/wheels"
    clone = Clone(
        this.folder / "container",
        this.clone.environ
        | this.platform.environ
        | {"HEROKU_REGISTRY": this.registry.host, "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", "")},
        this.clone.root,
    )
    clone.project.build.mkdir()
    shutil.copytree(wheels, clone.project.wheels)
    started = time.monotonic()
    output = clone.make("deploy-container", f"APP={CONTAINERS}", f"LIMIT={LIMIT}")
    this.times.append(("container", "deploy-container", time.monotonic() - started))
    image = this.platform.apps[CONTAINERS].releases[-1].image
    require(image == this.registry.image(CONTAINERS), f"released is what the registry has: {image}")
    head = this.clone.git("rev-parse", "HEAD")
    require(this.served(CONTAINERS) == (this.good[0], head), "it serves the tested artefact, of this commit")
    require(this.platform.key not in output, "the key is not told")


def worse(this: Rehearsal) -> None:
    """Models of 50 and of 200 rows."""
    before = this.released()
    head, *rows = this.data.read_text("utf-8").splitlines(keepends=True)
    gate = r"BEYOND|STOPPED|above the limit|below the floor"
    raise_version(this)
    for count in TOO_FEW:
        few = this.folder / f"{count}.csv"
        # From all over the file, so that it is the number of them that is wrong.
        few.write_text("".join([head, *rows[:: len(rows) // count][:count]]), "utf-8")
        found = this.run(f"worse {count}", data=few, skip=COMMIT_JOBS)
        # The floors hold in training already; what they let pass, the comparison must stop.
        stopped = "model" if found["model"] == "failed" else "compare"
        this.told(stopped, gate)
        require(
            found[stopped] == "failed" and re.search(gate, this.log(stopped)),
            f"{count} rows: stopped by the gate, in the job {stopped}",
        )
        require(set(found.values()) - {"success", "skipped"} == {"failed", "not run"}, "nothing after that is run")
        require(this.released() == before, "nothing is published")
        require(this.served(PRODUCTION) == this.good, "production serves what it served")
    reset(this)


def sick(this: Rehearsal) -> None:
    """A release whose readiness fails: what starts it on the platform alone is wrong."""
    this.change("Procfile", "web: sh run.sh", "web: MODEL_DIR=/no/model sh run.sh", "A model that is not there")
    found = this.run("sick", skip=COMMIT_JOBS)
    require((found["staging"], found["production"]) == ("failed", "not run"), "staging fails, production is not run")
    require("ROLLED BACK houses-staging" in this.log("staging"), "staging is rolled back")
    this.told("staging", r"^  - ", r"^ROLLED")
    for app in (STAGING, PRODUCTION):
        require(this.served(app) == this.good, f"{app} serves what it served")
    reset(this)


def api(this: Rehearsal) -> None:
    """The API alone."""
    before = this.released()
    path = "packages/ml_api/ml_api/__init__.py"
    text = (this.clone.root / path).read_text("utf-8")
    commit = this.change(path, text, text + "# A change.\n", "A change of the API")
    row = {"OverallQual": 5, "GrLivArea": 1500, "YearBuilt": 1975, "Neighborhood": "NAmes"}
    url = this.platform.apps[PRODUCTION].router.url + "v1/predict/regression"
    with asking(url, row, pause=0.05) as client:
        found = this.run("api", skip=COMMIT_JOBS)
    require(succeeded(found) and found["production"] == "success", "every job has succeeded")
    require("its wheel is used as it is" in this.log("plan"), "the plan: use the released wheel again")
    manifest = json.loads((this.folder / "kept/artifacts/model/wheels/manifest.json").read_text("utf-8"))
    require({wheel["origin"] for wheel in manifest["wheels"]} == {"index"}, "nothing was trained or built")
    require(this.released() == before, "nothing is published anew")
    for app in (STAGING, PRODUCTION):
        require(this.served(app) == (this.good[0], commit), f"{app} serves the same artefact, of the new commit")
    require(not client.failures, f"{client.asked} requests in the meantime, and none failed: {client.failures[:3]}")


def honest(this: Rehearsal) -> None:
    """A workspace that is not passed on."""
    line = "      - persist_to_workspace: {root: ., paths: [build/plan.json, data]}\n"
    this.change(".circleci/config.yml", line, "", "The plan is not passed on")
    arguments = ["--branch", "idea", "--list"]
    require(pipeline.main(arguments, this.clone.root) == 2, "the check of the config refuses it")
    found = this.run("honest", skip=COMMIT_JOBS, branch="idea", unchecked="yes")
    require((found["plan"], found["model"]) == ("success", "failed"), "run all the same, the job model fails")
    this.told("model", r"plan:")
    reset(this)


def raise_version(this: Rehearsal) -> None:
    """Commit a higher version of the model."""
    path = this.clone.project.models("regression")[0].source / "__init__.py"
    stated = find_version(path)
    version = re.sub(r"[0-9]+$", lambda number: str(int(number.group()) + 1), stated.group(1))
    path.write_text(stated.string.replace(stated.group(1), version), "utf-8")
    this.clone.commit("A new version of the model")


def reset(this: Rehearsal) -> None:
    """Take the last commit back."""
    this.clone.git("reset", "--quiet", "--hard", "HEAD~1")


RUN: Mapping[str, Callable[[Rehearsal], None]] = dict(
    zip(STAGES, (branch, main_, container, worse, sick, api, honest), strict=True)
)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "rehearse_pipeline.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="real training data")
    parser.add_argument("--stages", default=",".join(STAGES), help="which, in this order (%(default)s)")
    parser.add_argument("--skip", default="", help="jobs to leave out of each stage: test-3.12,test-3.13")
    parser.add_argument("--without-engine", action="store_true", help="leave out what needs Docker")
    parser.add_argument("--keep", type=Path, help="keep logs, artifacts and caches here")
    parser.add_argument(
        "--delay", type=float, default=8.0, help="seconds from a bound port to the switch (%(default)s)"
    )
    options = parser.parse_args()
    stages = options.stages.split(",")
    if not set(stages) <= set(STAGES):
        parser.error(f"--stages: of {', '.join(STAGES)}")
    here = {name: value for name, value in os.environ.items() if not name.startswith(("PACKAGE_INDEX_", "HEROKU_"))}
    for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        here.pop(variable, None)
    pip = {name: value for name, value in here.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")}
    pip.pop("PIP_EXTRA_INDEX_URL", None)
    started = time.monotonic()
    with stop_on_signals(), ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        index = stack.enter_context(serve_index(folder / "index"))
        registry = None
        settings: dict[str, Any] = {"pip_environ": pip, "delay": options.delay}
        platform = stack.enter_context(heroku(folder / "heroku", **settings))
        if not options.without_engine:
            registry = stack.enter_context(docker_registry(folder / "registry", platform.key))
            platform.image_command = registry.run_command
        config = {"PIP_EXTRA_INDEX_URL": extra_index_url(index), "WEB_CONCURRENCY": "1", "HOST": "127.0.0.1"}
        for name in (STAGING, PRODUCTION):
            platform.create(name, **config)
        this = Rehearsal(Clone(folder / "clone", here), folder, index, platform, registry, options.data.resolve())
        this.skip = tuple(filter(None, options.skip.split(",")))
        try:
            for stage in stages:
                say(f"\n{stage}: {RUN[stage].__doc__}")
                RUN[stage](this)
                this.without()
        except RehearsalError as error:
            say(f"\nNOT as it should be: {error}")
            for log in folder.glob("heroku/*/v*.log"):
                say(f"{log.parent.name}/{log.name}: {log.read_text('utf-8', 'replace')[-500:]}")
            return 1
        except KeyboardInterrupt:
            say("\nstopped")
            return STOPPED
        finally:
            say("\n" + "\n".join(f"{stage:10} {job:16} {seconds:6.0f} s" for stage, job, seconds in this.times))
    say(f"\nEverything went as it should, in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
