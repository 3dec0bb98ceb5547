"""Deploy, update, break, go back and scale by the files of deploy/kubernetes, under load: `make drill-kubernetes`.

scripts/kubernetes.py and the real service run; the cluster is a stand-in (cluster.py) that carries out what `kubectl
kustomize` renders, and haproxy is the Service. A steady load asks on new and on kept connections and repeats nothing:
every request must be answered. Takes some minutes; needs kubectl, haproxy and PostgreSQL. The requests are left in
build/drill-kubernetes, a file for each step.

exit status: 0 everything went as it should, 1 something did not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / "helpers"),
    str(Path(__file__).resolve().parents[2] / "scripts"),
]

from cluster import Cluster, CommandError, Image, serve, wait_until

from postgres import running_postgres
from processes import stop_on_signals
from project import ROOT
from ride_images import Load, load_on, make_image, write_rides

SCRIPT = ROOT / "scripts/kubernetes.py"
KUBERNETES = ROOT / "deploy/kubernetes"
LOGS = ROOT / "build/drill-kubernetes"
#: Image of each release, by a digest that stands for it.
IMAGES = {
    release: f"registry.example/ml-api@sha256:{number:064d}" for number, release in enumerate(("v1", "v2", "v3"), 1)
}
#: Seconds that a rollout may take on a machine that is busy with other work.
LIMIT = 180
#: Seconds of load before and after what a step does.
QUIET = 2.0


class DrillError(Exception):
    """Something did not go as it should."""


def require(condition: object, text: str) -> None:
    """Hold what must be so."""
    if not condition:
        raise DrillError(text)
    say(f"        {text}")


def say(text: str) -> None:
    """Tell at once."""
    print(text, flush=True)


def write_overlay(folder: Path, overlay: str, *components: str, patch: str = "") -> Path:
    """Write an overlay with more components."""
    folder.mkdir()
    document: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": f"ml-api-{overlay}",
        "resources": [os.path.relpath(KUBERNETES / "overlays" / overlay, folder.resolve())],
        "components": [os.path.relpath(KUBERNETES / "components" / name, folder.resolve()) for name in components],
    }
    if patch:
        document["configMapGenerator"] = [{"name": "ml-api", "behavior": "merge", "literals": [patch]}]
    (folder / "kustomization.yaml").write_text(json.dumps(document))
    return folder


def release(programs: Path, overlay: Path, image: str, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    """Run scripts/kubernetes.py deploy, as people and pipelines do."""
    command = [sys.executable, str(SCRIPT), "deploy", str(overlay), "--image", image, "--limit", str(limit)]
    command += ["--release", next((name for name, known in IMAGES.items() if known == image), "unknown")]
    environ = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@contextmanager
def step(name: str, cluster: Cluster, key: str = "") -> Generator[Load]:
    """A step under load: every request must be answered; tells what was, and keeps its log."""
    say(f"  {name}")
    with load_on(cluster.balancer.port, key) as load:
        wait_until(lambda: len(load.log) >= 20, "requests are sent")
        time.sleep(QUIET)
        yield load
        time.sleep(QUIET)
    path = LOGS / f"{name.replace(' ', '-')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in load.log))
    slowest = max(line["seconds"] for line in load.log)
    answered = ", ".join(f"{version} {count}" for version, count in sorted(load.versions().items()))
    kept = sum(line["connection"] == "kept" for line in load.log)
    say(
        f"        {len(load.log)} requests in {load.log[-1]['time']:.0f} s, {kept} of them on kept connections; "
        f"{answered}; slowest {slowest * 1000:.0f} ms"
    )


def unfailing(load: Load) -> None:
    """Hold that every request of a step was answered."""
    require(not load.failed, f"{len(load.failed)} failed {load.failed[:3] or ''}".rstrip())


@contextmanager
def running(folder: Path, images: Mapping[str, Image], **options: object) -> Generator[tuple[Cluster, Path]]:
    """A cluster, and the folder of its kubectl."""
    folder.mkdir()
    cluster = Cluster(folder, images, **options)  # type: ignore[arg-type]
    try:
        with serve(cluster) as programs:
            yield cluster, programs
    finally:
        cluster.stop()


def drill_production(folder: Path, images: Mapping[str, Image], database: str) -> None:
    """Two pods with keys and the prediction log: deploy, update, a version that is never ready, and back by hand."""
    command = ["sh", "run.sh", "keys", "new", "drill", "--scopes", "predict,read", "--file", str(folder / "keys")]
    image = images[IMAGES["v1"]]
    key = subprocess.run(command, cwd=image.folder, check=True, capture_output=True, text=True).stdout.strip()
    secrets = {"ml-api-keys": {"keys": (folder / "keys").read_text()}, "ml-api-database": {"url": database}}
    overlay = write_overlay(folder / "production", "production", "prediction-log")
    say("production: two pods, keys, the prediction log in PostgreSQL")
    with running(folder / "cluster", images, secrets=secrets) as (cluster, programs):
        done = release(programs, overlay, IMAGES["v1"])
        require(done.returncode == 0, f"v1 is deployed: {done.stderr or done.stdout.splitlines()[-1]}")
        require("ml-api-migrate-v1" in done.stdout, "the Job ml-api-migrate-v1 has made the tables before")
        require(len(cluster.alive()) == 2, "two pods, as the autoscaler has it at least")
        wait_until(lambda: len({line["version"] for line in probed(cluster, key)}) == 1, "the Service answers")

        with step("update", cluster, key) as load:
            done = release(programs, overlay, IMAGES["v2"])
        unfailing(load)
        require(done.returncode == 0, f"v2 is deployed: {done.stderr or done.stdout.splitlines()[-1]}")
        require(load.versions().keys() == {"1.0.0", "1.1.0"}, "both versions answered meanwhile")
        answered = len(load.log)

        with step("never ready", cluster, key) as load:
            done = release(programs, overlay, IMAGES["v3"], limit=30)
        unfailing(load)
        require(done.returncode == 1, "v3 is not deployed")
        require("does not score its golden row" in done.stderr or "503" in done.stderr, "the reason of v3 is told")
        require("UNDONE: ml-api-production runs what it ran before" in done.stderr, "it is undone")
        require(load.versions().keys() == {"1.1.0"}, "only v2 has answered")
        answered += len(load.log)

        with step("undo", cluster, key) as load:
            # Without a number it would be v3, which was current last.
            cluster.undo(1)
            cluster.wait_rolled_out(LIMIT)
        unfailing(load)
        require({line["version"] for line in load.log[-20:]} == {"1.0.0"}, "v1 answers again")
        answered += len(load.log)

    exits = [end for pod in cluster.pods for end in pod.exits]
    slowest = max(seconds for _, seconds in exits)
    require(
        {status for status, _ in exits} == {0},
        f"{len(exits)} containers ended with status 0, in {slowest:.0f} s at most",
    )
    environ = {**image.environ, "PREDICTION_LOG": "DATABASE_URL", "DATABASE_URL": database}
    command = ["sh", "run.sh", "log", "export"]
    rows = subprocess.run(command, cwd=image.folder, env=environ, check=True, capture_output=True, text=True).stdout
    logged = {(row["prediction_id"], row["row"]) for row in map(json.loads, rows.splitlines())}
    require(len(logged) >= answered, f"all {answered} answers are in the prediction log")


def probed(cluster: Cluster, key: str) -> list[dict[str, str]]:
    """A few requests, for their versions; empty if one failed."""
    with load_on(cluster.balancer.port, key, clients=2, interval=0.02) as load:
        wait_until(lambda: len(load.log) >= 4, "requests are sent")
    return [] if load.failed else load.log


def drill_staging(folder: Path, images: Mapping[str, Image]) -> None:
    """One pod: scaled to three and back, and models from a volume that is damaged later."""
    volume = folder / "volume"
    write_rides(volume / "rides")
    overlay = write_overlay(folder / "staging", "staging", "models-volume")
    say("staging: one pod, its model in a volume")
    with running(folder / "cluster-2", images, volumes={"ml-api-models": volume}) as (cluster, programs):
        done = release(programs, overlay, IMAGES["v1"])
        require(done.returncode == 0, f"v1 is deployed: {done.stderr or done.stdout.splitlines()[-1]}")
        wait_until(lambda: bool(probed(cluster, "")), "the Service answers")

        with step("scale", cluster) as load:
            cluster.scale(3)
            cluster.wait_rolled_out(LIMIT)
            time.sleep(QUIET)
            pods = cluster.alive()
            require(len(pods) == 3, "three pods")
            cluster.scale(1)
            wait_until(lambda: sum(pod.ended for pod in pods) == 2, "two pods end")
        unfailing(load)
        require(all('"message":"request"' in pod.log for pod in pods), "each of the three has answered")
        require(all(version.startswith("1.0.0+") for version in load.versions()), "with the model of the volume")

        with step("damaged volume", cluster) as load:
            with (volume / "rides/model.onnx").open("ab") as file:
                file.write(b"\0")
            done = release(programs, overlay, IMAGES["v2"], limit=30)
        unfailing(load)
        require(done.returncode == 1, "v2 is not deployed: its init container has found the damage")
        require("Init:Error: verify ended with status 1" in done.stderr, "and the reason is told")
        require(all(version.startswith("1.0.0+") for version in load.versions()), "only v1 has answered")


def drill_control(folder: Path, images: Mapping[str, Image]) -> None:
    """Without SHUTDOWN_DELAY requests must fail, or the drill would not notice."""
    overlay = write_overlay(folder / "control", "staging", patch="SHUTDOWN_DELAY=0")
    say("control: the same without SHUTDOWN_DELAY")
    with running(folder / "cluster-3", images) as (cluster, programs):
        require(release(programs, overlay, IMAGES["v1"]).returncode == 0, "v1 is deployed")
        wait_until(lambda: bool(probed(cluster, "")), "the Service answers")
        with step("control", cluster) as load:
            require(release(programs, overlay, IMAGES["v2"]).returncode == 0, "v2 is deployed")
        require(load.failed, f"{len(load.failed)} failed, as they must: {load.failed[0]['error']}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    layout = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser("drill_kubernetes.py", description=__doc__, formatter_class=layout).parse_args(arguments)
    shutil.rmtree(LOGS, ignore_errors=True)
    try:
        with (
            stop_on_signals(),
            tempfile.TemporaryDirectory(prefix="drill-") as temporary,
            running_postgres() as database,
        ):
            folder = Path(temporary)
            images = {
                IMAGES["v1"]: make_image(folder / "v1", "1.0.0"),
                IMAGES["v2"]: make_image(folder / "v2", "1.1.0"),
                IMAGES["v3"]: make_image(folder / "v3", "1.2.0", ready=False),
            }
            drill_production(folder, images, database.url)
            drill_staging(folder, images)
            drill_control(folder, images)
    except (DrillError, CommandError, AssertionError) as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("drill: stopped", file=sys.stderr)
        return 130
    say(f"drill: everything went as it should; the requests are in {LOGS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
