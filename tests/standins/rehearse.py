"""Deploy, break, go back and promote, with the commands that people run, in a clean clone: `make rehearse-deploy`.

The clone is of what is committed here, with a second model beside the house prices that `make new-model` writes. The
service, pip, git and gunicorn are the real ones; Heroku and the package index are stand-ins on this machine. Needs real
training data of the house prices (DATA=path, else what `make data` loads) and minutes.

exit status: 0 everything went as it should, 1 something did not; the last words of the command are above.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "helpers"),
    str(Path(__file__).resolve().parents[2] / "scripts"),
]

from heroku_standin import Heroku, heroku

from deployable import GIT, asking
from live_service import Service
from local_index import serve_index
from processes import stop_on_signals
from project import ROOT, Project, find_version

#: Rewrites the bundle so that its model misses its golden value, and says that it is of the code that is there.
BREAK = """
import json
from model_kit.scoring.bundle import CARD, GOLDEN, dump_json, read_bundle, write_bundle
from model_kit.scoring.installed import source_digest
from project import Project
(model,) = Project().models("regression")
files = dict(read_bundle(model.bundle).files)
golden = json.loads(files[GOLDEN])
files[GOLDEN] = dump_json(golden | {"prediction": golden["prediction"] * 2})
files[CARD] = dump_json(json.loads(files[CARD]) | {"code_sha256": source_digest(model.source)})
print(write_bundle(model.bundle, files))
"""


MODELS = {"regression", "rehearsal"}
#: Writes the data of the second model.
DATA = """
from sklearn.datasets import load_diabetes
load_diabetes(as_frame=True, scaled=False).frame.to_csv("data/rehearsal.csv", index=False)
"""


class RehearsalError(Exception):
    """Something did not go as it should."""


def require(condition: object, text: str) -> None:
    """Hold what must be so."""
    if not condition:
        raise RehearsalError(text)
    say(f"        {text}")


def say(text: str) -> None:
    """Tell at once."""
    print(text, flush=True)


class Clone:
    """A clean clone, and the commands that are run in it."""

    def __init__(self, root: Path, environ: dict[str, str], origin: Path = ROOT) -> None:
        self.root, self.environ, self.project = root, environ, Project(root)
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(origin), str(root)], check=True)

    def make(self, *arguments: str, fails: bool = False) -> str:
        """Run make; returns what it said."""
        started = time.monotonic()
        command = ["make", "--no-print-directory", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        say(f"{time.monotonic() - started:5.0f} s  make {' '.join(arguments)}")
        if bool(done.returncode) != fails:
            raise RehearsalError(f"status {done.returncode}:\n{done.stdout}")
        return done.stdout

    def python(self, code: str) -> str:
        """Run code with the clone's tools."""
        environ = self.environ | {"PYTHONPATH": str(self.root / "scripts")}
        done = subprocess.run(
            [self.root / ".venv/bin/python", "-c", code],
            cwd=self.root,
            env=environ,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    def git(self, *arguments: str) -> str:
        """Run git."""
        command = ["git", "-C", str(self.root), "-c", "commit.gpgSign=false", *arguments]
        return subprocess.run(
            command, env=os.environ | GIT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def commit(self, message: str) -> str:
        """Commit what has changed; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def manifest(self) -> Any:
        """What `make wheels` wrote."""
        return json.loads((self.project.wheels / "manifest.json").read_text("utf-8"))


def add_model(clone: Clone) -> None:
    """Add a second model, as docs/own-model.md does."""
    clone.python(DATA)
    clone.make("new-model", "NAME=rehearsal", "DATA=data/rehearsal.csv", "TARGET=target")
    clone.commit("Add a model")


def rehearse(clone: Clone, platform: Heroku) -> None:
    """The three deployments.

    Raises:
        RehearsalError: one did not go as it should.
    """
    staging, production = (Service(platform.apps[name].router.url) for name in ("houses-staging", "houses"))

    def served(service: Service) -> tuple[dict[str, str], Any]:
        found = service.version() or {}
        models = found.get("models", {})
        return {name: lineage["artifact_sha256"] for name, lineage in models.items()}, found.get("git_commit")

    say("\nTwo new models, from training to production")
    add_model(clone)
    plan = clone.make("plan")
    require(plan.count("is not released yet: it is trained") == len(MODELS), "the plan: train both")
    for step in ("model", "wheels", "test-wheel"):
        clone.make(step)
    compared = clone.make("compare", "NEW=build/wheels")
    require(compared.count("There is no previous version") == len(MODELS), "only the floors are checked")
    clone.make("release")
    for app in platform.apps:
        clone.make("configure-app", f"APP={app}")
    clone.make("deploy", "APP=houses-staging", "LIMIT=120")
    clone.make("promote", "FROM=houses-staging", "APP=houses", "LIMIT=120")
    good = {wheel["model"]: wheel["artifact_sha256"] for wheel in clone.manifest()["wheels"] if wheel["model"]}
    require(set(good) == MODELS, f"the wheels are of {' and '.join(good)}")
    first = clone.git("rev-parse", "HEAD")
    require(served(production) == (good, first), "production serves the tested artefacts and commit")

    say("\nA release of which one model is not well")
    path = clone.project.models("regression")[0].source / "__init__.py"
    stated = find_version(path)
    version = re.sub(r"[0-9]+$", lambda number: str(int(number.group()) + 1), stated.group(1))
    path.write_text(stated.string.replace(stated.group(1), version), "utf-8")
    broken = clone.python(BREAK)
    clone.commit("A model that misses its golden value")
    plan = clone.make("plan")
    require("regression-model" in plan and "is not released yet" in plan, "the plan: train, for there is a new version")
    require("its wheel is used as it is" in plan, "the plan: use the other one again")
    clone.make("wheels")
    require("not what was meant" in clone.make("test-wheel", fails=True), "the test of the wheels stops it")
    require("nothing was published" in clone.make("release", fails=True), "the comparison stops its release")
    clone.make("release", "IGNORE_COMPARISON=1")
    output = clone.make("deploy", "APP=houses-staging", "LIMIT=30", fails=True)
    require("ROLLED BACK houses-staging" in output, "deployed all the same, it is rolled back")
    say("          " + "\n          ".join(line for line in output.splitlines() if "ROLLED" in line or "  - " in line))
    require(broken not in good.values() and served(staging)[0] == good, "the old ones are served")

    say("\nThe API alone, while a client keeps asking")
    clone.git("reset", "--quiet", "--hard", first)
    api = clone.root / "packages/ml_api/ml_api/__init__.py"
    api.write_text(api.read_text("utf-8") + "# A change.\n", "utf-8")
    second = clone.commit("A change of the API")
    plan = clone.make("plan")
    require(plan.count("its wheel is used as it is") == len(MODELS), "the plan: use both again")
    for step in ("model", "wheels", "test-wheel", "release"):
        clone.make(step)
    require({wheel["origin"] for wheel in clone.manifest()["wheels"]} == {"index"}, "nothing was trained or built")
    row = {"OverallQual": 5, "GrLivArea": 1500, "YearBuilt": 1975, "Neighborhood": "NAmes"}
    with asking(staging.url + "v1/predict/regression", row) as client:
        clone.make("deploy", "APP=houses-staging", "LIMIT=120")
    require(not client.failures, f"{client.asked} requests in the meantime, and none failed: {client.failures[:3]}")
    require(served(staging) == (good, second), "staging serves the same artefacts, of the new commit")
    clone.make("promote", "FROM=houses-staging", "APP=houses", "LIMIT=120")
    clone.make("verify", "APP=houses")
    clone.make("rollback", "APP=houses")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "rehearse.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="real training data of the house prices")
    parser.add_argument(
        "--delay", type=float, default=8.0, help="seconds from a bound port to the switch (%(default)s)"
    )
    options = parser.parse_args()
    here = {name: value for name, value in os.environ.items() if not name.startswith(("PACKAGE_INDEX_", "HEROKU_"))}
    pip = {name: value for name, value in here.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")}
    pip.pop("PIP_EXTRA_INDEX_URL", None)
    started = time.monotonic()
    with (
        stop_on_signals(),
        tempfile.TemporaryDirectory(prefix="rehearsal-") as temporary,
        serve_index(Path(temporary, "index")) as index,
        heroku(Path(temporary, "heroku"), pip_environ=pip, delay=options.delay) as platform,
    ):
        for name in ("houses-staging", "houses"):
            platform.create(name, WEB_CONCURRENCY="1", HOST="127.0.0.1")
        settings = {
            "PACKAGE_INDEX_URL": index.url,
            "PACKAGE_INDEX_USER": index.user,
            "PACKAGE_INDEX_TOKEN": index.token,
        }
        # make hands on what it was called with.
        for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "DATA", "MODEL"):
            here.pop(variable, None)
        clone = Clone(Path(temporary, "clone"), here | settings | platform.environ)
        try:
            clone.make("data", "MODEL=regression", *([f"DATA_URL={options.data.resolve()}"] if options.data else []))
            rehearse(clone, platform)
        except RehearsalError as error:
            say(f"\nNOT as it should be: {error}")
            for log in Path(temporary, "heroku").glob("*/v*.log"):
                say(f"{log.parent.name}/{log.name}: {log.read_text('utf-8', 'replace')[-500:]}")
            return 1
    say(f"\nEverything went as it should, in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
