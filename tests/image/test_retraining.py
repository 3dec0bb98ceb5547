"""The image that retrains, as a real Docker engine builds and runs it, with the settings of the CronJob."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnosis_model import DEFINITION
from model_kit.training.dataset import load
from model_kit.training.train import train

from deployable import copied
from diagnoses import MODEL, ask, sample
from docker_client import Docker
from index_client import IndexClient
from local_index import serve_index
from package_index import PackageIndex
from project import ROOT
from publish import publish
from small_project import TOKEN

if "TEST_IMAGE" not in os.environ:
    pytest.skip("needs a Docker engine: make test-image", allow_module_level=True)

CRON_JOB = ROOT / "deploy/kubernetes/components/retrain/cronjob.yaml"


@dataclass(frozen=True)
class Retraining:
    """The image, the volume and the index of a released model."""

    docker: Docker
    image: str
    volume: Path
    index: PackageIndex

    def run(self, **changes: str) -> tuple[str, dict[str, Any]]:
        """Run the image as the CronJob does; what it prints, and the record of the run."""
        (container,) = yaml.safe_load(CRON_JOB.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"][
            "containers"
        ]
        settings = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        settings |= {"MODEL": MODEL, "PREDICTION_LOG": "/retraining/log.db", **self.index.variables, **changes}
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        options = ["--rm", "--network", "host", "--read-only", "--cap-drop", "ALL"]
        options += ["--security-opt", "no-new-privileges", "--memory", "2g", "--tmpfs", mounts["temporary"]]
        options += ["--mount", f"type=bind,source={self.volume},target={mounts['retraining']}"]
        # By name: values would be on a command line.
        options += [word for name in settings for word in ("--env", name)]
        done = subprocess.run(
            [self.docker.client, "run", *options, self.image],
            env=self.docker.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        records = sorted(self.volume.glob("regression/records/*.json"))
        return done.stdout, json.loads(records[-1].read_bytes())


@pytest.fixture(scope="module")
def retraining(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Generator[Retraining]:
    """300 rows to train on, 149 held out, and 120 that the service was asked about, with their outcomes."""
    project = copied(tmp_path_factory.mktemp("retraining") / "checkout")
    volume, frame = tmp_path_factory.mktemp("volume"), sample()
    frame[:300].to_csv(volume / "data.csv", index=False)
    frame[300:449].to_csv(volume / "holdout.csv", index=False)
    (package,) = project.models(MODEL)
    train(DEFINITION, load(DEFINITION, volume / "data.csv"), package.bundle)
    ask(f"{volume}/log.db", package.bundle, frame[449:569], DEFINITION.version)
    volume.chmod(0o777)
    # SQLite may have left files beside it.
    for path in volume.glob("log.db*"):
        path.chmod(0o666)
    image = f"ml-api-training-test-{os.getpid()}"
    with serve_index(project.index, TOKEN) as index:
        publish(project, index, model=MODEL, release=True)
        found = Retraining(docker, image, volume, index)
        done = subprocess.run(
            [sys.executable, project.root / "scripts/image.py", "training"],
            env=docker.environ | found.index.variables | {"IMAGE": image},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        try:
            yield found
        finally:
            docker("image", "rm", "--force", image)


def test_a_run_of_the_cron_job_trains_compares_and_publishes(retraining: Retraining) -> None:
    # No root, and no way to become it.
    config = json.loads(retraining.docker("inspect", "--format", "{{json .Config}}", retraining.image))
    assert config["User"] == "10001:10001"
    assert TOKEN not in retraining.docker("history", "--no-trunc", retraining.image) + json.dumps(config)

    said, record = retraining.run()
    assert (record["end"], record["drift"]["fields"][:1]) == ("passed", ["mean radius"]), f"{said}{record}"
    assert record["outcomes"]["used"] == 120
    assert (retraining.volume / "regression/candidate/manifest.json").stat().st_uid == 10001

    said, record = retraining.run(PUBLISH="1")
    assert (record["end"], record["published"]["version"]) == ("published", "0.1.0.post1"), said
    assert TOKEN not in said
    assert "diagnosis_model-0.1.0.post1-py3-none-any.whl" in IndexClient(retraining.index).files("diagnosis-model")
