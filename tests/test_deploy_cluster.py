"""A release in a cluster is what was tested, or the one before serves again; the cluster is a stand-in."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import Cluster, serve
from model_kit.testing import GOLDEN_PREDICTION, GOLDEN_ROW

import deploy_cluster
import live_service
from live_service import Expected, ExpectedModel, Service
from project import ROOT, ScriptError
from ride_images import MODEL, make_image, write_rides

STAGING = ROOT / "deploy/kubernetes/overlays/staging"
FIRST, SECOND = (f"registry.example/ml-api@sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Cluster]:
    """A cluster whose kubectl is the first on PATH, and which can pull two images."""
    monkeypatch.setattr(live_service, "ROUNDS", 2)
    folder = tmp_path / "cluster"
    folder.mkdir()
    images = {FIRST: make_image(tmp_path / "first", "1.0.0"), SECOND: make_image(tmp_path / "second", "1.1.0")}
    running = Cluster(folder, images, lag=0.1)
    try:
        with serve(running) as programs:
            monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
            yield running
    finally:
        running.stop()


def test_a_release_is_verified_and_one_that_is_not_what_was_meant_goes_back(cluster: Cluster, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{cluster.balancer.port}/"
    golden = {"row": GOLDEN_ROW, "prediction": GOLDEN_PREDICTION}
    model = ExpectedModel(MODEL, "1.0.0", write_rides(tmp_path / "rides"), golden)
    told: list[str] = []

    def deploy(image: str, release: str, version: str) -> None:
        meant = Expected((replace(model, version=version),), None)
        deploy_cluster.deploy(STAGING, image, release, meant, 30.0, {"SERVICE_URL": url}, told.append)

    deploy(FIRST, "v1", "1.0.0")
    assert told[-1].startswith("ml-api-staging serves rides 1.0.0, artefact")

    # Its pods are ready, and serve another version than the one that was tested.
    with pytest.raises(ScriptError) as error:
        deploy(SECOND, "v2", "1.1.1")
    said = str(error.value)
    assert "/version has rides.version '1.1.0' where '1.1.1' was meant" in said
    assert "UNDONE: ml-api-staging runs what it ran before" in said
    assert f"ml-api-staging serves what it served before: rides {model.artifact_sha256}" in said
    found = Service(url).version() or {}
    assert found["models"][MODEL]["version"] == "1.0.0"
