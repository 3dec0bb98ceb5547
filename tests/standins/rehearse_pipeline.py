"""Run the whole configs of CI, job by job, in clean clones against stand-ins: `make rehearse-pipeline DATA=path.csv`.

  branch     a branch is pushed: it stops before anything is published
  main       from lint to a verified production deployment
  container  the tested image is released through a real registry
  worse      models trained on 50 and on 200 rows are stopped by the floors or the comparison
  several    two models are new and one of them is worse: the other one is released and deployed
  sick       a release whose readiness fails is rolled back
  api        the API alone: redeployed without retraining, while a client keeps asking
  honest     what a job no longer persists is missed by the job that needs it
  tag        a tag: GitHub's workflow takes what main released to two clusters; one whose pods are not ready goes back

The configs, make, pip, git, gunicorn, the package index, the registry and Docker are the real ones; Heroku, kubectl
with its clusters, and gh are stand-ins on this machine. Each stage is a commit of its own in one clone. The jobs that
look at the commit and not at the model (lint, site, tests) run in `main` and are left out of the stages after it. The
tests of each Python take the machine a while: PYTEST_ADDOPTS='-k "plan or wheels" --cov-fail-under=0' chooses among
them, and that is told.

One stage alone: `make rehearse-pipeline DATA=path.csv REHEARSE="--stages tag"`. What it needs of `main` is made first,
without those jobs. After a stage that fails the commit is taken back, and the next stage runs.

exit status: 0 everything went as it should, 1 something did not; the last words of the job are above.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "helpers"),
    str(Path(__file__).resolve().parents[2] / "scripts"),
]

from cluster import Cluster, Image, serve
from heroku_standin import Heroku, heroku
from rehearse import DATA, Clone, RehearsalError, require, say

import pipeline
from deploy import extra_index_url
from deployable import asking
from docker_registry import Registry, docker_registry
from live_service import Service
from local_index import serve_index
from package_index import PackageIndex
from processes import stop_on_signals
from project import MODEL_KIT, find_version

STAGES = ("branch", "main", "container", "worse", "several", "sick", "api", "honest", "tag")
STAGING, PRODUCTION, CONTAINERS = "houses-staging", "houses", "houses-container"
TESTS = ("test-3.11", "test-3.12", "test-3.13")
#: What looks at the commit alone: in both CIs, and in CircleCI.
TAG_COMMIT_JOBS = ("lint", *TESTS)
COMMIT_JOBS = ("lint", "site", *TESTS)
#: What is run where other stages need the main branch and it is not among them.
PREPARE = "main, released"
#: Stages that need nothing of the main branch.
INDEPENDENT = frozenset({"branch", "main", "honest"})
#: The second model, and where its data are.
SECOND, SECOND_DATA = "rehearsal", "data/rehearsal.csv"
#: What the floors and the comparison say.
GATE = r"BEYOND|STOPPED|above the limit|below the floor"
OVERLAYS = ("staging", "production")
#: GitHub's command line: keeps the notes of the release that it is told to make.
GH = """#!/bin/sh
test "$2" = create || exit 1
test -n "$GH_TOKEN" || exit 4
while [ "$1" != --notes-file ]; do shift; done
cp "$2" "{folder}/notes.md"
"""
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
        self.secrets = {index.token, platform.key}
        self.data = {"regression": data}
        self.skip: tuple[str, ...] = ()
        self.good: tuple[str, str] = ("", "")
        self.times: list[tuple[str, str, float]] = []

    def run(self, stage: str, *, data: Path | None = None, skip: tuple[str, ...] = (), **arguments: str) -> Any:
        """Run the pipeline of what is committed in the clone, with other data of the houses; returns job -> status."""
        files = self.data | ({"regression": data} if data else {})
        contexts = {
            "data": {
                f"DATA_{what}_{model.upper()}": value
                for model, path in files.items()
                for what, value in (("URL", str(path)), ("SHA256", hashlib.sha256(path.read_bytes()).hexdigest()))
            },
            "package-index": self.index.variables,
            "heroku": self.platform.environ
            | {"STAGING_APP": STAGING, "PRODUCTION_APP": PRODUCTION, "LIMIT": str(LIMIT)},
        }
        branch = arguments.get("branch", "main")
        if branch == "main" and self.registry is None:
            skip = (*skip, "image")
        command = ["--branch", branch, *(["--unchecked"] if "unchecked" in arguments else [])]
        return self.run_config(stage, command, contexts, skip)

    def run_config(
        self, stage: str, command: list[str], contexts: Mapping[str, Mapping[str, str]], skip: tuple[str, ...]
    ) -> Any:
        """Run a config with these contexts, without the jobs in ``skip``; returns job -> status."""
        command = [*command, "--keep", str(self.folder / "kept")]
        for name, variables in contexts.items():
            path = self.folder / f"{name}.env"
            path.touch(0o600)
            path.write_text("".join(f"{key}={value}\n" for key, value in variables.items()))
            command += ["--context", f"{name}={path}"]
        for name in sorted(filter(PASSED.fullmatch, os.environ)):
            command += ["--pass", name]
        for name in {*skip, *self.skip}:
            command += ["--skip", name]
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

    def log(self, job: str) -> str:
        """What a job of the last run said."""
        return (self.folder / "kept/logs" / f"{job}.txt").read_text("utf-8")

    def told(self, job: str, *patterns: str) -> None:
        """Show lines of a job's log."""
        for line in self.log(job).splitlines():
            if any(re.search(pattern, line) for pattern in patterns):
                say(f"          {line}")

    def served(self, app: str) -> tuple[Any, Any]:
        """Artefact of the houses and commit that an app serves."""
        return served(self.platform.apps[app].router.url)

    def versions(self, app: str) -> dict[str, str]:
        """The versions of the models that an app serves."""
        found = Service(self.platform.apps[app].router.url).version() or {}
        return {name: lineage["version"] for name, lineage in found.get("models", {}).items()}

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
        for path in (self.folder / "kept").glob("logs/*"):
            text = path.read_text("utf-8")
            require_silently(not any(secret in text for secret in self.secrets), f"a secret is in {path}")


def served(url: str, key: str = "") -> tuple[Any, Any]:
    """Artefact of the houses and commit that are served somewhere."""
    found = Service(url, key).version() or {}
    return found.get("models", {}).get("regression", {}).get("artifact_sha256"), found.get("git_commit")


def require_silently(condition: object, text: str) -> None:
    """Hold what need not be told."""
    if not condition:
        raise RehearsalError(text)


def succeeded(found: Mapping[str, str], *, but: tuple[str, ...] = ()) -> bool:
    """Whether every job that was not left out succeeded."""
    return all(status in {"success", "skipped"} for name, status in found.items() if name not in but)


def branch(this: Rehearsal) -> None:
    """A branch."""
    before, releases = this.released(), len(this.platform.apps[STAGING].releases)
    found = this.run("branch", skip=("site", *TESTS), branch="idea")
    require(set(found) == {*COMMIT_JOBS, "plan", "model", "held-back"}, f"a branch runs {', '.join(found)}")
    require(succeeded(found), "every job has succeeded")
    require(this.released() == before, "nothing is published")
    require(len(this.platform.apps[STAGING].releases) == releases, "nothing is deployed")


def main_(this: Rehearsal, skip: tuple[str, ...] = ()) -> None:
    """The main branch."""
    found = this.run("main", skip=skip)
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
    require(is_deployed(manifest, pushed), "deployed sha256 = tested sha256")
    require(
        Path(this.folder, "kept/artifacts/model/comparison/regression.html").exists(), "the comparison is an artifact"
    )


def is_deployed(manifest: Any, requirements: str) -> bool:
    """Whether requirements have the sha256 of each tested wheel that a server needs, and not that of the client."""
    return all((f"sha256:{wheel['sha256']}" in requirements) != wheel["is_client"] for wheel in manifest["wheels"])


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
    raise_version(this, "regression")
    for count in TOO_FEW:
        found = this.run(f"worse {count}", data=few(this, count), skip=COMMIT_JOBS)
        this.told("model", GATE)
        require(
            found["model"] == "failed" and re.search(GATE, this.log("model")),
            f"{count} rows: stopped by the floors or the comparison",
        )
        require(set(found.values()) - {"success", "skipped"} == {"failed", "not run"}, "nothing after that is run")
        require(this.released() == before, "nothing is published")
        require(this.served(PRODUCTION) == this.good, "production serves what it served")
    reset(this)


def few(this: Rehearsal, count: int) -> Path:
    """A file with so many of the houses, from all over it, so that it is the number of them that is wrong."""
    path = this.folder / f"{count}.csv"
    path.write_text(choose_rows(this.data["regression"].read_text("utf-8"), count), "utf-8")
    return path


def choose_rows(text: str, count: int) -> str:
    """So many rows of a CSV file from all over it; each column has a value, as training refuses an empty one."""
    head, *lines = text.splitlines()
    rows = [line.split(",") for line in lines]
    filled = [
        next((n for n, row in enumerate(rows) if row[column] not in {"", "NA"}), 0) for column in range(len(rows[0]))
    ]
    spread = range(0, len(rows), len(rows) // count)
    chosen = list(dict.fromkeys([*filled, *spread]))[:count]
    return "\n".join([head, *(lines[number] for number in sorted(chosen)), ""])


def several(this: Rehearsal) -> None:
    """Two models, of which one is worse."""
    add_second(this)
    found = this.run("several", skip=COMMIT_JOBS)
    require(succeeded(found) and found["held-back"] == "success", "a second model is released")
    good = this.versions(PRODUCTION)
    require(set(good) == {"regression", SECOND}, f"production serves {good}")
    both = this.clone.git("rev-parse", "HEAD")
    artifact = this.served(PRODUCTION)[0]
    for count in TOO_FEW:
        before = this.released()
        raise_version(this, SECOND)
        raise_version(this, "regression")
        found = this.run(f"several {count}", data=few(this, count), skip=COMMIT_JOBS)
        this.told("model", r"^HELD BACK", GATE)
        require("HELD BACK: regression-model" in this.log("model"), f"{count} rows: the houses are held back")
        require(
            found["held-back"] == "failed"
            and found["production"] == "success"
            and succeeded(found, but=("held-back",)),
            "the job held-back fails, and every other one has succeeded",
        )
        version = this.clone.project.models(SECOND)[0].base_version()
        new = sorted(set(this.released()) - set(before))
        require([name.split("-")[:2] for name in new] == [["rehearsal_model", version]], f"published is {new} alone")
        require(before.items() <= this.released().items(), "what was released before is as it was")
        head = this.clone.git("rev-parse", "HEAD")
        for app in (STAGING, PRODUCTION):
            expected = {"regression": good["regression"], SECOND: version}
            require(this.versions(app) == expected, f"{app} serves {expected}")
            require(this.served(app) == (artifact, head), f"{app} serves the released houses, of this commit")
    this.good = (artifact, head)
    this.clone.git("reset", "--quiet", "--hard", both)


def add_second(this: Rehearsal) -> None:
    """Commit a second model, as docs/own-model.md makes it; its data are not part of the commit."""
    folder = this.folder / "second"
    (folder / "data").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", DATA], cwd=folder, check=True)
    command = [*MODEL_KIT, "new", SECOND, "--data", SECOND_DATA, "--target", "target"]
    subprocess.run([*command, "--into", str(this.clone.root / "packages")], cwd=folder, check=True)
    this.data[SECOND] = folder / SECOND_DATA
    this.clone.commit("A second model")


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


def tag(this: Rehearsal) -> None:
    """A tag."""
    if this.registry is None:
        say("        left out: there is no engine")
        return
    version = find_version(this.clone.root / "packages/ml_api/ml_api/__init__.py").group(1)
    head = this.clone.git("rev-parse", "HEAD")
    key = make_key(this.clone.root / "packages/ml_api", this.folder / "keys")
    this.secrets.add(key)
    secret = {"ml-api-keys": {"keys": (this.folder / "keys").read_text("utf-8")}}
    with ExitStack() as stack:
        images = Images(this.folder)
        stack.callback(images.remove_containers)
        running = {name: stack.enter_context(Namespace.of(this.folder / name, images, secret)) for name in OVERLAYS}
        programs = stack.enter_context(on_path(this.folder / "programs"))
        environments = {name: {**found.variables, "SERVICE_KEY": key} for name, found in running.items()}

        found = run_tag(this, "tag", f"v{version}", environments)
        require(succeeded(found) and found["notes"] == "success", "every job has succeeded")
        require(re.search("^Pushed .*@sha256:", this.log("image"), re.MULTILINE), "the image is named by its digest")
        this.told("image", r"^Pushed ", r"is not run here")
        this.told("production", r"serves ")
        for name in OVERLAYS:
            require(
                served(running[name].url, key) == (this.good[0], head), f"{name} serves artefact and commit of main"
            )
        say("        the notes of the release:\n" + (programs / "notes.md").read_text("utf-8"))

        images.variables.append("MODEL_DIR=/no/model")
        this.change("packages/ml_api/ml_api/__init__.py", f'"{version}"', '"9.9.9"', "A new version of the API")
        found = run_tag(this, "tag, sick", "v9.9.9", environments)
        require(
            (found["staging"], found["production"]) == ("failed", "not run"), "staging fails, production is not run"
        )
        this.told("staging", r"UNDONE", "serves what")
        for name in OVERLAYS:
            require(served(running[name].url, key) == (this.good[0], head), f"{name} serves what it served")
        reset(this)


def make_key(api: Path, file: Path) -> str:
    """Make an API key with the API of a checkout, and write what the service needs of it to a file."""
    command = [sys.executable, "-m", "ml_api.cli", "keys", "new", "rehearsal", "--scopes", "predict,read"]
    done = subprocess.run([*command, "--file", str(file)], cwd=api, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


class Images(dict[str, Image]):
    """Every image of the engine, as a container of it runs.

    Attributes:
        variables: what a container gets besides those of its pod.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.variables: list[str] = []
        self._label = f"rehearsal={os.getpid()}"

    def get(self, name: str, _default: object = None) -> Image:
        """The image of a name with its digest."""
        names = ["PORT", "HOST", "WEB_CONCURRENCY", "SHUTDOWN_DELAY", "API_KEYS_FILE", *self.variables]
        options = ["--rm", "--label", self._label, "--network", "host", "--read-only", "--cap-drop", "ALL"]
        # Where the volumes of its pods are.
        for overlay in OVERLAYS:
            options += ["--volume", f"{self.folder / overlay}:{self.folder / overlay}:ro"]
        environ = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("DOCKER")}
        command = (os.environ["DOCKER"], "run", *options, *(w for name in names for w in ("--env", name)), name)
        return Image(self.folder, command, environ)

    def remove_containers(self) -> None:
        """Remove what still runs: a client that is killed leaves its container to the engine."""
        client = os.environ["DOCKER"]
        found = subprocess.run(
            [client, "ps", "--quiet", "--filter", f"label={self._label}"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        for container in found.stdout.split():
            # One with --rm may be gone by now.
            subprocess.run([client, "rm", "--force", container], check=False, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Namespace:
    """A cluster with one namespace.

    Attributes:
        url: of its Service.
        variables: those of its environment in GitHub.
    """

    url: str
    variables: Mapping[str, str]

    @classmethod
    @contextmanager
    def of(cls, folder: Path, images: Images, secrets: Mapping[str, Mapping[str, str]]) -> Generator[Namespace]:
        """A cluster while the block lasts."""
        folder.mkdir()
        cluster = Cluster(folder, images, secrets)
        url = f"http://127.0.0.1:{cluster.balancer.port}/"
        try:
            with serve(cluster) as programs:
                yield cls(url, {"KUBE_CONFIG": str(programs / "kubectl"), "SERVICE_URL": url})
        finally:
            cluster.stop()


@contextmanager
def on_path(folder: Path) -> Generator[Path]:
    """A folder with kubectl, which is that of the cluster that KUBECONFIG names, and gh; first on PATH."""
    folder.mkdir()
    for name, text in (("kubectl", '#!/bin/sh\nexec "$(cat "$KUBECONFIG")" "$@"\n'), ("gh", GH.format(folder=folder))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield folder
    finally:
        os.environ["PATH"] = before


def run_tag(this: Rehearsal, stage: str, name: str, environments: Mapping[str, Mapping[str, str]]) -> Any:
    """Run the workflow of a tag; returns job -> status."""
    assert this.registry is not None
    contexts = {
        "repository": {"GITHUB_TOKEN": this.platform.key, "GITHUB_ACTOR": "_"},
        "package-index": {**this.index.variables, "IMAGE_REPOSITORY": f"{this.registry.host}/houses/ml-api"},
        **environments,
    }
    command = ["--config", ".github/workflows/release.yml", "--tag", name]
    return this.run_config(stage, command, contexts, tuple(f"tests-{job}" for job in TAG_COMMIT_JOBS))


def raise_version(this: Rehearsal, model: str) -> None:
    """Commit a higher version of a model."""
    path = this.clone.project.models(model)[0].source / "__init__.py"
    stated = find_version(path)
    version = re.sub(r"[0-9]+$", lambda number: str(int(number.group()) + 1), stated.group(1))
    path.write_text(stated.string.replace(stated.group(1), version), "utf-8")
    this.clone.commit("A new version of the model")


def reset(this: Rehearsal) -> None:
    """Take the last commit back."""
    this.clone.git("reset", "--quiet", "--hard", "HEAD~1")


def prepare(this: Rehearsal) -> None:
    """What the stages need of the main branch."""
    main_(this, COMMIT_JOBS)


RUN: Mapping[str, Callable[[Rehearsal], None]] = dict(
    zip(STAGES, (branch, main_, container, worse, several, sick, api, honest, tag), strict=True)
)


def steps(stages: Sequence[str]) -> list[tuple[str, Callable[[Rehearsal], None]]]:
    """Return what is run for stages, in order, by name: before the first that needs the main branch, what it needs.

    Raises:
        ValueError: a stage is unknown, named twice, or too late.
    """
    if not set(stages) <= set(STAGES) or len(set(stages)) < len(stages):
        raise ValueError(f"each once, of {', '.join(STAGES)}")
    found: list[tuple[str, Callable[[Rehearsal], None]]] = []
    for stage in stages:
        names = [name for name, _ in found]
        if stage not in INDEPENDENT and not {"main", PREPARE} & set(names):
            found.append((PREPARE, prepare))
        elif stage == "container" and names[-1] != "main":
            raise ValueError("container takes what main has left: it comes directly after main, or first")
        found.append((stage, RUN[stage]))
    return found


def run_all(this: Rehearsal, stages: Sequence[str]) -> list[str]:
    """Run stages; after one that fails, the next one from the commit before it and from what production serves.

    If the main branch fails, nothing after it is run.

    Returns:
        The names of those that failed.
    """
    failed: list[str] = []
    for name, run in steps(stages):
        commit = this.clone.git("rev-parse", "HEAD")
        say(f"\n{name}: {run.__doc__}")
        try:
            run(this)
            this.without()
        except Exception as error:  # noqa: BLE001  whatever it is, the other stages are run
            why = error if isinstance(error, RehearsalError) else traceback.format_exc()
            say(f"\nNOT as it should be: {name}: {why}")
            failed.append(name)
            if name in {"main", PREPARE}:
                break
            this.clone.git("reset", "--quiet", "--hard", commit)
            this.good = this.served(PRODUCTION)
    return failed


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
    try:
        steps(stages)
    except ValueError as error:
        parser.error(f"--stages: {error}")
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
            failed = run_all(this, stages)
        except KeyboardInterrupt:
            say("\nstopped")
            return STOPPED
        finally:
            say("\n" + "\n".join(f"{stage:10} {job:16} {seconds:6.0f} s" for stage, job, seconds in this.times))
        if failed:
            for log in folder.glob("heroku/*/v*.log"):
                say(f"{log.parent.name}/{log.name}: {log.read_text('utf-8', 'replace')[-500:]}")
            say(f"\nNOT as it should be: {', '.join(failed)}.")
            return 1
    say(f"\nEverything went as it should, in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
