"""Deploy an image on a Kubernetes cluster with the files of deploy/kubernetes, and go back if it does not become ready.

  deploy  run the migration Job of the release, if there is one, and wait for it; apply everything else; wait until all
          pods are of this release and ready, else undo it
  render  print the objects that deploy applies
  alerts  print deploy/monitoring/alerts.yml as the PrometheusRule that Prometheus' operator reads

An overlay is a folder of deploy/kubernetes/overlays, or any other with a kustomization.yaml. Needs kubectl, whose
current context is the cluster, and no package of Python.

exit status: 0 done; 1 it is not deployed, and the text says why and what runs instead; 2 the command line is unusable.
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
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent

from processes import cannot_start, script
from project import ROOT, Say, ScriptError, say

KUBERNETES = ROOT / "deploy/kubernetes"
ALERTS = ROOT / "deploy/monitoring/alerts.yml"
#: The name that the image, and what runs it, has in the files.
NAME = "ml-api"
MIGRATION = f"{NAME}-migrate"
#: What must be there before the migration runs, the Job included.
BEFORE = "app.kubernetes.io/component=prediction-log"
#: Seconds until all pods are ready; the Deployment itself gives up after progressDeadlineSeconds without progress.
LIMIT = 600
#: Seconds between two looks at the Job.
_INTERVAL = 1.0
_IMAGE = re.compile(r"([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._-]+(/[a-z0-9._-]+)*(:[A-Za-z0-9_.-]+)?@sha256:[0-9a-f]{64}")
_RELEASE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")


def migration_name(release: str) -> str:
    """Return the name of a release's migration Job."""
    return f"{MIGRATION}-{re.sub('[^a-z0-9]', '-', release.lower())}"


@contextmanager
def kustomization(overlay: Path, image: str, release: str) -> Generator[Path]:
    """Write a kustomization that adds image and release to an overlay, into a folder that is deleted afterwards.

    Raises:
        ScriptError: there is no such overlay, or image or release have another form.
    """
    if not (overlay / "kustomization.yaml").is_file():
        there = ", ".join(sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml")))
        raise ScriptError(f"{overlay} has no kustomization.yaml; overlays: {there}, or the path of a folder", 2)
    if not _IMAGE.fullmatch(image):
        raise ScriptError(f"--image is {image!r}; it must be NAME@sha256:DIGEST, for a tag may become another image", 2)
    if not _RELEASE.fullmatch(release):
        raise ScriptError(f"--release is {release!r}; it must be up to 40 letters, digits and any of ._-", 2)
    name, _, digest = image.partition("@")
    with tempfile.TemporaryDirectory(prefix="kubernetes-") as temporary:
        rename = [{"op": "replace", "path": "/metadata/name", "value": migration_name(release)}]
        # What `kubectl rollout history` tells of a revision.
        cause = {"metadata": {"name": NAME, "annotations": {"kubernetes.io/change-cause": f"release {release}"}}}
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # A path from the root is refused.
            "resources": [os.path.relpath(overlay.resolve(), Path(temporary).resolve())],
            "images": [{"name": NAME, "newName": name, "digest": digest}],
            "labels": [{"pairs": {"app.kubernetes.io/version": release}, "includeTemplates": True}],
            "patches": [
                {
                    "target": {"kind": "Job", "name": MIGRATION},
                    "patch": json.dumps(rename),
                    "options": {"allowNameChange": True},
                },
                {"patch": json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", **cause})},
            ],
        }
        Path(temporary, "kustomization.yaml").write_text(json.dumps(document), "utf-8")
        yield Path(temporary)


def kubectl(*arguments: str) -> str:
    """Run kubectl; returns what it prints.

    Raises:
        ScriptError: it failed, or is not there.
    """
    command = ["kubectl", *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise cannot_start("kubectl", error) from error
    if done.returncode:
        raise ScriptError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def render(folder: Path, image: str) -> str:
    """Return the objects of a kustomization as YAML.

    Raises:
        ScriptError: it cannot be rendered, or the Deployment has another image.
    """
    rendered = kubectl("kustomize", str(folder))
    if f"image: {image}\n" not in rendered:
        raise ScriptError(
            f"no container has the image {image}: the overlay renames the image {NAME}; take its `images` out"
        )
    return rendered


def namespace_of(rendered: str) -> str:
    """Return the namespace of the Deployment.

    Raises:
        ScriptError: it has none.
    """
    for text in rendered.split("\n---\n"):
        if "\nkind: Deployment\n" in text and (found := re.search(r"^  namespace: (\S+)$", text, re.MULTILINE)):
            return found[1]
    raise ScriptError("the overlay names no namespace, or has no Deployment")


def migrate(folder: Path, namespace: str, job: str, limit: float) -> None:
    """Run the migration Job of a release, and wait until it is complete.

    Raises:
        ScriptError: it failed, or took longer than ``limit`` seconds.
    """
    # A Job cannot be changed, and one that has failed does not run again; migrating twice is the same as once.
    kubectl("-n", namespace, "delete", "job", job, "--ignore-not-found")
    kubectl("apply", "-k", str(folder), "-l", BEFORE)
    give_up = time.monotonic() + limit
    ended = 'jsonpath={.status.conditions[?(@.status=="True")].type}'
    while True:
        conditions = kubectl("-n", namespace, "get", "job", job, "-o", ended).split()
        if "Complete" in conditions:
            return
        if "Failed" in conditions or time.monotonic() > give_up:
            raise ScriptError(
                f"{job} is not complete, and nothing else was applied\n{_told('-n', namespace, 'get', 'events')}\n"
                f"{_told('-n', namespace, 'logs', f'job/{job}', '--tail=20')}"
            )
        time.sleep(_INTERVAL)


def deploy(
    overlay: Path, image: str, release: str, limit: float, say: Say = say, verify: Callable[[], None] = lambda: None
) -> None:
    """Deploy an image, and go back if it does not become ready, or is not what was meant.

    Args:
        overlay: a folder with a kustomization.
        image: with its digest.
        release: its name, for labels and the migration Job.
        limit: seconds for the migration, for the rollout, and for the way back, each.
        say: told what happens.
        verify: raises ``ScriptError`` if the pods are ready but not what was meant.

    Raises:
        ScriptError: it is not deployed; the text says why, and what runs instead.
    """
    with kustomization(overlay, image, release) as folder:
        rendered = render(folder, image)
        namespace, job = namespace_of(rendered), migration_name(release)
        before = _revision(namespace)
        if f"name: {job}\n" in rendered:
            say(f"{namespace}: migrating the prediction log, {job}")
            migrate(folder, namespace, job, limit)
        try:
            # It may fail after some objects are in place, the Deployment among them.
            say(kubectl("apply", "-k", str(folder)))
            _wait(namespace, limit)
            verify()
        except ScriptError as error:
            # What keeps pods from starting, such as a Secret that is missing.
            pods = _told("-n", namespace, "get", "pods", "-o", "wide")
            warnings = _told("-n", namespace, "get", "events", "--field-selector", "type=Warning")
            raise ScriptError(f"{error}\n{pods}\n{warnings}\n{_go_back(namespace, before, limit)}") from error
    say(f"{namespace}: all pods are of release {release}, {image}")


def _told(*arguments: str) -> str:
    """What kubectl prints, or why it does not, for a message about something else."""
    try:
        return kubectl(*arguments)
    except ScriptError as error:
        return str(error)


def _revision(namespace: str) -> str:
    path = r"jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}"
    return kubectl("-n", namespace, "get", "deployment", NAME, "--ignore-not-found", "-o", path)


def _wait(namespace: str, limit: float) -> None:
    kubectl("-n", namespace, "rollout", "status", f"deployment/{NAME}", f"--timeout={limit:.0f}s")


def _go_back(namespace: str, before: str, limit: float) -> str:
    """Undo the rollout; returns a sentence about what runs then."""
    if not before:
        return f"NOT UNDONE: {namespace} had no revision of {NAME} before"
    try:
        kubectl("-n", namespace, "rollout", "undo", f"deployment/{NAME}", f"--to-revision={before}")
        _wait(namespace, limit)
    except ScriptError as error:
        return f"UNDOING IT FAILED TOO: {error}"
    return f"UNDONE: {namespace} runs what it ran before (revision {before})"


def alerts() -> str:
    """Return the alerts as a PrometheusRule."""
    heading = f"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {NAME}\nspec:\n"
    return heading + indent(ALERTS.read_text("utf-8"), "  ")


def _seconds(text: str) -> float:
    # kubectl takes 0 as no limit.
    if not re.fullmatch(r"[1-9][0-9]{0,5}(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 on")
    return float(text)


@script("kubernetes")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("kubernetes.py", description=__doc__, formatter_class=layout)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("deploy", "render"):
        command = commands.add_parser(name)
        command.add_argument("overlay", help="staging, production, or the path of a folder")
        command.add_argument("--image", required=True, help="NAME@sha256:DIGEST")
        command.add_argument("--release", required=True, help="such as v1.2.3")
        if name == "deploy":
            command.add_argument("--limit", type=_seconds, default=LIMIT, metavar="SECONDS", help=f"default: {LIMIT}")
    commands.add_parser("alerts")
    options = parser.parse_args(arguments)
    if options.command == "alerts":
        say(alerts().rstrip())
        return 0
    overlay = KUBERNETES / "overlays" / options.overlay
    if "/" in options.overlay or not (overlay / "kustomization.yaml").is_file():
        overlay = Path(options.overlay)
    if options.command == "deploy":
        deploy(overlay, options.image, options.release, options.limit)
    else:
        with kustomization(overlay, options.image, options.release) as folder:
            say(render(folder, options.image))
    return 0


if __name__ == "__main__":
    sys.exit(main())
