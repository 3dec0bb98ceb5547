"""docs/retraining.md is true: its commands are run in their order, on a real log and a real index; and of classes."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from diagnosis_model import DEFINITION
from model_kit.cli.main import main as model_kit
from model_kit.comparison.index import Index, IndexClient, newest_release
from model_kit.retraining.drift import read_drift
from model_kit.retraining.run import Files, Job, retrain
from model_kit.scoring.bundle import read_bundle
from model_kit.training.dataset import load
from model_kit.training.train import train

from build_wheels import build_wheel
from diagnoses import MODEL, TARGET, ask, sample
from local_index import serve_index
from ml_api.cli.main import main as ml_api
from project import ROOT, Project
from small_project import TOKEN

DOC = (ROOT / "docs/retraining.md").read_text("utf-8")
#: Settings of the commands.
OURS = ("PREDICTION_LOG", "MODEL_DIR", "PACKAGE_INDEX_URL", "PACKAGE_INDEX_USER", "PACKAGE_INDEX_TOKEN")


@dataclass(frozen=True)
class Workplace:
    """A folder with the files that the document names, a log and an index, as the environment names them."""

    folder: Path
    bundle: Path
    environ: dict[str, str]
    url: str

    def run(self, commands: str) -> str:
        """Run a block of commands, ours in this process, which has imported what they need; returns what they print."""
        printed = ""
        for line in commands.splitlines():
            program, *arguments = shlex.split(line.partition(" > ")[0])
            output, allowed = io.StringIO(), {0, 3} if line.endswith("|| test $? -eq 3") else {0}
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
                patch.chdir(self.folder)
                for name in OURS:
                    patch.setenv(name, self.environ[name])
                if program == "ml-api":
                    status = ml_api(arguments)
                else:
                    assert program == "model-kit"
                    status = model_kit(arguments, program=program)
            assert status in allowed, f"{line}: {status}: {output.getvalue()}"
            if found := re.search(r" > (\S+)", line):
                (self.folder / found[1]).write_text(output.getvalue())
            else:
                printed += output.getvalue()
        return printed

    def records(self) -> list[dict[str, Any]]:
        """The records, the oldest first."""
        return [json.loads(path.read_bytes()) for path in sorted((self.folder / "retraining").rglob("records/*.json"))]

    def newest(self) -> str:
        """The newest release on the index."""
        found = newest_release(IndexClient(Index(self.url, "developer", TOKEN)).wheels(DEFINITION.distribution))
        assert found is not None
        return str(found.version)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return sample()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame) -> Generator[Workplace]:
    """300 rows to train on, 149 held out, and 120 that the service was asked about, with the outcome."""
    folder = tmp_path_factory.mktemp("retraining")
    (folder / "data").mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    frame[:300].to_csv(folder / "data/diagnosis.csv", index=False)
    frame[300:449].to_csv(folder / "data/holdout.csv", index=False)
    bundle = folder / "models/diagnosis"
    train(DEFINITION, load(DEFINITION, folder / "data/diagnosis.csv"), bundle)
    (package,) = Project().models(MODEL)
    build_wheel(package, "0.1.0", folder / "index", bundle=bundle)
    log = f"{folder}/log.db"
    ask(log, bundle, frame[449:569])
    program = folder / "ml-api"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/packages/ml_api exec {sys.executable} -m ml_api.cli "$@"\n')
    program.chmod(0o755)
    with serve_index(folder / "index", TOKEN) as index:
        environ = {
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREDICTION_LOG": log,
            "MODEL_DIR": str(folder / "models"),
            **index.variables,
        }
        yield Workplace(folder, bundle, environ, index.url)


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)


def test_commands_do_what_the_document_says(workplace: Workplace) -> None:
    first, publishing, drift, script = blocks()
    before = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout
    sentence, record = workplace.run(first).splitlines()
    (told,) = re.findall(r"```\n(diagnosis .*?)\n(Record: .*?)```", DOC, re.DOTALL)
    for shown, found in zip(told, (sentence, record), strict=True):
        assert re.fullmatch(re.escape(shown.strip()).replace(r"\.\.\.", ".*"), found), found
    candidate = read_bundle(workplace.folder / "retraining/diagnosis/candidate")
    # The setting of a shadow, as the run prints it, is a bundle that the installed code serves.
    (shadow,) = re.findall(r"SHADOW_MODELS=diagnosis=(\S+)", sentence)
    DEFINITION.load_bundle(Path(shadow)).check()
    assert workplace.newest() == "0.1.0"

    said = workplace.run(publishing)
    assert "diagnosis has a candidate that passed: it was published as 0.1.0.post1 on http://127.0.0.1" in said
    assert workplace.newest() == "0.1.0.post1"
    after = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout
    assert (after, DEFINITION.version) == (before, "0.1.0")
    install(workplace, workplace.records()[-1]["published"]["pin"], candidate.artifact_sha256)

    # The candidate was compared with 0.1.0.
    with pytest.raises(AssertionError, match="the candidate is released already, as 0.1.0.post1"):
        workplace.run(publishing)

    # Only drift of what is released counts: that of the version before is in the log.
    assert "does not say that 0.1.0.post1 has drifted" in workplace.run(drift)
    report = str(workplace.folder / "drift.json")
    drifted = read_drift(report, MODEL, read_bundle(workplace.bundle).artifact_sha256)
    assert (drifted["verdict"], drifted["fields"][0]) == ("drifted", "mean radius")
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=workplace.folder,
        env=os.environ | workplace.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "does not say that 0.1.0.post1 has drifted" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    ends = [record["end"] for record in workplace.records()]
    assert ends == ["passed", "published", "unusable", "not_drifted", "not_drifted"]


def install(workplace: Workplace, pin: str, artifact_sha256: str) -> None:
    """Install the published wheel with pip, by its hash."""
    target, pins = workplace.folder / "installed", workplace.folder / "pins.txt"
    pins.write_text(pin)
    index = workplace.url.replace(
        "://", f"://developer:{TOKEN.replace('/', '%2F').replace(':', '%3A').replace('@', '%40')}@"
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--require-hashes",
        "--quiet",
        "--target",
        str(target),
    ]
    subprocess.run([*command, "--index-url", index, "--requirement", str(pins)], check=True)
    package = target / "diagnosis_model"
    assert '\n__version__ = "0.1.0.post1"\n' in (package / "__init__.py").read_text()
    assert read_bundle(package / "bundle").artifact_sha256 == artifact_sha256


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({0: "unclear"}, "1 outcomes, the first in line 2, are none of the classes malignant, benign"),
        (dict.fromkeys(range(0, 120, 5)), " of 120 outcomes are invalid or far from what the released model predicts"),
    ],
)
def test_unknown_and_flipped_classes_change_nothing(
    workplace: Workplace, frame: pd.DataFrame, tmp_path: Path, changes: dict[int, str | None], why: str
) -> None:
    rows = frame[449:569].reset_index(drop=True)
    flipped = {"malignant": "benign", "benign": "malignant"}
    told = rows[TARGET].tolist()
    for place, value in changes.items():
        told[place] = value or flipped[told[place]]
    rows[TARGET] = told
    rows.to_csv(tmp_path / "outcomes.csv", index=False)
    data = workplace.folder / "data"
    files = Files(data / "diagnosis.csv", tmp_path / "outcomes.csv", data / "holdout.csv")
    record = retrain(Job(DEFINITION, tmp_path / "out", files, str(workplace.bundle)))
    assert (record.end, why in record.sentence) == ("bad_outcomes", True), record.sentence
    assert not (tmp_path / "out/candidate").exists()


def test_make_passes_on_what_it_is_given() -> None:
    given = ["MODEL=diagnosis", "DATA=a b.csv", "OUTCOMES=o.jsonl", "HOLDOUT=h.csv", "IF_DRIFTED=d.json", "PUBLISH=1"]
    done = subprocess.run(
        ["make", "--dry-run", "retrain", *given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = " ".join(done.stdout.split())
    for option in (
        "--data 'a b.csv'",
        "--outcomes 'o.jsonl'",
        "--holdout 'h.csv'",
        "--if-drifted 'd.json'",
        "--publish",
    ):
        assert option in line


def test_jobs_of_the_cluster_give_the_script_what_it_reads() -> None:
    component = ROOT / "deploy/kubernetes/components/retrain"
    script = (ROOT / "deploy/retraining/retrain.sh").read_text()
    known = set(re.findall(r"\$\{([A-Z_]+)", script)) | {"PREDICTION_LOG", "DATABASE_URL"}
    (job,) = yaml.safe_load_all((component / "cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    names = {one["name"] for one in container["env"]}
    assert names <= known
    assert {"MODEL", "DATA", "HOLDOUT"} <= names
    listed = yaml.safe_load((component / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in component.iterdir()}
